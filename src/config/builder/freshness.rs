//! How fresh values are whose call doesn't say, and what is served where they aren't.

use std::time::Duration;

use super::CacheHouseBuilder;
use crate::policy::FreshnessOverrides;

/// How fresh values are whose call and namespace don't say. All are off by default. Zero is off too, but for
/// [`retry_after`](Self::retry_after) and [`max_staleness`](Self::max_staleness); a time is a year at most.
///
/// ```
/// use cache_house::CacheHouse;
/// use std::time::Duration;
///
/// let cache = CacheHouse::builder()
///     .expire(Duration::from_secs(60))
///     .jitter(Duration::from_secs(6))
///     .stale_while_revalidate(Duration::from_secs(600))
///     .stale_if_error(Duration::from_secs(3600))
///     .retry_after(Duration::from_secs(10))
///     .soft_timeout(Duration::from_millis(200))
///     .hard_timeout(Duration::from_secs(5))
///     .memory()
///     .build()?;
/// # Ok::<(), cache_house::Error>(())
/// ```
impl<S> CacheHouseBuilder<S> {
    /// Up to this much is taken off the life of each entry, at random, so that what was stored together doesn't expire together. An
    /// entry lives for at least a millisecond.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use std::time::Duration;
    ///
    /// // Entries live for 54 to 60 s.
    /// let cache =
    ///     CacheHouse::builder().expire(Duration::from_secs(60)).jitter(Duration::from_secs(6)).memory().build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("spread", "stampede", "thundering herd"))]
    pub fn jitter(self, most: Duration) -> Self {
        self.setting(|freshness| freshness.jitter = Some(most))
    }

    /// For this long after `expire` the old value is served while one caller renews it (RFC 5861).
    ///
    /// Where the work fails, the old value is served, and the work is tried again after [`retry_after`](Self::retry_after). The server
    /// keeps each value for `expire` and this together.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().stale_while_revalidate(Duration::from_secs(600)).memory().build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("stale-while-revalidate", "swr", "grace", "background refresh"))]
    pub fn stale_while_revalidate(self, window: Duration) -> Self {
        self.setting(|freshness| freshness.stale_while_revalidate = Some(window))
    }

    /// For this long after `expire` the old value is served where the work fails or takes longer than its timeout (RFC 5861).
    ///
    /// The work is tried again after [`retry_after`](Self::retry_after). The server keeps each value for `expire` and this together.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().stale_if_error(Duration::from_secs(3600)).memory().build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("stale-if-error", "fail-safe", "grace", "fallback"))]
    pub fn stale_if_error(self, window: Duration) -> Self {
        self.setting(|freshness| freshness.stale_if_error = Some(window))
    }

    /// How long work that failed isn't tried again, while an old value is served in its place: 1 s; at least a millisecond. For
    /// [`stale_if_error`](Self::stale_if_error) and [`stale_while_revalidate`](Self::stale_while_revalidate).
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder()
    ///     .stale_if_error(Duration::from_secs(3600))
    ///     .retry_after(Duration::from_secs(10))
    ///     .memory()
    ///     .build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("backoff", "throttle", "negative caching"))]
    pub fn retry_after(self, pause: Duration) -> Self {
        self.setting(|freshness| freshness.retry_after = Some(pause))
    }

    /// One caller renews a value before it expires: at random, the likelier the nearer the expiry is and the longer the work takes
    /// (XFetch; Vattani, Chierichetti, Lowenstein 2015). `beta` is the paper's factor: 1.0 is its recommendation, more is earlier.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    ///
    /// let cache = CacheHouse::builder().refresh_early(1.0).memory().build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("XFetch", "probabilistic early expiration", "stampede", "refresh-ahead", "early recomputation"))]
    pub fn refresh_early(self, beta: f64) -> Self {
        self.setting(|freshness| freshness.refresh_early = Some(beta))
    }

    /// How long the work is waited for while an old value is there, which is served then; below [`hard_timeout`](Self::hard_timeout).
    ///
    /// It takes effect for calls with [`stale_while_revalidate`](Self::stale_while_revalidate), [`stale_if_error`](Self::stale_if_error)
    /// or [`refresh_early`](Self::refresh_early): without, there is no old value.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder()
    ///     .stale_if_error(Duration::from_secs(3600))
    ///     .soft_timeout(Duration::from_millis(200))
    ///     .memory()
    ///     .build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("timeout", "fail-safe", "deadline"))]
    pub fn soft_timeout(self, timeout: Duration) -> Self {
        self.setting(|freshness| freshness.soft_timeout = Some(timeout))
    }

    /// How long the work may take: then its key is free for the next caller, and what it still returns isn't stored.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().hard_timeout(Duration::from_secs(5)).memory().build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("timeout", "deadline", "hang"))]
    pub fn hard_timeout(self, timeout: Duration) -> Self {
        self.setting(|freshness| freshness.hard_timeout = Some(timeout))
    }

    /// How old an answer of the near cache may be, for calls and namespaces that don't say: the near cache's own bound. Zero asks the
    /// server. Longer than that bound has no effect, since no copy is served beyond it.
    ///
    /// It needs a near cache. Without one it's accepted and has no effect.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().max_staleness(Duration::ZERO).standalone("localhost").build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("client-side caching", "near cache", "L1"))]
    pub fn max_staleness(self, age: Duration) -> Self {
        self.setting(|freshness| freshness.max_staleness = Some(age))
    }

    fn setting(mut self, set: impl FnOnce(&mut FreshnessOverrides)) -> Self {
        set(self.common.overrides.freshness_mut());
        self
    }
}
