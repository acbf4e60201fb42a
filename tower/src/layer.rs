//! The layer and its options.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cache_house::CacheHandle;
use cache_house::codec::{Codec, MessagePack};
use http::{Uri, request};
use tower_layer::Layer;

use crate::key::Calls;
use crate::service::Cache;
use crate::state::State;
use crate::status::CacheName;

/// Caches the responses of a service as a shared cache (RFC 9111), in what a [`CacheHandle`] keeps.
///
/// | setter | default |
/// | --- | --- |
/// | [`namespace`](Self::namespace) | `http` |
/// | [`codec`](Self::codec) | `MessagePack` |
/// | [`max_body`](Self::max_body) | 1 MiB |
/// | [`tags`](Self::tags) | none |
/// | [`uri`](Self::uri) | the request's |
/// | [`ignore_host`](Self::ignore_host) | the host is part of the key |
/// | [`name`](Self::name) | `cache-house` |
/// | [`heuristic`](Self::heuristic) | 0: off |
/// | [`keep_stale`](Self::keep_stale) | an hour |
/// | [`clock`](Self::clock) | the system's |
///
/// The services that a layer and its clones make share what is cached. Layers that change responses for each client, such as
/// sessions, go outside of it.
///
/// ```
/// use cache_house::CacheHouse;
/// use cache_house_tower::CacheLayer;
/// use std::convert::Infallible;
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = CacheHouse::builder().memory().build()?;
/// let origin = service_fn(|_: http::Request<String>| async {
///     let response = http::Response::builder().header("cache-control", "max-age=60");
///     Ok::<_, Infallible>(response.body("hello".to_string()).expect("its parts are right"))
/// });
/// let service = CacheLayer::new(cache).layer(origin);
/// let get = || http::Request::get("http://localhost/").body(String::new());
/// let first = service.clone().oneshot(get()?).await?;
/// assert_eq!(first.headers()["cache-status"], "cache-house; fwd=uri-miss; stored");
/// let second = service.oneshot(get()?).await?;
/// assert!(second.headers()["cache-status"].to_str()?.starts_with("cache-house; hit; ttl="));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it's added to a service"]
pub struct CacheLayer {
    settings: Arc<Settings>,
    state: Arc<State>,
}

/// What a layer was given.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) handle: CacheHandle,
    pub(crate) namespace: Arc<str>,
    pub(crate) calls: Calls,
    pub(crate) max_body: usize,
    pub(crate) tags: Option<Arc<TagsOf>>,
    pub(crate) uri: Option<Arc<UriOf>>,
    pub(crate) ignores_host: bool,
    pub(crate) name: CacheName,
    pub(crate) heuristic: f32,
    pub(crate) keep_stale: Duration,
    pub(crate) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

pub(crate) type TagsOf = dyn Fn(&request::Parts) -> Vec<String> + Send + Sync;
pub(crate) type UriOf = dyn Fn(&request::Parts) -> Uri + Send + Sync;

impl CacheLayer {
    /// A layer that keeps responses with this handle.
    ///
    /// A codec of the handle or of the namespace, such as `Encrypted`, doesn't apply to them: see [`codec`](Self::codec).
    pub fn new(handle: CacheHandle) -> Self {
        let settings = Settings {
            handle,
            namespace: "http".into(),
            // Bodies are bytes.
            calls: Calls::with(MessagePack),
            max_body: 1024 * 1024,
            tags: None,
            uri: None,
            ignores_host: false,
            name: CacheName::new("cache-house"),
            heuristic: 0.0,
            keep_stale: Duration::from_secs(3600),
            clock: Arc::new(SystemTime::now),
        };
        Self { settings: Arc::new(settings), state: Arc::default() }
    }

    /// Sets the namespace of all that the layer keeps; `http` by default. `CacheHandle::clear_namespace` empties it.
    ///
    /// Services that answer the same URI differently need different ones.
    pub fn namespace(self, namespace: impl AsRef<str>) -> Self {
        self.with(|settings| settings.namespace = namespace.as_ref().into())
    }

    /// Sets the codec of what the layer keeps on a server; `MessagePack` by default, which writes bodies as bytes. The codecs of
    /// the handle and of the namespace don't apply, not even one that encrypts.
    ///
    /// `.codec(Encrypted::new(MessagePack, key))` encrypts what this layer keeps. `encryption` on the handle's builder or in its
    /// file encrypts all that the handle stores on a server, whatever the codec. When you change the codec, change the
    /// [namespace](Self::namespace) too.
    pub fn codec(self, codec: impl Codec + Clone) -> Self {
        self.with(|settings| settings.calls = Calls::with(codec))
    }

    /// Sets how many bytes the body of a stored response may have; 1 MiB by default. A larger one is passed on as it comes and
    /// isn't stored. About as much memory is held for each response that is being read.
    ///
    /// The handle's `max_value_bytes` bounds what is stored too, headers included.
    pub fn max_body(self, bytes: usize) -> Self {
        self.with(|settings| settings.max_body = bytes)
    }

    /// Sets the tags of a request's responses: `CacheHandle::remove_tag` invalidates all responses with a tag.
    ///
    /// `parts.uri` is the URI that the response is of: the answer of the function of [`uri`](Self::uri) if there is one, or a URI
    /// that the response to a `POST` names by `Location` or `Content-Location`. `parts.method` is `GET`.
    ///
    /// The tags may depend on what the key depends on: the URI and, unless it's [ignored](Self::ignore_host), the host. If they
    /// depend on other headers, a `POST` invalidates only responses to requests that have its own tags. Requests with a tag
    /// that is empty or longer than 512 bytes aren't cached.
    pub fn tags(self, tags: impl Fn(&request::Parts) -> Vec<String> + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.tags = Some(Arc::new(tags)))
    }

    /// Sets which URI a request is for; the request's own by default. The key is its scheme, authority, path and query; without
    /// an authority, the header `Host` has it. The function of [`tags`](Self::tags) gets this URI.
    ///
    /// If it isn't clear which host a request is for, it's passed on, and nothing is stored: it has several `Host`, or
    /// one that is no host, has user information, or differs from the authority of the request's own URI. A default port may be
    /// left out. An authority that the function puts in place of the request's own isn't compared with `Host`.
    ///
    /// Inside axum's `Router::nest` the request's own URI lacks the prefix, so that `/users/1` and `/orders/1` would be one. There:
    /// `.uri(|parts| parts.extensions.get::<OriginalUri>().map_or_else(|| parts.uri.clone(), |uri| uri.0.clone()))`.
    pub fn uri(self, uri: impl Fn(&request::Parts) -> Uri + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.uri = Some(Arc::new(uri)))
    }

    /// Leaves scheme and host out of the key, for a service that answers alike whatever it's called. `Host` isn't checked then.
    pub fn ignore_host(self) -> Self {
        self.with(|settings| settings.ignores_host = true)
    }

    /// Sets the name of this cache in `Cache-Status` (RFC 9211); `cache-house` by default. Characters that aren't printable
    /// ASCII are left out.
    pub fn name(self, name: impl AsRef<str>) -> Self {
        self.with(|settings| settings.name = CacheName::new(name.as_ref()))
    }

    /// Sets the lifetime of a response that states none, as a fraction of the time since its `Last-Modified` (RFC 9111,
    /// section 4.2.2, which names 0.1 as typical). Default: zero, which turns this off. Anything but a finite number above zero
    /// counts as zero.
    pub fn heuristic(self, fraction: f32) -> Self {
        let fraction = if fraction.is_finite() { fraction.max(0.0) } else { 0.0 };
        self.with(|settings| settings.heuristic = fraction)
    }

    /// Sets how long a stale response with `ETag` or `Last-Modified` is kept, so that it can be revalidated by a conditional
    /// request; an hour by default. It's kept longer where `stale-while-revalidate` or `stale-if-error` ask for it; nothing is
    /// kept longer than a year.
    pub fn keep_stale(self, time: Duration) -> Self {
        self.with(|settings| settings.keep_stale = time)
    }

    /// Sets the clock by which ages are counted, for tests; the system's by default. The handle's memory has a clock of its own:
    /// `cache_house::ManualClock`.
    pub fn clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.with(|settings| settings.clock = Arc::new(clock))
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        // What another layer knows of its URIs may be wrong for these settings.
        self.state = Arc::default();
        self
    }
}

impl<S> Layer<S> for CacheLayer {
    type Service = Cache<S>;

    fn layer(&self, inner: S) -> Cache<S> {
        Cache::new(inner, Arc::clone(&self.settings), Arc::clone(&self.state))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("handle", &self.handle)
            .field("namespace", &self.namespace)
            .field("max_body", &self.max_body)
            .field("tags", &self.tags.is_some())
            .field("uri", &self.uri.is_some())
            .field("ignores_host", &self.ignores_host)
            .field("name", &self.name)
            .field("heuristic", &self.heuristic)
            .field("keep_stale", &self.keep_stale)
            .finish_non_exhaustive()
    }
}
