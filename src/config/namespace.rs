//! What calls of one namespace have in common.

use std::collections::HashMap;
use std::time::Duration;

use crate::codec::{Codec, SharedCodec};
use crate::policy::Overrides;

/// Options of the calls of one namespace, over those of the handle; a call's own options win over them.
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
    /// How long values of the namespace live; longer than zero.
    #[doc(alias("ttl", "expiry", "expires_in", "time_to_live", "max_age"))]
    pub fn expire(mut self, expire: Duration) -> Self {
        self.0.expire = Some(expire);
        self
    }

    /// The format of values of the namespace.
    #[doc(alias("serializer", "format"))]
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.0.codec = Some(SharedCodec::new(codec));
        self
    }

    /// Whether the namespace's fills are fenced: see [`CacheHouseBuilder::fence`](crate::CacheHouseBuilder::fence).
    pub fn fence(mut self, on: bool) -> Self {
        self.0.fence = Some(on);
        self
    }

    /// How long a miss of the namespace waits for another process: see [`CacheHouseBuilder::lease`](crate::CacheHouseBuilder::lease).
    pub fn lease(mut self, wait: Duration) -> Self {
        self.0.lease = Some(wait);
        self
    }

    /// The version of the types of the namespace's values: see [`CacheHouseBuilder::version`](crate::CacheHouseBuilder::version).
    #[doc(alias("schema", "migration", "cache buster"))]
    pub fn version(mut self, version: u32) -> Self {
        self.0.version = Some(version);
        self
    }

    /// A tag of the namespace's calls, beside those that they and the handle have: see
    /// [`CacheHouseBuilder::tag`](crate::CacheHouseBuilder::tag).
    #[doc(alias("group", "dependency", "surrogate key", "invalidation"))]
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.0.add_tag(tag.as_ref());
        self
    }

    /// Up to how much is taken off the life of each entry of the namespace:
    /// see [`CacheHouseBuilder::jitter`](crate::CacheHouseBuilder::jitter).
    #[doc(alias("spread", "stampede", "thundering herd"))]
    pub fn jitter(mut self, most: Duration) -> Self {
        self.0.freshness_mut().jitter = Some(most);
        self
    }

    /// How long an old value of the namespace is served while it's renewed:
    /// see [`CacheHouseBuilder::stale_while_revalidate`](crate::CacheHouseBuilder::stale_while_revalidate).
    #[doc(alias("stale-while-revalidate", "swr", "grace"))]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.0.freshness_mut().stale_while_revalidate = Some(window);
        self
    }

    /// How long an old value of the namespace is served where its work fails:
    /// see [`CacheHouseBuilder::stale_if_error`](crate::CacheHouseBuilder::stale_if_error).
    #[doc(alias("stale-if-error", "fail-safe", "grace"))]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.0.freshness_mut().stale_if_error = Some(window);
        self
    }

    /// How long failed work of the namespace isn't tried again:
    /// see [`CacheHouseBuilder::retry_after`](crate::CacheHouseBuilder::retry_after).
    #[doc(alias("backoff", "throttle"))]
    pub fn retry_after(mut self, pause: Duration) -> Self {
        self.0.freshness_mut().retry_after = Some(pause);
        self
    }

    /// How early values of the namespace are renewed before they expire:
    /// see [`CacheHouseBuilder::refresh_early`](crate::CacheHouseBuilder::refresh_early).
    #[doc(alias("XFetch", "probabilistic early expiration", "refresh-ahead"))]
    pub fn refresh_early(mut self, beta: f64) -> Self {
        self.0.freshness_mut().refresh_early = Some(beta);
        self
    }

    /// How long work of the namespace is waited for while an old value is there:
    /// see [`CacheHouseBuilder::soft_timeout`](crate::CacheHouseBuilder::soft_timeout).
    #[doc(alias("timeout", "fail-safe", "deadline"))]
    pub fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.0.freshness_mut().soft_timeout = Some(timeout);
        self
    }

    /// How long work of the namespace may take: see [`CacheHouseBuilder::hard_timeout`](crate::CacheHouseBuilder::hard_timeout).
    #[doc(alias("timeout", "deadline", "hang"))]
    pub fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.0.freshness_mut().hard_timeout = Some(timeout);
        self
    }

    /// How old an answer of the near cache may be for calls of the namespace:
    /// see [`CacheHouseBuilder::max_staleness`](crate::CacheHouseBuilder::max_staleness).
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
