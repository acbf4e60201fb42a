//! The policy between memory and server (L1 and L2): which one a call reads, what is kept where, what an outage changes.

mod reads;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::invalidation::Invalidation;
use super::journal::{Full, Journal};
use super::lease::{Fill, Lease, Stored, Terms};
use super::measured::Measured;
use super::memory::{Content, Evicted, Memory};
use super::server::{Server, ServerError, Unavailable, UnderWay};
use crate::codec::{Sealing, SharedCodec, ValueCodec, Weighers};
use crate::error::{Error, Kind};
use crate::key::{CallKey, ServerKey};
use crate::policy::InEffect;
use crate::telemetry::metrics;
use crate::telemetry::{Counters, Stats};

/// The memory tier and the server, either of which may be missing, but not both.
pub(crate) struct Tiers<S> {
    pub(crate) memory: Option<Memory>,
    pub(crate) server: Option<Measured<S>>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) max_value_bytes: u64,
    /// For how long after the server confirmed a copy it's served in an outage.
    pub(crate) fallback_max_age: Option<Duration>,
    /// How old an answer of the near cache may be; `None`: there is no near cache.
    pub(crate) near: Option<Duration>,
    /// What the user knows better of what values take up.
    pub(crate) weighers: Weighers,
    /// What is done with all bytes that go to the server. Memory alone keeps them as the codecs wrote them.
    pub(crate) sealing: Sealing,
}

/// Where a call reads a key from, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Server,
    Memory,
    /// The server is away and memory is switched off.
    Nowhere,
}

/// One call, as the tiers see it.
pub(crate) struct ResolvedCall<'a, C> {
    pub(crate) key: &'a CallKey,
    pub(crate) codec: &'a C,
    /// The codec of the handle, for calls that inherit it.
    pub(crate) inherited: &'a SharedCodec,
    /// How long a value that is stored now is fresh.
    pub(crate) ttl: Duration,
    pub(crate) freshness: InEffect,
    /// Whether the lookup also reads the value's remaining TTL.
    pub(crate) asks_ttl: bool,
    /// Whether a fill is fenced against the invalidations of other processes.
    pub(crate) fence: bool,
    /// How long a miss waits for the process that computes the value.
    pub(crate) lease: Duration,
    /// It's a tag's token, which is part of the keys of other calls.
    pub(crate) is_token: bool,
}

/// What keeps a value that was invalidated meanwhile from being stored.
pub(crate) trait Fence {
    /// Says that a store is under way, for as long as it's kept.
    type Storing: UnderWay;
    /// Has invalidations find this caller, for as long as it's kept.
    type Watch: Send;

    /// Runs `keep` unless the key has been invalidated since this caller got its turn. An invalidation waits for
    /// `keep` to end, so it's short and never waits itself.
    fn commit(&self, keep: impl FnOnce() -> Evicted);

    /// While this is held, an invalidation of the key waits before it goes to the server; `None` if the key has been invalidated
    /// already.
    fn begin_store(&self) -> Option<Self::Storing>;

    /// Has invalidations find this caller after its store has ended, too, so that it may [`commit`](Self::commit) then.
    fn watch(&self) -> Self::Watch;
}

/// What the server said to a read.
pub(crate) enum Read<T> {
    /// With what remains of its TTL, where that is known.
    Hit(T, Option<Duration>),
    Miss,
    /// A miss, because the codec doesn't read what is there: another version of the program may have stored it.
    Undecodable,
    /// The key holds another type, so another program owns it and it isn't overwritten.
    Foreign,
    Unavailable,
}

/// Why a value didn't replace what there is on the server.
pub(crate) enum NotReplaced {
    /// The key holds another type, so another program owns it and it stays as it is.
    Foreign(Error),
    /// The old value may still be there.
    Failed(Error),
    /// The same, because the server is unavailable. Memory has the new value.
    Unavailable(Unavailable),
    /// The same, because the key was invalidated again before the store. That invalidation may still be under way.
    Overtaken,
}

/// Why a value isn't stored.
pub(crate) enum NotStored {
    /// The key holds another type, so another program owns it.
    Foreign,
    Failed(Error),
    /// On the server, which is unavailable.
    Unavailable(Unavailable),
}

impl From<NotStored> for Error {
    fn from(not_stored: NotStored) -> Self {
        match not_stored {
            NotStored::Foreign => ServerError::WrongType.into(),
            NotStored::Failed(error) => error,
            NotStored::Unavailable(why) => ServerError::Unavailable(why).into(),
        }
    }
}

impl From<Error> for NotStored {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<S: Server> Tiers<S> {
    pub(crate) fn route(&self, key: &CallKey) -> Route {
        match &self.server {
            Some(server) if server.is_available(key) && !self.journal.blocks(key) => Route::Server,
            _ if self.memory.is_some() => Route::Memory,
            _ => Route::Nowhere,
        }
    }

    /// Whether the [route](Self::route) of every key leads to the server.
    pub(crate) fn all_go_to_server(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.is_available_for_all()) && self.journal.len() == 0
    }

    /// What the work that is about to run, in `wait` at the latest, may do with its value on the server.
    pub(crate) async fn begin_fill<C>(&self, call: &ResolvedCall<'_, C>, wait: Duration) -> Fill {
        let (Some(server), Route::Server) = (&self.server, self.route(call.key)) else { return Fill::Withheld };
        if call.ttl.is_zero() {
            return Fill::Withheld;
        }
        if !call.fence {
            return Fill::Unfenced { is_checked: false };
        }
        // Work that ends just in time has its value stored yet: the lease stands until the store is decided.
        let hard = call.freshness.hard_timeout;
        let limit = hard.map(|hard| hard.saturating_add(wait).saturating_add(server.patience()));
        match server.take_lease(&call.key.server_key(), limit).await {
            Ok(Some(lease)) => Fill::Fenced(lease),
            Ok(None) => {
                self.counters.unfenced.add_one();
                Fill::Unfenced { is_checked: false }
            }
            // Out of memory, say, which would refuse the value too.
            Err(ServerError::Refused { .. }) => {
                self.counters.failed_writes.add_one();
                Fill::Withheld
            }
            Err(ServerError::Unavailable(_) | ServerError::WrongType) => Fill::Withheld,
        }
    }

    /// Takes the lease away of work that has failed, or whose value can't be stored, so that the next caller begins anew. It's awaited before
    /// another caller of this process takes over: that one would share the lease, and lose it.
    pub(crate) async fn give_up_fill(&self, fill: Fill) {
        if let (Some(server), Fill::Fenced(lease)) = (&self.server, fill)
            && !lease.is_shared
        {
            // Without an answer, the lease ends by its TTL.
            let _ = server.release_lease(&lease.proof).await;
        }
    }

    /// Keeps a value that was computed, for `ttl`: in memory, and on the server as far as `fill` goes. What can't be kept is counted.
    ///
    /// Memory keeps a fenced value only once the server has taken it, so that one which another process has invalidated isn't kept.
    pub(crate) async fn store<T, C>(
        &self,
        call: &ResolvedCall<'_, C>,
        fence: &impl Fence,
        value: &T,
        ttl: Duration,
        fill: Fill,
    ) -> Result<Stored, NotStored>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        if ttl.is_zero() {
            self.give_up_fill(fill).await;
            return Ok(Stored::Kept);
        }
        let server_key = self.server.as_ref().map(|_| call.key.server_key());
        let encoded = match self.encode(call, server_key.as_ref(), value) {
            Ok(encoded) => Bytes::from(encoded),
            Err(error) => {
                self.give_up_fill(fill).await;
                return Err(error.into());
            }
        };
        // Before the store, after which the flight is over: weighing and cloning are the user's code, which may call for this very key.
        let content = self.content(call, value, &encoded, server_key.as_ref());
        let fits = content.is_some() || self.memory.is_none() || self.server.is_some();
        // Before the store: the server's TTL counts from then at the earliest, and the caller may be polled again long after.
        let since = self.memory.as_ref().map(Memory::now);
        let is_fenced = matches!(fill, Fill::Fenced(_));
        let keep = || {
            if let (Some(memory), Some(since)) = (&self.memory, since) {
                fence.commit(|| match content {
                    Some(content) if is_fenced => memory.insert_unless_newer(call.key, content, since, ttl),
                    Some(content) => memory.insert(call.key, content, since, ttl),
                    // What it was to replace goes all the same.
                    None => memory.take(call.key),
                });
            }
        };
        let mut renewed = None;
        let terms = match fill {
            Fill::Withheld => {
                keep();
                if fits {
                    return Ok(Stored::Kept);
                }
                self.counters.uncached.add_one();
                return Err(Error::new(Kind::TooLargeForMemory { bytes: encoded.len() }).into());
            }
            Fill::Unfenced { is_checked: true } => Terms::Unconditional,
            Fill::Unfenced { is_checked: false } => Terms::Unfenced,
            // Once it's stored, nothing renews the lease any more.
            Fill::Fenced(Lease { proof, renewal, .. }) => {
                renewed = Some(renewal);
                Terms::Fenced(proof)
            }
        };
        let mut keep = Some(keep);
        if renewed.is_none()
            && let Some(keep) = keep.take()
        {
            keep();
        }
        let (Some(server), Some(server_key)) = (&self.server, &server_key) else { return Ok(Stored::Kept) };
        // Until memory has its copy, or is known to get none.
        let _watch = fence.watch();
        let Some(storing) = fence.begin_store() else { return Ok(Stored::Refused) };
        // From here on its store is bounded by the commands' own deadlines.
        drop(renewed);
        let stored = server.set(server_key, encoded.clone(), ttl, terms, storing).await;
        match &stored {
            Ok(Stored::Refused) => {
                self.counters.fenced.add_one();
                metrics::fenced();
                tracing::debug!(target: "cache_house", key = ?call.key, "not stored: its key was invalidated meanwhile");
                return Ok(Stored::Refused);
            }
            Err(ServerError::WrongType) => {
                self.counters.failed_writes.add_one();
                // Another program's: nothing is kept of it.
                keep = None;
                self.forget_within(fence, call.key);
            }
            Err(ServerError::Refused { .. }) => self.counters.failed_writes.add_one(),
            Ok(Stored::Kept) | Err(ServerError::Unavailable(_)) => {}
        }
        if let Some(keep) = keep.take() {
            keep();
        }
        stored.map_err(|error| match error {
            ServerError::Unavailable(why) => NotStored::Unavailable(why),
            // A primary that was demoted.
            error if error.is_read_only() => NotStored::Unavailable(Unavailable::NotReady),
            ServerError::WrongType => NotStored::Foreign,
            error => NotStored::Failed(error.into()),
        })
    }

    /// What memory is to keep of a value; `None` where it's too large, or there is no memory.
    fn content<T, C>(
        &self,
        call: &ResolvedCall<'_, C>,
        value: &T,
        encoded: &Bytes,
        server_key: Option<&ServerKey>,
    ) -> Option<Content>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let memory = self.memory.as_ref()?;
        let decoded = self.weigh(call, value, encoded.len());
        let form = memory.form(call.key, encoded.len(), decoded, server_key)?;
        Some(Content {
            form,
            value: form.decoded.then(|| Box::new(value.clone()) as Box<dyn Any + Send + Sync>),
            coder: call.codec.coder(call.inherited),
            bytes: form.encoded.then(|| match server_key {
                Some(_) => encoded.clone(),
                None => Bytes::copy_from_slice(encoded),
            }),
            server_key: server_key.cloned(),
            mark: None,
        })
    }

    /// Bytes that a decoded value takes up.
    fn weigh<T: Any, C: ValueCodec<T>>(&self, call: &ResolvedCall<'_, C>, value: &T, encoded: usize) -> u64 {
        self.weighers.weigh(value).unwrap_or_else(|| {
            let heap = call.codec.heap_of(value).unwrap_or(encoded as u64);
            heap.saturating_add(size_of::<T>() as u64).max(encoded as u64)
        })
    }

    /// Drops what memory holds of what `invalidation` names; how many entries there were.
    pub(crate) fn forget(&self, invalidation: &Invalidation) -> u64 {
        let Some(memory) = &self.memory else { return 0 };
        match invalidation {
            Invalidation::Key(key) => memory.remove(key).into(),
            Invalidation::Matching(prefix) => memory.remove_matching(prefix),
        }
    }

    /// Drops the copy of `key`, unless the key has been invalidated since this caller got its turn.
    pub(crate) fn forget_within(&self, fence: &impl Fence, key: &CallKey) {
        if let Some(memory) = &self.memory {
            fence.commit(|| memory.take(key));
        }
    }

    /// Writes to the journal what the server hasn't confirmed.
    pub(crate) fn journal(&self, invalidation: &Invalidation) -> Result<(), Error> {
        self.journal.add(invalidation).map_err(|Full| {
            let problem =
                "the journal of invalidations is full of keys that share no namespace, and this one wasn't taken";
            Error::from(ServerError::Refused { code: "JOURNAL".into(), message: problem.into() })
        })
    }

    /// Removes from the server what `invalidation` names; how many keys there were, `None` without a server.
    pub(crate) async fn remove_from_server(&self, invalidation: &Invalidation) -> Result<Option<u64>, ServerError> {
        let Some(server) = &self.server else { return Ok(None) };
        let removed = match invalidation {
            Invalidation::Key(key) => server.remove(&key.server_key()).await.map(u64::from),
            Invalidation::Matching(prefix) => server.clear(prefix).await,
        };
        removed.map(Some)
    }

    /// Keeps a value that replaces what there is, in memory and on the server. Where the server is unavailable, memory has it all the same.
    pub(crate) async fn replace<T, C>(
        &self,
        call: &ResolvedCall<'_, C>,
        fence: &impl Fence,
        value: &T,
        ttl: Duration,
    ) -> Result<(), NotReplaced>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let sent = self.server.as_ref().map(Server::epoch);
        let (fill, unavailable) = match &self.server {
            None => (Fill::Withheld, None),
            Some(server) if self.route(call.key) == Route::Server => {
                let checked = server.check_type(&call.key.server_key()).await;
                self.count_refusal(&checked);
                match checked {
                    Err(ServerError::WrongType) => return Err(NotReplaced::Foreign(ServerError::WrongType.into())),
                    Err(ServerError::Unavailable(why)) => (Fill::Withheld, Some(why)),
                    // A primary that was demoted.
                    Err(error) if error.is_read_only() => (Fill::Withheld, Some(Unavailable::NotReady)),
                    // The user may be allowed to set it all the same; `set` finds out.
                    Err(error) if error.is_not_permitted() => (Fill::Unfenced { is_checked: false }, None),
                    // The lease may still be there, by which older work would be stored behind this value.
                    Err(error) => return Err(NotReplaced::Failed(error.into())),
                    Ok(()) => (Fill::Unfenced { is_checked: true }, None),
                }
            }
            Some(_) => (Fill::Withheld, Some(Unavailable::NotConnected)),
        };
        let stored = self.store(call, fence, value, ttl, fill).await;
        match (unavailable, stored) {
            (_, Err(NotStored::Foreign)) => return Err(NotReplaced::Foreign(ServerError::WrongType.into())),
            (_, Err(NotStored::Failed(error))) => return Err(NotReplaced::Failed(error)),
            (Some(why), Ok(_)) | (_, Err(NotStored::Unavailable(why))) => return Err(NotReplaced::Unavailable(why)),
            (None, Ok(Stored::Refused)) => return Err(NotReplaced::Overtaken),
            (None, Ok(Stored::Kept)) => {}
        }
        if let (Some(server), Some(sent)) = (&self.server, sent) {
            server.replaced(&call.key.server_key(), sent);
        }
        Ok(())
    }

    /// Counts a write that isn't sent because what has to come before it is refused.
    pub(crate) fn count_refusal(&self, checked: &Result<(), ServerError>) {
        if matches!(checked, Err(error @ ServerError::Refused { .. }) if !error.is_not_permitted()) {
            self.counters.failed_writes.add_one();
        }
    }

    /// Whether the bytes of a call are sealed: not those of tags' tokens, which are random anyway.
    fn is_sealed<C>(&self, call: &ResolvedCall<'_, C>) -> bool {
        self.server.is_some() && !call.is_token
    }

    pub(crate) fn stats(&self) -> Stats {
        let memory = self.memory.as_ref();
        Stats {
            journal_length: self.journal.len() as u64,
            evictions: memory.map_or(0, Memory::evictions),
            memory_entries: memory.map_or(0, Memory::len),
            memory_bytes: memory.map_or(0, Memory::weight),
            ..self.counters.snapshot()
        }
    }

    /// `server_key` is `None` without a server.
    fn encode<T, C>(
        &self,
        call: &ResolvedCall<'_, C>,
        server_key: Option<&ServerKey>,
        value: &T,
    ) -> Result<Vec<u8>, Error>
    where
        C: ValueCodec<T>,
    {
        let key = || server_key.cloned().unwrap_or_else(|| call.key.server_key());
        let encoded = call.codec.encode_value(call.inherited, &key, value).and_then(|encoded| {
            let mut encoded = if self.is_sealed(call) { self.sealing.seal(&key, encoded)? } else { encoded };
            if encoded.len() as u64 <= self.max_value_bytes || call.is_token {
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
}

#[cfg(test)]
mod tests;
