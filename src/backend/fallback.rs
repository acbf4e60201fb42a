//! The policy between memory and server: who is asked, what is kept where, what an outage changes.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::journal::{Full, Journal};
use super::measured::Measured;
use super::memory::{Content, Entry, Evicted, Memory};
use super::server::{Life, Server, ServerError};
use crate::clock::Moment;
use crate::codec::{SharedCodec, ValueCodec, Weighers};
use crate::error::{Error, Kind};
use crate::key::{CallKey, KeyPrefix, ServerKey};
use crate::telemetry::metrics;
use crate::telemetry::{Counters, Stats};

/// The memory tier and the server, either of which may be missing, but not both.
pub(crate) struct Tiers<S> {
    pub(crate) memory: Option<Memory>,
    pub(crate) server: Option<Measured<S>>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) max_value_bytes: u64,
    /// What the user knows better of what values take up.
    pub(crate) weighers: Weighers,
}

/// Who is asked for a key, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Server,
    Memory,
    /// The server is away and memory is switched off.
    Nowhere,
}

/// One call, as the tiers see it.
pub(crate) struct Request<'a, C> {
    pub(crate) key: &'a CallKey,
    pub(crate) codec: &'a C,
    /// The codec of the handle, for calls that inherit it.
    pub(crate) inherited: &'a SharedCodec,
    /// How long a value that is stored now lives.
    pub(crate) life: Duration,
}

/// What keeps a value that was invalidated meanwhile from being stored.
pub(crate) trait Fence {
    /// Says that a store is under way, for as long as it's kept.
    type Storing: Send + 'static;

    /// Runs `keep` unless the key has been invalidated since this caller got its turn. An invalidation waits for
    /// `keep` to end, so it's short and never waits itself.
    fn commit(&self, keep: impl FnOnce() -> Evicted);

    /// While this is held, whoever invalidates the key waits before going to the server; `None` if it has
    /// been invalidated already.
    fn begin_store(&self) -> Option<Self::Storing>;
}

/// What the server said to a read.
pub(crate) enum Read<T> {
    Hit(T),
    Miss,
    /// The key holds another type: somebody else's, so it's not to be overwritten.
    Foreign,
    Unavailable,
}

impl<S: Server> Tiers<S> {
    pub(crate) fn route(&self, key: &CallKey) -> Route {
        match &self.server {
            Some(server) if server.is_available(key) && !self.journal.blocks(key) => Route::Server,
            _ if self.memory.is_some() => Route::Memory,
            _ => Route::Nowhere,
        }
    }

    /// The value that memory holds, decoded at most once; for a second type over the same bytes, each time.
    pub(crate) fn read_memory<T, C>(&self, request: &Request<'_, C>) -> Option<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let entry = self.memory.as_ref()?.find(request.key)?;
        if let Some(value) = entry.value::<T>() {
            return Some(value.clone());
        }
        // Of another type, if it has been decoded. Without a server there are no bytes to read as this one.
        let bytes = entry.bytes()?;
        self.decode_into(&entry, bytes, request)
    }

    /// The server's value. What comes is kept in memory too, for as long as it lives there.
    pub(crate) async fn read_server<T, C>(
        &self,
        server: &impl Server,
        request: &Request<'_, C>,
        fence: &impl Fence,
    ) -> Read<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        // Lives are counted from before the question, so that a late answer doesn't lengthen them.
        let asked = self.memory.as_ref().map(|memory| (memory, memory.now()));
        let warm = asked.and_then(|(memory, now)| memory.find_at(request.key, now));
        let known_key = warm.as_ref().and_then(|entry| entry.server_key().cloned());
        let server_key = known_key.unwrap_or_else(|| request.key.server_key());
        // What remains of its life is asked for only where a copy is to be made, or is due to be checked.
        let asks_life = asked.is_some_and(|(_, now)| warm.as_ref().is_none_or(|entry| entry.is_life_uncertain(now)));
        let reply = match asks_life {
            true => server.get_with_life(&server_key).await,
            false => server.get(&server_key).await.map(|bytes| bytes.map(|bytes| (bytes, Life::Unknown))),
        };
        match reply {
            Ok(Some((bytes, life))) => {
                let life = match life {
                    Life::Remaining(life) => Some(life),
                    Life::Endless => Some(request.life),
                    Life::Unknown => None,
                };
                let value = match warm.filter(|entry| entry.bytes() == Some(&bytes)) {
                    Some(entry) => {
                        if let (Some((_, now)), Some(life)) = (asked, life) {
                            entry.learn_life(now, life);
                        }
                        self.decode_same(&entry, &bytes, request)
                    }
                    None => {
                        let value = self.decode(&bytes, request);
                        if let Some((memory, now)) = asked {
                            let len = bytes.len();
                            // What doesn't decode as this type may as another.
                            let decoded = value.as_ref().map_or(len as u64, |value| self.weigh(request, value, len));
                            let copy = Copied { server_key: &server_key, bytes: &bytes, decoded };
                            keep_copy(memory, request.key, fence, &copy, life.map(|life| (now, life)));
                        }
                        value
                    }
                };
                value.map_or(Read::Miss, Read::Hit)
            }
            Ok(None) => {
                self.forget_within(fence, request.key);
                Read::Miss
            }
            Err(ServerError::WrongType) => Read::Foreign,
            Err(ServerError::Unavailable(_) | ServerError::Refused { .. }) => Read::Unavailable,
        }
    }

    /// Keeps a value that was computed: in memory, and on the server if `to_server`. What can't be kept is counted.
    pub(crate) async fn store<T, C>(
        &self,
        request: &Request<'_, C>,
        fence: &impl Fence,
        value: &T,
        to_server: bool,
    ) -> Result<(), Error>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        if request.life.is_zero() {
            return Ok(());
        }
        let encoded = Bytes::from(self.encode(request, value)?);
        let server_key = self.server.as_ref().map(|_| request.key.server_key());
        if let Some(memory) = &self.memory {
            self.keep(memory, request, fence, value, &encoded, server_key.as_ref())?;
        }
        let (true, Some(server), Some(server_key)) = (to_server, &self.server, &server_key) else { return Ok(()) };
        let Some(storing) = fence.begin_store() else { return Ok(()) };
        let stored = server.set(server_key, encoded, request.life, storing).await;
        if let Err(ServerError::Refused { .. } | ServerError::WrongType) = &stored {
            self.counters.failed_writes.add_one();
        }
        stored.map_err(Error::from)
    }

    /// Keeps a value in memory; an error where that is all there is, and it's too large for it.
    fn keep<T, C>(
        &self,
        memory: &Memory,
        request: &Request<'_, C>,
        fence: &impl Fence,
        value: &T,
        encoded: &Bytes,
        server_key: Option<&ServerKey>,
    ) -> Result<(), Error>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let decoded = self.weigh(request, value, encoded.len());
        let Some(form) = memory.form(request.key, encoded.len(), decoded, server_key) else {
            // What it was to replace goes all the same.
            fence.commit(|| memory.take(request.key));
            if self.server.is_some() {
                return Ok(());
            }
            self.counters.uncached.add_one();
            return Err(Error::new(Kind::TooLargeForMemory { bytes: encoded.len() }));
        };
        let content = Content {
            form,
            value: form.decoded.then(|| Box::new(value.clone()) as Box<dyn Any + Send + Sync>),
            codec: request.codec.serde_codec(request.inherited).cloned(),
            bytes: form.encoded.then(|| match server_key {
                Some(_) => encoded.clone(),
                None => Bytes::copy_from_slice(encoded),
            }),
            server_key: server_key.cloned(),
        };
        fence.commit(|| memory.insert(request.key, content, memory.now(), request.life));
        Ok(())
    }

    /// Bytes that a decoded value takes up.
    fn weigh<T: Any, C: ValueCodec<T>>(&self, request: &Request<'_, C>, value: &T, encoded: usize) -> u64 {
        self.weighers.weigh(value).unwrap_or_else(|| {
            let heap = request.codec.heap_of(value).unwrap_or(encoded as u64);
            heap.saturating_add(size_of::<T>() as u64).max(encoded as u64)
        })
    }

    /// Drops what memory holds of `key`; whether there was something.
    pub(crate) fn forget(&self, key: &CallKey) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.remove(key))
    }

    /// The same, unless the key has been invalidated since this caller got its turn.
    pub(crate) fn forget_within(&self, fence: &impl Fence, key: &CallKey) {
        if let Some(memory) = &self.memory {
            fence.commit(|| memory.take(key));
        }
    }

    /// Drops what memory holds of the keys that `prefix` names; how many there were.
    pub(crate) fn forget_matching(&self, prefix: &KeyPrefix) -> u64 {
        self.memory.as_ref().map_or(0, |memory| memory.remove_matching(prefix))
    }

    pub(crate) fn journal_key(&self, key: &CallKey) -> Result<(), Error> {
        self.journal.add_key(key).map_err(|Full| {
            let problem =
                "the journal of invalidations is full of keys that share no namespace, and this one wasn't taken";
            Error::from(ServerError::Refused { code: "JOURNAL".into(), message: problem.into() })
        })
    }

    pub(crate) fn stats(&self) -> Stats {
        let memory = self.memory.as_ref();
        Stats {
            journal_length: self.journal.len() as u64,
            memory_entries: memory.map_or(0, Memory::len),
            memory_bytes: memory.map_or(0, Memory::weight),
            ..self.counters.snapshot()
        }
    }

    fn encode<T, C: ValueCodec<T>>(&self, request: &Request<'_, C>, value: &T) -> Result<Vec<u8>, Error> {
        let encoded = request.codec.encode_value(request.inherited, value).and_then(|mut encoded| {
            if encoded.len() as u64 <= self.max_value_bytes {
                // Encoders leave room to grow, which memory would keep beside a server.
                if self.memory.is_some() && self.server.is_some() {
                    encoded.shrink_to_fit();
                }
                return Ok(encoded);
            }
            let (bytes, limit) = (encoded.len(), self.max_value_bytes);
            Err(Error::new(Kind::TooLarge { bytes, limit }))
        });
        encoded.inspect_err(|_| self.counters.uncached.add_one())
    }

    fn decode<T, C: ValueCodec<T>>(&self, bytes: &[u8], request: &Request<'_, C>) -> Option<T> {
        let value = request.codec.decode_value(request.inherited, bytes);
        // The error may quote the value, so it's counted and not shown.
        value.inspect_err(|error| self.tell_undecodable(request.key, error)).ok()
    }

    fn tell_undecodable(&self, key: &CallKey, error: &Error) {
        self.counters.decode_failures.add_one();
        metrics::decode_failed();
        if error.is_panic() && self.counters.decode_warning.first() {
            tracing::warn!(target: "cache_house", ?key, "decoding a value panicked, which counts as a miss; told once");
        }
    }

    /// The value of bytes that memory holds too: cloned if it has been decoded before, by the same codec.
    fn decode_same<T, C>(&self, entry: &Entry, bytes: &[u8], request: &Request<'_, C>) -> Option<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        if entry.was_coded_by(request.codec.serde_codec(request.inherited))
            && let Some(value) = entry.value::<T>()
        {
            return Some(value.clone());
        }
        self.decode_into(entry, bytes, request)
    }

    /// Decodes, and keeps the value beside its bytes if none is there yet.
    fn decode_into<T, C>(&self, entry: &Entry, bytes: &[u8], request: &Request<'_, C>) -> Option<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let value: T = self.decode(bytes, request)?;
        if entry.wants_decoded() {
            entry.keep_decoded(Box::new(value.clone()), request.codec.serde_codec(request.inherited).cloned());
        }
        Some(value)
    }
}

/// What the server said, to be kept.
struct Copied<'a> {
    server_key: &'a ServerKey,
    bytes: &'a Bytes,
    /// What the value weighs once it's decoded.
    decoded: u64,
}

/// Keeps what the server said in place of what was known, for the rest of its life; where that isn't known, nothing.
fn keep_copy(memory: &Memory, key: &CallKey, fence: &impl Fence, copy: &Copied<'_>, life: Option<(Moment, Duration)>) {
    let &Copied { server_key, bytes, decoded } = copy;
    let form = memory.form(key, bytes.len(), decoded, Some(server_key));
    let (Some((since, life)), Some(form)) = (life, form) else { return fence.commit(|| memory.take(key)) };
    let content = Content {
        form,
        value: None,
        codec: None,
        // A reply is a part of its connection's buffer, which it would keep: megabytes, once large values came by.
        bytes: Some(Bytes::copy_from_slice(bytes)),
        server_key: Some(server_key.clone()),
    };
    fence.commit(|| memory.insert(key, content, since, life));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::MemoryLimits;
    use crate::clock::Clock;
    use crate::key::{CallParts, Scope};

    struct Open;

    impl Fence for Open {
        type Storing = ();

        fn commit(&self, keep: impl FnOnce() -> Evicted) {
            drop(keep());
        }

        fn begin_store(&self) -> Option<()> {
            Some(())
        }
    }

    #[test]
    fn a_copy_keeps_nothing_of_the_buffer_that_the_reply_came_in() {
        let limits = MemoryLimits { max_entries: 10, max_bytes: 64 << 20 };
        let memory = Memory::new(limits, Clock::default());
        let scope = Scope::new("p", "n").expect("both parts are given");
        let parts = CallParts { module: None, name: b"f", args: b"", kwargs: &[] };
        let key = CallKey::new(&parts, &scope, None, &foldhash::quality::FixedState::default()).expect("it has a key");
        let buffer = Bytes::from(vec![7; 4 << 20]);
        for len in [1, 16 * 1024 - 1, 16 * 1024, 1 << 20, buffer.len()] {
            let reply = buffer.slice(..len);
            let life = Some((memory.now(), Duration::from_secs(60)));
            let copy = Copied { server_key: &key.server_key(), bytes: &reply, decoded: len as u64 };
            keep_copy(&memory, &key, &Open, &copy, life);
            assert_eq!(memory.find(&key).and_then(|entry| entry.bytes().cloned()), Some(reply));
            assert!(buffer.is_unique(), "{len} bytes of it are kept");
        }
    }
}
