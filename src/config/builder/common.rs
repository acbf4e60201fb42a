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
    /// Sets the namespace of calls that don't set one. Default: `main`.
    ///
    /// Any text of at least one character. In keys, `:`, `%`, `{`, `}` and everything but printable ASCII are percent-escaped. So braces
    /// aren't a hash tag: a cluster spreads the keys of each namespace over all shards.
    #[doc(alias("tenant", "group", "scope"))]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.common.namespace = namespace.into();
        self
    }

    /// Sets the first part of every key. Default: `cachehouse`.
    ///
    /// Any text of at least one character, escaped in keys like the [namespace](Self::namespace).
    #[doc(alias("prefix"))]
    pub fn key_prefix(mut self, key_prefix: impl Into<String>) -> Self {
        self.common.key_prefix = key_prefix.into();
        self
    }

    /// Sets the TTL of values whose call doesn't set one. Default: 180 s.
    ///
    /// Longer than zero; less than a millisecond counts as one. Zero, which means "don't store", is accepted for single calls only.
    #[doc(alias("ttl", "expiry", "expires_in", "time_to_live", "max_age"))]
    pub fn expire(mut self, expire: Duration) -> Self {
        self.common.overrides.expire = Some(expire);
        self
    }

    /// Turns the fence on or off, for fills on a server. Default: on.
    ///
    /// With the fence, a value isn't stored if any process has removed, inserted over or cleared its key after its work began. A miss takes
    /// one round trip more, a hit none. While the work runs, the server has a lease beside the key, under `{prefix}::lease:`. Without
    /// permission for `EVALSHA` or `EVAL` there is no fence, which is logged once. Without `PEXPIRE`, values of work that takes longer than a
    /// minute aren't stored.
    #[doc(alias("lease", "stale set", "race"))]
    pub fn fence(mut self, on: bool) -> Self {
        self.common.overrides.fence = Some(on);
        self
    }

    /// Has one process compute a key while the others wait for its value, up to this long. Default: off.
    ///
    /// A millisecond to an hour. After that, a waiting call runs its own work.
    ///
    /// Needs a server and the [fence](Self::fence); without them, calls don't wait. Set the longest time that the work takes: if the
    /// computing process dies, the others wait no longer than this. A waiting call holds no connection and no thread of a runtime.
    #[doc(alias("stampede", "dogpile", "single-flight", "lock"))]
    pub fn lease(mut self, wait: Duration) -> Self {
        self.common.overrides.lease = Some(wait);
        self
    }

    /// Sets the version of the values' types, a part of every key. Default: 0, which adds nothing to keys.
    ///
    /// Raise it in the change that alters a cached type, here or for a [namespace](Self::namespace_options) or a
    /// [call](crate::CacheOptions::version). Then the old and the new build of a rolling deployment don't read each other's values, which
    /// could decode to a wrong value or be overwritten by turns.
    #[doc(alias("schema", "migration", "cache buster"))]
    pub fn version(mut self, version: u32) -> Self {
        self.common.overrides.version = Some(version);
        self
    }

    /// Adds a tag to all calls, beside their own tags and their namespaces'. Default: none.
    ///
    /// Any number of tags, each of 1 to 512 bytes. Tags of a file and of code add up.
    ///
    /// `CacheHandle::remove_tag` invalidates all calls with the tag. Tags are part of every key, so handles with different tags don't read
    /// each other's values: see [`CacheOptions::tag`](crate::CacheOptions::tag).
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

    /// Sets the format of values whose call doesn't set one. Default: [`Json`](crate::codec::Json).
    #[doc(alias("serializer", "format"))]
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.common.overrides.codec = Some(SharedCodec::new(codec));
        self
    }

    /// Sets options for the calls of one namespace. They win over the handle's, and a call's own options win over them.
    ///
    /// `namespace` is the name that calls use, under any key prefix. If it's called again for a namespace, options that are set again win.
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

    /// Sets the key builder of calls that don't set one. Default: SHA-1 over module, name and arguments.
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
