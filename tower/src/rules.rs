//! The rules of RFC 9111: what may be stored and for how long, and who may be served it.

use std::time::{Duration, SystemTime};

use http::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, DATE, EXPIRES, HeaderName, LAST_MODIFIED,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request, response};
use http_cache_semantics::{CacheOptions, CachePolicy};

use crate::conditional::has_validator;
use crate::directives::Directives;
use crate::stored::Stored;

/// A response that varies by more headers than this isn't stored.
const MOST_VARY_NAMES: usize = 16;

/// How a response may be stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Storing {
    /// How long it's fresh after the origin made it.
    pub(crate) lifetime: Duration,
    /// How old it was when it came.
    pub(crate) age: Duration,
    /// The headers that it varies by, in lower case, sorted.
    pub(crate) vary: Vec<String>,
}

/// What forbids that a response is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unstorable {
    /// The request: another's may be.
    ByRequest,
    /// The response.
    ByResponse,
}

/// What a stored response is good for, for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It's served.
    Serve,
    /// It's served, and renewed in the background (RFC 5861).
    ServeAndRenew,
    /// The origin is asked, because the response is stale or has to be revalidated.
    Stale,
    /// The origin is asked, because the request says so.
    Request,
    /// The request has `Authorization`, and the response isn't for such requests.
    NotForAuthorized,
}

/// Whether the response may be stored. `delay` is how long it took to come; `heuristic` is the fraction of the time since
/// `Last-Modified` for which a response is fresh that says nothing else.
pub(crate) fn storing(
    request: &request::Parts,
    response: &response::Parts,
    now: SystemTime,
    delay: Duration,
    heuristic: f32,
) -> Result<Storing, Unstorable> {
    let directives = Directives::of(&response.headers);
    let names = vary_names(&response.headers).ok_or(Unstorable::ByResponse)?;
    let is_stream =
        response.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if response.headers.contains_key(SET_COOKIE) || is_stream {
        return Err(Unstorable::ByResponse);
    }
    let policy = policy(&directives, response, now, heuristic);
    if !policy.is_storable() {
        return Err(Unstorable::ByResponse);
    }
    let is_authorized = request.headers.contains_key(AUTHORIZATION);
    if Directives::of(&request.headers).no_store || is_authorized && !directives.allows_authorized() {
        return Err(Unstorable::ByRequest);
    }
    // The policy wasn't given its age, so this is the whole lifetime.
    let lifetime = policy.time_to_live(now);
    let age = initial_age(&response.headers, now, delay);
    // Stale from the start: kept where the origin says so, and something can come of it.
    let says_so = directives.no_cache
        || directives.public
        || directives.must_revalidate
        || directives.max_age.or(directives.s_maxage).is_some()
        || response.headers.contains_key(EXPIRES);
    let serves_stale = directives.stale_while_revalidate.or(directives.stale_if_error).is_some();
    let is_useful = says_so && (has_validator(&response.headers) || serves_stale && !directives.forbids_stale());
    if lifetime <= age && !is_useful {
        return Err(Unstorable::ByResponse);
    }
    Ok(Storing { lifetime, age, vary: names })
}

/// Whether `stored` answers a request with these headers and directives.
pub(crate) fn verdict(stored: &Stored, request: &HeaderMap, wanted: &Directives, now: SystemTime) -> Verdict {
    let directives = Directives::of(&stored.headers);
    if request.contains_key(AUTHORIZATION) && !directives.allows_authorized() {
        return Verdict::NotForAuthorized;
    }
    if wanted.no_cache || wanted.max_age.is_some_and(|max_age| stored.age(now) > max_age) {
        return Verdict::Request;
    }
    if directives.no_cache {
        return Verdict::Stale;
    }
    let Some(staleness) = stored.staleness(now) else {
        let is_too_short = |min| stored.lifetime() - stored.age(now) < min;
        return if wanted.min_fresh.is_some_and(is_too_short) { Verdict::Request } else { Verdict::Serve };
    };
    if directives.forbids_stale() || wanted.min_fresh.is_some() {
        return Verdict::Stale;
    }
    let within = |window: Option<Duration>| window.is_some_and(|window| staleness < window);
    if within(directives.stale_while_revalidate) {
        Verdict::ServeAndRenew
    } else if within(wanted.max_stale) && directives.s_maxage.is_none() && stored.is_shared_while_revalidating() {
        Verdict::Serve
    } else {
        Verdict::Stale
    }
}

/// Whether a stale response answers in place of a failure of the origin (RFC 5861, section 4).
pub(crate) fn may_replace_failure(stored: &Stored, wanted: &Directives, now: SystemTime) -> bool {
    let directives = Directives::of(&stored.headers);
    // What the request allows doesn't count against what the response forbids.
    let is_for_requests = directives.s_maxage.is_none() && stored.is_shared_while_revalidating();
    let by_request = wanted.stale_if_error.filter(|_| is_for_requests);
    let window = directives.stale_if_error.max(by_request).unwrap_or_default();
    let is_within = stored.staleness(now).is_none_or(|staleness| staleness < window);
    !directives.forbids_stale() && !wanted.no_cache && !window.is_zero() && is_within
}

/// Whether a status is a failure in the sense of `stale-if-error`.
pub(crate) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// Whether a response of this status that isn't stored says that the stored one is no longer right. A refusal or another failure
/// may be about this one request.
pub(crate) fn replaces_stored(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200..=399 | 404 | 410)
}

/// Removes what concerns one connection alone (RFC 9111, section 3.1), and what is written for each answer.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let named: Vec<_> =
        headers.get_all(CONNECTION).iter().filter_map(|line| line.to_str().ok()).flat_map(words).collect();
    let named: Vec<_> = named.iter().filter_map(|name| HeaderName::try_from(*name).ok()).collect();
    let fixed = [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, AGE];
    let others = ["keep-alive", "proxy-connection", "proxy-authentication-info"].map(HeaderName::from_static);
    for name in fixed.into_iter().chain(others).chain(named) {
        headers.remove(name);
    }
}

/// The names that a response varies by, in lower case, sorted; `None` where it varies by more than its request's headers, or by
/// too many.
fn vary_names(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for line in headers.get_all(VARY) {
        for name in words(line.to_str().ok()?) {
            // It's looked up by this name: one that can't be a header's is `*`, or a mistake.
            names.push(HeaderName::try_from(name).ok().filter(|name| name != "*")?.as_str().to_owned());
        }
    }
    names.sort_unstable();
    names.dedup();
    (names.len() <= MOST_VARY_NAMES).then_some(names)
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(',').map(str::trim).filter(|word| !word.is_empty())
}

/// What the crate that knows the rules makes of a response. It's given what it needs, in a form that it reads without doubt: it
/// takes names of directives in lower case only, splits inside quotes, and takes `proxy-revalidate` for "never fresh".
fn policy(directives: &Directives, response: &response::Parts, now: SystemTime, heuristic: f32) -> CachePolicy {
    let mut given = Response::new(());
    *given.status_mut() = response.status;
    let headers = given.headers_mut();
    if let Ok(line) = HeaderValue::try_from(canonical(directives))
        && !line.is_empty()
    {
        headers.insert(CACHE_CONTROL, line);
    }
    for name in [DATE, EXPIRES, LAST_MODIFIED] {
        let mut values = response.headers.get_all(&name).iter();
        let Some(value) = values.next() else { continue };
        let is_alone = values.all(|other| other == value);
        let date = value.to_str().ok().filter(|_| is_alone).and_then(|value| httpdate::parse_http_date(value).ok());
        let value = date.and_then(|date| HeaderValue::try_from(httpdate::fmt_http_date(date)).ok());
        // `0` is what an unreadable `Expires` counts as: a time in the past (section 5.3).
        match value {
            Some(value) => drop(headers.insert(name, value)),
            None if name == EXPIRES => drop(headers.insert(name, HeaderValue::from_static("0"))),
            None => {}
        }
    }
    let request = Request::builder().method(Method::GET).body(()).unwrap_or_default();
    let options = CacheOptions {
        shared: true,
        cache_heuristic: heuristic,
        immutable_min_time_to_live: Duration::ZERO,
        ignore_cargo_cult: false,
    };
    CachePolicy::new_options(&request, &given, now, options)
}

fn canonical(directives: &Directives) -> String {
    let flags = [
        (directives.no_store, "no-store"),
        (directives.no_cache, "no-cache"),
        (directives.private, "private"),
        (directives.public, "public"),
        (directives.must_revalidate, "must-revalidate"),
    ];
    let numbers = [(directives.max_age, "max-age"), (directives.s_maxage, "s-maxage")];
    let flags = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name.to_owned());
    let numbers = numbers.into_iter().filter_map(|(value, name)| Some(format!("{name}={}", value?.as_secs())));
    flags.chain(numbers).collect::<Vec<_>>().join(", ")
}

/// How old a response is that has just come (section 4.2.3).
fn initial_age(headers: &HeaderMap, now: SystemTime, delay: Duration) -> Duration {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let date = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    let apparent = date.and_then(|date| now.duration_since(date).ok()).unwrap_or_default();
    let stated = text(AGE).and_then(|age| age.trim().parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    // `Date` has whole seconds: a part of one says nothing.
    Duration::from_secs(apparent.as_secs()).max(stated.saturating_add(if stated.is_zero() {
        Duration::ZERO
    } else {
        delay
    }))
}
