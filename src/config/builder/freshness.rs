//! How fresh values are whose call doesn't say, and what is served where they aren't.

use std::time::Duration;

use super::CacheHouseBuilder;
use crate::policy::FreshnessOverrides;

/// Freshness: stale values, early renewal, timeouts of the work, for calls that don't set these options and whose namespace doesn't.
///
/// All are off by default, except [`retry_after`](Self::retry_after) (1 s). Zero is off too, except for [`retry_after`](Self::retry_after) and [`max_staleness`](Self::max_staleness).
/// Times are up to a year.
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
    /// Shortens the TTL of each entry at random, by up to this much, so that entries stored together don't expire together.
    ///
    /// An entry lives for at least a millisecond.
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

    /// Serves the old value for this long after `expire`, while one caller renews it (RFC 5861).
    ///
    /// If the work fails, the old value is served, and the work is tried again after [`retry_after`](Self::retry_after). The server keeps
    /// each value for the sum of `expire` and this.
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

    /// Serves the old value for this long after `expire` if the work fails or exceeds its timeout (RFC 5861).
    ///
    /// The work is tried again after [`retry_after`](Self::retry_after). The server keeps each value for the sum of `expire` and this.
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

    /// Sets the pause after failed work: for this long the old value is served and the work isn't tried again. Default: 1 s.
    ///
    /// At least a millisecond. For [`stale_if_error`](Self::stale_if_error) and
    /// [`stale_while_revalidate`](Self::stale_while_revalidate).
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

    /// Renews values before they expire, each by one caller chosen at random.
    ///
    /// The chance grows as the expiry comes near, and with the time that the work takes (XFetch; Vattani, Chierichetti, Lowenstein 2015).
    /// `beta` is the paper's factor: the paper recommends 1.0, and a larger factor renews earlier. At least 0, which turns it off;
    /// above a million it counts as a million.
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

    /// Sets how long a call waits for the work before it's served the old value; below [`hard_timeout`](Self::hard_timeout).
    ///
    /// For calls with [`stale_while_revalidate`](Self::stale_while_revalidate), [`stale_if_error`](Self::stale_if_error) or
    /// [`refresh_early`](Self::refresh_early); otherwise there is no old value.
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

    /// Sets how long the work may hold its key. After that the next caller runs its own work, and a late value isn't stored.
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

    /// Sets how old a hit of the near cache may be. Default: the near cache's own bound.
    ///
    /// For calls that don't set it and whose namespace doesn't. Zero asks the server. More than the bound has no effect.
    ///
    /// No effect without a near cache.
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
