//! The memory tier: the whole cache without a server, the warm fallback beside one.

use std::any::Any;
use std::cell::RefCell;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};

use crate::clock::{Clock, Moment};
use crate::codec::SharedCodec;
use crate::key::{CallKey, KeyPrefix, Kinds, ServerKey, StoredKey};

/// How much the memory tier may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryLimits {
    pub(crate) max_entries: u64,
    pub(crate) max_bytes: u64,
    /// The largest single value, which a shard of the table has to have room for.
    pub(crate) max_value_bytes: u64,
}

/// Bounded by entries and by bytes; an entry is gone once its own expiry has passed.
pub(crate) struct Memory {
    cache: Cache<StoredKey, Arc<Entry>, ByWeight, Prehashed, KeepEvicted>,
    clock: Clock,
    /// What an entry weighs at least, so that the bound on bytes bounds the entries too.
    least_weight: u64,
    /// Which kinds of keys have been kept.
    kinds: Kinds,
}

/// One cached value.
pub(crate) struct Entry {
    /// A [`Moment`]: what remained of the value's life on the server may turn out to have been changed there.
    expires: AtomicU64,
    /// The [`Moment`] at which that was known.
    learned: AtomicU64,
    weight: u64,
    /// The decoded value; empty while nobody has asked for it since it came as bytes.
    decoded: OnceLock<Decoded>,
    /// As on the server; `None` where there is no server to compare with.
    bytes: Option<Bytes>,
    /// The server's key, so that it's computed once an entry and not once a call.
    server_key: Option<ServerKey>,
}

struct Decoded {
    value: Box<dyn Any + Send + Sync>,
    /// The codec that relates the value and the bytes; `None` for a call's own pair of functions.
    codec: Option<SharedCodec>,
}

/// What an entry is made of.
pub(crate) struct Content {
    pub(crate) value: Option<Box<dyn Any + Send + Sync>>,
    pub(crate) codec: Option<SharedCodec>,
    pub(crate) bytes: Option<Bytes>,
    pub(crate) server_key: Option<ServerKey>,
    /// Bytes of the encoded value, by which it's weighed.
    pub(crate) encoded_len: usize,
}

/// Entries that an operation took out of the table, to be dropped by its caller outside all locks:
/// dropping a value is the user's code.
#[must_use = "drop this outside all locks"]
#[derive(Default)]
pub(crate) struct Evicted(Vec<Arc<Entry>>);

/// Another client may change the life of a value without changing its bytes. So after a tenth of the life that was known, but not sooner
/// than this and not on every hit, the server is asked for that too.
const LIFE_IS_CERTAIN: Duration = Duration::from_secs(1);

/// Estimated cost of an entry beside its key and value: the table's slot, the `Arc`, the `Entry`.
const ENTRY_OVERHEAD: u64 = 200;

impl Memory {
    pub(crate) fn new(limits: MemoryLimits, clock: Clock) -> Self {
        // An entry that fills the table to the last byte would be refused, so that of a table for one is a little lighter.
        let least_weight = limits.max_bytes.div_ceil(limits.max_entries).min(limits.max_bytes / 100 * 95);
        // A shard refuses what is larger than the shard, so there are only as many as leave room for the
        // largest value.
        let room_for_the_largest = limits.max_bytes / limits.max_value_bytes.saturating_add(ENTRY_OVERHEAD).max(1);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let shards = usize::try_from(room_for_the_largest).unwrap_or(usize::MAX).clamp(1, cores * 4);
        // `Options` rounds the shards up to a power of two, which would make each too small.
        let shards = if shards.is_power_of_two() { shards } else { shards.next_power_of_two() / 2 };
        let entries = usize::try_from(limits.max_entries).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(entries)
            .weight_capacity(limits.max_bytes)
            .build()
            .expect("both capacities are set, and the rest has defaults");
        let cache = Cache::with_options(options, ByWeight, Prehashed, KeepEvicted);
        Self { cache, clock, least_weight, kinds: Kinds::default() }
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
        let entry = self.cache.get(key)?;
        if entry.expires() > now {
            return Some(entry);
        }
        // Only if it's still this very entry: a fresh one may have come in between.
        self.cache.remove_if(key, |current| Arc::ptr_eq(current, &entry));
        None
    }

    /// Keeps `content` for `life`, counted from `since`.
    pub(crate) fn insert(&self, key: &CallKey, content: Content, since: Moment, life: Duration) -> Evicted {
        let stored = key.stored();
        self.kinds.note(key.kind());
        let mut size = stored.as_bytes().len() as u64 + ENTRY_OVERHEAD;
        // The decoded value, which is taken to be as large as its encoded form and comes later if not now, and the bytes.
        size += content.encoded_len as u64 * if content.bytes.is_some() { 2 } else { 1 };
        let decoded = OnceLock::new();
        if let Some(value) = content.value {
            let _ = decoded.set(Decoded { value, codec: content.codec });
        }
        let entry = Entry {
            expires: AtomicU64::new(since.after(life).as_nanos()),
            learned: AtomicU64::new(since.as_nanos()),
            weight: size.max(self.least_weight),
            decoded,
            bytes: content.bytes,
            server_key: content.server_key,
        };
        let mut evicted: Vec<Arc<Entry>> = self.cache.peek(key).into_iter().collect();
        self.cache.insert_with_lifecycle(stored, Arc::new(entry), &mut evicted);
        Evicted(evicted)
    }

    /// Drops the entry of `key`; whether there was one that hadn't expired.
    pub(crate) fn remove(&self, key: &CallKey) -> bool {
        drop(self.take_twins(key));
        self.cache.remove(key).is_some_and(|(_, entry)| entry.expires() > self.now())
    }

    /// Takes the entry of `key` out, for who must not drop it here.
    pub(crate) fn take(&self, key: &CallKey) -> Evicted {
        let mut twins = self.take_twins(key);
        twins.0.extend(self.cache.remove(key).map(|(_, entry)| entry));
        twins
    }

    /// Takes out what other calls have that are given the same key on the server: a key builder may return the default key of another
    /// call. That's rare, so all are looked at; and where it can't be, none is.
    fn take_twins(&self, key: &CallKey) -> Evicted {
        self.kinds.note(key.kind());
        if !self.kinds.may_have_twins(key.kind()) {
            return Evicted::default();
        }
        let server_key = key.server_key();
        let twins = RefCell::new(Vec::new());
        self.cache.retain(|_, entry| {
            let goes = entry.server_key() == Some(&server_key);
            if goes {
                twins.borrow_mut().push(Arc::clone(entry));
            }
            !goes
        });
        Evicted(twins.into_inner())
    }

    /// Drops the entries that `prefix` names; how many there were that hadn't expired.
    pub(crate) fn remove_matching(&self, prefix: &KeyPrefix) -> u64 {
        let now = self.now();
        let removed = RefCell::new(Vec::new());
        self.cache.retain(|key, entry| {
            let goes = key.matches(prefix);
            if goes {
                removed.borrow_mut().push(Arc::clone(entry));
            }
            !goes
        });
        let removed = removed.into_inner();
        removed.iter().filter(|entry| entry.expires() > now).count() as u64
    }

    /// Drops all entries.
    pub(crate) fn clear(&self) {
        // `Cache::clear` would drop them under its locks.
        drop(self.cache.drain().collect::<Vec<_>>());
    }

    pub(crate) fn len(&self) -> u64 {
        self.cache.len() as u64
    }

    pub(crate) fn weight(&self) -> u64 {
        self.cache.weight()
    }
}

impl Entry {
    fn expires(&self) -> Moment {
        Moment::from_nanos(self.expires.load(Ordering::Relaxed))
    }

    /// Whether so much time has passed since its life was known that it's worth asking again.
    pub(crate) fn is_life_uncertain(&self, now: Moment) -> bool {
        let learned = self.learned.load(Ordering::Relaxed);
        let life = Duration::from_nanos(self.expires.load(Ordering::Relaxed).saturating_sub(learned));
        now > Moment::from_nanos(learned).after((life / 10).max(LIFE_IS_CERTAIN))
    }

    /// The server has said what remains of its life.
    pub(crate) fn learn_life(&self, since: Moment, life: Duration) {
        self.expires.store(since.after(life).as_nanos(), Ordering::Relaxed);
        self.learned.store(since.as_nanos(), Ordering::Relaxed);
    }

    /// The value as a `T`; `None` where it's of another type, or hasn't been decoded yet.
    pub(crate) fn value<T: Any>(&self) -> Option<&T> {
        self.decoded.get()?.value.downcast_ref()
    }

    /// Whether a decoded value is here, of whatever type.
    pub(crate) fn is_decoded(&self) -> bool {
        self.decoded.get().is_some()
    }

    /// Keeps the value that the bytes were decoded to, unless another was faster.
    pub(crate) fn keep_decoded(&self, value: Box<dyn Any + Send + Sync>, codec: Option<SharedCodec>) {
        let _ = self.decoded.set(Decoded { value, codec });
    }

    pub(crate) fn bytes(&self) -> Option<&Bytes> {
        self.bytes.as_ref()
    }

    pub(crate) fn server_key(&self) -> Option<&ServerKey> {
        self.server_key.as_ref()
    }

    /// Whether `codec` would decode these bytes to the very value that is kept here.
    pub(crate) fn was_coded_by(&self, codec: Option<&SharedCodec>) -> bool {
        let own = self.decoded.get().and_then(|decoded| decoded.codec.as_ref());
        match (own, codec) {
            (Some(own), Some(asked)) => own.same_as(asked),
            _ => false,
        }
    }
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<StoredKey, Arc<Entry>> for ByWeight {
    fn weight(&self, _: &StoredKey, entry: &Arc<Entry>) -> u64 {
        entry.weight
    }
}

/// Hands evicted entries to the caller instead of dropping them under the table's lock.
#[derive(Clone)]
struct KeepEvicted;

impl Lifecycle<StoredKey, Arc<Entry>> for KeepEvicted {
    type RequestState = Vec<Arc<Entry>>;

    fn on_evict(&self, evicted: &mut Vec<Arc<Entry>>, _: StoredKey, entry: Arc<Entry>) {
        evicted.push(entry);
    }
}

/// Keys bring their hash along.
#[derive(Clone, Copy, Default)]
pub(crate) struct Prehashed;

#[derive(Default)]
pub(crate) struct Given(u64);

impl BuildHasher for Prehashed {
    type Hasher = Given;

    fn build_hasher(&self) -> Given {
        Given(0)
    }
}

impl Hasher for Given {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys hash by write_u64 alone")
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Hash for CallKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(CallKey::hash(self));
    }
}

impl Hash for StoredKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(StoredKey::hash(self));
    }
}

impl PartialEq for StoredKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for StoredKey {}

impl Equivalent<StoredKey> for CallKey {
    fn equivalent(&self, key: &StoredKey) -> bool {
        self.as_bytes() == key.as_bytes()
    }
}

#[cfg(test)]
mod tests;
