//! What goes with a request that changes something (RFC 9111, section 4.4).

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, Uri, request};

use crate::key::{self, Slot};
use crate::layer::Settings;

/// Removes what is stored of the URI of a request that has succeeded, and of those on the same host that its response names.
pub(crate) async fn invalidate(settings: &Arc<Settings>, head: &request::Parts, response: &HeaderMap) {
    let target = key::target(settings, head);
    let host = key::host(&target, &head.headers);
    let named = [LOCATION, CONTENT_LOCATION].into_iter().filter_map(|name| {
        let uri: Uri = response.get(name)?.to_str().ok()?.parse().ok()?;
        // Another host can't be spoken for. A relative path is that of the same host.
        let is_ours = uri.authority().is_none_or(|_| key::host(&uri, &head.headers) == host);
        (is_ours && uri.path().starts_with('/')).then_some(uri)
    });
    let named = named.map(|uri| {
        let mut head = head.clone();
        head.uri = uri.clone();
        (uri, head)
    });
    let all: Vec<_> = std::iter::once((target.clone(), head.clone())).chain(named).collect();
    let mut removed = BTreeSet::new();
    let mut removals = Vec::new();
    for (uri, head) in all {
        // A client of HTTP/2 names the scheme, one of HTTP/1.1 doesn't: it's the same resource.
        for scheme in ["", "http", "https"].into_iter().chain(uri.scheme_str()) {
            let authority = if uri.authority().is_some() { key::host(&uri, &head.headers) } else { host.clone() };
            let key = key::key_of(settings, scheme, &authority, &uri);
            if removed.insert(key.clone()) {
                let options = Slot::primary(key).options(settings, &head);
                removals.push(async move { settings.handle.remove_async(options).await });
            }
        }
    }
    for error in join_all(removals).await.into_iter().filter_map(Result::err) {
        tracing::debug!(target: "cache_house", %error, "a stored response isn't removed");
    }
}
