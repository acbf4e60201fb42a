//! A reverse proxy that caches, in front of a service that is slow and then gone.
//!
//! ```sh
//! cargo run -p cache-house-tower --example axum_proxy
//! cargo run -p cache-house-tower --example axum_proxy -- localhost:6379
//! ```
//!
//! With a server, all proxies share what is stored.
#![expect(clippy::print_stdout, reason = "a program that talks to its user")]

use std::error::Error;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::http::header::{CACHE_CONTROL, ETAG, HOST};
use axum::http::{HeaderValue, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cache_house::CacheHouse;
use cache_house_tower::CacheLayer;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceExt, service_fn};

type Fault = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let builder = CacheHouse::builder().namespace("proxy");
    let cache = match std::env::args().nth(1) {
        Some(endpoint) => builder.standalone(endpoint).wait_for_server(Duration::from_secs(2)).build()?,
        None => builder.memory().build()?,
    };

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let origin = tokio::spawn(async move { axum::serve(listener, shop()).await });

    // Axum serves this as `Router::new().fallback_service(proxy)`; here the program asks it itself.
    // A connection for each request, so that none outlives the origin's end.
    let client: Client<_, Body> =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(HttpConnector::new());
    let to_origin = service_fn(move |request| forward(client.clone(), address.to_string(), request));
    let proxy = CacheLayer::new(cache.clone())
        .ignore_host()
        .tags(|parts| vec![parts.uri.path().to_owned()])
        .name("proxy")
        .layer(to_origin);

    ask(&proxy, "/products/1").await?;
    ask(&proxy, "/products/1").await?;
    println!("The product has changed:");
    cache.remove_tag_async("/products/1").await?;
    ask(&proxy, "/products/1").await?;
    println!("The origin is gone, and its response is stale:");
    origin.abort();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    ask(&proxy, "/products/1").await?;
    cache.close_async().await;
    Ok(())
}

/// The origin: its pages take 50 ms, are fresh for a second, and may be served for an hour where it fails.
fn shop() -> Router {
    let product = |Path(id): Path<u64>| async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        ([(CACHE_CONTROL, "max-age=1, stale-if-error=3600"), (ETAG, "\"1\"")], format!("product {id}"))
    };
    Router::new().route("/products/{id}", get(product))
}

/// Sends a request to the origin.
async fn forward(client: Client<HttpConnector, Body>, origin: String, mut request: Request) -> Result<Response, Fault> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = Uri::builder().scheme("http").authority(origin.as_str()).path_and_query(path).build()?;
    request.headers_mut().insert(HOST, HeaderValue::try_from(origin)?);
    Ok(client.request(request).await?.into_response())
}

/// Asks the proxy, as one of its clients would, and prints how it was answered.
async fn ask<S, B>(proxy: &S, path: &str) -> Result<(), Fault>
where
    S: Service<Request, Response = Response<B>, Error = Fault> + Clone,
{
    let begin = Instant::now();
    let response = proxy.clone().oneshot(Request::get(path).header(HOST, "shop").body(Body::empty())?).await?;
    let status = response.headers().get("cache-status").and_then(|status| status.to_str().ok());
    println!("GET {path}: {} after {:?}: {}", response.status(), begin.elapsed(), status.unwrap_or_default());
    Ok(())
}
