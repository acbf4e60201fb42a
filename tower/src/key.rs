//! Which call of the cache a request is.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_house::CacheOptions;
use cache_house::codec::{Codec, ValueCodec};
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Method, Uri, request};

use crate::layer::Settings;
use crate::stored::{Kept, VERSION};

/// How many of the hosts that a request names are looked at.
const MOST_HOSTS: usize = 4;

/// What a request is for.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// As the settings have it.
    uri: Uri,
    /// Its host and port in lower case; empty where the request names none.
    host: String,
}

/// A URI in the keys of the cache. The parts stay apart, so that no text of one passes for another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    scheme: String,
    host: String,
    /// With the query.
    path: String,
}

/// Where a response is kept: under its URI, or under one variant of it.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    /// Of the URI.
    pub(crate) key: Key,
    tags: Arc<[String]>,
    pub(crate) variant: Option<Variant>,
}

/// One of the responses of a URI whose responses vary.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    generation: u64,
    pub(crate) names: Vec<String>,
    /// What the request has of each name; headers that can't be text are escaped.
    values: Vec<Option<String>>,
}

/// The calls of the cache, without their arguments. All have one codec, which hits compare.
#[derive(Clone)]
pub(crate) struct Calls {
    primary: CacheOptions,
    variant: CacheOptions,
}

impl Target {
    /// What a request is for; `None` if it isn't clear on which host, so that nothing may be kept of it.
    pub(crate) fn of(settings: &Settings, head: &request::Parts) -> Option<Self> {
        let uri = settings.uri.as_ref().map_or_else(|| head.uri.clone(), |uri| uri(head));
        let host = host(&uri, head).or_else(|| settings.ignores_host.then(String::new))?;
        Some(Self { uri, host })
    }

    /// What a request may be for that changes something: of one whose host isn't clear, its URI under each host that it names.
    pub(crate) fn all_of(settings: &Settings, head: &request::Parts) -> Vec<Self> {
        if let Some(target) = Self::of(settings, head) {
            return vec![target];
        }
        let uri = settings.uri.as_ref().map_or_else(|| head.uri.clone(), |uri| uri(head));
        let lines = head.headers.get_all(HOST).iter().take(MOST_HOSTS);
        let of_headers = lines.filter_map(|line| Authority::try_from(line.as_bytes()).ok());
        let hosts = head.uri.authority().cloned().into_iter().chain(of_headers);
        hosts.map(|host| Self { uri: uri.clone(), host: bare(&host).to_ascii_lowercase() }).collect()
    }

    /// A URI that the response to a request for this one names, if it's on the same host: another can't be spoken for. A path
    /// alone is.
    pub(crate) fn named(&self, uri: &Uri) -> Option<Self> {
        let is_ours = uri.authority().is_none_or(|authority| bare(authority).eq_ignore_ascii_case(&self.host));
        if !is_ours || !uri.path().starts_with('/') {
            return None;
        }
        // As a request of the same client has it, so that it has the same tags.
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = uri.path_and_query().cloned();
        Some(Self { uri: Uri::from_parts(parts).unwrap_or_else(|_| uri.clone()), host: self.host.clone() })
    }

    /// Where the response to a request for it is kept.
    pub(crate) fn slot(&self, settings: &Settings, head: &request::Parts) -> Slot {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let (scheme, host) = if settings.ignores_host {
            (String::new(), String::new())
        } else {
            (self.uri.scheme_str().unwrap_or_default().to_owned(), self.host.clone())
        };
        Slot { key: Key { scheme, host, path }, tags: self.tags(settings, head), variant: None }
    }

    /// The same for each scheme: a client of HTTP/2 names it, one of HTTP/1.1 doesn't, and it's the same resource.
    pub(crate) fn slots(&self, settings: &Settings, head: &request::Parts) -> Vec<Slot> {
        let slot = self.slot(settings, head);
        let mut schemes = vec![slot.key.scheme.as_str()];
        if !settings.ignores_host {
            schemes.extend(["", "http", "https"]);
        }
        let under = |scheme: &str| Slot { key: Key { scheme: scheme.to_owned(), ..slot.key.clone() }, ..slot.clone() };
        schemes.into_iter().map(under).collect()
    }

    /// The tags of a `GET` of this URI.
    fn tags(&self, settings: &Settings, head: &request::Parts) -> Arc<[String]> {
        let Some(tags) = &settings.tags else { return Arc::default() };
        if head.method == Method::GET && head.uri == self.uri {
            return tags(head).into();
        }
        let mut head = head.clone();
        (head.method, head.uri) = (Method::GET, self.uri.clone());
        tags(&head).into()
    }
}

impl Slot {
    /// The slot of the URI.
    pub(crate) fn primary(&self) -> Self {
        Self { variant: None, ..self.clone() }
    }

    /// The variant that a request with these headers is for.
    pub(crate) fn variant(&self, names: &[String], generation: u64, request: &HeaderMap) -> Self {
        let value = |name: &String| {
            let lines: Vec<_> =
                request.get_all(name.as_str()).iter().map(|line| line.as_bytes().trim_ascii()).collect();
            (!lines.is_empty()).then(|| lines.join(&b", "[..]).escape_ascii().to_string())
        };
        let variant = Variant { generation, names: names.to_vec(), values: names.iter().map(value).collect() };
        Self { variant: Some(variant), ..self.clone() }
    }

    /// Identifies this slot among those of the layer.
    pub(crate) fn text(&self) -> String {
        match &self.variant {
            None => self.key.to_string(),
            Some(variant) => format!("{} {} {:?}", self.key, variant.generation, variant.values),
        }
    }

    /// The call of the cache. Variants have no tags, as they are found through the entry of the URI alone, which has them.
    pub(crate) fn options(
        &self,
        settings: &Arc<Settings>,
    ) -> CacheOptions<impl ValueCodec<Kept> + Send + Sync + use<>> {
        let Key { scheme, host, path } = &self.key;
        let of_uri = |call: &CacheOptions| call.clone().arg(scheme).arg(host).arg(path);
        let options = match &self.variant {
            None => of_uri(&settings.calls.primary).tags(self.tags.iter()),
            Some(Variant { generation, names, values }) => {
                of_uri(&settings.calls.variant).arg(generation).arg(names).arg(values)
            }
        };
        let settings = Arc::clone(settings);
        options
            .namespace(&settings.namespace)
            .version(VERSION)
            // What is stale, and who is served it, is HTTP's to say.
            .stale_while_revalidate(Duration::ZERO)
            .stale_if_error(Duration::ZERO)
            .refresh_early(0.0)
            .expire_by(move |kept: &Kept| kept.ttl((settings.clock)(), settings.keep_stale))
    }
}

impl Calls {
    /// The calls of a layer whose responses this codec encodes.
    pub(crate) fn with(codec: impl Codec + Clone) -> Self {
        let call = |name, codec| CacheOptions::new(name).codec(codec);
        Self { primary: call("http", codec.clone()), variant: call("http-variant", codec) }
    }
}

impl fmt::Display for Key {
    /// Neither a scheme nor a host has a blank in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.scheme, self.host, self.path)
    }
}

/// The host and port of a request for `uri`, in lower case; empty where it names none.
///
/// `None` where that isn't clear, so that others could be served what is made for this request: `Host` comes twice, is no host, or
/// has user information; or the client's own URI names another host or port than `Host`. A default port may be left out.
/// hyper checks none of this.
fn host(uri: &Uri, head: &request::Parts) -> Option<String> {
    if let Some(host) = uri.authority()
        && uri.authority() != head.uri.authority()
    {
        // The program has put it there, whatever the client says.
        return Some(bare(host).to_ascii_lowercase());
    }
    // A program may leave it out of its own URI.
    let of_uri = head.uri.authority().map(bare);
    let mut lines = head.headers.get_all(HOST).iter();
    let of_header = match lines.next() {
        Some(line) if !line.is_empty() => {
            Some(Authority::try_from(line.as_bytes()).ok().filter(|host| !host.as_str().contains('@'))?)
        }
        _ => None,
    };
    if lines.next().is_some() {
        return None;
    }
    let default_port = if head.uri.scheme_str() == Some("https") { ":443" } else { ":80" };
    let without_default = |host: &str| host.strip_suffix(default_port).unwrap_or(host).to_ascii_lowercase();
    match (of_uri, of_header.as_ref().map(Authority::as_str)) {
        (Some(one), Some(other)) if without_default(one) != without_default(other) => None,
        (Some(host), _) | (None, Some(host)) => Some(host.to_ascii_lowercase()),
        (None, None) => Some(String::new()),
    }
}

/// Host and port, without user information.
fn bare(authority: &Authority) -> &str {
    authority.as_str().rsplit('@').next().unwrap_or_default()
}
