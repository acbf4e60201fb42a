//! How fresh the value of one call is, and what is served where it isn't.

use std::time::Duration;

use super::CacheOptions;
use crate::codec::{ExpireBy, StoreIf};

/// Freshness: stale values, early renewal, timeouts of the work. Default: the options of the call's namespace, else of the handle.
///
/// Zero turns an option off, except [`retry_after`](Self::retry_after) and [`max_staleness`](Self::max_staleness).
impl<C> CacheOptions<C> {
    /// Shortens the TTL of each entry at random, by up to this much, so that entries stored together don't expire together.
    ///
    /// Off by default; up to a year. An entry lives for at least a millisecond.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let options = opts!("rate", "EUR").expire(Duration::from_secs(60)).jitter(Duration::from_secs(6));
    /// assert_eq!(cache.cached(options, || 117), 117); // for 54 to 60 s
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("spread", "stampede", "thundering herd"))]
    pub fn jitter(mut self, most: Duration) -> Self {
        self.overrides.freshness_mut().jitter = Some(most);
        self
    }

    /// Serves the old value for this long after `expire`, while one caller renews it (RFC 5861). Off by default; up to a year.
    ///
    /// If the work fails, the old value is served, and the work is tried again after [`retry_after`](Self::retry_after). The server keeps
    /// the value for the sum of `expire` and this. No effect if `expire` is zero.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let options = opts!("front_page").stale_while_revalidate(Duration::from_secs(600));
    /// assert_eq!(cache.cached(options, || "news".to_string()), "news");
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("stale-while-revalidate", "swr", "grace", "background refresh"))]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.overrides.freshness_mut().stale_while_revalidate = Some(window);
        self
    }

    /// Serves the old value for this long after `expire` if the work fails or exceeds its timeout (RFC 5861). Off by default; up to a year.
    ///
    /// The work is tried again after [`retry_after`](Self::retry_after). The server keeps the value for the sum of `expire` and this. No
    /// effect if `expire` is zero.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let options = opts!("rates").stale_if_error(Duration::from_secs(3600));
    /// assert_eq!(cache.try_cached(options, || "117".parse::<u32>()), Ok(117));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("stale-if-error", "fail-safe", "grace", "fallback"))]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.overrides.freshness_mut().stale_if_error = Some(window);
        self
    }

    /// Sets the pause after failed work: for this long the old value is served and the work isn't tried again.
    ///
    /// A second by default; from a millisecond, which zero counts as, to a year. For [`stale_if_error`](Self::stale_if_error) and
    /// [`stale_while_revalidate`](Self::stale_while_revalidate).
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let options = opts!("rates").stale_if_error(Duration::from_secs(3600)).retry_after(Duration::from_secs(10));
    /// assert_eq!(cache.try_cached(options, || "117".parse::<u32>()), Ok(117));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("backoff", "throttle", "negative caching"))]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.overrides.freshness_mut().retry_after = Some(pause);
        self
    }

    /// Renews the value before it expires, by one caller chosen at random. Off by default.
    ///
    /// The chance grows as the expiry comes near, and with the time that the work takes (XFetch; Vattani, Chierichetti, Lowenstein 2015).
    ///
    /// `beta` is the paper's factor: the paper recommends 1.0, and a larger factor renews earlier. Any `beta` but a finite number above zero
    /// turns the option off. No effect if `expire` is zero.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// assert_eq!(cache.cached(opts!("report").refresh_early(1.0), || "rows".to_string()), "rows");
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("XFetch", "probabilistic early expiration", "stampede", "refresh-ahead", "early recomputation"))]
    pub fn refresh_early(mut self, beta: f64) -> Self {
        self.overrides.freshness_mut().refresh_early = Some(beta);
        self
    }

    /// Sets how long a call waits for the work before it's served the old value. Off by default; up to a year.
    ///
    /// Needs [`stale_while_revalidate`](Self::stale_while_revalidate), [`stale_if_error`](Self::stale_if_error) or
    /// [`refresh_early`](Self::refresh_early); otherwise there is no old value. No effect unless it's shorter than
    /// [`hard_timeout`](Self::hard_timeout).
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let options = opts!("rates").stale_if_error(Duration::from_secs(3600)).soft_timeout(Duration::from_millis(200));
    /// assert_eq!(cache.cached(options, || 117), 117);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("timeout", "fail-safe", "deadline"))]
    pub fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.overrides.freshness_mut().soft_timeout = Some(timeout);
        self
    }

    /// Sets how long the work may hold its key. After that the next caller runs its own work, and a late value isn't stored.
    ///
    /// Off by default; up to a year.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// assert_eq!(cache.cached(opts!("rates").hard_timeout(Duration::from_secs(5)), || 117), 117);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("timeout", "deadline", "hang"))]
    pub fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.overrides.freshness_mut().hard_timeout = Some(timeout);
        self
    }

    /// Sets how old a hit of the near cache may be for this call; the near cache's own bound by default.
    ///
    /// Up to a year; more than the bound has no effect. Zero asks the server.
    ///
    /// No effect without a near cache.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().memory().build()?; // no near cache, so it changes nothing
    /// assert_eq!(cache.cached(opts!("balance", 7).max_staleness(Duration::ZERO), || 117), 117);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("client-side caching", "near cache", "L1"))]
    pub fn max_staleness(mut self, age: Duration) -> Self {
        self.overrides.freshness_mut().max_staleness = Some(age);
        self
    }

    /// Computes the TTL from the value, in place of `expire`. Millisecond precision; anything above zero counts as at least one.
    ///
    /// Zero means that the value isn't stored; callers that wait for it get it all the same. A panic in `ttl` counts as zero. If the
    /// call's `expire` is zero, nothing is stored. Of two, the last counts. Call [`encoder`](Self::encoder) before it.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct Token {
    ///     text: String,
    ///     seconds: u64,
    /// }
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let options = opts!("token").expire_by(|token: &Token| Duration::from_secs(token.seconds));
    /// let token = cache.cached(options, || Token { text: "abc".into(), seconds: 300 });
    /// assert_eq!(token.text, "abc");
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("ttl", "per-value expiry", "dynamic expiry", "max_age"))]
    pub fn expire_by<T, F>(self, ttl: F) -> CacheOptions<ExpireBy<C, T, F>>
    where
        F: Fn(&T) -> Duration,
    {
        self.with_codec(|codec| ExpireBy::new(codec, ttl))
    }

    /// Stores the value only if `condition` returns true. Otherwise waiting callers still get the value, and the next caller runs the work again.
    ///
    /// A panic in `condition` counts as false. Of two conditions, both have to return true. Call [`encoder`](Self::encoder) before it.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let options = opts!("user", 7).store_if(|user: &Option<String>| user.is_some());
    /// assert_eq!(cache.cached(options, || Some("Ada".to_string())).as_deref(), Some("Ada"));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("condition", "unless", "skip", "negative caching"))]
    pub fn store_if<T, F>(self, condition: F) -> CacheOptions<StoreIf<C, T, F>>
    where
        F: Fn(&T) -> bool,
    {
        self.with_codec(|codec| StoreIf::new(codec, condition))
    }
}

#[cfg(test)]
mod tests;
