//! In axum, over connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{OriginalUri, Path, Request};
use axum::http::header;
use axum::routing::get;
use cache_house::CacheHouse;
use cache_house_tower::CacheLayer;
use http::request::Parts;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

/// A page that says how often it was made.
fn page(name: &'static str) -> Router {
    let made = Arc::new(AtomicUsize::new(0));
    let page = move |Path(id): Path<u64>| {
        let made = made.fetch_add(1, Ordering::SeqCst);
        async move { ([(header::CACHE_CONTROL, "max-age=60"), (header::ETAG, "\"1\"")], format!("{name} {id} {made}")) }
    };
    Router::new().route("/{id}", get(page))
}

async fn ask(router: &Router, uri: &str) -> String {
    let response = router.clone().oneshot(Request::get(uri).body(axum::body::Body::empty()).unwrap()).await.unwrap();
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn nested_routers_are_told_apart_by_the_original_uri() {
    let cache = CacheHouse::builder().memory().build().unwrap();
    let original =
        |parts: &Parts| parts.extensions.get::<OriginalUri>().map_or_else(|| parts.uri.clone(), |uri| uri.0.clone());
    let layer = CacheLayer::new(cache).uri(original);
    let router =
        Router::new().nest("/users", page("user").layer(layer.clone())).nest("/orders", page("order").layer(layer));
    for _ in 0..2 {
        assert_eq!(
            (ask(&router, "/users/7").await, ask(&router, "/orders/7").await),
            ("user 7 0".into(), "order 7 0".into())
        );
    }
}

#[tokio::test]
async fn a_layer_around_nested_routers_sees_whole_uris() {
    let cache = CacheHouse::builder().memory().build().unwrap();
    let nested = Router::new().nest("/users", page("user")).nest("/orders", page("order"));
    let router = nested.layer(CacheLayer::new(cache));
    for _ in 0..2 {
        assert_eq!(ask(&router, "/users/7").await, "user 7 0");
        assert_eq!(ask(&router, "/orders/7").await, "order 7 0");
    }
}

/// Sends a request over a connection of its own; the whole answer.
async fn over_tcp(address: std::net::SocketAddr, method: &str, more: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} /7 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_router_behind_the_layer_is_served_over_connections() {
    let cache = CacheHouse::builder().memory().build().unwrap();
    let router = page("user").layer(CacheLayer::new(cache));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let first = over_tcp(address, "GET", "").await;
    assert!(
        first.contains("cache-status: cache-house; fwd=uri-miss; stored\r\n") && first.ends_with("user 7 0"),
        "{first}"
    );
    let second = over_tcp(address, "GET", "").await;
    assert!(second.contains("cache-status: cache-house; hit; ttl=") && second.ends_with("user 7 0"), "{second}");
    assert_eq!(second.matches("content-length: 8\r\n").count(), 1, "{second}");
    assert_eq!(second.matches("date: ").count(), 1, "{second}");
    let head = over_tcp(address, "HEAD", "").await;
    assert!(head.contains("content-length: 8\r\n") && head.contains("; hit") && head.ends_with("\r\n\r\n"), "{head}");
    let not_modified = over_tcp(address, "GET", "if-none-match: \"1\"\r\n").await;
    assert!(not_modified.starts_with("HTTP/1.1 304") && not_modified.ends_with("\r\n\r\n"), "{not_modified}");
    serving.abort();
}
