//! The options of one call: its name and arguments, and what it overrides.

mod freshness;
mod tags;

use std::borrow::Cow;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::codec::{Codec, CodecError, EncoderDecoder, Inherited, SharedCodec, TakesCodec, TakesEncoder, WantsDecoder};
use crate::error::Error;
use crate::key::{self, CallKey, CallParts, KeyBuilder, Scope, Text, Unkeyable};
use crate::policy::{Overrides, Tags};

/// The name and the arguments of a cached call, and the options that it overrides.
///
/// Equal names, modules and arguments make equal keys, in every process and build. [`opts!`](crate::opts) sets all three in one line.
///
/// ```
/// use cache_house::CacheOptions;
/// use std::time::Duration;
///
/// let options = CacheOptions::new("get_user")
///     .arg(42)
///     .kwarg("fields", ["name", "email"])
///     .namespace("api.users")
///     .expire(Duration::from_secs(60));
/// ```
///
/// The type parameter `C` says how the value is encoded: by serde ([`Inherited`]) or by a [pair of functions](Self::encoder). It also
/// holds the functions of [`expire_by`](Self::expire_by) and [`store_if`](Self::store_if).
#[doc(alias("ttl", "cache key", "memoize"))]
#[must_use = "options do nothing until they are handed to a call of a CacheHandle"]
#[derive(Clone)]
pub struct CacheOptions<C = Inherited> {
    module: Option<Cow<'static, str>>,
    /// The name, then the positional arguments as canonical JSON, separated by commas.
    call: Text,
    name_len: usize,
    kwargs: Vec<(Box<str>, Box<[u8]>)>,
    pub(crate) overrides: Overrides,
    /// What few calls set, out of the way of those that don't.
    rare: Option<Box<Rare>>,
    pub(crate) codec: C,
}

#[derive(Clone, Default)]
struct Rare {
    namespace: Option<Box<str>>,
    key_prefix: Option<Box<str>>,
    key_builder: Option<Arc<dyn KeyBuilder>>,
    /// Its own, beside those of its namespace and its handle.
    tags: Tags,
    /// Of the call's tags, once they are known.
    tokens: Option<Box<[Box<str>]>>,
    /// The key as it stands, in place of one that is made of the call, and how much of it others of its kind have in common.
    verbatim: Option<(Box<str>, usize)>,
    /// Which argument has no canonical text or which tag is none, if one is so.
    unkeyable: Option<Box<str>>,
    /// The work runs whatever is cached.
    is_forced: bool,
}

impl CacheOptions {
    /// Options of the call `name`, without arguments.
    ///
    /// ```
    /// use cache_house::{CacheHouse, CacheOptions};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// assert_eq!(cache.cached(CacheOptions::new("answer"), || 42), 42);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[inline]
    pub fn new(name: impl AsRef<str>) -> Self {
        let call = Text::from(name.as_ref().as_bytes());
        Self {
            module: None,
            name_len: call.len(),
            call,
            kwargs: Vec::new(),
            overrides: Overrides::default(),
            rare: None,
            codec: Inherited::default(),
        }
    }
}

impl<C> CacheOptions<C> {
    /// Sets the codec of this call. Default: its namespace's, else the handle's.
    ///
    /// ```
    /// use cache_house::codec::Json;
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// assert_eq!(cache.cached(opts!("answer").codec(Json), || 42), 42);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("serializer", "format"))]
    pub fn codec(mut self, codec: impl Codec) -> Self
    where
        C: TakesCodec,
    {
        self.overrides.codec = Some(SharedCodec::new(codec));
        self
    }

    /// Encodes this call's value with a function, for a type without serde.
    ///
    /// [`decoder`](CacheOptions::decoder) has to follow. Exactly the bytes that `encoder` returns are stored.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// #[derive(Clone, PartialEq, Debug)]
    /// struct Celsius(f64);
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let options = opts!("temperature", "Oslo")
    ///     .encoder(|v: &Celsius| Ok::<_, std::convert::Infallible>(v.0.to_be_bytes().to_vec()))
    ///     .decoder(|b: &[u8]| b.try_into().map(f64::from_be_bytes).map(Celsius));
    /// assert_eq!(cache.cached(options, || Celsius(-3.5)), Celsius(-3.5));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("serializer", "serialize"))]
    pub fn encoder<T, E, F>(self, encoder: F) -> CacheOptions<WantsDecoder<T, F, E>>
    where
        C: TakesEncoder,
        F: Fn(&T) -> Result<Vec<u8>, E>,
        E: Into<CodecError>,
    {
        let mut options = self.with_codec(|_| WantsDecoder::new(encoder));
        options.overrides.codec = None;
        options
    }
}

impl<T, F, E> CacheOptions<WantsDecoder<T, F, E>> {
    /// Decodes the stored bytes with a function.
    ///
    /// An error counts as a miss, and the next fill overwrites the entry.
    ///
    /// ```
    /// use cache_house::codec::ValueCodec;
    /// use cache_house::{CacheHouse, CacheOptions, opts};
    /// use std::convert::Infallible;
    ///
    /// /// Text as it is, without JSON's quotes.
    /// fn motd() -> CacheOptions<impl ValueCodec<String>> {
    ///     opts!("motd")
    ///         .encoder(|text: &String| Ok::<_, Infallible>(text.clone().into_bytes()))
    ///         .decoder(|bytes: &[u8]| String::from_utf8(bytes.to_vec()))
    /// }
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// cache.insert(motd(), &"Hei".to_string())?;
    /// assert_eq!(cache.get(motd()).as_deref(), Some("Hei"));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("deserializer", "deserialize"))]
    pub fn decoder<D, G>(self, decoder: G) -> CacheOptions<EncoderDecoder<T, F, E, G, D>>
    where
        G: Fn(&[u8]) -> Result<T, D>,
        D: Into<CodecError>,
    {
        self.with_codec(|wants| wants.with(decoder))
    }
}

impl<C> CacheOptions<C> {
    /// Sets the module of the call. It's part of the key, so two modules may have calls of one name.
    ///
    /// ```
    /// use cache_house::{CacheHouse, CacheOptions};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let rate = |module: &'static str| CacheOptions::new("rate").module(module);
    /// assert_ne!(cache.key(&rate("taxes"))?, cache.key(&rate("currencies"))?);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[inline]
    pub fn module(mut self, module: impl Into<Cow<'static, str>>) -> Self {
        self.module = Some(module.into());
        self
    }

    /// Adds a positional argument to the key.
    ///
    /// Different values make different keys, even if JSON writes them alike: `None` and `Some(None)`, a map's keys `1` and `"1"`.
    /// The order of a map doesn't matter, and its keys needn't be text. The order of a set matters: pass a sorted one.
    ///
    /// If `Serialize` fails or panics, or a float isn't finite, the call runs uncached, and the first such call logs a warning.
    ///
    /// ```
    /// use cache_house::{CacheHouse, CacheOptions};
    /// use std::collections::HashMap;
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let one = CacheOptions::new("total").arg(HashMap::from([("apples", 3), ("pears", 2)]));
    /// let two = CacheOptions::new("total").arg(HashMap::from([("pears", 2), ("apples", 3)]));
    /// assert_eq!(cache.key(&one)?, cache.key(&two)?);
    ///
    /// let none = CacheOptions::new("total").arg(f64::NAN);
    /// assert!(cache.key(&none).unwrap_err().is_key());
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("argument", "parameter"))]
    #[inline]
    pub fn arg(mut self, value: impl Serialize) -> Self {
        self.__arg(&value);
        self
    }

    /// The same in place, for [`opts!`](crate::opts): options are large, and would move with each argument.
    #[doc(hidden)]
    #[inline]
    pub fn __arg(&mut self, value: &impl Serialize) {
        let before = self.call.len();
        if self.has_args() {
            self.call.push(b',');
        }
        // The error may quote the value, and a value may be a secret: only the place is kept.
        if let Err(error) = key::write(&mut self.call, value) {
            self.call.truncate(before);
            self.refuse_argument("a positional argument", &error);
        }
    }

    /// Adds a keyword argument to the key.
    ///
    /// The order of keyword arguments doesn't matter. Of two with one name, the last counts. If `Serialize` fails, the call has no key, as
    /// with [`arg`](Self::arg).
    ///
    /// ```
    /// use cache_house::{CacheHouse, CacheOptions};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let one = CacheOptions::new("list").kwarg("page", 3).kwarg("lang", "no");
    /// let two = CacheOptions::new("list").kwarg("lang", "no").kwarg("page", 3);
    /// assert_eq!(cache.key(&one)?, cache.key(&two)?);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("named argument", "keyword argument"))]
    pub fn kwarg(mut self, name: impl AsRef<str>, value: impl Serialize) -> Self {
        self.__kwarg(name.as_ref(), &value);
        self
    }

    #[doc(hidden)]
    pub fn __kwarg(&mut self, name: &str, value: &impl Serialize) {
        let mut text = Text::new();
        if let Err(error) = key::write(&mut text, value) {
            self.refuse_argument(&format!("the argument `{name}`"), &error);
        }
        let text = Box::from(&text[..]);
        match self.kwargs.binary_search_by(|(known, _)| known.as_ref().cmp(name)) {
            Ok(at) => self.kwargs[at].1 = text,
            Err(at) => self.kwargs.insert(at, (name.into(), text)),
        }
    }

    /// Sets the namespace of this call; the handle's by default.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    ///
    /// assert!(cache.key(&opts!("name", 7).namespace("users"))?.starts_with("cachehouse:users:"));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("tenant", "group", "scope"))]
    #[inline]
    pub fn namespace(mut self, namespace: impl AsRef<str>) -> Self {
        self.rare().namespace = Some(namespace.as_ref().into());
        self
    }

    /// Sets the key prefix of this call; the handle's by default.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    ///
    /// assert!(cache.key(&opts!("name", 7).key_prefix("shop"))?.starts_with("shop:main:"));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("prefix"))]
    #[inline]
    pub fn key_prefix(mut self, key_prefix: impl AsRef<str>) -> Self {
        self.rare().key_prefix = Some(key_prefix.as_ref().into());
        self
    }

    /// Sets the value's TTL. Default: the `expire` of its namespace, else of the handle.
    ///
    /// Millisecond precision: anything above zero counts as at least a millisecond. Zero means "don't store".
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// cache.cached(opts!("rate").expire(Duration::from_secs(5)), || 1);
    /// cache.cached(opts!("secret").expire(Duration::ZERO), || 2);
    /// assert!(cache.contains(opts!("rate")));
    /// assert!(!cache.contains(opts!("secret")));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("ttl", "expiry", "expires_in", "time_to_live", "max_age"))]
    #[inline]
    pub fn expire(mut self, expire: Duration) -> Self {
        self.overrides.expire = Some(expire);
        self
    }

    /// Turns the [fence](crate::CacheHouseBuilder::fence) of this call on or off. Default: as its namespace, else the handle, has it.
    ///
    /// A fence refuses the value if another process invalidates its key while the work runs. Without a fence, a miss is one round trip shorter.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// assert_eq!(cache.cached(opts!("digits_of_pi").fence(false), || 314), 314);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[inline]
    pub fn fence(mut self, on: bool) -> Self {
        self.overrides.fence = Some(on);
        self
    }

    /// Sets how long a miss waits for another process that is computing the value. Default: the
    /// [`lease`](crate::CacheHouseBuilder::lease) of its namespace, else of the handle.
    ///
    /// Up to an hour. Zero means that the miss doesn't wait.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().standalone("localhost:1").build()?; // no server is there, so no call waits
    /// assert_eq!(cache.cached(opts!("report").lease(Duration::from_secs(5)), || "rows".to_string()), "rows");
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[inline]
    pub fn lease(mut self, wait: Duration) -> Self {
        self.overrides.lease = Some(wait);
        self
    }

    /// Sets the version of the value's type, a part of the key. Default: the [`version`](crate::CacheHouseBuilder::version) of its
    /// namespace, else of the handle.
    ///
    /// Raise it in the change that alters the type: builds with different versions don't read each other's values. Version 0, the
    /// builder's default, adds nothing to the key. To the key of a [key builder](Self::key_builder), `:v{version}` is appended.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// cache.insert(opts!("user", 7), &"Ada".to_string())?; // by the build before
    /// let user = cache.cached(opts!("user", 7).version(1), || ("Ada".to_string(), 36));
    /// assert_eq!(user.1, 36);
    /// assert_eq!(cache.get(opts!("user", 7)), Some("Ada".to_string()));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("schema", "migration", "cache buster"))]
    #[inline]
    pub fn version(mut self, version: u32) -> Self {
        self.overrides.version = Some(version);
        self
    }

    /// Sets the key builder of this call; the handle's by default.
    ///
    /// ```
    /// use cache_house::{CacheHouse, KeyContext, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let options = opts!("page", 3).key_builder(|cx: &KeyContext<'_>| cx.scoped(&format!("page:{}", cx.args()[0])));
    /// assert_eq!(cache.key(&options)?, "cachehouse:main:page:3");
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("custom key", "key_fn", "key_generator"))]
    pub fn key_builder(mut self, key_builder: impl KeyBuilder + 'static) -> Self {
        self.rare().key_builder = Some(Arc::new(key_builder));
        self
    }

    /// Runs the work whatever is cached; what [`refresh`](crate::CacheHandle::refresh) is made of.
    #[doc(hidden)]
    pub fn __refresh(mut self) -> Self {
        self.rare().is_forced = true;
        self
    }

    #[inline]
    pub(crate) fn is_forced(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.is_forced)
    }

    /// The namespace that the call names, if it names one.
    #[inline]
    pub(crate) fn own_namespace(&self) -> Option<&str> {
        self.rare.as_ref()?.namespace.as_deref()
    }

    /// Writes the call's key under a handle's defaults; `version` is that of its namespace or handle; `tokens` are those of
    /// its tags, where they aren't [set](Self::set_tokens).
    #[inline]
    pub(crate) fn write_key(
        &self,
        key: &mut CallKey,
        scope: &Scope,
        key_builder: Option<&Arc<dyn KeyBuilder>>,
        version: u32,
        tokens: Option<&[Box<str>]>,
        hasher: &impl BuildHasher,
    ) -> Result<(), Error> {
        let (name, args) = self.call.split_at(self.name_len);
        let version = self.overrides.version.unwrap_or(version);
        let own_tokens = || self.rare.as_deref().and_then(|rare| rare.tokens.as_deref());
        let tokens = tokens.or_else(own_tokens).unwrap_or_default();
        let parts = CallParts { module: self.module.as_deref(), name, args, kwargs: &self.kwargs, version, tokens };
        let Some(rare) = &self.rare else {
            return key.write(&parts, scope.check()?, key_builder.map(Arc::as_ref), hasher);
        };
        if let Some((text, scope_len)) = &rare.verbatim {
            key.write_verbatim(text, *scope_len, hasher);
            return Ok(());
        }
        if let Some(problem) = &rare.unkeyable {
            return Err(Error::key(problem.as_ref()));
        }
        let builder = rare.key_builder.as_ref().or(key_builder).map(Arc::as_ref);
        if rare.key_prefix.is_none() && rare.namespace.is_none() {
            return key.write(&parts, scope.check()?, builder, hasher);
        }
        let scope = scope
            .overridden(rare.key_prefix.as_deref(), rare.namespace.as_deref())
            .map_err(|error| Error::key(error.to_string()))?;
        key.write(&parts, &scope, builder, hasher)
    }

    /// The same for all calls of this name and module.
    pub(crate) fn name_hash(&self, hasher: &impl BuildHasher) -> u64 {
        hasher.hash_one((&self.call[..self.name_len], &self.module))
    }

    /// The call's name, for messages.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.call[..self.name_len])
    }

    #[inline]
    fn has_args(&self) -> bool {
        self.call.len() > self.name_len
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    #[cold]
    fn refuse_argument(&mut self, argument: &str, error: &Unkeyable) {
        let problem = match error {
            Unkeyable::Refused(_) => "can't be serialized",
            Unkeyable::Panicked => "panicked when it was serialized",
        };
        self.rare().unkeyable.get_or_insert_with(|| format!("{argument} {problem}").into());
    }

    /// A call that is for whatever reason not to be looked up, nor its value stored.
    #[cold]
    pub(crate) fn without_key(mut self, problem: &str) -> Self {
        self.rare().unkeyable.get_or_insert_with(|| problem.into());
        self
    }

    fn with_codec<D>(self, codec: impl FnOnce(C) -> D) -> CacheOptions<D> {
        CacheOptions {
            module: self.module,
            call: self.call,
            name_len: self.name_len,
            kwargs: self.kwargs,
            overrides: self.overrides,
            rare: self.rare,
            codec: codec(self.codec),
        }
    }
}

impl<C: fmt::Debug> fmt::Debug for CacheOptions<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments may be secrets: only their presence is shown.
        let rare = self.rare.as_deref();
        let codec: &dyn fmt::Debug = match &self.overrides.codec {
            Some(codec) => codec,
            None => &self.codec,
        };
        f.debug_struct("CacheOptions")
            .field("module", &self.module)
            .field("name", &self.name())
            .field("has_args", &self.has_args())
            .field("kwargs", &self.kwargs.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("namespace", &rare.and_then(|rare| rare.namespace.as_deref()))
            .field("key_prefix", &rare.and_then(|rare| rare.key_prefix.as_deref()))
            .field("expire", &self.overrides.expire)
            .field("version", &self.overrides.version)
            .field("freshness", &self.overrides.freshness())
            .field("tags", &self.own_tags())
            .field("key_builder", &rare.is_some_and(|rare| rare.key_builder.is_some()))
            .field("codec", codec)
            .finish()
    }
}

/// [`CacheOptions`] with this module and the given arguments: `opts!(name, args…, key = value…)`.
///
/// Arguments are taken by reference, so they can still be moved into the work.
///
/// `namespace`, `key_prefix`, `expire`, `codec` and `key_builder` are refused as names of arguments, because they are options: write
/// `opts!("user", id).namespace("users")`. If an argument has such a name, there is [`kwarg`](CacheOptions::kwarg).
///
/// ```
/// use cache_house::{CacheOptions, opts};
///
/// let (page, lang) = (3, String::from("no"));
/// let short = opts!("list_users", page, lang = lang);
/// let long = CacheOptions::new("list_users").module(module_path!()).arg(&page).kwarg("lang", &lang);
/// assert_eq!(format!("{short:?}"), format!("{long:?}"));
/// ```
#[doc(alias("cache key", "memoize"))]
#[macro_export]
macro_rules! opts {
    ($name:expr $(,)?) => { $crate::CacheOptions::new($name).module(::core::module_path!()) };
    ($name:expr, $($rest:tt)+) => {{
        let mut options = $crate::CacheOptions::new($name).module(::core::module_path!());
        $crate::__opts!(options, $($rest)+);
        options
    }};
}

/// Takes one argument at a time, so that `key = value` may follow positional ones.
#[doc(hidden)]
#[macro_export]
macro_rules! __opts {
    ($options:ident $(,)?) => {};
    ($options:ident, namespace = $($rest:tt)*) => { $crate::__opts!(~ "namespace") };
    ($options:ident, key_prefix = $($rest:tt)*) => { $crate::__opts!(~ "key_prefix") };
    ($options:ident, expire = $($rest:tt)*) => { $crate::__opts!(~ "expire") };
    ($options:ident, codec = $($rest:tt)*) => { $crate::__opts!(~ "codec") };
    ($options:ident, key_builder = $($rest:tt)*) => { $crate::__opts!(~ "key_builder") };
    (~ $option:literal) => {
        ::core::compile_error!(::core::concat!(
            "`", $option, "` is an option, and `opts!` takes arguments of the key: write `opts!(…).", $option, "(…)`. If an argument has \
             this name, write `opts!(…).kwarg(\"", $option, "\", …)`"
        ))
    };
    ($options:ident, $key:ident = $value:expr $(, $($rest:tt)*)?) => {
        $options.__kwarg(::core::stringify!($key), &$value);
        $crate::__opts!($options $(, $($rest)*)?);
    };
    ($options:ident, $arg:expr $(, $($rest:tt)*)?) => {
        $options.__arg(&$arg);
        $crate::__opts!($options $(, $($rest)*)?);
    };
}
