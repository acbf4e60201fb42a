//! How the tiers are read: the server, what memory has of it, and what is near.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Fence, Read, ResolvedCall, Route, Tiers};
use crate::backend::memory::{Content, Entry, Memory};
use crate::backend::near::Mark;
use crate::backend::server::{NearReply, Server, ServerError, Ttl, Unavailable};
use crate::clock::Moment;
use crate::codec::ValueCodec;
use crate::error::Error;
use crate::key::{CallKey, ServerKey};
use crate::telemetry::metrics;

/// How old a tag's token may be beside a handle without a near cache.
const TOKEN_STALENESS: Duration = Duration::from_secs(1);

/// What the server is asked for a call, with what memory has of it.
struct Question<'a> {
    begun: Option<(&'a Memory, Moment)>,
    warm: Option<Arc<Entry>>,
    /// Where memory doesn't have it.
    server_key: Option<ServerKey>,
    asks_ttl: bool,
    is_near: bool,
}

impl Question<'_> {
    fn server_key(&self) -> &ServerKey {
        let known = self.warm.as_ref().and_then(|entry| entry.server_key());
        known.or(self.server_key.as_ref()).expect("it's made where memory doesn't have it")
    }
}

impl<S: Server> Tiers<S> {
    /// The value that memory holds, with what remains of its TTL: decoded at most once; for a second type over the same bytes, each time.
    #[inline]
    pub(crate) fn read_memory<T, C>(&self, call: &ResolvedCall<'_, C>) -> Option<(T, Duration)>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let (entry, now) = self.find_in_memory(call.key)?;
        if let Some(value) = entry.value::<T>() {
            return Some((value.clone(), entry.remaining(now)));
        }
        // Of another type, if it has been decoded: its bytes may decode as this one, as they would on a server.
        let value = match entry.bytes() {
            Some(bytes) => self.decode_into(&entry, bytes, call)?,
            None => self.decode_unsealed(&entry.encode(&|| call.key.server_key())?, call)?,
        };
        Some((value, entry.remaining(now)))
    }

    /// The same beside a server, while that is known to have this very value: at most as old as the call allows.
    #[inline]
    pub(crate) fn read_near<T, C>(&self, call: &ResolvedCall<'_, C>) -> Option<(T, Duration)>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let (entry, now) = self.find_near_within(call.key, self.max_staleness(call)?)?;
        Some((self.decode_same(&entry, entry.bytes()?, call)?, entry.remaining(now)))
    }

    /// What the near cache holds of `key` and may serve, if the call sets no bound of its own.
    #[inline]
    pub(crate) fn find_near(&self, key: &CallKey) -> Option<(Arc<Entry>, Moment)> {
        self.find_near_within(key, self.near.filter(|age| !age.is_zero())?)
    }

    #[inline]
    fn find_near_within(&self, key: &CallKey, max_staleness: Duration) -> Option<(Arc<Entry>, Moment)> {
        let memory = self.memory.as_ref()?;
        let now = memory.now();
        let entry = memory.find_at(key, now).filter(|entry| entry.is_near(now, max_staleness))?;
        Some((entry, now))
    }

    /// How old an answer of the near cache may be for this call; `None`: it asks the server.
    #[inline]
    fn max_staleness<C>(&self, call: &ResolvedCall<'_, C>) -> Option<Duration> {
        let near = if call.is_token { self.near.or(Some(TOKEN_STALENESS)) } else { self.near };
        let near = near?;
        Some(call.freshness.max_staleness.map_or(near, |age| age.min(near))).filter(|age| !age.is_zero())
    }

    /// What memory holds of `key`, and may serve.
    #[inline]
    pub(crate) fn find_in_memory(&self, key: &CallKey) -> Option<(Arc<Entry>, Moment)> {
        let memory = self.memory.as_ref()?;
        let now = memory.now();
        let entry = memory.find_at(key, now)?;
        // Without a server there are no marks.
        if self.server.is_some() && entry.is_changed() {
            memory.drop_entry(key, &entry);
            return None;
        }
        if self.fallback_max_age.is_some_and(|age| entry.was_confirmed_before(now, age)) {
            memory.drop_entry(key, &entry);
            self.counters.outdated.add_one();
            return None;
        }
        Some((entry, now))
    }

    /// The server's value. What comes is kept in memory too, for as long as it lives there.
    ///
    /// The journal is asked here, once `fence` is there. An invalidation that came after the caller's look at the [route](Self::route), and
    /// before its fence, has ended in the journal: the fence doesn't know of it.
    pub(crate) async fn read_server<T, C>(
        &self,
        server: &impl Server,
        call: &ResolvedCall<'_, C>,
        fence: &impl Fence,
    ) -> Read<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        if self.journal.blocks(call.key) {
            return Read::Unavailable;
        }
        let question = self.question(call, self.begun());
        let (server_key, asks_ttl) = (question.server_key(), question.asks_ttl);
        let reply = match asks_ttl {
            // Boxed: the futures of all callers would contain it.
            _ if question.is_near => Box::pin(server.get_near(server_key, asks_ttl)).await,
            true => server.get_with_ttl(server_key).await.map(|found| found.map(|(bytes, ttl)| (bytes, ttl, None))),
            false => server.get(server_key).await.map(|bytes| bytes.map(|bytes| (bytes, Ttl::Unknown, None))),
        };
        self.answer(call, fence, question, reply)
    }

    /// The same for several calls, by one command; `None` where the server has none for them, or may not be asked for one of them. Those of
    /// the near cache aren't among them, because each is marked when it's read.
    pub(crate) async fn read_together<'a, T, C, F>(
        &self,
        server: &impl Server,
        calls: &[ResolvedCall<'_, C>],
        fence: impl Fn(usize) -> &'a F,
    ) -> Option<Vec<Read<T>>>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
        F: Fence + 'a,
    {
        if calls.iter().any(|call| self.journal.blocks(call.key)) {
            return None;
        }
        let begun = self.begun();
        let questions: Vec<_> = calls.iter().map(|call| self.question(call, begun)).collect();
        let keys: Vec<_> = questions.iter().map(|asked| (asked.server_key(), asked.asks_ttl)).collect();
        let mut replies = server.get_many(&keys).await?.into_iter();
        drop(keys);
        let reads = calls.iter().zip(questions).enumerate().map(|(place, (call, question))| {
            let reply = replies.next().unwrap_or(Err(ServerError::Unavailable(Unavailable::ConnectionLost)));
            self.answer(call, fence(place), question, reply.map(|found| found.map(|(bytes, ttl)| (bytes, ttl, None))))
        });
        Some(reads.collect())
    }

    /// TTLs are counted from before the command was sent, so that a late answer doesn't lengthen them.
    fn begun(&self) -> Option<(&Memory, Moment)> {
        self.memory.as_ref().map(|memory| (memory, memory.now()))
    }

    /// What the server is asked for a call.
    fn question<'a, C>(&self, call: &ResolvedCall<'_, C>, begun: Option<(&'a Memory, Moment)>) -> Question<'a> {
        let warm = begun.and_then(|(memory, now)| memory.find_at(call.key, now));
        let is_known = warm.as_ref().is_some_and(|entry| entry.server_key().is_some());
        let server_key = (!is_known).then(|| call.key.server_key());
        // The remaining TTL is read only where it decides: where a copy is to be made, or is due to be checked, or isn't known to be fresh.
        let window = call.freshness.stale_window();
        let decides = |entry: &Entry, now| {
            // What was reported may have been another TTL, and a value that's near isn't read again.
            entry.is_changed() || entry.is_ttl_uncertain(now) || !window.is_zero() && entry.remaining(now) <= window
        };
        let asks_ttl = match begun {
            Some((_, now)) => call.asks_ttl || warm.as_ref().is_none_or(|entry| decides(entry, now)),
            None => call.asks_ttl || call.freshness.reads_ttl(),
        };
        let is_near = begun.is_some() && self.max_staleness(call).is_some();
        Question { begun, warm, server_key, asks_ttl, is_near }
    }

    /// What the server's answer means.
    fn answer<T, C>(
        &self,
        call: &ResolvedCall<'_, C>,
        fence: &impl Fence,
        question: Question<'_>,
        reply: Result<Option<NearReply>, ServerError>,
    ) -> Read<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let begun = question.begun;
        match reply {
            Ok(Some((bytes, ttl, mark))) => {
                let mut remaining = match ttl {
                    Ttl::Remaining(ttl) => Some(ttl),
                    Ttl::Endless | Ttl::Unknown => None,
                };
                let ttl = match ttl {
                    Ttl::Remaining(ttl) => Some(ttl),
                    // Its copy is fresh for as long as that of a value which is stored now.
                    Ttl::Endless if call.ttl.is_zero() => Some(Duration::ZERO),
                    Ttl::Endless => Some(call.ttl.saturating_add(call.freshness.stale_window())),
                    Ttl::Unknown => None,
                };
                let value = match question.warm.as_ref().filter(|entry| entry.bytes() == Some(&bytes)) {
                    Some(entry) => {
                        if let (Some((_, now)), Some(ttl)) = (begun, ttl) {
                            entry.learn_ttl(now, ttl);
                        } else if let Some((_, now)) = begun {
                            remaining = Some(entry.remaining(now));
                        }
                        if let (Some((_, now)), Some(_)) = (begun, self.fallback_max_age) {
                            entry.confirm(now);
                        }
                        if mark.is_some() {
                            entry.keep_mark(mark);
                        }
                        self.decode_same(entry, &bytes, call)
                    }
                    None => {
                        let value = self.decode(&bytes, Some(question.server_key()), call);
                        if let Some((memory, now)) = begun {
                            let len = bytes.len();
                            // What doesn't decode as this type may as another.
                            let decoded = value.as_ref().map_or(len as u64, |value| self.weigh(call, value, len));
                            let copy = Copied { server_key: question.server_key(), bytes: &bytes, decoded, mark };
                            keep_copy(memory, call.key, fence, copy, ttl.map(|ttl| (now, ttl)));
                        }
                        value
                    }
                };
                value.map_or(Read::Undecodable, |value| Read::Hit(value, remaining))
            }
            Ok(None) => {
                self.forget_within(fence, call.key);
                Read::Miss
            }
            Err(ServerError::WrongType) => Read::Foreign,
            Err(ServerError::Unavailable(_) | ServerError::Refused { .. }) => Read::Unavailable,
        }
    }

    /// Whether there is a fresh value for `call`: on the server, or in memory where the server can't be read.
    pub(crate) async fn contains<C>(&self, call: &ResolvedCall<'_, C>) -> bool {
        let window = call.freshness.stale_window();
        if let (Route::Server, Some(server)) = (self.route(call.key), &self.server) {
            let key = call.key.server_key();
            let contained = if window.is_zero() {
                server.contains(&key).await
            } else {
                let found = server.get_with_ttl(&key).await;
                found.map(|found| found.is_some_and(|(_, ttl)| !matches!(ttl, Ttl::Remaining(ttl) if ttl <= window)))
            };
            if let Ok(contained) = contained {
                return contained;
            }
        }
        self.find_in_memory(call.key).is_some_and(|(entry, now)| entry.remaining(now) > window)
    }

    /// `server_key` is `None` without a server.
    fn decode<T, C>(&self, bytes: &[u8], server_key: Option<&ServerKey>, call: &ResolvedCall<'_, C>) -> Option<T>
    where
        C: ValueCodec<T>,
    {
        let key = || server_key.cloned().unwrap_or_else(|| call.key.server_key());
        let opened = if self.is_sealed(call) { self.sealing.open(&key, bytes) } else { Ok(bytes.into()) };
        self.decoded(opened.and_then(|bytes| call.codec.decode_value(call.inherited, &key, &bytes)), call.key)
    }

    /// Decodes what this handle has encoded for itself.
    fn decode_unsealed<T, C>(&self, bytes: &[u8], call: &ResolvedCall<'_, C>) -> Option<T>
    where
        C: ValueCodec<T>,
    {
        self.decoded(call.codec.decode_value(call.inherited, &|| call.key.server_key(), bytes), call.key)
    }

    fn decoded<T>(&self, value: Result<T, Error>, key: &CallKey) -> Option<T> {
        // The error may quote the value, so it's counted and not shown.
        value.inspect_err(|error| self.count_undecodable(key, error)).ok()
    }

    fn count_undecodable(&self, key: &CallKey, error: &Error) {
        self.counters.decode_failures.add_one();
        metrics::decode_failed();
        if error.is_panic() && self.counters.decode_warning.first() {
            tracing::warn!(target: "cache_house", ?key, "decoding a value panicked, which counts as a miss; logged once");
        }
    }

    /// The value of bytes that memory holds too: cloned if it has been decoded before, by the same codec.
    fn decode_same<T, C>(&self, entry: &Entry, bytes: &[u8], call: &ResolvedCall<'_, C>) -> Option<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        if entry.was_coded_by(call.codec.serde_codec(call.inherited))
            && let Some(value) = entry.value::<T>()
        {
            return Some(value.clone());
        }
        self.decode_into(entry, bytes, call)
    }

    /// Decodes, and keeps the value beside its bytes if none is there yet.
    fn decode_into<T, C>(&self, entry: &Entry, bytes: &[u8], call: &ResolvedCall<'_, C>) -> Option<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let value: T = self.decode(bytes, entry.server_key(), call)?;
        if entry.wants_decoded() {
            entry.keep_decoded(Box::new(value.clone()), call.codec.coder(call.inherited));
        }
        Some(value)
    }
}

/// What the server said, to be kept.
pub(super) struct Copied<'a> {
    pub(super) server_key: &'a ServerKey,
    pub(super) bytes: &'a Bytes,
    /// What the value weighs once it's decoded.
    pub(super) decoded: u64,
    pub(super) mark: Option<Arc<Mark>>,
}

/// Keeps what the server said in place of what was known, for the rest of its TTL; where that isn't known, nothing.
pub(super) fn keep_copy(
    memory: &Memory,
    key: &CallKey,
    fence: &impl Fence,
    copy: Copied<'_>,
    ttl: Option<(Moment, Duration)>,
) {
    let Copied { server_key, bytes, decoded, mark } = copy;
    let form = memory.form(key, bytes.len(), decoded, Some(server_key));
    let (Some((since, ttl)), Some(form)) = (ttl, form) else { return fence.commit(|| memory.take(key)) };
    let content = Content {
        form,
        value: None,
        coder: None,
        // A reply is a part of its connection's buffer, which it would keep: megabytes, once large values came by.
        bytes: Some(Bytes::copy_from_slice(bytes)),
        server_key: Some(server_key.clone()),
        mark,
    };
    fence.commit(|| memory.insert(key, content, since, ttl));
}
