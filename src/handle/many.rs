//! Calls of many keys at once.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::hash::Hash;

use super::calls::CacheHandle;
use crate::codec::ValueCodec;
use crate::options::CacheOptions;

/// Calls of many keys at once: each value has a key of its own, and the work runs once for all that are missing.
impl CacheHandle {
    /// The cached results for many keys: one read for all of them, and one run of async `work` for those that are missing.
    ///
    /// `options` makes the options of each key's call, so a value is stored under the very key of a [single
    /// call](Self::cached_async) with these options, and the two share entries, removals, and what is being computed.
    /// `work` gets the keys that are missing, each once, in the order in which they were given. It isn't called where none is.
    ///
    /// - A key that the work leaves out of its map is absent from the result, and nothing is stored for it: the next call asks for it
    ///   again. To cache that there is nothing, use an `Option` as the value. Keys in the map that the work wasn't asked for are ignored.
    /// - Keys whose options make the same cache key are one call: the work is asked for the first of them, and all get its value.
    /// - A key that another call is computing is waited for, and so is another process with [`lease`](CacheOptions::lease). If the batch
    ///   has work to run for other keys, it waits a second at most. Then the work runs for that key too, and what the other computes is
    ///   what is stored; between processes, what ends first.
    /// - A batch of any size has 256 commands under way at once, for lookups and for stores, and no more than a quarter of
    ///   [`max_in_flight`](crate::CacheHouseBuilder::max_in_flight).
    /// - [`Stats::runs`](crate::Stats::runs) counts the work once. Hits, misses and what is shared are counted by key.
    ///
    /// The work may borrow, and needn't be `Send`; the returned future is `Send` where the arguments and the work's future are. Dropping
    /// it is safe: where others wait for one of its values, one of them takes over.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::collections::HashMap;
    ///
    /// # async fn load_users(ids: Vec<u64>) -> HashMap<u64, String> {
    /// #     ids.into_iter().map(|id| (id, format!("user {id}"))).collect()
    /// # }
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// cache.cached_async(opts!("user", 2), || async { "user 2".to_string() }).await;
    ///
    /// // `SELECT … WHERE id IN (1, 3)`
    /// let users = cache.cached_many_async([1, 2, 3], |id| opts!("user", id), |missing| load_users(missing)).await;
    /// assert_eq!((users.len(), users[&3].as_str()), (3, "user 3"));
    /// assert_eq!(cache.get::<String>(opts!("user", 1)).as_deref(), Some("user 1"));
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("batch", "bulk", "get_many", "get_all", "multi-get", "mget", "dataloader", "N+1"))]
    pub async fn cached_many_async<K, T, C, Fut>(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: impl Fn(&K) -> CacheOptions<C>,
        work: impl FnOnce(Vec<K>) -> Fut,
    ) -> HashMap<K, T>
    where
        K: Eq + Hash + Clone,
        T: Clone + Send + Sync + 'static,
        C: ValueCodec<T>,
        Fut: Future<Output = HashMap<K, T>>,
    {
        let work = |missing| async { Ok(work(missing).await) };
        infallible(self.engine.many(keys, options, work).await)
    }

    /// [`cached_many_async`](Self::cached_many_async) for sync code, wherever it runs; see [`cached`](Self::cached) for what that means.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let squares = |numbers: Vec<u64>| numbers.into_iter().map(|n| (n, n * n)).collect();
    /// let first = cache.cached_many(1..=3, |n| opts!("square", n), squares);
    /// let second = cache.cached_many(1..=4, |n| opts!("square", n), |missing| {
    ///     assert_eq!(missing, [4]);
    ///     squares(missing)
    /// });
    /// assert_eq!((first.len(), second[&3], second[&4]), (3, 9, 16));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("batch", "bulk", "get_many", "get_all", "multi-get", "mget", "dataloader", "N+1"))]
    pub fn cached_many<K, T, C>(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: impl Fn(&K) -> CacheOptions<C>,
        work: impl FnOnce(Vec<K>) -> HashMap<K, T>,
    ) -> HashMap<K, T>
    where
        K: Eq + Hash + Clone,
        T: Clone + Send + Sync + 'static,
        C: ValueCodec<T>,
    {
        infallible(self.engine.many_blocking(keys, options, |missing| Ok(work(missing))))
    }

    /// [`cached_many_async`](Self::cached_many_async) for work that may fail: then nothing is stored.
    ///
    /// Keys with [`stale_if_error`](CacheOptions::stale_if_error) are served their old values where the work fails, as in single calls.
    /// The error is returned if a key is left without a value. An old value isn't served for a key that the work leaves out of its map.
    ///
    /// # Errors
    ///
    /// That of `work`, never the cache's.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::collections::HashMap;
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let call = |id: &u64| opts!("price", id);
    /// let prices = cache.try_cached_many_async([1, 2], call, |_| async { Err::<HashMap<_, u64>, _>("no route") }).await;
    /// assert_eq!(prices, Err("no route"));
    ///
    /// let prices = cache.try_cached_many_async([1, 2], call, |ids| async { Ok::<_, &str>(ids.into_iter().map(|id| (id, 7)).collect()) });
    /// assert_eq!(prices.await, Ok(HashMap::from([(1, 7), (2, 7)])));
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("batch", "bulk", "get_many", "get_all", "multi-get", "mget", "dataloader", "N+1"))]
    pub async fn try_cached_many_async<K, T, E, C, Fut>(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: impl Fn(&K) -> CacheOptions<C>,
        work: impl FnOnce(Vec<K>) -> Fut,
    ) -> Result<HashMap<K, T>, E>
    where
        K: Eq + Hash + Clone,
        T: Clone + Send + Sync + 'static,
        C: ValueCodec<T>,
        Fut: Future<Output = Result<HashMap<K, T>, E>>,
    {
        self.engine.many(keys, options, work).await
    }

    /// [`try_cached_many_async`](Self::try_cached_many_async) for sync code, wherever it runs.
    ///
    /// # Errors
    ///
    /// That of `work`, never the cache's.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::num::ParseIntError;
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let parse = |texts: Vec<&'static str>| texts.into_iter().map(|text| Ok((text, text.parse::<u8>()?))).collect();
    /// let ports: Result<_, ParseIntError> = cache.try_cached_many(["80", "8"], |text| opts!("parse", text), parse);
    /// assert_eq!(ports?["80"], 80);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias("batch", "bulk", "get_many", "get_all", "multi-get", "mget", "dataloader", "N+1"))]
    pub fn try_cached_many<K, T, E, C>(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: impl Fn(&K) -> CacheOptions<C>,
        work: impl FnOnce(Vec<K>) -> Result<HashMap<K, T>, E>,
    ) -> Result<HashMap<K, T>, E>
    where
        K: Eq + Hash + Clone,
        T: Clone + Send + Sync + 'static,
        C: ValueCodec<T>,
    {
        self.engine.many_blocking(keys, options, work)
    }
}

fn infallible<V>(result: Result<V, Infallible>) -> V {
    match result {
        Ok(values) => values,
        Err(never) => match never {},
    }
}
