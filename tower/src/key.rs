//! Which call of the cache a request is.

use std::sync::Arc;
use std::time::Duration;

use cache_house::CacheOptions;
use cache_house::codec::{MessagePack, ValueCodec};
use http::header::HOST;
use http::{HeaderMap, Method, Uri, request};

use crate::layer::Settings;
use crate::stored::{Kept, VERSION};

/// Where a response is kept: under its URI, or under one variant of it.
#[derive(Debug, Clone)]
pub(crate) struct Slot {
    /// Of the URI.
    pub(crate) key: String,
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

impl Slot {
    pub(crate) fn primary(key: String) -> Self {
        Self { key, variant: None }
    }

    /// The variant that a request with these headers is for.
    pub(crate) fn variant(&self, names: &[String], generation: u64, request: &HeaderMap) -> Self {
        let value = |name: &String| {
            let lines: Vec<_> =
                request.get_all(name.as_str()).iter().map(|line| line.as_bytes().trim_ascii()).collect();
            (!lines.is_empty()).then(|| lines.join(&b", "[..]).escape_ascii().to_string())
        };
        let variant = Variant { generation, names: names.to_vec(), values: names.iter().map(value).collect() };
        Self { key: self.key.clone(), variant: Some(variant) }
    }

    /// Identifies this slot among those of the layer.
    pub(crate) fn text(&self) -> String {
        match &self.variant {
            None => self.key.clone(),
            Some(variant) => format!("{} {} {:?}", self.key, variant.generation, variant.values),
        }
    }

    /// The call of the cache. Variants have no tags, as they are found through the entry of the URI alone, which has them.
    pub(crate) fn options(
        &self,
        settings: &Arc<Settings>,
        head: &request::Parts,
    ) -> CacheOptions<impl ValueCodec<Kept> + Send + Sync + use<>> {
        let options = match &self.variant {
            None => CacheOptions::new("http").arg(&self.key).tags(tags(settings, head)),
            Some(variant) => {
                let Variant { generation, names, values } = variant;
                CacheOptions::new("http-variant").arg(&self.key).arg(generation).arg(names).arg(values)
            }
        };
        let settings = Arc::clone(settings);
        options
            .namespace(&settings.namespace)
            .version(VERSION)
            // Bodies are bytes.
            .codec(MessagePack)
            // What is stale, and who is served it, is HTTP's to say.
            .stale_while_revalidate(Duration::ZERO)
            .stale_if_error(Duration::ZERO)
            .refresh_early(0.0)
            .expire_by(move |kept: &Kept| kept.ttl((settings.clock)(), settings.keep_stale))
    }
}

/// The tags of a request, as a `GET` of the same URI has them.
fn tags(settings: &Settings, head: &request::Parts) -> Vec<String> {
    let Some(tags) = &settings.tags else { return Vec::new() };
    if head.method == Method::GET {
        return tags(head);
    }
    let mut head = head.clone();
    head.method = Method::GET;
    tags(&head)
}

/// The URI that a request is for, as the settings have it.
pub(crate) fn target(settings: &Settings, head: &request::Parts) -> Uri {
    settings.uri.as_ref().map_or_else(|| head.uri.clone(), |uri| uri(head))
}

/// The key of the URI that a request is for.
pub(crate) fn key(settings: &Settings, head: &request::Parts) -> String {
    let uri = target(settings, head);
    key_of(settings, uri.scheme_str().unwrap_or_default(), &host(&uri, &head.headers), &uri)
}

/// The key of a URI with this scheme and host.
pub(crate) fn key_of(settings: &Settings, scheme: &str, host: &str, uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    if settings.ignores_host { path.to_owned() } else { format!("{scheme}://{host}{path}") }
}

/// The host and port of a request, in lower case.
pub(crate) fn host(uri: &Uri, headers: &HeaderMap) -> String {
    let text = match uri.authority() {
        // Without user information, which is no part of a host.
        Some(authority) => authority.as_str().rsplit('@').next().unwrap_or_default().to_owned(),
        None => headers.get(HOST).map(|host| host.as_bytes().escape_ascii().to_string()).unwrap_or_default(),
    };
    text.to_ascii_lowercase()
}
