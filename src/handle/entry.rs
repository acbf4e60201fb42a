//! What the `entry` calls return beside the value, and what their work knows and says of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::joint::{Joint, Seat};

/// A value with its source and freshness, returned by [`entry_async`](crate::CacheHandle::entry_async) and its siblings.
///
/// ```
/// use cache_house::{CacheHouse, Source, opts};
/// use std::time::Duration;
///
/// let cache = CacheHouse::builder().memory().build()?;
/// let minute = || opts!("answer").expire(Duration::from_secs(60));
/// let first = cache.entry(minute(), |_| 42);
/// assert_eq!((*first.value(), first.source(), first.age()), (42, Source::Work, Some(Duration::ZERO)));
///
/// let second = cache.entry(minute(), |_| 43);
/// assert_eq!((*second.value(), second.source(), second.is_stale()), (42, Source::Memory, false));
/// assert!(second.remaining() <= Some(Duration::from_secs(60)));
/// # Ok::<(), cache_house::Error>(())
/// ```
#[doc(alias("metadata", "ttl", "age"))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<T> {
    pub(super) value: T,
    pub(super) source: Source,
    pub(super) is_stale: bool,
    pub(super) age: Option<Duration>,
    pub(super) remaining: Option<Duration>,
}

/// The source of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// This process's memory: without a server, or while the server is away.
    Memory,
    /// The near cache.
    Near,
    /// The server.
    Server,
    /// This call's own work.
    Work,
    /// Another call of the same key, which was already fetching or computing it.
    Coalesced,
}

/// The argument of the work of [`entry_async`](crate::CacheHandle::entry_async) and its siblings: reads the call's state and sets how
/// its value is stored. Cheap to clone, so that it can be moved into the work's future.
///
/// ```
/// use cache_house::{CacheHouse, WorkContext, opts};
/// use std::time::Duration;
///
/// let cache = CacheHouse::builder().memory().build()?;
/// let page = cache.entry(opts!("page", 1), |cx: WorkContext<String>| {
///     cx.expire(Duration::from_secs(5)); // the origin's `max-age`, say
///     "<html>".to_string()
/// });
/// assert_eq!(page.remaining(), Some(Duration::from_secs(5)));
/// # Ok::<(), cache_house::Error>(())
/// ```
pub struct WorkContext<T>(Arc<Context<T>>);

struct Context<T> {
    key: String,
    stale: Option<T>,
    decisions: Arc<Decisions>,
}

/// What the work has decided about its value.
#[derive(Debug)]
pub(super) struct Decisions {
    /// Nanoseconds; [`UNSET`] where the call's own options say it.
    expire: AtomicU64,
    skips_store: AtomicBool,
    /// The call is one of a batch.
    pub(super) seat: Option<Seat>,
}

const UNSET: u64 = u64::MAX;

impl<T> Entry<T> {
    /// The value.
    #[must_use]
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Returns the value without its metadata.
    #[must_use]
    pub fn into_value(self) -> T {
        self.value
    }

    /// The source of the value.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// Whether the value has outlived its `expire`, and is served by
    /// [`stale_while_revalidate`](crate::CacheOptions::stale_while_revalidate) or
    /// [`stale_if_error`](crate::CacheOptions::stale_if_error).
    #[doc(alias("stale-while-revalidate"))]
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.is_stale
    }

    /// How long ago the value was stored, computed from its remaining TTL.
    ///
    /// Too high by what the call's `jitter` or a shorter [`WorkContext::expire`] took off. `None` if unknown: the value has no TTL on the
    /// server, or a longer one than the call's options give it.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.age
    }

    /// How long the value stays fresh; zero if it's stale. `None` if it has no TTL on the server, or wasn't stored.
    #[doc(alias("ttl", "max-age"))]
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.remaining
    }
}

impl<T> WorkContext<T> {
    pub(super) fn new(key: String, stale: Option<T>, decisions: Arc<Decisions>) -> Self {
        Self(Arc::new(Context { key, stale, decisions }))
    }

    /// The value that the work replaces, if there is one: for a conditional request (`If-None-Match`), say.
    #[doc(alias("etag", "previous"))]
    #[must_use]
    pub fn stale(&self) -> Option<&T> {
        self.0.stale.as_ref()
    }

    /// Sets how long the work's value is fresh, in place of the call's `expire`. Zero means that it isn't stored.
    #[doc(alias("ttl"))]
    pub fn expire(&self, expire: Duration) {
        let nanos = u64::try_from(expire.as_nanos()).unwrap_or(UNSET - 1).min(UNSET - 1);
        self.0.decisions.expire.store(nanos, Ordering::Release);
    }

    /// Keeps the work's value from being stored. Callers that wait for it get it all the same.
    #[doc(alias("no-store"))]
    pub fn skip_store(&self) {
        self.0.decisions.skips_store.store(true, Ordering::Release);
    }

    /// The call's key on the server.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0.key
    }
}

impl<T> Clone for WorkContext<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for WorkContext<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value may be a secret.
        f.debug_struct("WorkContext")
            .field("key", &self.0.key)
            .field("has_stale", &self.0.stale.is_some())
            .field("decisions", &self.0.decisions)
            .finish()
    }
}

impl Decisions {
    pub(super) fn none() -> Self {
        Self { expire: AtomicU64::new(UNSET), skips_store: AtomicBool::new(false), seat: None }
    }

    /// Those of a call of a batch.
    pub(super) fn joint(joint: &Arc<Joint>) -> Self {
        Self { seat: Some(Seat::new(joint)), ..Self::none() }
    }

    pub(super) fn expire(&self) -> Option<Duration> {
        match self.expire.load(Ordering::Acquire) {
            UNSET => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    pub(super) fn skips_store(&self) -> bool {
        self.skips_store.load(Ordering::Acquire)
    }
}
