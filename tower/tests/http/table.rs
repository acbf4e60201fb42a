//! RFC 9111 row by row: what a response and two requests for it come to.

use crate::support::{Origin, Site, Time};

const DATE: &str = "Sun, 15 Jun 2025 15:06:40 GMT";

/// The status and headers of a response, the headers of a first and of a second request, the seconds between them,
/// `Cache-Status` of the second response, and whether the first is stored. Headers are `name: value`, parted by `|`. The clock
/// begins at `DATE`.
#[rustfmt::skip]
const ROWS: &[(u16, &str, &str, &str, u64, &str, bool)] = &[
    // Lifetimes (4.2.1).
    (200, "cache-control: max-age=60", "", "", 0, "hit; ttl=60", true),
    (200, "cache-control: max-age=60", "", "", 59, "hit; ttl=1", true),
    (200, "cache-control: max-age=60", "", "", 60, "fwd=uri-miss; stored", true),
    (200, "cache-control: s-maxage=60, max-age=1", "", "", 59, "hit; ttl=1", true),
    (200, "cache-control: max-age=60, s-maxage=0", "", "", 0, "fwd=miss", false),
    (200, "expires: Sun, 15 Jun 2025 15:07:40 GMT", "", "", 59, "hit; ttl=1", true),
    (200, "expires: Sunday, 15-Jun-25 15:07:40 GMT", "", "", 59, "hit; ttl=1", true),
    (200, "expires: 0", "", "", 0, "fwd=miss", false),
    (200, "expires: soon", "", "", 0, "fwd=miss", false),
    (200, "cache-control: max-age=60|expires: 0", "", "", 59, "hit; ttl=1", true),
    (200, "cache-control: max-age=x", "", "", 0, "fwd=miss", false),
    (200, "cache-control: max-age=60, max-age=1", "", "", 1, "fwd=uri-miss; stored", true),
    (200, "cache-control: Max-Age=60", "", "", 59, "hit; ttl=1", true),
    // Without an explicit lifetime, heuristics are off (4.2.2).
    (200, "", "", "", 0, "fwd=miss", false),
    (200, "last-modified: Sun, 15 Jun 2015 15:06:40 GMT", "", "", 0, "fwd=miss", false),
    (200, "etag: \"1\"", "", "", 0, "fwd=miss", false),
    // Ages (4.2.3).
    (200, "cache-control: max-age=60|age: 59", "", "", 0, "hit; ttl=1", true),
    (200, "cache-control: max-age=60|age: 60", "", "", 0, "fwd=miss", false),
    (200, "cache-control: max-age=60|age: 18446744073709551615", "", "", 0, "fwd=miss", false),
    (200, "cache-control: max-age=60|date: Sun, 15 Jun 2025 15:06:10 GMT", "", "", 0, "hit; ttl=30", true),
    // What may be stored (3).
    (200, "cache-control: max-age=60, no-store", "", "", 0, "fwd=miss", false),
    (200, "cache-control: max-age=60, No-Store", "", "", 0, "fwd=miss", false),
    (200, "cache-control: max-age=60, private", "", "", 0, "fwd=miss", false),
    (200, "cache-control: max-age=60, private=\"x-user\"", "", "", 0, "fwd=miss", false),
    (200, "cache-control: max-age=60|set-cookie: a=b", "", "", 0, "fwd=miss", false),
    (200, "cache-control: max-age=60, public|set-cookie: a=b", "", "", 0, "fwd=miss", false),
    (200, "cache-control: max-age=60|content-type: text/event-stream", "", "", 0, "fwd=miss", false),
    (404, "cache-control: max-age=60", "", "", 59, "hit; ttl=1", true),
    (301, "cache-control: max-age=60|location: /x", "", "", 59, "hit; ttl=1", true),
    (302, "cache-control: max-age=60", "", "", 0, "hit; ttl=60", true),
    (206, "cache-control: max-age=60", "", "", 0, "fwd=miss", false),
    (304, "cache-control: max-age=60", "", "", 0, "fwd=miss", false),
    (500, "cache-control: max-age=60", "", "", 0, "fwd=uri-miss", false),
    (200, "cache-control: max-age=60", "cache-control: no-store", "", 0, "fwd=uri-miss; stored", false),
    (200, "cache-control: max-age=60", "", "cache-control: no-store", 0, "fwd=request", true),
    // `Authorization` (3.5).
    (200, "cache-control: max-age=60", "authorization: x", "authorization: x", 0, "fwd=miss", false),
    (200, "cache-control: max-age=60", "authorization: x", "", 0, "fwd=uri-miss; stored", false),
    (200, "cache-control: max-age=60", "", "authorization: x", 0, "fwd=request", true),
    (200, "cache-control: max-age=60, public", "authorization: x", "authorization: y", 0, "hit; ttl=60", true),
    (200, "cache-control: s-maxage=60", "authorization: x", "", 0, "hit; ttl=60", true),
    (200, "cache-control: max-age=60, must-revalidate", "authorization: x", "", 0, "hit; ttl=60", true),
    (200, "cache-control: max-age=60, proxy-revalidate", "authorization: x", "", 0, "fwd=uri-miss; stored", false),
    // Directives of requests (5.2.1).
    (200, "cache-control: max-age=60", "", "cache-control: no-cache", 0, "fwd=request", true),
    (200, "cache-control: max-age=60", "", "pragma: no-cache", 0, "fwd=request", true),
    (200, "cache-control: max-age=60", "", "pragma: no-cache|cache-control: x", 0, "hit; ttl=60", true),
    (200, "cache-control: max-age=60", "", "cache-control: max-age=9", 9, "hit; ttl=51", true),
    (200, "cache-control: max-age=60", "", "cache-control: max-age=9", 10, "fwd=request", true),
    (200, "cache-control: max-age=60", "", "cache-control: min-fresh=50", 10, "hit; ttl=50", true),
    (200, "cache-control: max-age=60", "", "cache-control: min-fresh=51", 10, "fwd=request", true),
    (200, "cache-control: max-age=60|etag: \"1\"", "", "cache-control: max-stale", 90, "hit; ttl=-30", true),
    (200, "cache-control: max-age=60|etag: \"1\"", "", "cache-control: max-stale=29", 90, "fwd=stale", true),
    (200, "cache-control: max-age=60, must-revalidate|etag: \"1\"", "", "cache-control: max-stale", 90, "fwd=stale", true),
    (200, "cache-control: s-maxage=60|etag: \"1\"", "", "cache-control: max-stale", 90, "fwd=stale", true),
    (200, "cache-control: max-age=60", "", "cache-control: only-if-cached", 59, "hit; ttl=1", true),
    (200, "cache-control: max-age=60", "", "cache-control: only-if-cached", 60, "detail=only-if-cached", true),
    (200, "cache-control: no-store", "", "cache-control: only-if-cached", 0, "detail=only-if-cached", false),
    // Directives of responses (5.2.2).
    (200, "cache-control: no-cache, max-age=60|etag: \"1\"", "", "", 0, "fwd=stale", true),
    (200, "cache-control: no-cache, max-age=60", "", "", 0, "fwd=miss", false),
    (200, "pragma: no-cache|etag: \"1\"", "", "", 0, "fwd=stale", true),
    (200, "cache-control: max-age=0|etag: \"1\"", "", "", 0, "fwd=stale", true),
    (200, "cache-control: max-age=60, proxy-revalidate", "", "", 59, "hit; ttl=1", true),
    // Stale responses (RFC 5861).
    (200, "cache-control: max-age=60, stale-while-revalidate=30", "", "", 89, "hit; ttl=-29", true),
    (200, "cache-control: s-maxage=60, stale-while-revalidate=30", "", "", 89, "hit; ttl=-29", true),
    (200, "cache-control: max-age=60, stale-while-revalidate=30|etag: \"1\"", "", "", 90, "fwd=stale", true),
    (200, "cache-control: max-age=60, stale-while-revalidate=30, must-revalidate|etag: \"1\"", "", "", 89, "fwd=stale", true),
    (200, "cache-control: max-age=60, stale-if-error=30", "", "", 89, "fwd=stale", true),
    // `Vary` (4.1).
    (200, "cache-control: max-age=60|vary: x-a", "x-a: 1", "x-a: 1", 0, "hit; ttl=60", true),
    (200, "cache-control: max-age=60|vary: X-A, x-b", "x-a: 1", "x-a: 1|x-b: 2", 0, "fwd=vary-miss; stored", true),
    (200, "cache-control: max-age=60|vary: x-a", "x-a: 1", "", 0, "fwd=vary-miss; stored", true),
    (200, "cache-control: max-age=60|vary: x-a|vary: x-b", "x-b: 1", "x-b: 2", 0, "fwd=vary-miss; stored", true),
    (200, "cache-control: max-age=60|vary: *", "", "", 0, "fwd=miss", false),
    // Requests that aren't for the cache.
    (200, "cache-control: max-age=60", "", "range: bytes=0-1", 0, "fwd=bypass", true),
    (200, "cache-control: max-age=60", "", "upgrade: websocket", 0, "fwd=bypass", true),
    (200, "cache-control: max-age=60", "", "if-match: \"1\"", 0, "fwd=bypass", true),
];

fn headers(text: &'static str) -> Vec<(&'static str, &'static str)> {
    text.split('|').filter(|line| !line.is_empty()).map(|line| line.split_once(": ").unwrap()).collect()
}

#[tokio::test]
async fn each_row_comes_to_what_the_rfc_says() {
    assert_eq!(httpdate::fmt_http_date(Time::default().now()), DATE, "the rows' dates are relative to this");
    let mut wrong = Vec::new();
    for &(status, response, first, second, after, expected, is_stored) in ROWS {
        let (time, origin) = (Time::default(), Origin::of(status, &headers(response)));
        let site = Site::new(&time.layer(), &origin);
        let before = site.get("/", &headers(first)).await;
        time.pass(after);
        let then = site.get("/", &headers(second)).await;
        let came_to = (then.cache_status(), before.cache_status().ends_with("; stored"));
        // A hit is the first response, and what the origin was asked for is another.
        let body = if expected.starts_with("hit") { "0" } else { "1" };
        let is_of_origin = then.body == body || expected.starts_with("detail");
        if came_to != (expected, is_stored) || !is_of_origin {
            wrong.push(format!(
                "{response} | {first} | {second} | after {after} s: {then:?}, not {expected}, {is_stored}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}
