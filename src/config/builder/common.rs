//! The options that every topology has.

use std::sync::Arc;
use std::time::Duration;

use super::CacheHouseBuilder;
use crate::codec::{Codec, SharedCodec};
use crate::config::checked::Builder;
use crate::config::namespace::NamespaceOptions;
use crate::key::KeyBuilder;

/// Options that every topology has.
///
/// ```
/// use cache_house::codec::Json;
/// use cache_house::{CacheHouse, opts};
/// use std::time::Duration;
///
/// let cache = CacheHouse::builder()
///     .key_prefix("shop")
///     .namespace("v2")
///     .expire(Duration::from_secs(60))
///     .codec(Json)
///     .fallback_to_memory(true)
///     .memory_max_entries(1_000)
///     .memory_max_bytes(8 * 1024 * 1024)
///     .max_value_bytes(1024 * 1024)
///     .memory()
///     .build()?;
/// assert!(cache.key(&opts!("price", 7))?.starts_with("shop:v2:"));
/// # Ok::<(), cache_house::Error>(())
/// ```
impl<S> CacheHouseBuilder<S> {
    /// The namespace of calls that name none: `main`. Any text of at least one character; in keys, `:`, `%`, `{`, `}` and what isn't
    /// printable ASCII are percent-escaped. So braces are no hash tag: a cluster spreads the keys of each namespace over all shards.
    #[doc(alias("tenant", "group", "scope"))]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.common.namespace = namespace.into();
        self
    }

    /// What every key begins with: `cachehouse`. Any text of at least one character, escaped in keys as the
    /// [namespace](Self::namespace) is.
    #[doc(alias("prefix"))]
    pub fn key_prefix(mut self, key_prefix: impl Into<String>) -> Self {
        self.common.key_prefix = key_prefix.into();
        self
    }

    /// How long values live whose call doesn't say: 180 s. At least a millisecond; zero, "don't store", is for
    /// single calls.
    #[doc(alias("ttl", "expiry", "expires_in", "time_to_live", "max_age"))]
    pub fn expire(mut self, expire: Duration) -> Self {
        self.common.overrides.expire = Some(expire);
        self
    }

    /// Whether a fill is fenced against the invalidations of other processes: on. Needs a server, and no other option.
    ///
    /// With a fence, a value is not stored if its key was removed, inserted over or cleared after its work began, by any process. It costs a
    /// miss one round trip more, and a hit nothing. For as long as the work runs, a lease stands beside the key on the server, under
    /// `{prefix}::lease:`. A user who may not run `EVALSHA` or `EVAL` has no fence, which is logged once; without
    /// `PEXPIRE`, what takes longer than a minute isn't stored.
    #[doc(alias("lease", "stale set", "race"))]
    pub fn fence(mut self, on: bool) -> Self {
        self.common.overrides.fence = Some(on);
        self
    }

    /// Across processes, one computes a key: the others wait for its value for as long as this, a millisecond to an hour, and compute it
    /// themselves afterwards. Off.
    ///
    /// Needs a server and the [fence](Self::fence); without them, calls don't wait. Choose what the work takes at its slowest: a holder
    /// that dies holds the others up for no longer than this. A waiting call holds no connection and no thread of a runtime.
    #[doc(alias("stampede", "dogpile", "single-flight", "lock"))]
    pub fn lease(mut self, wait: Duration) -> Self {
        self.common.overrides.lease = Some(wait);
        self
    }

    /// The version of the types of all values, part of every key: 0, which leaves keys as they are.
    ///
    /// Raise it in the change that alters a cached type, here or for a [namespace](Self::namespace_options) or a
    /// [call](crate::CacheOptions::version). During a rolling deployment, builds with different versions then don't read each other's
    /// values, which would decode wrongly in silence or be overwritten back and forth.
    #[doc(alias("schema", "migration", "cache buster"))]
    pub fn version(mut self, version: u32) -> Self {
        self.common.overrides.version = Some(version);
        self
    }

    /// A tag of all calls, beside those that they and their namespaces have: tags add up, also those of a file and of code. Any number
    /// of them, each of 1 to 512 bytes; none by default.
    ///
    /// Calls with a tag are invalidated together, by `CacheHandle::remove_tag`. Tags are part of every key, so a handle reads nothing
    /// that one with other tags has stored: see [`CacheOptions::tag`](crate::CacheOptions::tag).
    ///
    /// ```
    /// use cache_house::CacheHouse;
    ///
    /// let cache = CacheHouse::builder().tag("catalogue").memory().build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("group", "dependency", "surrogate key", "invalidation"))]
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.common.overrides.add_tag(tag.as_ref());
        self
    }

    /// The format of values whose call doesn't say: [`Json`](crate::codec::Json).
    #[doc(alias("serializer", "format"))]
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.common.overrides.codec = Some(SharedCodec::new(codec));
        self
    }

    /// What calls of this namespace have in common, over the handle's defaults; what a call says itself wins. The namespace is
    /// meant as calls name it, under whatever key prefix. Given again, what is set the second time wins.
    ///
    /// ```
    /// use cache_house::{CacheHouse, NamespaceOptions};
    /// use std::time::Duration;
    ///
    /// let short = NamespaceOptions::default().expire(Duration::from_secs(5));
    /// let cache = CacheHouse::builder().namespace_options("sessions", short).memory().build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn namespace_options(mut self, namespace: impl Into<String>, options: NamespaceOptions) -> Self {
        let entry = self.common.namespaces.entry(namespace.into().into()).or_default();
        *entry = options.or(std::mem::take(entry));
        self
    }

    /// Makes the keys of calls that bring no key builder of their own, in place of the SHA-1 over module, name and
    /// arguments.
    ///
    /// ```
    /// use cache_house::{CacheHouse, KeyContext, opts};
    ///
    /// let by_name = |cx: &KeyContext<'_>| cx.scoped(cx.name());
    /// let cache = CacheHouse::builder().key_builder(by_name).memory().build()?;
    /// assert_eq!(cache.key(&opts!("settings"))?, "cachehouse:main:settings");
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("custom key", "key_fn", "key_generator"))]
    pub fn key_builder(mut self, key_builder: impl KeyBuilder + 'static) -> Self {
        self.common.key_builder = Some(Builder(Arc::new(key_builder)));
        self
    }
}
