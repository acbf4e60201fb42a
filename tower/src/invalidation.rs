//! What goes with a request that changes something (RFC 9111, section 4.4).

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use http::header::{CONTENT_LOCATION, LOCATION};
use http::{HeaderMap, Uri, request};

use crate::key::Target;
use crate::layer::Settings;
use crate::state::State;

/// Removes what is stored of the URI of a request that has succeeded, and of those on the same host that its response names.
pub(crate) async fn invalidate(settings: &Arc<Settings>, state: &State, head: &request::Parts, response: &HeaderMap) {
    let uris =
        [LOCATION, CONTENT_LOCATION].into_iter().filter_map(|name| response.get(name)?.to_str().ok()?.parse().ok());
    let uris: Vec<Uri> = uris.collect();
    let targets: Vec<_> = Target::all_of(settings, head)
        .into_iter()
        .flat_map(|target| {
            let named: Vec<_> = uris.iter().filter_map(|uri| target.named(uri)).collect();
            std::iter::once(target).chain(named)
        })
        .collect();
    let mut removed = BTreeSet::new();
    let mut removals = Vec::new();
    for slot in targets.iter().flat_map(|target| target.slots(settings, head)) {
        if removed.insert(slot.key.clone()) {
            let options = slot.options(settings);
            removals.push(async move { settings.handle.remove_async(options).await });
        }
    }
    for error in join_all(removals).await.into_iter().filter_map(Result::err) {
        state.not_removed(&error);
    }
}
