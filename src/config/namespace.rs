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

    /// These options, and the others' where these say nothing.
    pub(super) fn or(self, others: Self) -> Self {
        Self(self.0.or(others.0))
    }
}

/// Options by namespace, as the user wrote it.
pub(crate) type Namespaces = HashMap<Box<str>, NamespaceOptions, foldhash::quality::RandomState>;
