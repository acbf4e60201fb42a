//! Concurrent requests, and a cache that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Response};
use http_body_util::Full;
use tokio::sync::Semaphore;

use crate::support::{Answer, Origin, Site, Time, until};

/// An origin whose requests wait for permits; each response has a body of its own.
fn gated(control: &'static str) -> (Origin, Arc<Semaphore>) {
    let (gate, calls) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let origin = Origin::new({
        let gate = Arc::clone(&gate);
        move |request| {
            let (gate, call) = (Arc::clone(&gate), calls.fetch_add(1, Ordering::SeqCst));
            async move {
                gate.acquire().await.unwrap().forget();
                let body = format!("{call} {}", request.headers()["x-client"].to_str().unwrap());
                Ok(Response::builder().header("cache-control", control).body(Full::from(body)).unwrap())
            }
        }
    });
    (origin, gate)
}

fn ask(site: &Site, client: usize) -> tokio::task::JoinHandle<Answer> {
    let site = site.clone();
    tokio::spawn(async move { site.get("/", &[("x-client", &client.to_string())]).await })
}

fn ask_authorized(site: &Site, client: usize) -> tokio::task::JoinHandle<Answer> {
    let site = site.clone();
    tokio::spawn(async move { site.get("/", &[("x-client", &client.to_string()), ("authorization", "x")]).await })
}

#[tokio::test]
async fn concurrent_requests_share_one_response_that_is_storable() {
    let (origin, gate) = gated("max-age=60");
    let time = Time::default();
    let site = Site::new(&time.layer(), &origin);
    let asked: Vec<_> = (0..10).map(|client| ask(&site, client)).collect();
    until("the origin is asked", || origin.calls() == 1).await;
    gate.add_permits(10);
    let mut statuses = Vec::new();
    for answer in asked {
        let answer = answer.await.unwrap();
        assert!(answer.body.starts_with("0 "), "{answer:?}");
        statuses.push(answer.cache_status().to_owned());
    }
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(
        (origin.calls(), statuses),
        (1, vec!["fwd=uri-miss; collapsed".to_owned(), "fwd=uri-miss; stored".to_owned()])
    );
}

#[tokio::test]
async fn concurrent_requests_share_one_response_of_each_variant() {
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let origin = Origin::new(move |request| {
        let gate = Arc::clone(&waiting);
        async move {
            gate.acquire().await.unwrap().forget();
            let body = request.headers()["x-client"].to_str().unwrap().to_owned();
            let response = Response::builder().header("cache-control", "max-age=60").header("vary", "x-client");
            Ok(response.body(Full::from(body)).unwrap())
        }
    });
    let site = Site::new(&Time::default().layer(), &origin);
    let asked: Vec<_> = (0..10).map(|n| (n % 2, ask(&site, n % 2))).collect();
    until("the origin is asked", || origin.calls() == 1).await;
    gate.add_permits(10);
    for (client, answer) in asked {
        assert_eq!(answer.await.unwrap().body, client.to_string());
    }
    assert_eq!(origin.calls(), 2);
}

#[tokio::test]
async fn each_request_has_its_own_response_where_it_is_not_storable() {
    let (origin, gate) = gated("private");
    let site = Site::new(&Time::default().layer(), &origin);
    let asked: Vec<_> = (0..10).map(|client| ask(&site, client)).collect();
    until("the origin is asked", || origin.calls() == 1).await;
    gate.add_permits(11);
    for (client, answer) in asked.into_iter().enumerate() {
        let answer = answer.await.unwrap();
        assert!(answer.body.ends_with(&format!(" {client}")), "{answer:?}");
    }
    assert_eq!(origin.calls(), 10);
}

#[tokio::test]
async fn requests_for_what_is_not_storable_do_not_wait_for_each_other() {
    let (origin, gate) = gated("private");
    let site = Site::new(&Time::default().layer(), &origin);
    gate.add_permits(1);
    ask(&site, 0).await.unwrap();
    let asked: Vec<_> = (1..5).map(|client| ask(&site, client)).collect();
    until("all ask the origin", || origin.calls() == 5).await;
    gate.add_permits(4);
    for answer in asked {
        assert_eq!(answer.await.unwrap().cache_status(), "fwd=miss");
    }
}

#[tokio::test]
async fn requests_with_authorization_do_not_wait_where_the_response_is_not_for_them() {
    let (origin, gate) = gated("max-age=60");
    let site = Site::new(&Time::default().layer(), &origin);
    gate.add_permits(1);
    ask_authorized(&site, 0).await.unwrap();
    let asked: Vec<_> = (1..5).map(|client| ask_authorized(&site, client)).collect();
    until("all ask the origin", || origin.calls() == 5).await;
    gate.add_permits(4);
    for answer in asked {
        assert_eq!(answer.await.unwrap().cache_status(), "fwd=miss");
    }
    // It's stored for those without.
    gate.add_permits(1);
    assert_eq!(ask(&site, 5).await.unwrap().cache_status(), "fwd=uri-miss; stored");
    assert_eq!(ask(&site, 6).await.unwrap().cache_status(), "hit; ttl=60");
}

#[tokio::test]
async fn what_becomes_storable_for_requests_with_authorization_is_stored() {
    let calls = AtomicUsize::new(0);
    let origin = Origin::new(move |_| {
        let control = if calls.fetch_add(1, Ordering::SeqCst) == 0 { "max-age=60" } else { "max-age=60, public" };
        std::future::ready(Ok(Response::builder().header("cache-control", control).body(Full::default()).unwrap()))
    });
    let site = Site::new(&Time::default().layer(), &origin);
    let mut statuses = Vec::new();
    for client in 0..4 {
        statuses.push(ask_authorized(&site, client).await.unwrap().cache_status().to_owned());
    }
    assert_eq!(statuses, ["fwd=uri-miss", "fwd=miss", "fwd=uri-miss; stored", "hit; ttl=60"]);
}

#[tokio::test]
async fn what_becomes_storable_is_stored() {
    let calls = AtomicUsize::new(0);
    let origin = Origin::new(move |_| {
        let control = if calls.fetch_add(1, Ordering::SeqCst) == 0 { "private" } else { "max-age=60" };
        std::future::ready(Ok(Response::builder().header("cache-control", control).body(Full::default()).unwrap()))
    });
    let site = Site::new(&Time::default().layer(), &origin);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(site.get("/", &[]).await.cache_status().to_owned());
    }
    assert_eq!(statuses, ["fwd=uri-miss", "fwd=miss", "fwd=uri-miss; stored", "hit; ttl=60"]);
}

#[tokio::test]
async fn another_takes_over_from_a_client_that_has_gone() {
    let (origin, gate) = gated("max-age=60");
    let site = Site::new(&Time::default().layer(), &origin);
    let first = ask(&site, 0);
    until("the origin is asked", || origin.calls() == 1).await;
    let second = ask(&site, 1);
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.add_permits(1);
    assert_eq!(second.await.unwrap().body, "1 1");
}

#[tokio::test]
async fn a_response_is_not_stored_whose_uri_was_changed_meanwhile() {
    for vary in ["x-none", ""] {
        let (gate, calls) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let waiting = Arc::clone(&gate);
        let origin = Origin::new(move |request| {
            let (gate, call) = (Arc::clone(&waiting), calls.fetch_add(1, Ordering::SeqCst));
            async move {
                if request.method() == Method::GET {
                    gate.acquire().await.unwrap().forget();
                }
                let response = Response::builder().header("cache-control", "max-age=60").header("vary", vary);
                Ok(response.body(Full::from(call.to_string())).unwrap())
            }
        });
        let site = Site::new(&Time::default().layer(), &origin);
        let first = ask(&site, 0);
        until("the origin is asked", || origin.calls() == 1).await;
        site.try_ask(Method::PUT, "/", &[]).await.unwrap();
        gate.add_permits(2);
        assert_eq!(first.await.unwrap().body, "0");
        assert_eq!(ask(&site, 1).await.unwrap().body, "2", "Vary: {vary}");
        assert_eq!(ask(&site, 2).await.unwrap().body, "2", "Vary: {vary}");
        // The same for one variant, while another is there.
        let second = site.clone();
        let second = tokio::spawn(async move { second.get("/", &[("x-none", "other")]).await });
        if vary.is_empty() {
            assert_eq!(second.await.unwrap().body, "2");
            continue;
        }
        until("the origin is asked", || origin.calls() == 4).await;
        site.try_ask(Method::PUT, "/", &[]).await.unwrap();
        gate.add_permits(2);
        assert_eq!(second.await.unwrap().body, "3");
        assert_eq!(site.get("/", &[("x-none", "other")]).await.body, "5");
    }
}

#[tokio::test]
async fn a_closed_cache_runs_the_inner_service() {
    let (time, origin) = (Time::default(), Origin::of(200, &[("cache-control", "max-age=60")]));
    let cache = time.memory();
    let site = Site::new(&time.layer_over(cache.clone()), &origin);
    site.get("/", &[]).await;
    cache.close_async().await;
    for body in ["1", "2"] {
        let answer = site.get("/", &[]).await;
        assert_eq!((answer.body.as_str(), answer.cache_status()), (body, "fwd=uri-miss"));
    }
    assert!(site.try_ask(Method::POST, "/", &[]).await.is_ok());
}
