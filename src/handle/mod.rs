//! The handle: its cached calls, its direct operations, and what is done with the handle itself.

// First, so that the documentation begins with it.
mod calls;
mod entry_calls;
mod many;
mod refresh_calls;

mod applied;
pub mod attribute;
mod batch;
mod begin;
mod blocking;
mod caller;
mod coalescing;
mod counting;
mod direct;
mod engine;
mod entry;
mod first_connection;
mod freshness;
mod invalidation;
mod joint;
#[cfg(cache_house_model)]
#[path = "../../tests/model/src/mod.rs"]
pub mod model;
mod operations;
mod read_through;
mod refreshing;
mod renewals;
mod run;
mod tags;
mod want;

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

#[cfg(feature = "operate")]
use crate::backend::measured::Measured;
use crate::backend::redis::Redis;
use crate::backend::server::ServerReport;
use crate::error::Error;
use crate::health::{Health, NearCache};
#[cfg(feature = "operate")]
use crate::key::Scope;
use crate::options::CacheOptions;
use crate::policy::Policy;
use crate::telemetry::Stats;
use crate::watchdog;
pub use applied::Applied;
pub use calls::CacheHandle;
pub(crate) use engine::{Defaults, Engine, Inner};
pub use entry::{Entry, Source, WorkContext};
use renewals::Owner;

/// How long closing waits for tasks of a runtime that the program may keep from running.
const LONGEST_CLOSE: Duration = Duration::from_secs(10);

/// The handle itself.
impl CacheHandle {
    /// Returns a handle to this cache with another default namespace, for a tenant, say.
    ///
    /// An empty namespace makes each call run uncached, with one warning; a direct operation returns the error.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let (one, two) = (cache.scoped("tenant-1"), cache.scoped("tenant-2"));
    /// one.cached(opts!("plan"), || "free".to_string());
    /// assert_eq!(two.cached(opts!("plan"), || "paid".to_string()), "paid");
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("tenant"))]
    #[must_use]
    pub fn scoped(&self, namespace: impl AsRef<str>) -> Self {
        Self { engine: self.engine.scoped(namespace.as_ref()), owner: Arc::clone(&self.owner) }
    }

    /// Returns the key of a call on the server, for other tools.
    ///
    /// The key of a call with tags holds their current tokens. They are looked up for it, which may take as long as a call.
    ///
    /// # Errors
    ///
    /// [`is_key`](Error::is_key) where the call has none.
    ///
    /// Tags are part of the key, so for a call with tags it asks the server for their tokens, and blocks meanwhile.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let key = cache.key(&opts!("get_user", 7))?;
    /// assert!(key.starts_with("cachehouse:main:"));
    /// assert_eq!(key.len(), "cachehouse:main:".len() + 40);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn key<C>(&self, options: &CacheOptions<C>) -> Result<String, Error> {
        let tokens = self.engine.tokens_blocking(options);
        let key = self.engine.call_key_with(options, tokens.as_deref())?;
        Ok(String::from_utf8_lossy(&key.server_key()).into_owned())
    }

    /// Returns the current status: whether the server or memory serves calls, and why.
    ///
    /// ```
    /// use cache_house::{CacheHouse, Health};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// assert_eq!(cache.health(), Health::Memory);
    /// println!("the cache: {}", cache.health()); // the cache: memory only
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("status", "circuit breaker"))]
    #[must_use]
    pub fn health(&self) -> Health {
        self.engine.inner.health.read()
    }

    /// Returns the status of the [near cache](crate::CacheHouseBuilder::near_cache).
    ///
    /// ```
    /// use cache_house::{CacheHouse, NearCache};
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().standalone("localhost:1").near_cache(Duration::from_secs(1)).build()?;
    /// assert_eq!(cache.near_cache(), NearCache::Connecting); // no server there
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("client-side caching", "CLIENT TRACKING", "status"))]
    #[must_use]
    pub fn near_cache(&self) -> NearCache {
        self.engine.inner.tiers.server.as_ref().map_or(NearCache::Off, |server| server.inner().near_cache())
    }

    /// Returns a receiver of the [`health`](Self::health), which is notified of changes and holds the latest one.
    ///
    /// ```
    /// use cache_house::{CacheHouse, Health};
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let mut health = cache.watch_health();
    /// cache.close_async().await;
    ///
    /// health.changed().await.expect("the handle is still there");
    /// assert_eq!(*health.borrow_and_update(), Health::Closed);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("status", "circuit breaker"))]
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.engine.inner.health.watch()
    }

    /// Returns the counters since the handle was built, and the sizes of memory and journal.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    ///
    /// cache.cached(opts!("answer"), || 42);
    /// cache.cached(opts!("answer"), || 42);
    /// let stats = cache.stats();
    /// assert_eq!((stats.runs, stats.memory_hits, stats.memory_entries), (1, 1, 1));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("metrics", "hit rate"))]
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.engine.inner.tiers.stats()
    }

    /// Waits until the server is connected, for `timeout` at most, and returns the [`health`](Self::health).
    ///
    /// No call needs it: until the connection is made, memory serves. Without a server it returns at once.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with a timer; see [`ready_blocking`](Self::ready_blocking) for programs without.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use std::time::Duration;
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().standalone("localhost:1").build()?; // no server there
    /// let health = cache.ready(Duration::from_millis(20)).await;
    /// assert!(!health.is_connected());
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("readiness"))]
    pub async fn ready(&self, timeout: Duration) -> Health {
        // What comes of the wait is read from the board, whichever way it ended.
        let _ = tokio::time::timeout(timeout, self.settled()).await;
        self.health()
    }

    /// [`ready`](Self::ready) for sync code, also without Tokio.
    ///
    /// ```
    /// use cache_house::{CacheHouse, Health};
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// assert_eq!(cache.ready_blocking(Duration::from_secs(2)), Health::Memory);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("readiness"))]
    pub fn ready_blocking(&self, timeout: Duration) -> Health {
        // A wait too long for the clock is one without an end.
        let _ = blocking::block_on_until(self.settled(), Instant::now().checked_add(timeout));
        self.health()
    }

    /// Returns the version of each connected server, its round trip, and the commands that the user may not run. Empty without a
    /// server, and while none is connected; [`health`](Self::health) says why.
    ///
    /// Takes up to twenty operations a server, each of which changes nothing and is bounded by `command_timeout`.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use std::time::Duration;
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().standalone("localhost:6379").build()?;
    /// cache.ready(Duration::from_secs(1)).await;
    /// for server in cache.inspect_async().await {
    ///     println!("{} at {}, missing: {:?}", server.version.unwrap_or_default(), server.endpoint, server.missing);
    /// }
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("diagnostics"))]
    pub async fn inspect_async(&self) -> Vec<ServerReport> {
        match &self.engine.inner.tiers.server {
            Some(server) if !self.engine.is_closed() => server.inner().inspect().await,
            _ => Vec::new(),
        }
    }

    /// [`inspect_async`](Self::inspect_async) for sync code, wherever it runs.
    #[doc(alias("diagnostics"))]
    pub fn inspect(&self) -> Vec<ServerReport> {
        blocking::block_on(self.inspect_async())
    }

    /// Closes the handle and its clones: ends connections, tasks and threads, and returns when they have ended, after 10 s at the latest.
    ///
    /// Invalidations that the server hasn't confirmed are retried once, for 5 s at most. Later calls run their work.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// cache.cached_async(opts!("answer"), || async { 42 }).await;
    ///
    /// cache.close_async().await;
    /// assert_eq!(cache.cached_async(opts!("answer"), || async { 43 }).await, 43);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("shutdown"))]
    pub async fn close_async(&self) {
        self.engine.close();
        // Before the connections, whose end may take its time.
        self.engine.forget_all();
        if let Some(server) = &self.engine.inner.tiers.server {
            let closed = watchdog::within(Instant::now() + LONGEST_CLOSE, server.inner().close());
            if closed.await.is_none() {
                tracing::warn!(target: "cache_house", "the connections are closed once their runtime gets to run");
            }
        }
        self.engine.inner.health.closed();
        self.engine.forget_all();
    }

    /// [`close_async`](Self::close_async) for sync code, also without Tokio.
    ///
    /// ```
    /// use cache_house::{CacheHouse, Health, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    ///
    /// cache.close();
    /// assert_eq!(cache.health(), Health::Closed);
    /// assert!(cache.remove(opts!("answer")).unwrap_err().is_closed());
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("shutdown"))]
    pub fn close(&self) {
        blocking::block_on(self.close_async());
    }

    /// The key prefix and the namespace of this handle.
    #[cfg(feature = "operate")]
    pub(crate) fn scope(&self) -> &Scope {
        &self.engine.scope
    }

    /// The server, for what isn't an operation of a call.
    #[cfg(feature = "operate")]
    pub(crate) fn redis(&self) -> Option<&Redis> {
        self.engine.inner.tiers.server.as_ref().map(Measured::inner)
    }

    pub(crate) fn new(engine: Engine<Redis>) -> Self {
        let owner = Arc::new(Owner(Arc::clone(&engine.inner.renewals)));
        Self { engine, owner }
    }

    async fn settled(&self) {
        let done = |health: &Health| matches!(health, Health::Connected { .. } | Health::Memory | Health::Closed);
        // Fails only when the board is gone, and the handle holds it.
        let _ = self.engine.inner.health.watch().wait_for(done).await;
    }
}

/// A panic of the user's code leaves nothing half-done in the cache: the tests of `liveness` and of `user_code` are about that.
impl UnwindSafe for CacheHandle {}
impl RefUnwindSafe for CacheHandle {}

impl fmt::Debug for CacheHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = Policy::of_handle(&self.engine.inner.defaults.overrides);
        f.debug_struct("CacheHandle")
            .field("scope", &self.engine.scope)
            .field("health", &self.health())
            .field("codec", policy.codec)
            .field("expire", &policy.expire)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
