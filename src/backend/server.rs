//! A server that keeps bytes under keys, as the tiers see it, and what can go wrong with it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::lease::{Lease, Proof, Stored, Terms};
use super::near::Mark;
use crate::error::Error;
use crate::key::{CallKey, KeyPrefix, ServerKey};

/// A value with its remaining TTL, and the mark of its key where the server reports changes of it.
pub(crate) type NearReply = (Bytes, Ttl, Option<Arc<Mark>>);

/// A value with its remaining TTL, where that was asked; `None` where there is none.
pub(crate) type ReadReply = Result<Option<(Bytes, Ttl)>, ServerError>;

/// A server that keeps bytes under keys.
///
/// Every operation ends within the implementation's own deadline. None retries: what `Unavailable`
/// means for a caller is for [`tiers`](super::tiers) to decide.
pub(crate) trait Server: Send + Sync + 'static {
    /// From here on, reports of changed keys are of use.
    fn wants_reports(&self) {}

    /// Whether the node that has `key` is available; free of I/O. While it isn't, callers use memory.
    fn is_available(&self, key: &CallKey) -> bool;

    /// Whether it's [available](Self::is_available) whatever the key.
    fn is_available_for_all(&self) -> bool {
        false
    }

    /// The bytes of `key`.
    fn get(&self, key: &ServerKey) -> impl Future<Output = Result<Option<Bytes>, ServerError>> + Send;

    /// The bytes of `key`, with its remaining TTL where `asks_ttl`; and with a mark, where the server reports changes of what is read.
    fn get_near(
        &self,
        key: &ServerKey,
        asks_ttl: bool,
    ) -> impl Future<Output = Result<Option<NearReply>, ServerError>> + Send {
        async move {
            let found = match asks_ttl {
                true => self.get_with_ttl(key).await?,
                false => self.get(key).await?.map(|bytes| (bytes, Ttl::Unknown)),
            };
            Ok(found.map(|(bytes, ttl)| (bytes, ttl, None)))
        }
    }

    /// The bytes of `key` and its remaining TTL, in one round trip.
    fn get_with_ttl(&self, key: &ServerKey) -> impl Future<Output = Result<Option<(Bytes, Ttl)>, ServerError>> + Send;

    /// The values of all these keys by one command, each with its remaining TTL where the key comes with `true`; `None` where they can
    /// only be read one by one.
    fn get_many(&self, _keys: &[(&ServerKey, bool)]) -> impl Future<Output = Option<Vec<ReadReply>>> + Send {
        async { None }
    }

    /// Whether there is a value under `key`.
    fn contains(&self, key: &ServerKey) -> impl Future<Output = Result<bool, ServerError>> + Send;

    /// Takes the lease of `key` away, and says whether `key` is free or holds what [`set`](Self::set) may replace; `WrongType` otherwise.
    fn check_type(&self, key: &ServerKey) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// Takes the lease of `key`, under which the value of a miss is stored; `None` where there is none. It ends after `limit`; without,
    /// it lasts for as long as it's kept.
    fn take_lease(
        &self,
        key: &ServerKey,
        limit: Option<Duration>,
    ) -> impl Future<Output = Result<Option<Lease>, ServerError>> + Send;

    /// Takes a lease away whose work has failed, if it still stands.
    fn release_lease(&self, proof: &Proof) -> impl Future<Output = Result<(), ServerError>> + Send;

    /// Stores `value` for `ttl`, at least a millisecond, on these terms; `WrongType` where another program's value stands in the way.
    ///
    /// Goes on by itself, whether or not the future that is returned is polled or dropped. `under_way` is dropped once
    /// the server has answered, or nothing more of it is sent; before that it learns the outcome.
    fn set(
        &self,
        key: &ServerKey,
        value: Bytes,
        ttl: Duration,
        terms: Terms,
        under_way: impl UnderWay,
    ) -> impl Future<Output = Result<Stored, ServerError>> + Send;

    /// How long an operation may take at most, redirects included.
    fn patience(&self) -> Duration;

    /// When it is, as far as failovers are concerned; asked before a change is sent.
    fn epoch(&self) -> Epoch {
        Epoch::default()
    }

    /// The value under `key` that was set last, and not before `sent`, has replaced an older one, which must not come back.
    fn replaced(&self, key: &ServerKey, sent: Epoch);

    /// Removes `key`; whether it was there.
    fn remove(&self, key: &ServerKey) -> impl Future<Output = Result<bool, ServerError>> + Send;

    /// Removes every key that `prefix` names; how many there were.
    fn clear(&self, prefix: &KeyPrefix) -> impl Future<Output = Result<u64, ServerError>> + Send;
}

/// How many failovers a server knew of that had ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Epoch(pub(crate) u64);

/// A store that is on its way to the server.
pub(crate) trait UnderWay: Send + 'static {
    /// What came of it. Called before it's dropped, unless the I/O ends first.
    fn end(&mut self, stored: &Result<Stored, ServerError>);
}

/// The remaining TTL of a key on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ttl {
    Remaining(Duration),
    Endless,
    /// The server didn't report it.
    Unknown,
}

impl Ttl {
    /// Of the reply to `PTTL`, if there's one.
    pub(crate) fn of_pttl(millis: Option<i64>) -> Self {
        match millis {
            Some(-1) => Self::Endless,
            // The whole milliseconds that remain, so never more than does.
            Some(millis) => {
                u64::try_from(millis).map_or(Self::Unknown, |millis| Self::Remaining(Duration::from_millis(millis)))
            }
            None => Self::Unknown,
        }
    }
}

/// What a server says of itself: see [`CacheHandle::inspect_async`](crate::CacheHandle::inspect_async).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerReport {
    /// Where it is, without credentials.
    pub endpoint: String,
    /// Which program of which version, such as `Redis 7.0.15`; `None` where the user may not ask.
    pub version: Option<String>,
    /// How long one `GET` took; `None` where it wasn't answered within `command_timeout`.
    pub round_trip: Option<Duration>,
    /// The commands that the crate uses and this user may not run, as they stand in a rule of `ACL SETUSER`: `client|kill`.
    pub missing: Vec<String>,
}

/// Why an operation on a server failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServerError {
    /// Unavailable now: not connected, timed out, connection lost in the middle, loading, failing over.
    Unavailable(Unavailable),
    /// Answered with an error; `code` is the first word of the reply.
    Refused { code: String, message: String },
    /// The key holds another type, so another program owns it.
    WrongType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unavailable {
    NotConnected,
    TimedOut,
    ConnectionLost,
    /// Too many operations in flight.
    Shed,
    /// The server's own word: `LOADING`, `CLUSTERDOWN`, `MASTERDOWN`, `TRYAGAIN`, `BUSY`.
    NotReady,
}

impl Unavailable {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotConnected => "not connected",
            Self::TimedOut => "no answer within command_timeout",
            Self::ConnectionLost => "the connection was lost",
            Self::Shed => "too many operations in flight",
            Self::NotReady => "the server isn't ready",
        }
    }
}

impl ServerError {
    /// The server takes no writes at all, whatever the key.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "READONLY")
    }

    /// The user may not send the command, or the server has none of this name: a refusal that doesn't depend on the server's state. A script
    /// that fails has the code `ERR`, too, on servers before 7.0 also where the server is out of memory or read-only.
    pub(crate) fn is_not_permitted(&self) -> bool {
        match self {
            Self::Refused { code, message } => {
                code == "NOPERM" || code == "ERR" && message.to_ascii_lowercase().contains("unknown command")
            }
            Self::WrongType | Self::Unavailable(_) => false,
        }
    }
}

/// What came of a command about leases; `None` where the user may not send it: then no fill has one. A lease outlives any other refusal,
/// such as `NOREPLICAS`.
pub(crate) fn if_permitted<T>(result: Result<T, ServerError>) -> Result<Option<T>, ServerError> {
    match result {
        Err(error) if error.is_not_permitted() => Ok(None),
        result => result.map(Some),
    }
}

impl From<ServerError> for Error {
    fn from(error: ServerError) -> Self {
        use crate::error::Kind;
        match error {
            ServerError::Unavailable(why) => Self::unavailable(why.as_str()),
            ServerError::Refused { code, message } => Self::new(Kind::Reply { code, message }),
            ServerError::WrongType => Self::new(Kind::Reply {
                code: "WRONGTYPE".into(),
                message: "the key holds another type, so another program owns it".into(),
            }),
        }
    }
}
