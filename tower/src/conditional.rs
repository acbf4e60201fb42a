//! Validators: conditional requests to the origin, and those of clients (RFC 9110, section 13).

use http::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// What a 304 doesn't change of a stored response: they describe the body, which stays (RFC 9111, section 3.2).
const OF_THE_BODY: [HeaderName; 5] = [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, TRANSFER_ENCODING];

/// Whether the origin can be asked whether this response is still right.
pub(crate) fn has_validator(response: &HeaderMap) -> bool {
    response.contains_key(ETAG) || response.contains_key(LAST_MODIFIED)
}

/// Makes a request one for the whole response, or for a 304 where that is still `stored`. The client's own conditions are answered
/// from what comes.
pub(crate) fn make_conditional(request: &mut HeaderMap, stored: Option<&HeaderMap>) {
    for (condition, validator) in [(IF_NONE_MATCH, ETAG), (IF_MODIFIED_SINCE, LAST_MODIFIED)] {
        request.remove(&condition);
        if let Some(value) = stored.and_then(|stored| stored.get(validator)) {
            request.insert(condition, value.clone());
        }
    }
}

/// The headers of a stored response after a 304 with these.
pub(crate) fn freshened(stored: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut headers = stored.clone();
    for name in not_modified.keys().filter(|name| !OF_THE_BODY.contains(name)) {
        headers.remove(name);
        for value in not_modified.get_all(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// Whether a client that sent `request` has the response already, so that a 304 answers it.
pub(crate) fn client_has(request: &HeaderMap, status: StatusCode, response: &HeaderMap) -> bool {
    if status != StatusCode::OK {
        return false;
    }
    if request.contains_key(IF_NONE_MATCH) {
        let etag = response.get(ETAG).and_then(|etag| etag.to_str().ok()).map(opaque);
        let mut tags =
            request.get_all(IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok()).flat_map(entity_tags);
        return tags.any(|tag| tag == "*" || Some(opaque(tag)) == etag);
    }
    let date = |value: Option<&HeaderValue>| httpdate::parse_http_date(value?.to_str().ok()?).ok();
    let (since, modified) = (date(request.get(IF_MODIFIED_SINCE)), date(response.get(LAST_MODIFIED)));
    since.zip(modified).is_some_and(|(since, modified)| modified <= since)
}

/// The headers of a 304 in place of a 200 with these.
pub(crate) fn not_modified(headers: &mut HeaderMap) {
    for name in OF_THE_BODY.into_iter().chain([CONTENT_LANGUAGE]) {
        headers.remove(name);
    }
}

/// An entity tag as the weak comparison sees it.
fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// The tags of a list; a comma may be inside a tag.
fn entity_tags(line: &str) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    line.split(move |character| {
        is_quoted ^= character == '"';
        character == ',' && !is_quoted
    })
    .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn a_client_has_what_its_conditions_name() {
        let response = headers(&[(ETAG, "\"a,b\""), (LAST_MODIFIED, DATE)]);
        let has = |pairs: &[_]| client_has(&headers(pairs), StatusCode::OK, &response);
        assert!(has(&[(IF_NONE_MATCH, "\"x\", \"a,b\"")]));
        assert!(has(&[(IF_NONE_MATCH, "W/\"a,b\"")]));
        assert!(has(&[(IF_NONE_MATCH, "*")]));
        assert!(!has(&[(IF_NONE_MATCH, "\"a\"")]));
        assert!(has(&[(IF_MODIFIED_SINCE, DATE)]) && has(&[(IF_MODIFIED_SINCE, LATER)]));
        assert!(!has(&[(IF_MODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:36 GMT")]));
        // An entity tag decides alone.
        assert!(!has(&[(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, LATER)]));
        assert!(!has(&[(IF_MODIFIED_SINCE, "yesterday")]));
        assert!(!has(&[]));
        assert!(!client_has(&headers(&[(IF_NONE_MATCH, "*")]), StatusCode::NOT_FOUND, &response));
    }

    #[test]
    fn a_304_replaces_all_values_of_a_field_and_keeps_what_describes_the_body() {
        let link = HeaderName::from_static("link");
        let stored = headers(&[(link.clone(), "a"), (link.clone(), "b"), (CONTENT_LENGTH, "5"), (ETAG, "\"1\"")]);
        let fresh = freshened(&stored, &headers(&[(link.clone(), "c"), (CONTENT_LENGTH, "0")]));
        assert_eq!(fresh, headers(&[(link, "c"), (CONTENT_LENGTH, "5"), (ETAG, "\"1\"")]));
    }
}
