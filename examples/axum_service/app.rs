//! The service: a shop's products and the rates of its currencies, from a store that is slow.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::get;
use axum::{Json, Router};
use cache_house::{CacheHandle, CacheHouse, CacheOptions, Health, cached, opts};
use cache_house_tower::CacheLayer;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{RwLock, watch};
use tokio::time::{interval, sleep};

/// Seconds, for the histograms: from a hit on a server nearby to work that one waits for.
const BUCKETS: [f64; 11] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 2.5];

/// Serves until the process gets a signal to stop; then lets the requests that are under way end, and closes the cache.
pub(crate) async fn serve(listener: TcpListener) -> Result<(), Box<dyn Error>> {
    // Before the cache is built, so that its gauges are recorded from the start.
    let metrics = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS)?
        .install_recorder()?;
    // `cachehouse.toml` where the service runs, and the environment. Problems in them are reported here, all at once; that no
    // server is there isn't wrong.
    let cache = CacheHouse::load().build()?;
    let upkeep = tokio::spawn(keep_up(metrics.clone()));
    let state = Arc::new(Shop { health: cache.watch_health(), store: Store::stocked(), cache: cache.clone(), metrics });
    axum::serve(listener, router(state)).with_graceful_shutdown(told_to_stop()).await?;
    upkeep.abort();
    // Invalidations that the server hasn't confirmed are tried once more.
    cache.close_async().await;
    Ok(())
}

struct Shop {
    cache: CacheHandle,
    health: watch::Receiver<Health>,
    store: Store,
    metrics: PrometheusHandle,
}

fn router(shop: Arc<Shop>) -> Router {
    // Its responses go with the products that they are made of.
    let responses = CacheLayer::new(shop.cache.clone()).namespace("products");
    Router::new()
        .route("/", get(index))
        .route("/catalogue", get(catalogue).layer(responses))
        .route("/products/{id}", get(product).put(update_product))
        .route("/prices/{id}/{currency}", get(price))
        .route("/rates/{currency}", get(rate))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .with_state(shop)
}

/// Not cached: there's nothing to save.
async fn index() -> &'static str {
    "GET /catalogue              all products, a response that is cached by its headers\n\
     GET /products/1             a product, cached by the attribute\n\
     PUT /products/1             a JSON such as {\"name\": \"lamp\", \"cents\": 1900}; what was cached of products goes\n\
     GET /prices/1/EUR           a price, cached by a call\n\
     GET /rates/EUR              a rate, cached for seconds, with its age, in a namespace of its own\n\
     GET /health, GET /metrics   how the cache is doing\n"
}

/// The layer keeps the response for a minute, and serves it while one request renews it. Clients ask each time.
async fn catalogue(State(shop): State<Arc<Shop>>) -> ([(HeaderName, &'static str); 1], Json<Vec<Product>>) {
    let headers = [(header::CACHE_CONTROL, "max-age=0, s-maxage=60, stale-while-revalidate=60")];
    (headers, Json(shop.store.products().await))
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Product {
    name: String,
    cents: u64,
}

async fn product(State(shop): State<Arc<Shop>>, Path(id): Path<u64>) -> Result<Json<Product>, StatusCode> {
    find_product(&shop, id).await.map(Json).ok_or(StatusCode::NOT_FOUND)
}

/// A product that isn't there is cached too: `None` is a value.
#[cached(handle = shop.cache, namespace = "products", skip(shop))]
async fn find_product(shop: &Shop, id: u64) -> Option<Product> {
    shop.store.product(id).await
}

async fn update_product(
    State(shop): State<Arc<Shop>>,
    Path(id): Path<u64>,
    Json(product): Json<Product>,
) -> Result<StatusCode, StatusCode> {
    shop.store.update(id, product).await;
    // All that was made of products: what is read from here on is new, also what is being computed just now.
    // An outage of the cache server is no error: then it's done in this process, and on the server before it's read again.
    shop.cache.clear_namespace_async("products").await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn price(
    State(shop): State<Arc<Shop>>,
    Path((id, currency)): Path<(u64, String)>,
) -> Result<Json<f64>, StatusCode> {
    // In the products' namespace, so that it goes with the product it's made of. An `Err` isn't stored.
    let options = opts!("price", id, currency).namespace("products");
    let price = shop.cache.try_cached_async(options, || async {
        let product = find_product(&shop, id).await.ok_or(StatusCode::NOT_FOUND)?;
        let rate = find_rate(&shop, &currency).await.ok_or(StatusCode::NOT_FOUND)?;
        Ok((product.cents as f64 * rate).round() / 100.0)
    });
    price.await.map(Json)
}

/// Clients and proxies keep a rate for as long as it's fresh here.
async fn rate(
    State(shop): State<Arc<Shop>>,
    Path(currency): Path<String>,
) -> Result<([(HeaderName, String); 2], Json<f64>), StatusCode> {
    let entry = shop.cache.entry_async(rate_options(&currency), |_| shop.store.rate(&currency)).await;
    let (age, remaining) = (entry.age().unwrap_or_default(), entry.remaining().unwrap_or_default());
    let headers = [
        (header::AGE, age.as_secs().to_string()),
        // Counted from the origin's answer, as HTTP has it.
        (header::CACHE_CONTROL, format!("max-age={}", (age + remaining).as_secs())),
    ];
    let rate = entry.into_value().ok_or(StatusCode::NOT_FOUND)?;
    Ok((headers, Json(rate)))
}

async fn find_rate(shop: &Shop, currency: &str) -> Option<f64> {
    shop.cache.cached_async(rate_options(currency), || shop.store.rate(currency)).await
}

/// A rate is served for a minute more while one caller renews it.
fn rate_options(currency: &str) -> CacheOptions {
    opts!("rate", currency)
        .namespace("rates")
        .expire(Duration::from_secs(5))
        .stale_while_revalidate(Duration::from_secs(60))
}

/// The cache's health. The service works without the cache's server and a restart wouldn't help, so the status is always 200.
#[derive(Serialize)]
struct HealthReport {
    status: &'static str,
    detail: String,
    journal_length: u64,
}

async fn health(State(shop): State<Arc<Shop>>) -> Json<HealthReport> {
    // The same receiver tells of each change to whoever awaits `changed()`.
    let health = shop.health.borrow().clone();
    let status = match health {
        Health::Connected { .. } => "connected",
        Health::Connecting => "connecting",
        Health::Degraded { .. } => "degraded",
        Health::Memory => "memory",
        _ => "closed",
    };
    Json(HealthReport { status, detail: health.to_string(), journal_length: shop.cache.stats().journal_length })
}

async fn metrics(State(shop): State<Arc<Shop>>) -> String {
    shop.metrics.render()
}

/// The exporter gathers histograms' values when it's asked to; without a listener of its own, nothing else asks between renderings.
async fn keep_up(metrics: PrometheusHandle) {
    let mut every = interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        metrics.run_upkeep();
    }
}

/// Ctrl-C, and SIGTERM where there is such a thing.
async fn told_to_stop() {
    #[cfg(unix)]
    let terminated = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminated = std::future::pending::<()>();
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// Where the truth is: in a real service a database.
struct Store {
    products: RwLock<BTreeMap<u64, Product>>,
}

impl Store {
    fn stocked() -> Self {
        let product = |(id, (name, cents)): (u64, (&str, u64))| (id, Product { name: name.into(), cents });
        let products = (1..).zip([("lamp", 1900), ("chair", 4900), ("table", 12_900)]).map(product);
        Self { products: RwLock::new(products.collect()) }
    }

    async fn product(&self, id: u64) -> Option<Product> {
        sleep(Duration::from_millis(50)).await;
        self.products.read().await.get(&id).cloned()
    }

    async fn products(&self) -> Vec<Product> {
        sleep(Duration::from_millis(50)).await;
        self.products.read().await.values().cloned().collect()
    }

    async fn update(&self, id: u64, product: Product) {
        self.products.write().await.insert(id, product);
    }

    async fn rate(&self, currency: &str) -> Option<f64> {
        sleep(Duration::from_millis(50)).await;
        [("EUR", 1.0), ("USD", 1.1), ("NOK", 11.5)].iter().find(|(name, _)| *name == currency).map(|(_, rate)| *rate)
    }
}
