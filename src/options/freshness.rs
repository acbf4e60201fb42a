//! How fresh the value of one call is, and what is served where it isn't.

use std::time::Duration;

use super::CacheOptions;
use crate::codec::{ExpireBy, StoreIf};

/// How fresh the value is, in place of what the handle's options say. Zero turns an option off, but for
/// [`retry_after`](Self::retry_after) and [`max_staleness`](Self::max_staleness).
impl<C> CacheOptions<C> {
    /// Up to this much is taken off the life of each entry, at random, so that what was stored together doesn't expire together: off
    /// by default, a year at most. An entry lives for at least a millisecond.
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

    /// For this long after `expire` the old value is served while one caller renews it (RFC 5861): off by default, a year at most.
    ///
    /// Where the work fails, the old value is served, and the work is tried again after [`retry_after`](Self::retry_after). The server
    /// keeps the value for `expire` and this together. It has no effect where `expire` is zero.
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

    /// For this long after `expire` the old value is served where the work fails or takes longer than its timeout (RFC 5861): off by
    /// default, a year at most.
    ///
    /// The work is tried again after [`retry_after`](Self::retry_after). The server keeps the value for `expire` and this together. It
    /// has no effect where `expire` is zero.
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

    /// How long work that failed isn't tried again, while an old value is served in its place: a second by default; from a millisecond,
    /// which zero counts as, to a year. For [`stale_if_error`](Self::stale_if_error) and
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

    /// One caller renews the value before it expires: at random, the likelier the nearer the expiry is and the longer the work takes
    /// (XFetch; Vattani, Chierichetti, Lowenstein 2015). Off by default.
    ///
    /// `beta` is the paper's factor: 1.0 is its recommendation, more is earlier. What isn't a finite number above zero turns it off, and
    /// it has no effect where `expire` is zero.
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

    /// How long the work is waited for while an old value is there, which is served then: off by default, a year at most.
    ///
    /// Needs [`stale_while_revalidate`](Self::stale_while_revalidate), [`stale_if_error`](Self::stale_if_error) or
    /// [`refresh_early`](Self::refresh_early), without which there is no old value. It has no effect either unless it's shorter than the
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

    /// How long the work may take: then its key is free for the next caller, and what it still returns isn't stored. Off by default, a
    /// year at most.
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

    /// How old an answer of the near cache may be for this call: the near cache's own bound by default, a year at most. Zero asks the
    /// server. Longer than that bound has no effect, since no copy is served beyond it.
    ///
    /// It needs a near cache. Without one it's accepted and has no effect.
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

    /// How long this very value lives, in place of `expire`: millisecond precision, anything above zero counts as at least one.
    ///
    /// Zero doesn't store it; callers that wait for it have it all the same. A panic in `life` counts as "not stored" too. Where
    /// the call's `expire` is zero nothing is stored, whatever this says. Of two, the last counts. [`encoder`](Self::encoder) comes
    /// before it.
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
    pub fn expire_by<T, F>(self, life: F) -> CacheOptions<ExpireBy<C, T, F>>
    where
        F: Fn(&T) -> Duration,
    {
        self.with_codec(|codec| ExpireBy::new(codec, life))
    }

    /// Whether this very value is stored. Callers that wait for it have it all the same, and the next caller runs the work again.
    ///
    /// A panic in `condition` counts as "not stored". Of two, both have to say yes. [`encoder`](Self::encoder) comes before it.
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
