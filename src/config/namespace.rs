//! What calls of one namespace have in common.

use std::collections::HashMap;
use std::time::Duration;

use crate::codec::{Codec, SharedCodec};

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
pub struct NamespaceOptions {
    pub(crate) expire: Option<Duration>,
    pub(crate) codec: Option<SharedCodec>,
}

impl NamespaceOptions {
    /// How long values of the namespace live; longer than zero.
    pub fn expire(mut self, expire: Duration) -> Self {
        self.expire = Some(expire);
        self
    }

    /// The format of values of the namespace.
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.codec = Some(SharedCodec::new(codec));
        self
    }

    /// These options, and the others' where these say nothing.
    pub(super) fn or(self, others: Self) -> Self {
        Self { expire: self.expire.or(others.expire), codec: self.codec.or(others.codec) }
    }
}

/// Options by namespace, as the user wrote it.
pub(crate) type Namespaces = HashMap<Box<str>, NamespaceOptions, foldhash::quality::RandomState>;
