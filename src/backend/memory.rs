//! The memory tier: the whole cache without a server, the warm fallback beside one.

mod table;

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::near::Mark;
use crate::clock::{Clock, Moment};
use crate::codec::{Coder, KeyOf, SharedCodec};
use crate::key::{CallKey, KeyPrefix, Kinds, ServerKey};
use crate::surroundings;
use crate::telemetry::metrics;
use table::Table;

/// How much the memory tier may hold: each bound by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryLimits {
    pub(crate) max_entries: u64,
    pub(crate) max_bytes: u64,
}

/// Bounded by entries and by bytes; an entry is gone once its own expiry has passed.
pub(crate) struct Memory {
    table: Table<Arc<Entry>>,
    max_bytes: u64,
    clock: Clock,
    kinds: Kinds,
}

/// One cached value.
pub(crate) struct Entry {
    /// A [`Moment`]: what remained of the value's TTL on the server may turn out to have been changed there.
    expires: AtomicU64,
    /// The [`Moment`] at which that was known.
    learned: AtomicU64,
    /// The [`Moment`] when the server last confirmed the value; of its computation, where the server has none.
    confirmed: AtomicU64,
    /// The decoded value; empty until the first hit on what came as bytes.
    decoded: OnceLock<Decoded>,
    /// Whether there is room for the decoded value, too.
    may_be_decoded: bool,
    /// As on the server; without one, only where the decoded value is too large.
    bytes: Option<Bytes>,
    /// The server's key, so that it's computed once an entry and not once a call.
    server_key: Option<ServerKey>,
    /// Of the last read that brought this value, where the server reports changes.
    mark: ArcSwapOption<Mark>,
}

struct Decoded {
    value: Box<dyn Any + Send + Sync>,
    /// `None` for a call's own pair of functions.
    coder: Option<Coder>,
}

/// What an entry is made of.
pub(crate) struct Content {
    pub(crate) form: Form,
    /// Where it's kept decoded, and didn't come as bytes.
    pub(crate) value: Option<Box<dyn Any + Send + Sync>>,
    pub(crate) coder: Option<Coder>,
    /// Where it's kept encoded.
    pub(crate) bytes: Option<Bytes>,
    pub(crate) server_key: Option<ServerKey>,
    pub(crate) mark: Option<Arc<Mark>>,
}

/// In which form a value is kept, and what its entry weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) decoded: bool,
    pub(crate) encoded: bool,
    weight: u64,
}

/// Entries that an operation took out of the table, to be dropped by its caller outside all locks:
/// dropping a value is the user's code.
#[must_use = "drop this outside all locks"]
#[derive(Default)]
pub(crate) struct Evicted {
    #[expect(dead_code, reason = "kept to be dropped later")]
    entries: Vec<Arc<Entry>>,
    /// How many of them made room; reported when they are dropped.
    evictions: u64,
}

/// Another client may change the TTL of a value without changing its bytes. So after a tenth of the TTL that was known, but not sooner
/// than this and not on every hit, `PTTL` is sent too.
const TTL_IS_CERTAIN: Duration = Duration::from_secs(1);

/// What an entry costs beside its key and its value, as far as that is known: the table's slot, the entry with its counts, and what
/// an allocator adds to each of three pieces.
pub(crate) const ENTRY_OVERHEAD: u64 = (table::slot_bytes::<Arc<Entry>>() + size_of::<Entry>() + 2 * 8 + 3 * 16) as u64;

/// The same of shared bytes, beside their length.
pub(crate) const BYTES_OVERHEAD: u64 = 40 + 16;

impl Memory {
    pub(crate) fn new(limits: MemoryLimits, clock: Clock) -> Self {
        let MemoryLimits { max_entries, max_bytes } = limits;
        let cores = surroundings::cores();
        // Each has enough entries to choose from when one has to go.
        let shards = usize::try_from(max_entries / 64).unwrap_or(usize::MAX).clamp(1, cores * 4);
        let shards = if shards.is_power_of_two() { shards } else { shards.next_power_of_two() / 2 };
        Self { table: Table::new(max_entries, max_bytes, shards), max_bytes, clock, kinds: Kinds::default() }
    }

    pub(crate) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// The entry of `key`, unless it has expired.
    #[inline]
    pub(crate) fn find(&self, key: &CallKey) -> Option<Arc<Entry>> {
        self.find_at(key, self.now())
    }

    #[inline]
    pub(crate) fn find_at(&self, key: &CallKey, now: Moment) -> Option<Arc<Entry>> {
        let entry = self.table.get(key)?;
        if entry.expires() > now {
            return Some(entry);
        }
        self.drop_entry(key, &entry);
        None
    }

    /// Drops this entry of `key`, but not a fresh one that may have come in between.
    pub(crate) fn drop_entry(&self, key: &CallKey, entry: &Arc<Entry>) {
        drop(self.table.remove_if(key, |current| Arc::ptr_eq(current, entry)));
    }

    /// How a value of so many bytes, encoded and decoded, can be kept, if it can: decoded, so that a hit decodes nothing; beside a server
    /// encoded too, to be compared with what that has. What is too large for this is kept encoded alone.
    pub(crate) fn form(
        &self,
        key: &CallKey,
        encoded: usize,
        decoded: u64,
        server_key: Option<&ServerKey>,
    ) -> Option<Form> {
        let base = key.as_bytes().len() as u64 + ENTRY_OVERHEAD;
        let encoded = encoded as u64 + BYTES_OVERHEAD;
        let beside_server = server_key.map(|key| key.len() as u64 + BYTES_OVERHEAD);
        let full = base.saturating_add(decoded).saturating_add(beside_server.map_or(0, |key| encoded + key));
        if full <= self.max_bytes {
            return Some(Form { decoded: true, encoded: beside_server.is_some(), weight: full });
        }
        let weight = base + encoded + beside_server.unwrap_or(0);
        (weight <= self.max_bytes).then_some(Form { decoded: false, encoded: true, weight })
    }

    /// Keeps `content` for `ttl`, counted from `since`.
    pub(crate) fn insert(&self, key: &CallKey, content: Content, since: Moment, ttl: Duration) -> Evicted {
        self.kinds.note(key.kind());
        let (entry, weight) = Self::entry(content, since, ttl);
        let (outgoing, evictions) = self.table.insert(key.stored(), entry, weight);
        Evicted { entries: outgoing, evictions }
    }

    /// The same, but keeps nothing where something was learned of the key after `since`: which of the two is newer isn't known.
    pub(crate) fn insert_unless_newer(&self, key: &CallKey, content: Content, since: Moment, ttl: Duration) -> Evicted {
        self.kinds.note(key.kind());
        let (entry, weight) = Self::entry(content, since, ttl);
        let (entries, evictions) =
            self.table.insert_unless(key.stored(), entry, weight, |other| other.learned() > since);
        Evicted { entries, evictions }
    }

    fn entry(content: Content, since: Moment, ttl: Duration) -> (Arc<Entry>, u64) {
        let Content { form, value, coder, bytes, server_key, mark } = content;
        let decoded = OnceLock::new();
        if let Some(value) = value {
            let _ = decoded.set(Decoded { value, coder });
        }
        let entry = Entry {
            expires: AtomicU64::new(since.after(ttl).as_nanos()),
            learned: AtomicU64::new(since.as_nanos()),
            confirmed: AtomicU64::new(since.as_nanos()),
            decoded,
            may_be_decoded: form.decoded,
            bytes,
            server_key,
            mark: ArcSwapOption::from(mark),
        };
        (Arc::new(entry), form.weight)
    }

    /// Drops the entry of `key`; whether there was one that hadn't expired.
    pub(crate) fn remove(&self, key: &CallKey) -> bool {
        drop(self.take_twins(key));
        self.table.remove_if(key, |_| true).is_some_and(|entry| entry.expires() > self.now())
    }

    /// Takes the entry of `key` out; the caller drops it outside its locks.
    pub(crate) fn take(&self, key: &CallKey) -> Evicted {
        let mut entries = self.take_twins(key);
        entries.extend(self.table.remove_if(key, |_| true));
        Evicted { entries, evictions: 0 }
    }

    /// Takes out what other calls have that are given the same key on the server: a key builder may return the default key of another
    /// call. That's rare, so all are looked at; and where it can't be, none is.
    fn take_twins(&self, key: &CallKey) -> Vec<Arc<Entry>> {
        self.kinds.note(key.kind());
        if !self.kinds.may_have_twins(key.kind()) {
            return Vec::new();
        }
        let server_key = key.server_key();
        self.table.remove_all(|_, entry| entry.server_key() == Some(&server_key))
    }

    /// Drops the entries that `prefix` names; how many there were that hadn't expired.
    pub(crate) fn remove_matching(&self, prefix: &KeyPrefix) -> u64 {
        let now = self.now();
        let removed = self.table.remove_all(|key, _| key.matches(prefix));
        removed.iter().filter(|entry| entry.expires() > now).count() as u64
    }

    /// Drops all entries.
    pub(crate) fn clear(&self) {
        drop(self.table.clear());
    }

    pub(crate) fn len(&self) -> u64 {
        self.table.len()
    }

    /// How many entries made room for others.
    pub(crate) fn evictions(&self) -> u64 {
        self.table.evictions()
    }

    /// Estimated bytes of the entries.
    pub(crate) fn weight(&self) -> u64 {
        self.table.weight()
    }
}

impl Drop for Evicted {
    fn drop(&mut self) {
        if self.evictions > 0 {
            metrics::evicted(self.evictions);
        }
    }
}

impl Entry {
    fn expires(&self) -> Moment {
        Moment::from_nanos(self.expires.load(Ordering::Relaxed))
    }

    fn learned(&self) -> Moment {
        Moment::from_nanos(self.learned.load(Ordering::Relaxed))
    }

    /// What remains of its TTL.
    pub(crate) fn remaining(&self, now: Moment) -> Duration {
        Duration::from_nanos(self.expires().as_nanos().saturating_sub(now.as_nanos()))
    }

    /// Whether so much time has passed since its TTL was known that it's worth asking again.
    pub(crate) fn is_ttl_uncertain(&self, now: Moment) -> bool {
        let learned = self.learned();
        let ttl = Duration::from_nanos(self.expires().as_nanos().saturating_sub(learned.as_nanos()));
        now > learned.after((ttl / 10).max(TTL_IS_CERTAIN))
    }

    /// The server has said what remains of its TTL.
    pub(crate) fn learn_ttl(&self, since: Moment, ttl: Duration) {
        self.expires.store(since.after(ttl).as_nanos(), Ordering::Relaxed);
        self.learned.store(since.as_nanos(), Ordering::Relaxed);
    }

    /// The server has this very value.
    pub(crate) fn confirm(&self, at: Moment) {
        self.confirmed.store(at.as_nanos(), Ordering::Relaxed);
    }

    /// Whether the server confirmed the value longer ago than `age`.
    pub(crate) fn was_confirmed_before(&self, now: Moment, age: Duration) -> bool {
        let confirmed = Moment::from_nanos(self.confirmed.load(Ordering::Relaxed));
        let by_mark = self.mark.load().as_ref().and_then(|mark| mark.confirmed());
        by_mark.map_or(confirmed, |by_mark| by_mark.max(confirmed)).after(age) < now
    }

    /// The value was read once more, over a connection on which the server reports changes.
    pub(crate) fn keep_mark(&self, mark: Option<Arc<Mark>>) {
        self.mark.store(mark);
    }

    /// Whether the value is at most `max_staleness` old.
    #[inline]
    pub(crate) fn is_near(&self, now: Moment, max_staleness: Duration) -> bool {
        self.mark.load().as_ref().is_some_and(|mark| mark.vouches(now, max_staleness))
    }

    /// Whether the server has reported that it has another value, or none.
    pub(crate) fn is_changed(&self) -> bool {
        self.mark.load().as_ref().is_some_and(|mark| mark.is_changed())
    }

    /// The value as a `T`; `None` where it's of another type, or hasn't been decoded yet.
    pub(crate) fn value<T: Any>(&self) -> Option<&T> {
        self.decoded.get()?.value.downcast_ref()
    }

    /// Whether a decoded value is still to be kept.
    pub(crate) fn wants_decoded(&self) -> bool {
        self.may_be_decoded && self.decoded.get().is_none()
    }

    /// Keeps the value that the bytes were decoded to, unless another was faster.
    pub(crate) fn keep_decoded(&self, value: Box<dyn Any + Send + Sync>, coder: Option<Coder>) {
        let _ = self.decoded.set(Decoded { value, coder });
    }

    pub(crate) fn bytes(&self) -> Option<&Bytes> {
        self.bytes.as_ref()
    }

    /// The bytes of a value that is kept without them, so that another type can be read from them.
    pub(crate) fn encode(&self, key: KeyOf<'_>) -> Option<Vec<u8>> {
        let Decoded { value, coder } = self.decoded.get()?;
        coder.as_ref()?.encode(key, value.as_ref())
    }

    pub(crate) fn server_key(&self) -> Option<&ServerKey> {
        self.server_key.as_ref()
    }

    /// Whether `codec` would decode these bytes to the very value that is kept here.
    pub(crate) fn was_coded_by(&self, codec: Option<&SharedCodec>) -> bool {
        let own = self.decoded.get().and_then(|decoded| decoded.coder.as_ref());
        match (own, codec) {
            (Some(own), Some(codec)) => own.codec().same_as(codec),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
