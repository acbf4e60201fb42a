//! Calls that renew what is cached.

use std::future::Future;

use super::blocking;
use super::caller::Caller;
use super::calls::CacheHandle;
use super::renewals::Slot;
use crate::codec::ValueCodec;
use crate::options::CacheOptions;

/// Calls that renew what is cached.
impl CacheHandle {
    /// Runs `work` whatever is cached, stores its value and returns it.
    ///
    /// Concurrent refreshes of one key share one run. Values of work that began before, in any process, aren't stored over it.
    ///
    /// While `work` runs, other calls are served the cached value. It stays if `work` panics or its value isn't stored.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// assert_eq!(cache.cached_async(opts!("rate"), || async { 1 }).await, 1);
    /// assert_eq!(cache.refresh_async(opts!("rate"), || async { 2 }).await, 2);
    /// assert_eq!(cache.cached_async(opts!("rate"), || async { 3 }).await, 2);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("reload", "force", "recompute"))]
    pub async fn refresh_async<T, Fut>(
        &self,
        options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce() -> Fut,
    ) -> T
    where
        T: Clone + Send + Sync + 'static,
        Fut: Future<Output = T>,
    {
        self.cached_async(options.__refresh(), work).await
    }

    /// [`refresh_async`](Self::refresh_async) for sync code, wherever it runs.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// cache.cached(opts!("rate"), || 1);
    /// cache.refresh(opts!("rate"), || 2);
    /// assert_eq!(cache.get(opts!("rate")), Some(2));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("reload", "force", "recompute"))]
    pub fn refresh<T>(&self, options: CacheOptions<impl ValueCodec<T>>, work: impl FnOnce() -> T) -> T
    where
        T: Clone + Send + Sync + 'static,
    {
        self.cached(options.__refresh(), work)
    }

    /// [`refresh_async`](Self::refresh_async) for work that may fail. If it fails, the cached value stays.
    ///
    /// # Errors
    ///
    /// Those of `work`, never the cache's.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// cache.insert(opts!("rate"), &1)?;
    /// let failed = cache.try_refresh_async::<i32, _, _>(opts!("rate"), || async { Err("no route to the bank") }).await;
    /// assert_eq!(failed, Err("no route to the bank"));
    /// assert_eq!(cache.get(opts!("rate")), Some(1));
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("reload", "force", "recompute"))]
    pub async fn try_refresh_async<T, E, Fut>(
        &self,
        options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce() -> Fut,
    ) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>>,
    {
        self.try_cached_async(options.__refresh(), work).await
    }

    /// [`try_refresh_async`](Self::try_refresh_async) for sync code, wherever it runs.
    ///
    /// # Errors
    ///
    /// Those of `work`, never the cache's.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// assert_eq!(cache.try_refresh(opts!("port"), || "80".parse::<u16>()), Ok(80));
    /// assert!(cache.try_refresh(opts!("port"), || "eighty".parse::<u16>()).is_err());
    /// assert_eq!(cache.get(opts!("port")), Some(80_u16));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("reload", "force", "recompute"))]
    pub fn try_refresh<T, E>(
        &self,
        options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
    {
        self.try_cached(options.__refresh(), work)
    }

    /// As [`cached_async`](Self::cached_async), but renewals run in a task of their own: while there is a value in the window of
    /// [`stale_while_revalidate`](CacheOptions::stale_while_revalidate), or one that is
    /// [refreshed early](CacheOptions::refresh_early), no call waits for the work. So work and its future are `Send + 'static`.
    ///
    /// Without such a value, the work runs in the call. A renewal goes on after its caller has gone. At most 64 run at once for a handle; a
    /// further one is left for the next call. Renewals end with the handle. A panic in one is logged.
    ///
    /// ```
    /// use cache_house::{CacheHouse, ManualClock, opts};
    /// use std::time::Duration;
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let clock = ManualClock::new();
    /// let cache = CacheHouse::builder().memory().clock(clock.clone()).build()?;
    /// let minute = Duration::from_secs(60);
    /// let rate = || opts!("rate").expire(minute).stale_while_revalidate(minute);
    /// assert_eq!(cache.refreshing_async(rate(), || async { 1 }).await, 1);
    ///
    /// clock.advance(minute + minute / 2);
    /// assert_eq!(cache.refreshing_async(rate(), || async { 2 }).await, 1); // at once; the work runs behind it
    /// # while cache.get::<i32>(rate()) != Some(2) { tokio::time::sleep(Duration::from_millis(1)).await }
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("background refresh", "stale-while-revalidate", "refresh_ahead"))]
    pub async fn refreshing_async<T, C, Fut, W>(&self, options: CacheOptions<C>, work: W) -> T
    where
        T: Clone + Send + Sync + 'static,
        C: ValueCodec<T> + Send + Sync + 'static,
        W: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        let work = move || async move { Ok::<_, std::convert::Infallible>(work().await) };
        match self.engine.refreshing(options, Caller::asynchronous, work, Slot::in_task).await {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// [`refreshing_async`](Self::refreshing_async) for sync code, wherever it runs: a renewal has a thread of its own.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let rate = opts!("rate").stale_while_revalidate(Duration::from_secs(60));
    /// assert_eq!(cache.refreshing(rate, || 1), 1);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("background refresh", "stale-while-revalidate", "refresh_ahead"))]
    pub fn refreshing<T, C, W>(&self, options: CacheOptions<C>, work: W) -> T
    where
        T: Clone + Send + Sync + 'static,
        C: ValueCodec<T> + Send + Sync + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let refreshed = self.try_refreshing(options, move || Ok::<_, std::convert::Infallible>(work()));
        match refreshed {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// [`refreshing_async`](Self::refreshing_async) for work that may fail. If a renewal fails, the old value is served, and the work is
    /// tried again after [`retry_after`](CacheOptions::retry_after).
    ///
    /// # Errors
    ///
    /// Those of `work`, where there is no old value to serve.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let rate = || opts!("rate").stale_while_revalidate(Duration::from_secs(60));
    /// let failed = cache.try_refreshing_async::<i32, _, _, _, _>(rate(), || async { Err("no route to the bank") }).await;
    /// assert_eq!(failed, Err("no route to the bank"));
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("background refresh", "stale-while-revalidate", "refresh_ahead"))]
    pub async fn try_refreshing_async<T, E, C, Fut, W>(&self, options: CacheOptions<C>, work: W) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
        E: Send + 'static,
        C: ValueCodec<T> + Send + Sync + 'static,
        W: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.engine.refreshing(options, Caller::asynchronous, work, Slot::in_task).await
    }

    /// [`try_refreshing_async`](Self::try_refreshing_async) for sync code, wherever it runs: a renewal has a thread of its own.
    ///
    /// # Errors
    ///
    /// Those of `work`, where there is no old value to serve.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let port = opts!("port").stale_while_revalidate(Duration::from_secs(60));
    /// assert_eq!(cache.try_refreshing(port, || "80".parse::<u16>()), Ok(80));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("background refresh", "stale-while-revalidate", "refresh_ahead"))]
    pub fn try_refreshing<T, E, C, W>(&self, options: CacheOptions<C>, work: W) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
        E: Send + 'static,
        C: ValueCodec<T> + Send + Sync + 'static,
        W: FnOnce() -> Result<T, E> + Send + 'static,
    {
        let work = move || async move { work() };
        blocking::in_place(Caller::blocking().place(), || {
            blocking::block_on(self.engine.refreshing(options, Caller::blocking, work, Slot::on_thread))
        })
    }
}
