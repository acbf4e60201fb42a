//! What calls of one namespace have in common.

use std::collections::HashMap;
use std::time::Duration;

use crate::codec::{Codec, SharedCodec};
use crate::policy::Overrides;

/// Options of the calls of one namespace. They win over the handle's, and a call's own options win over them.
///
/// ```
/// use cache_house::{CacheHouse, NamespaceOptions};
/// use std::time::Duration;
///
/// let cache = CacheHouse::builder()
///     .namespace_options("api.users", NamespaceOptions::default().expire(Duration::from_secs(300)))
///     .memory()
///     .build()?;
/// # Ok::<(), cache_house::Error>(())
/// ```
#[must_use = "hand this to the builder's `namespace_options`"]
#[derive(Debug, Clone, Default)]
pub struct NamespaceOptions(pub(crate) Overrides);

impl NamespaceOptions {
    /// Sets the TTL of the namespace's values; longer than zero.
    #[doc(alias("ttl", "expiry", "expires_in", "time_to_live", "max_age"))]
    pub fn expire(mut self, expire: Duration) -> Self {
        self.0.expire = Some(expire);
        self
    }

    /// Sets the format of the namespace's values.
    #[doc(alias("serializer", "format"))]
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.0.codec = Some(SharedCodec::new(codec));
        self
    }

    /// Turns the fence on or off: see [`CacheHouseBuilder::fence`](crate::CacheHouseBuilder::fence).
    pub fn fence(mut self, on: bool) -> Self {
        self.0.fence = Some(on);
        self
    }

    /// Sets how long a miss waits for another process: see [`CacheHouseBuilder::lease`](crate::CacheHouseBuilder::lease).
    pub fn lease(mut self, wait: Duration) -> Self {
        self.0.lease = Some(wait);
        self
    }

    /// Sets the version of the values' types: see [`CacheHouseBuilder::version`](crate::CacheHouseBuilder::version).
    #[doc(alias("schema", "migration", "cache buster"))]
    pub fn version(mut self, version: u32) -> Self {
        self.0.version = Some(version);
        self
    }

    /// Adds a tag to the namespace's calls, beside their own tags and the handle's: see
    /// [`CacheHouseBuilder::tag`](crate::CacheHouseBuilder::tag).
    #[doc(alias("group", "dependency", "surrogate key", "invalidation"))]
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.0.add_tag(tag.as_ref());
        self
    }

    /// Shortens TTLs at random: see [`CacheHouseBuilder::jitter`](crate::CacheHouseBuilder::jitter).
    #[doc(alias("spread", "stampede", "thundering herd"))]
    pub fn jitter(mut self, most: Duration) -> Self {
        self.0.freshness_mut().jitter = Some(most);
        self
    }

    /// Sets how long an old value is served while it's renewed:
    /// see [`CacheHouseBuilder::stale_while_revalidate`](crate::CacheHouseBuilder::stale_while_revalidate).
    #[doc(alias("stale-while-revalidate", "swr", "grace"))]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.0.freshness_mut().stale_while_revalidate = Some(window);
        self
    }

    /// Sets how long an old value is served if the work fails:
    /// see [`CacheHouseBuilder::stale_if_error`](crate::CacheHouseBuilder::stale_if_error).
    #[doc(alias("stale-if-error", "fail-safe", "grace"))]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.0.freshness_mut().stale_if_error = Some(window);
        self
    }

    /// Sets the pause after failed work: see [`CacheHouseBuilder::retry_after`](crate::CacheHouseBuilder::retry_after).
    #[doc(alias("backoff", "throttle"))]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.0.freshness_mut().retry_after = Some(pause);
        self
    }

    /// Renews values before they expire: see [`CacheHouseBuilder::refresh_early`](crate::CacheHouseBuilder::refresh_early).
    #[doc(alias("XFetch", "probabilistic early expiration", "refresh-ahead"))]
    pub fn refresh_early(mut self, beta: f64) -> Self {
        self.0.freshness_mut().refresh_early = Some(beta);
        self
    }

    /// Sets how long a call waits for the work before it's served the old value:
    /// see [`CacheHouseBuilder::soft_timeout`](crate::CacheHouseBuilder::soft_timeout).
    #[doc(alias("timeout", "fail-safe", "deadline"))]
    pub fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.0.freshness_mut().soft_timeout = Some(timeout);
        self
    }

    /// Sets how long the work may hold its key: see [`CacheHouseBuilder::hard_timeout`](crate::CacheHouseBuilder::hard_timeout).
    #[doc(alias("timeout", "deadline", "hang"))]
    pub fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.0.freshness_mut().hard_timeout = Some(timeout);
        self
    }

    /// Sets how old a hit of the near cache may be: see [`CacheHouseBuilder::max_staleness`](crate::CacheHouseBuilder::max_staleness).
    #[doc(alias("client-side caching", "near cache", "L1"))]
    pub fn max_staleness(mut self, age: Duration) -> Self {
        self.0.freshness_mut().max_staleness = Some(age);
        self
    }

    /// These options, and the others' where these say nothing; the tags of both.
    pub(super) fn or(self, others: Self) -> Self {
        Self(self.0.or(others.0))
    }
}

/// Options by namespace, as the user wrote it.
pub(crate) type Namespaces = HashMap<Box<str>, NamespaceOptions, foldhash::quality::RandomState>;
