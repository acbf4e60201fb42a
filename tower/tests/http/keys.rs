//! What is kept apart: URIs, hosts, variants, tags; and what removes it.

use std::future::ready;

use cache_house_tower::CacheLayer;
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use http_body_util::Full;

use crate::support::{Origin, Site, Time, request};

const MINUTE: (&str, &str) = ("cache-control", "max-age=60");

#[tokio::test]
async fn hosts_paths_and_queries_are_told_apart() {
    let (time, origin) = (Time::default(), Origin::of(200, &[MINUTE]));
    let site = Site::new(&time.layer(), &origin);
    for (at, uri) in ["/", "/a", "/a?b=1", "/a?b=2", "http://other.com/a", "https://other.com/a"].iter().enumerate() {
        for _ in 0..2 {
            assert_eq!(site.get(uri, &[]).await.body, at.to_string(), "{uri}");
        }
    }
    assert_eq!(site.get("http://OTHER.com/a", &[]).await.body, "4");

    let site = Site::new(&time.layer().ignore_host(), &origin);
    let first = site.get("/a", &[]).await.body;
    assert_eq!(site.get("https://other.com/a", &[]).await.body, first);
}

/// Sends a request with these lines `Host` and no other; `Cache-Status` of the response.
async fn ask(site: &Site, method: Method, uri: &str, hosts: &[&str]) -> String {
    let mut request = request(method, uri, &[]);
    request.headers_mut().remove("host");
    for host in hosts {
        request.headers_mut().append("host", HeaderValue::from_str(host).unwrap());
    }
    let response = site.send(request).await.unwrap();
    response.headers()["cache-status"].to_str().unwrap().replace("cache-house; ", "")
}

#[tokio::test]
async fn a_host_does_not_pass_for_a_part_of_a_path() {
    let site = Site::new(&Time::default().layer(), &Origin::of(200, &[MINUTE]));
    assert_eq!(ask(&site, Method::GET, "/b", &["example.com/a?"]).await, "fwd=bypass");
    assert_eq!(ask(&site, Method::GET, "/a?/b", &["example.com"]).await, "fwd=uri-miss; stored");
}

#[tokio::test]
async fn a_request_whose_host_is_not_clear_is_passed_on() {
    let site = Site::new(&Time::default().layer(), &Origin::of(200, &[MINUTE, ("location", "/named")]));
    let stored = ["/a", "/named", "http://example.com/a", "https://example.com/a"];
    for uri in stored {
        assert_eq!(ask(&site, Method::GET, uri, &["example.com"]).await, "fwd=uri-miss; stored");
    }
    let unclear: [(&str, &[&str]); 11] = [
        ("/a", &["example.com", "example.com"]),
        ("/a", &["", "example.com"]),
        ("/a", &["example.com/"]),
        ("/a", &["example.com#"]),
        ("/a", &["user@example.com"]),
        ("/a", &["example.com:80:80"]),
        ("/a", &["example .com"]),
        ("http://example.com/a", &["other.com"]),
        ("http://example.com/a", &["example.com:8080"]),
        ("https://example.com/a", &["example.com:80"]),
        ("http://example.com/a", &["example.com", "example.com"]),
    ];
    for (uri, hosts) in unclear {
        for _ in 0..2 {
            assert_eq!(ask(&site, Method::GET, uri, hosts).await, "fwd=bypass", "{uri} {hosts:?}");
        }
    }
    for uri in stored {
        assert_eq!(ask(&site, Method::GET, uri, &["example.com"]).await, "hit; ttl=60", "{uri}");
    }
    // What it changes may be of any host that it names.
    for hosts in [&["example.com", "other.com"], &["other.com", "user@example.com"]] {
        assert_eq!(ask(&site, Method::POST, "/a", hosts).await, "fwd=method");
        for uri in stored {
            assert_eq!(ask(&site, Method::GET, uri, &["example.com"]).await, "fwd=uri-miss; stored", "{uri}");
        }
    }
}

#[tokio::test]
async fn a_uri_without_a_host_of_its_own_has_the_requests() {
    let layer = Time::default().layer().uri(|parts| parts.uri.path().parse().expect("it's a path"));
    let site = Site::new(&layer, &Origin::of(200, &[MINUTE]));
    // As of HTTP/2, whose requests have their host in the URI.
    for uri in ["https://one.com/a", "https://two.com/a?q"] {
        assert_eq!(ask(&site, Method::GET, uri, &[]).await, "fwd=uri-miss; stored", "{uri}");
    }
    assert_eq!(ask(&site, Method::GET, "https://one.com/a?q", &[]).await, "hit; ttl=60");
    assert_eq!(ask(&site, Method::GET, "https://one.com/a", &["two.com"]).await, "fwd=bypass");
}

#[tokio::test]
async fn a_host_may_be_left_out_or_be_the_uris_in_another_form() {
    let origin = Origin::of(200, &[MINUTE]);
    let clear: [(&str, &[&str]); 7] = [
        ("/a", &[]),
        ("/a", &[""]),
        ("/a", &["[::1]:80"]),
        ("http://example.com/a", &["EXAMPLE.com:80"]),
        ("http://user@example.com:80/a", &["example.com"]),
        ("https://example.com/a", &["example.com:443"]),
        ("https://example.com/a", &[]),
    ];
    for (uri, hosts) in clear {
        let site = Site::new(&Time::default().layer(), &origin);
        for expected in ["fwd=uri-miss; stored", "hit; ttl=60"] {
            assert_eq!(ask(&site, Method::GET, uri, hosts).await, expected, "{uri} {hosts:?}");
        }
    }
}

#[tokio::test]
async fn a_host_that_does_not_count_is_not_checked() {
    let origin = Origin::of(200, &[MINUTE]);
    let inside = |parts: &Parts| format!("http://inside{}", parts.uri.path()).parse().unwrap();
    for layer in [Time::default().layer().ignore_host(), Time::default().layer().uri(inside)] {
        let site = Site::new(&layer, &origin);
        let first = ask(&site, Method::GET, "http://example.com/a", &["other.com"]).await;
        let second = ask(&site, Method::GET, "/a", &["a/b", "c"]).await;
        assert_eq!((first.as_str(), second.as_str()), ("fwd=uri-miss; stored", "hit; ttl=60"));
    }
    // The authority is the client's.
    let site = Site::new(&Time::default().layer().uri(|parts| parts.uri.clone()), &origin);
    assert_eq!(ask(&site, Method::GET, "http://example.com/a", &["other.com"]).await, "fwd=bypass");
}

#[tokio::test]
async fn namespaces_are_told_apart() {
    let (time, origin) = (Time::default(), Origin::of(200, &[MINUTE]));
    let cache = time.memory();
    let site = |namespace: &str| Site::new(&time.layer_over(cache.clone()).namespace(namespace), &origin);
    assert_eq!((site("a").get("/", &[]).await.body, site("b").get("/", &[]).await.body), ("0".into(), "1".into()));
    assert_eq!(site("a").get("/", &[]).await.body, "0");
    assert!(cache.clear_namespace_async("a").await.unwrap().entries > 0);
    assert_eq!((site("a").get("/", &[]).await.body, site("b").get("/", &[]).await.body), ("2".into(), "1".into()));
}

#[tokio::test]
async fn variants_are_told_apart_and_removed_together() {
    let (time, origin) = (Time::default(), Origin::of(200, &[MINUTE, ("vary", "accept-language")]));
    let site = Site::new(&time.layer(), &origin);
    let get = |language: &'static str| {
        let site = site.clone();
        async move { site.get("/", &[("accept-language", language)]).await.body }
    };
    for _ in 0..2 {
        assert_eq!((get("no").await, get("en").await), ("0".into(), "1".into()));
    }
    site.try_ask(Method::DELETE, "/", &[]).await.unwrap();
    assert_eq!((get("no").await, get("en").await), ("3".into(), "4".into()));
}

#[tokio::test]
async fn a_variant_that_is_not_storable_leaves_the_others_their_hits() {
    let origin = Origin::new(|request| {
        let kind = request.headers()["accept"].to_str().unwrap().to_owned();
        let control = if kind == "private" { "private" } else { "max-age=60" };
        let response = Response::builder().header("cache-control", control).header("vary", "accept");
        ready(Ok(response.body(Full::from(kind)).unwrap()))
    });
    let site = Site::new(&Time::default().layer().max_body(8), &origin);
    let mut statuses = Vec::new();
    for kind in ["a", "private", "a", "too large", "a"] {
        statuses.push(site.get("/", &[("accept", kind)]).await.cache_status().to_owned());
    }
    assert_eq!(statuses, ["fwd=uri-miss; stored", "fwd=vary-miss", "hit; ttl=60", "fwd=vary-miss", "hit; ttl=60"]);
}

#[tokio::test]
async fn a_header_that_a_later_response_varies_by_is_added_to_the_keys() {
    let origin = Origin::new(|request| {
        let is_member = request.headers().contains_key("x-member");
        let response = Response::builder().header("cache-control", "max-age=60");
        let response = response.header("vary", if is_member { "x-member, accept" } else { "accept" });
        let body = format!("{:?}", request.headers().get("x-member"));
        ready(Ok(response.body(Full::from(body)).unwrap()))
    });
    let site = Site::new(&Time::default().layer(), &origin);
    assert_eq!(site.get("/", &[("accept", "a")]).await.body, "None");
    let member = [("accept", "b"), ("x-member", "ada")];
    assert_eq!(site.get("/", &member).await.cache_status(), "fwd=vary-miss");
    assert_eq!(site.get("/", &member).await.cache_status(), "fwd=vary-miss; stored");
    assert_eq!(site.get("/", &member).await.cache_status(), "hit; ttl=60");
    assert_eq!(site.get("/", &[("accept", "b"), ("x-member", "bob")]).await.body, "Some(\"bob\")");
    assert_eq!(site.get("/", &[("accept", "b")]).await.body, "None");
}

#[tokio::test]
async fn methods_that_change_something_remove_the_uri() {
    for (method, status, is_removed) in [
        (Method::POST, 200, true),
        (Method::PUT, 204, true),
        (Method::PATCH, 303, true),
        (Method::DELETE, 200, true),
        (Method::from_bytes(b"PURGE").unwrap(), 200, true),
        (Method::POST, 400, false),
        (Method::PUT, 500, false),
        (Method::OPTIONS, 200, false),
    ] {
        let origin = Origin::new(move |request| {
            let is_get = request.method() == Method::GET;
            let response = Response::builder().status(if is_get { 200 } else { status }).header(MINUTE.0, MINUTE.1);
            let response =
                response.header("location", "/named").header("content-location", "http://elsewhere.com/other");
            ready(Ok(response.body(Full::default()).unwrap()))
        });
        let site = Site::new(&Time::default().layer(), &origin);
        let uris = ["/a", "/named", "/other", "http://elsewhere.com/other"];
        for uri in uris {
            site.get(uri, &[]).await;
        }
        let answer = site.try_ask(method.clone(), "/a", &[]).await.unwrap();
        assert_eq!(answer.cache_status(), "fwd=method");
        let mut are_left = Vec::new();
        for uri in uris {
            are_left.push(site.get(uri, &[]).await.cache_status().starts_with("hit"));
        }
        // What another host has isn't removed at this one's word.
        assert_eq!(are_left, [!is_removed, !is_removed, true, true], "{method} {status}");
    }
}

#[tokio::test]
async fn a_client_of_http_2_changes_what_one_of_http_1_is_served() {
    let (time, origin) = (Time::default(), Origin::of(200, &[MINUTE]));
    let site = Site::new(&time.layer(), &origin);
    assert_eq!(site.get("/", &[]).await.body, "0");
    site.try_ask(Method::POST, "https://example.com/", &[]).await.unwrap();
    assert_eq!(site.get("/", &[]).await.body, "2");
}

#[tokio::test]
async fn a_tag_removes_all_responses_that_have_it() {
    let (time, origin) = (Time::default(), Origin::of(200, &[MINUTE, ("vary", "accept")]));
    let cache = time.memory();
    let tags = |parts: &Parts| {
        assert_eq!(parts.method, Method::GET);
        parts.uri.path().split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let layer: CacheLayer = time.layer_over(cache.clone()).tags(tags);
    let site = Site::new(&layer, &origin);
    for _ in 0..2 {
        for (at, uri) in ["/shop/1", "/shop/2", "/news/1"].iter().enumerate() {
            assert_eq!(site.get(uri, &[]).await.body, at.to_string());
        }
    }
    cache.remove_tag_async("shop").await.unwrap();
    let mut bodies = Vec::new();
    for uri in ["/shop/1", "/shop/2", "/news/1"] {
        bodies.push(site.get(uri, &[]).await.body);
    }
    assert_eq!(bodies, ["3", "4", "2"]);
    site.try_ask(Method::POST, "/shop/1", &[]).await.unwrap();
    assert_eq!(site.get("/shop/1", &[]).await.body, "6");
    assert_eq!(site.get("/shop/2", &[]).await.body, "4");
}

#[tokio::test]
async fn tags_are_made_of_the_uri_that_the_response_is_of() {
    let (time, origin) = (Time::default(), Origin::of(200, &[MINUTE, ("location", "/shop/1")]));
    let cache = time.memory();
    let section = |parts: &Parts| parts.uri.path().split('/').nth(1).map(str::to_owned).into_iter().collect();
    let layer = time.layer_over(cache.clone()).uri(|parts| format!("/shop{}", parts.uri).parse().unwrap());
    let site = Site::new(&layer.tags(section), &origin);
    assert_eq!(site.get("/1", &[]).await.body, "0");
    cache.remove_tag_async("shop").await.unwrap();
    assert_eq!(site.get("/1", &[]).await.body, "1");
    // By its own URI, and by `Location`.
    for (uri, body) in [("/1", "3"), ("/2", "5")] {
        site.try_ask(Method::POST, uri, &[]).await.unwrap();
        assert_eq!(site.get("/1", &[]).await.body, body);
    }

    let host = |parts: &Parts| parts.uri.host().map(str::to_owned).into_iter().collect();
    let site = Site::new(&time.layer().tags(host), &origin);
    assert_eq!(site.get("http://example.com/shop/1", &[]).await.body, "6");
    site.try_ask(Method::POST, "http://example.com/", &[]).await.unwrap();
    assert_eq!(site.get("http://example.com/shop/1", &[]).await.body, "8");
}

#[tokio::test]
async fn a_request_whose_tag_is_wrong_is_not_cached() {
    let (time, origin) = (Time::default(), Origin::of(200, &[MINUTE]));
    let site = Site::new(&time.layer().tags(|_| vec![String::new()]), &origin);
    for at in 0..2 {
        let answer = site.get("/", &[]).await;
        assert_eq!((answer.cache_status(), &answer.body), ("fwd=uri-miss", &at.to_string()));
    }
}
