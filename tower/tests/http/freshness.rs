//! Stale responses: revalidation, and RFC 5861.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use bytes::Bytes;
use cache_house::CacheHouse;
use http::{Method, Response};
use http_body_util::Full;

use crate::support::{Failed, Origin, Site, Time, until};

fn response(status: u16, headers: &[(&str, &str)], body: &'static str) -> Result<Response<Full<Bytes>>, Failed> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Ok(response.body(Full::from(body)).unwrap())
}

#[tokio::test]
async fn a_304_refreshes_what_is_stored() {
    let origin = Origin::new(|request| {
        ready(match request.headers().get("if-none-match") {
            Some(_) => response(304, &[("etag", "\"1\""), ("x-at", "later")], ""),
            None => {
                let headers = [
                    ("etag", "\"1\""),
                    ("cache-control", "max-age=60"),
                    ("link", "a"),
                    ("link", "b"),
                    ("x-at", "first"),
                ];
                response(200, &headers, "body")
            }
        })
    });
    let time = Time::default();
    let site = Site::new(&time.layer(), &origin);
    assert_eq!(site.get("/", &[]).await.cache_status(), "fwd=uri-miss; stored");
    time.pass(90);
    // The client's own condition isn't the one that the origin is asked with, and it's answered all the same.
    let answer = site.get("/", &[("if-none-match", "\"1\", \"0\"")]).await;
    assert_eq!((answer.status.as_u16(), answer.cache_status(), answer.body.as_str()), (304, "fwd=stale", ""));
    assert_eq!(origin.was_sent("if-none-match").as_deref(), Some("\"1\""));

    time.pass(59);
    let hit = site.get("/", &[]).await;
    assert_eq!((hit.cache_status(), hit.body.as_str()), ("hit; ttl=1", "body"));
    assert_eq!((hit.header("x-at"), hit.header("age")), (Some("later"), Some("59")));
    let links: Vec<_> = hit.headers.get_all("link").iter().collect();
    assert_eq!(links, ["a", "b"]);

    time.pass(1);
    let whole = site.get("/", &[]).await;
    assert_eq!((whole.status.as_u16(), whole.cache_status()), (200, "fwd=stale; fwd-status=304"));
    assert_eq!(whole.body, "body");
}

#[tokio::test]
async fn a_client_that_has_the_response_is_told_so_at_a_hit_and_at_a_miss() {
    let headers = [("etag", "\"1\""), ("cache-control", "max-age=60"), ("content-type", "text/plain")];
    for (headers, then) in [(&headers[..], "hit; ttl=60"), (&headers[..1], "fwd=miss")] {
        let (time, origin) = (Time::default(), Origin::of(200, headers));
        let site = Site::new(&time.layer(), &origin);
        let first = site.get("/", &[("if-none-match", "W/\"1\"")]).await;
        assert_eq!(
            (first.status.as_u16(), first.header("etag"), first.header("content-type")),
            (304, Some("\"1\""), None)
        );
        assert!(first.cache_status().starts_with("fwd=uri-miss; fwd-status=200"), "{first:?}");
        assert_eq!(origin.was_sent("if-none-match"), None);
        let second = site.get("/", &[]).await;
        assert_eq!((second.status.as_u16(), second.cache_status()), (200, then));
    }
}

#[tokio::test]
async fn each_request_asks_where_the_origin_says_no_cache() {
    let origin = Origin::new(|request| {
        let is_known = request.headers().contains_key("if-none-match");
        let headers = [("etag", "\"1\""), ("cache-control", "no-cache")];
        ready(response(if is_known { 304 } else { 200 }, &headers, if is_known { "" } else { "body" }))
    });
    let time = Time::default();
    let site = Site::new(&time.layer(), &origin);
    site.get("/", &[]).await;
    for _ in 0..3 {
        let answer = site.get("/", &[]).await;
        assert_eq!((answer.cache_status(), answer.body.as_str()), ("fwd=stale; fwd-status=304", "body"));
    }
    assert_eq!(origin.calls(), 4);
}

#[tokio::test]
async fn a_newer_response_that_is_not_storable_takes_the_old_one_with_it() {
    let control = Arc::new(std::sync::Mutex::new("max-age=60, stale-while-revalidate=600"));
    let origin = Origin::new({
        let control = Arc::clone(&control);
        move |_| ready(response(200, &[("cache-control", *control.lock().unwrap())], "body"))
    });
    let time = Time::default();
    let site = Site::new(&time.layer(), &origin);
    site.get("/", &[]).await;
    *control.lock().unwrap() = "no-store";
    assert_eq!(site.get("/", &[("cache-control", "no-cache")]).await.cache_status(), "fwd=request");
    assert_eq!(site.get("/", &[]).await.cache_status(), "fwd=uri-miss");
}

#[tokio::test]
async fn a_refusal_that_is_not_storable_leaves_what_is_stored() {
    let removing = [200, 204, 301, 304, 404, 410].map(|status| (status, false));
    let leaving = [400, 401, 403, 405, 429, 500, 501, 503].map(|status| (status, true));
    for (status, is_left) in removing.into_iter().chain(leaving) {
        let calls = AtomicUsize::new(0);
        let origin = Origin::new(move |_| {
            let is_first = calls.fetch_add(1, Ordering::SeqCst) == 0;
            ready(if is_first {
                response(200, &[("cache-control", "max-age=60")], "body")
            } else {
                response(status, &[("cache-control", "no-store")], "")
            })
        });
        let site = Site::new(&Time::default().layer(), &origin);
        site.get("/", &[]).await;
        site.get("/", &[("cache-control", "no-cache")]).await;
        assert_eq!(site.get("/", &[]).await.cache_status().starts_with("hit"), is_left, "{status}");
    }
}

#[tokio::test]
async fn a_replacement_that_the_cache_refuses_is_not_said_to_be_stored() {
    let calls = AtomicUsize::new(0);
    let origin = Origin::new(move |_| {
        let body = "x".repeat(100_000 * calls.fetch_add(1, Ordering::SeqCst));
        ready(Ok(Response::builder().header("cache-control", "max-age=60").body(Full::from(body)).unwrap()))
    });
    let cache = CacheHouse::builder().memory().max_value_bytes(10_000).build().unwrap();
    let site = Site::new(&Time::default().layer_over(cache), &origin);
    assert_eq!(site.get("/", &[]).await.cache_status(), "fwd=uri-miss; stored");
    let answer = site.get("/", &[("cache-control", "no-cache")]).await;
    assert_eq!((answer.cache_status(), answer.body.len()), ("fwd=request", 100_000));
}

#[tokio::test]
async fn a_renewal_that_hangs_is_given_up_for_the_next() {
    let time = Time::default();
    let calls = Arc::new(AtomicUsize::new(0));
    let origin = Origin::new({
        let calls = Arc::clone(&calls);
        move |_| {
            let call = calls.fetch_add(1, Ordering::SeqCst);
            async move {
                if call == 1 {
                    std::future::pending::<()>().await;
                }
                let body = if call == 0 { "old" } else { "new" };
                response(200, &[("cache-control", "max-age=60, stale-while-revalidate=3600")], body)
            }
        }
    });
    let site = Site::new(&time.layer(), &origin);
    site.get("/", &[]).await;
    time.pass(90);
    assert_eq!(site.get("/", &[]).await.body, "old");
    until("the renewal asks the origin", || origin.calls() == 2).await;
    assert_eq!(site.get("/", &[]).await.body, "old", "its place is taken");
    time.pass(90);
    assert_eq!(site.get("/", &[]).await.body, "old");
    until("the next renewal asks the origin", || origin.calls() == 3).await;
    let begin = std::time::Instant::now();
    while site.get("/", &[]).await.body != "new" {
        assert!(begin.elapsed() < crate::support::DEADLINE);
        tokio::task::yield_now().await;
    }
    assert_eq!(origin.calls(), 3);
}

#[tokio::test]
async fn a_stale_response_is_served_while_one_request_renews_it() {
    let (time, gate) = (Time::default(), Arc::new(tokio::sync::Semaphore::new(1)));
    let calls = Arc::new(AtomicUsize::new(0));
    let origin = Origin::new({
        let (gate, calls) = (Arc::clone(&gate), Arc::clone(&calls));
        move |_| {
            let (gate, calls) = (Arc::clone(&gate), Arc::clone(&calls));
            async move {
                gate.acquire().await.unwrap().forget();
                let body = if calls.fetch_add(1, Ordering::SeqCst) == 0 { "old" } else { "new" };
                response(200, &[("cache-control", "max-age=60, stale-while-revalidate=60")], body)
            }
        }
    });
    let site = Site::new(&time.layer(), &origin);
    site.get("/", &[]).await;
    time.pass(90);
    for _ in 0..20 {
        let answer = site.get("/", &[]).await;
        assert_eq!(
            (answer.cache_status(), answer.body.as_str(), answer.header("age")),
            ("hit; ttl=-30", "old", Some("90"))
        );
    }
    until("the renewal asks the origin", || origin.calls() == 2).await;
    gate.add_permits(1);
    until("the renewal ends", || calls.load(Ordering::SeqCst) == 2).await;
    let begin = std::time::Instant::now();
    while site.get("/", &[]).await.body != "new" {
        assert!(begin.elapsed() < crate::support::DEADLINE);
        tokio::task::yield_now().await;
    }
    assert_eq!(origin.calls(), 2);
}

#[tokio::test]
async fn a_stale_response_replaces_a_failure_for_a_while() {
    let status = Arc::new(AtomicU16::new(200));
    for (control, is_served) in [
        ("max-age=60, stale-if-error=60", true),
        ("s-maxage=60, stale-if-error=60", true),
        ("max-age=60, stale-if-error=60, must-revalidate", false),
        ("max-age=60", false),
    ] {
        status.store(200, Ordering::SeqCst);
        let origin = Origin::new({
            let status = Arc::clone(&status);
            move |_| {
                ready(match status.load(Ordering::SeqCst) {
                    0 => Err(Failed),
                    status => response(status, &[("cache-control", control), ("etag", "\"1\"")], "body"),
                })
            }
        });
        let time = Time::default();
        let site = Site::new(&time.layer(), &origin);
        site.get("/", &[]).await;
        time.pass(119);
        for (failure, expected) in
            [(503, "fwd=stale; fwd-status=503; detail=stale-if-error"), (0, "fwd=stale; detail=stale-if-error")]
        {
            status.store(failure, Ordering::SeqCst);
            let answer = site.try_ask(Method::GET, "/", &[]).await;
            match (is_served, failure) {
                (true, _) => {
                    let answer = answer.unwrap();
                    assert_eq!((answer.status.as_u16(), answer.cache_status()), (200, expected), "{control}");
                }
                (false, 0) => assert_eq!(answer.unwrap_err(), Failed, "{control}"),
                (false, _) => assert_eq!(answer.unwrap().status, 503, "{control}"),
            }
        }
        time.pass(1);
        assert!(site.try_ask(Method::GET, "/", &[]).await.is_err(), "{control}");
        // The request may ask for the same.
        if control == "max-age=60" {
            let answer = site.get("/", &[("cache-control", "stale-if-error=61")]).await;
            assert_eq!(answer.cache_status(), "fwd=stale; detail=stale-if-error");
        }
        status.store(404, Ordering::SeqCst);
        assert_eq!(site.get("/", &[]).await.status, 404, "no failure in this sense");
    }
}

#[tokio::test]
async fn heuristics_are_on_where_they_are_asked_for() {
    let origin = Origin::of(200, &[("last-modified", "Sun, 15 Jun 2025 15:05:00 GMT")]);
    let time = Time::default();
    let site = Site::new(&time.layer().heuristic(0.1), &origin);
    site.get("/", &[]).await;
    time.pass(9);
    assert_eq!(site.get("/", &[]).await.cache_status(), "hit; ttl=1");
}
