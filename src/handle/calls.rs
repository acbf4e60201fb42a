//! The handle that programs share, and the calls that cache the result of work.

use std::future::Future;
use std::sync::Arc;

use super::caller::Caller;
use super::engine::Engine;
use super::freshness::infallible;
use super::renewals::Owner;
use super::want::{Want, Work};
use crate::backend::redis::Redis;
use crate::codec::ValueCodec;
use crate::options::CacheOptions;

/// A handle to a cache, shared by the whole program.
///
/// Cheap to clone, and one type for all topologies. When the last clone is dropped, connections, tasks and threads end;
/// [`close`](Self::close) ends them earlier.
///
/// The `cached` calls return what the work returns. Errors of the cache are logged and counted; they are never returned and never
/// panic. Concurrent callers of one key share one run of the work.
///
/// ```
/// use cache_house::{CacheHouse, opts};
///
/// # fn load_user(id: u64) -> String { format!("user {id}") }
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let cache = CacheHouse::builder().standalone("localhost:6379").build()?;
/// let user: String = cache.cached_async(opts!("get_user", 7), || async { load_user(7) }).await;
/// assert_eq!(user, "user 7");
/// # Ok::<(), cache_house::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("read-through", "cache-aside", "two-tier"))]
#[derive(Clone)]
pub struct CacheHandle {
    pub(super) engine: Engine<Redis>,
    /// All clones have it; what runs for them has not.
    pub(super) owner: Arc<Owner>,
}

/// Calls that cache the result of work.
impl CacheHandle {
    /// Returns the cached value of a call, or runs `work` and stores its value.
    ///
    /// For sync code on a plain thread, in `spawn_blocking` or inside a runtime of either kind. For `work` that is async, so that what it
    /// returns is a future, there is [`cached_async`](Self::cached_async).
    ///
    /// Inside a multi-thread runtime, the worker hands its other tasks to another thread while the call waits. Inside a current-thread
    /// runtime, a call doesn't wait for an async call of the same key, which needs this very thread to proceed: it runs its own work.
    ///
    /// A call waits for another's work for a minute at most, on a worker of a runtime for
    /// [`command_timeout`](crate::CacheHouseBuilder::command_timeout). Then it runs its own.
    ///
    /// ```
    /// use cache_house::{CacheHouse, CacheOptions};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let sum = |n: u64| cache.cached(CacheOptions::new("sum").arg(n), || (1..=n).sum::<u64>());
    /// assert_eq!((sum(100), sum(100)), (5050, 5050));
    /// assert_eq!(cache.stats().runs, 1);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("memoize", "get_or_insert_with", "get_with", "stampede", "single-flight"))]
    pub fn cached<T>(&self, mut options: CacheOptions<impl ValueCodec<T>>, work: impl FnOnce() -> T) -> T
    where
        T: Clone + Send + Sync + 'static,
    {
        self.engine.begin_blocking(&mut options);
        let work = Work::plain(|_| Ok(work()));
        infallible(self.engine.read_through_blocking(&options, Caller::blocking, Want::of(&options), work)).value
    }

    /// Returns the cached value of a call, or runs async `work` and stores its value.
    ///
    /// The work may borrow and needn't be `Send`; the returned future is `Send` if the work and its future are. Dropping it is safe: if
    /// other callers wait for its value, one of them takes over.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// # async fn fetch(url: &str) -> String { url.to_uppercase() }
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let url = String::from("https://example.com");
    /// let options = opts!("page", url).namespace("pages").expire(Duration::from_secs(60));
    /// let page = cache.cached_async(options, || fetch(&url)).await;
    /// # assert_eq!(page, "HTTPS://EXAMPLE.COM");
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("memoize", "get_or_insert_with", "get_with", "stampede", "single-flight"))]
    pub async fn cached_async<T, Fut>(
        &self,
        mut options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce() -> Fut,
    ) -> T
    where
        T: Clone + Send + Sync + 'static,
        Fut: Future<Output = T>,
    {
        self.engine.begin(&mut options, Caller::asynchronous).await;
        let work = Work::plain(|_| async { Ok(work().await) });
        infallible(self.engine.read_through(&options, Caller::asynchronous, Want::of(&options), work).await).value
    }

    /// [`cached`](Self::cached) for work that may fail: only `Ok` is stored, and an `Err` is returned unchanged.
    ///
    /// Callers that waited for failed work run their own.
    ///
    /// # Errors
    ///
    /// Those of `work`, never the cache's.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let parse = |text: &str| cache.try_cached(opts!("parse", text), || text.parse::<u8>());
    /// assert!(parse("x").is_err());
    /// assert_eq!(parse("7"), Ok(7));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("memoize", "get_or_insert_with", "get_with", "stampede", "single-flight", "negative caching"))]
    pub fn try_cached<T, E>(
        &self,
        mut options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
    {
        self.engine.begin_blocking(&mut options);
        let work = Work::plain(|_| work());
        self.engine.read_through_blocking(&options, Caller::blocking, Want::of(&options), work).map(|found| found.value)
    }

    /// [`cached_async`](Self::cached_async) for work that may fail: only `Ok` is stored, and an `Err` is returned unchanged.
    ///
    /// Callers that waited for failed work run their own, concurrently.
    ///
    /// # Errors
    ///
    /// Those of `work`, never the cache's.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let text = cache.try_cached_async(opts!("motd"), || tokio::fs::read_to_string("/no/such/file")).await;
    /// assert!(text.is_err());
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("memoize", "get_or_insert_with", "get_with", "stampede", "single-flight", "negative caching"))]
    pub async fn try_cached_async<T, E, Fut>(
        &self,
        mut options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce() -> Fut,
    ) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>>,
    {
        self.engine.begin(&mut options, Caller::asynchronous).await;
        let work = Work::plain(|_| work());
        self.engine
            .read_through(&options, Caller::asynchronous, Want::of(&options), work)
            .await
            .map(|found| found.value)
    }
}
