//! Calls that return more than the value, and calls that share a failure.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::caller::Caller;
use super::calls::CacheHandle;
use super::engine::Engine;
use super::entry::{Decisions, Entry, Source, WorkContext};
use super::freshness::{Fetched, infallible};
use super::want::{Want, Work};
use crate::backend::server::Server;
use crate::codec::ValueCodec;
use crate::options::CacheOptions;

/// Calls that return more than the value, and calls that share a failure.
impl CacheHandle {
    /// [`cached_async`](Self::cached_async) that also returns the value's source and freshness.
    ///
    /// The work gets a [`WorkContext`]: the value that it replaces, and setters for the new value's TTL.
    ///
    /// A hit asks the server for the TTL too, in the same round trip.
    ///
    /// ```
    /// use cache_house::{CacheHouse, Source, opts};
    /// use std::time::Duration;
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let page = cache
    ///     .entry_async(opts!("page", 1), |cx| async move {
    ///         cx.expire(Duration::from_secs(30)); // what the origin's `Cache-Control` said
    ///         "<html>".to_string()
    ///     })
    ///     .await;
    /// assert_eq!((page.source(), page.is_stale()), (Source::Work, false));
    /// assert_eq!(page.remaining(), Some(Duration::from_secs(30)));
    /// assert_eq!(page.into_value(), "<html>");
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("ttl", "age", "max-age", "etag"))]
    pub async fn entry_async<T, Fut>(
        &self,
        mut options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce(WorkContext<T>) -> Fut,
    ) -> Entry<T>
    where
        T: Clone + Send + Sync + 'static,
        Fut: Future<Output = T>,
    {
        self.engine.begin(&mut options, Caller::asynchronous).await;
        let decisions = Arc::new(Decisions::none());
        let run = |stale| {
            let work = work(self.engine.context(&options, stale, &decisions));
            async { Ok(work.await) }
        };
        let work = Work::deciding(run, &decisions);
        // Boxed, so that the call's future stays small.
        let found = Box::pin(self.engine.read_through(&options, Caller::asynchronous, Want::ENTRY, work)).await;
        let found = infallible(found);
        self.engine.entry(&options, found)
    }

    /// [`entry_async`](Self::entry_async) for sync code, wherever it runs.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let secret = cache.entry(opts!("one_time_code"), |cx| {
    ///     cx.skip_store();
    ///     271_828
    /// });
    /// assert_eq!((*secret.value(), cache.contains(opts!("one_time_code"))), (271_828, false));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("ttl", "age", "max-age", "etag"))]
    pub fn entry<T>(
        &self,
        mut options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce(WorkContext<T>) -> T,
    ) -> Entry<T>
    where
        T: Clone + Send + Sync + 'static,
    {
        self.engine.begin_blocking(&mut options);
        let decisions = Arc::new(Decisions::none());
        let run = |stale| Ok(work(self.engine.context(&options, stale, &decisions)));
        let work = Work::deciding(run, &decisions);
        let found = infallible(self.engine.read_through_blocking(&options, Caller::blocking, Want::ENTRY, work));
        self.engine.entry(&options, found)
    }

    /// [`entry_async`](Self::entry_async) for work that may fail: only `Ok` is stored.
    ///
    /// # Errors
    ///
    /// Those of `work`, never the cache's.
    ///
    /// ```
    /// use cache_house::{CacheHouse, ManualClock, opts};
    /// use std::time::Duration;
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let clock = ManualClock::new();
    /// let cache = CacheHouse::builder().memory().clock(clock.clone()).build()?;
    /// let minute = Duration::from_secs(60);
    /// let rate = || opts!("rate").expire(minute).stale_if_error(minute);
    /// let first = cache.try_entry_async(rate(), |_| async { Ok::<_, &str>(1) }).await.unwrap();
    /// assert!(!first.is_stale());
    ///
    /// clock.advance(minute + minute / 2);
    /// let second = cache.try_entry_async(rate(), |_| async { Err("no route to the bank") }).await.unwrap();
    /// assert_eq!((*second.value(), second.is_stale()), (1, true));
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("ttl", "age", "max-age", "etag"))]
    pub async fn try_entry_async<T, E, Fut>(
        &self,
        mut options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce(WorkContext<T>) -> Fut,
    ) -> Result<Entry<T>, E>
    where
        T: Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>>,
    {
        self.engine.begin(&mut options, Caller::asynchronous).await;
        let decisions = Arc::new(Decisions::none());
        let run = |stale| work(self.engine.context(&options, stale, &decisions));
        let work = Work::deciding(run, &decisions);
        // Boxed, so that the call's future stays small.
        let found = Box::pin(self.engine.read_through(&options, Caller::asynchronous, Want::ENTRY, work)).await?;
        Ok(self.engine.entry(&options, found))
    }

    /// [`try_entry_async`](Self::try_entry_async) for sync code, wherever it runs.
    ///
    /// # Errors
    ///
    /// Those of `work`, never the cache's.
    ///
    /// ```
    /// use cache_house::{CacheHouse, Source, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let port = cache.try_entry(opts!("port"), |_| "80".parse::<u16>())?;
    /// assert_eq!((*port.value(), port.source()), (80, Source::Work));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("ttl", "age", "max-age", "etag"))]
    pub fn try_entry<T, E>(
        &self,
        mut options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce(WorkContext<T>) -> Result<T, E>,
    ) -> Result<Entry<T>, E>
    where
        T: Clone + Send + Sync + 'static,
    {
        self.engine.begin_blocking(&mut options);
        let decisions = Arc::new(Decisions::none());
        let run = |stale| work(self.engine.context(&options, stale, &decisions));
        let work = Work::deciding(run, &decisions);
        let found = self.engine.read_through_blocking(&options, Caller::blocking, Want::ENTRY, work)?;
        Ok(self.engine.entry(&options, found))
    }

    /// [`try_cached_async`](Self::try_cached_async) whose waiting callers share the error of failed work, and don't run their own.
    ///
    /// For work whose failures are expensive: an origin that is down gets one call, not one from each caller.
    ///
    /// # Errors
    ///
    /// Those of `work`, never the cache's.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::sync::Arc;
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let rate = cache.try_cached_shared_async(opts!("rate"), || async { Err::<i32, _>("no route to the bank") }).await;
    /// assert_eq!(rate, Err(Arc::new("no route to the bank")));
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("negative caching", "stampede", "single-flight"))]
    pub async fn try_cached_shared_async<T, E, Fut>(
        &self,
        mut options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce() -> Fut,
    ) -> Result<T, Arc<E>>
    where
        T: Clone + Send + Sync + 'static,
        E: Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>>,
    {
        self.engine.begin(&mut options, Caller::asynchronous).await;
        let work = Work::plain(|_| async { work().await.map_err(Arc::new) });
        self.engine.read_through(&options, Caller::asynchronous, Want::shared(), work).await.map(|found| found.value)
    }

    /// [`try_cached_shared_async`](Self::try_cached_shared_async) for sync code, wherever it runs.
    ///
    /// # Errors
    ///
    /// Those of `work`, never the cache's.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// assert_eq!(cache.try_cached_shared(opts!("port"), || "80".parse::<u16>()), Ok(80));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("negative caching", "stampede", "single-flight"))]
    pub fn try_cached_shared<T, E>(
        &self,
        mut options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, Arc<E>>
    where
        T: Clone + Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        self.engine.begin_blocking(&mut options);
        let work = Work::plain(|_| work().map_err(Arc::new));
        self.engine.read_through_blocking(&options, Caller::blocking, Want::shared(), work).map(|found| found.value)
    }
}

impl<S: Server> Engine<S> {
    /// The context that the work of a call gets.
    fn context<T, C>(&self, options: &CacheOptions<C>, stale: Option<T>, decisions: &Arc<Decisions>) -> WorkContext<T> {
        let key = self.call_key(options).map(|key| String::from_utf8_lossy(&key.server_key()).into_owned());
        // Without a key the call runs uncached.
        WorkContext::new(key.unwrap_or_default(), stale, Arc::clone(decisions))
    }

    /// What an [`Entry`] says of its value.
    fn entry<T, C: ValueCodec<T>>(&self, options: &CacheOptions<C>, found: Fetched<T>) -> Entry<T> {
        let policy = self.policy(options);
        let window = policy.freshness.stale_window();
        let Fetched { value, source, remaining } = found;
        let age = match source {
            Source::Work => Some(Duration::ZERO),
            _ => {
                let own = catch_unwind(AssertUnwindSafe(|| options.codec.ttl_of(&value))).ok().flatten();
                let whole = own.unwrap_or(policy.expire).saturating_add(window);
                remaining.and_then(|remaining| whole.checked_sub(remaining))
            }
        };
        Entry {
            value,
            source,
            is_stale: !window.is_zero() && remaining.is_some_and(|remaining| remaining <= window),
            age,
            remaining: remaining.map(|remaining| remaining.saturating_sub(window)),
        }
    }
}
