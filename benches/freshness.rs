//! What a hit with windows costs beside fred's `GET` and `PTTL` in one pipeline, and what callers see when a value expires under load.
//!
//! `cargo bench --bench freshness`. The pairs are measured in turn (A B A B …), so that both see the same noise.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "a bench that can't go on stops")]

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_house::{CacheHandle, CacheOptions, opts};
use common::{KEYS, ROUND, ROUNDS, RedisServer, User, beside_raw, connected, fred_client, options, user};
use fred::prelude::{Client, KeysInterface};
use tokio::time::{interval, sleep};

/// What the work of the expiring value takes.
const WORK: Duration = Duration::from_millis(200);
const EXPIRE: Duration = Duration::from_secs(2);
/// Between two callers.
const PAUSE: Duration = Duration::from_millis(1);
/// Of one way to call, five expiries long.
const LOAD: Duration = Duration::from_secs(11);

#[tokio::main]
async fn main() {
    let server = RedisServer::start();
    let cache = connected(&server, EXPIRE).await;
    hits(&cache, server.port).await;
    println!(
        "\n1,000 callers a second of a value that expires after {EXPIRE:?} and takes {WORK:?} to compute, for {LOAD:?}"
    );
    println!("{:>24} {:>8} {:>6} {:>10} {:>10} {:>10}", "", "calls", "runs", "p50", "p99", "slowest");
    for way in [Way::Plain, Way::StaleWhileRevalidate, Way::RefreshEarly, Way::Refreshing] {
        expiry(&cache, way).await;
    }
    cache.close_async().await;
}

fn with_windows(id: u64) -> CacheOptions {
    let window = Duration::from_secs(60);
    options(id).stale_while_revalidate(window).stale_if_error(window)
}

async fn hits(cache: &CacheHandle, port: u16) {
    let fred = fred_client(port).await;
    let mut keys = Vec::new();
    for id in 0..KEYS {
        assert_eq!(cache.cached_async(with_windows(id), || async { user(id) }).await, user(id));
        keys.push(cache.key(&with_windows(id)).unwrap());
    }
    let keys: Arc<[String]> = keys.into();
    println!(
        "Hit with windows: calls a second, over raw fred GET and PTTL in a pipeline and serde_json, median of {ROUNDS} pairs"
    );
    beside_raw(&[1, 64], cache, with_windows, |task, start| {
        raw_pipelines(fred.clone(), Arc::clone(&keys), task, start)
    })
    .await;
    assert_eq!(cache.stats().runs, KEYS, "each measured call was a hit");
}

async fn raw_pipelines(fred: Client, keys: Arc<[String]>, task: u64, start: Instant) -> u64 {
    let mut done = 0;
    while start.elapsed() < ROUND {
        let key = keys[((task * 7 + done) % KEYS) as usize].as_str();
        let pipeline = fred.pipeline();
        let () = pipeline.get(key).await.unwrap();
        let () = pipeline.pttl(key).await.unwrap();
        let (data, ttl): (Bytes, i64) = pipeline.all().await.unwrap();
        black_box((serde_json::from_slice::<User>(&data).unwrap(), ttl));
        done += 1;
    }
    done
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Plain,
    StaleWhileRevalidate,
    RefreshEarly,
    Refreshing,
}

impl Way {
    async fn call(self, cache: &CacheHandle) -> User {
        let options = opts!("hot", format!("{self:?}")).expire(EXPIRE);
        let window = |options: CacheOptions| options.stale_while_revalidate(EXPIRE);
        match self {
            Self::Plain => cache.cached_async(options, compute).await,
            Self::StaleWhileRevalidate => cache.cached_async(window(options), compute).await,
            Self::RefreshEarly => cache.cached_async(options.refresh_early(1.0), compute).await,
            Self::Refreshing => cache.refreshing_async(window(options), compute).await,
        }
    }
}

async fn compute() -> User {
    sleep(WORK).await;
    user(1)
}

async fn expiry(cache: &CacheHandle, way: Way) {
    // The first value is there before the load.
    way.call(cache).await;
    let (before, begin) = (cache.stats().runs, Instant::now());
    let mut tick = interval(PAUSE);
    let mut calls = Vec::new();
    while begin.elapsed() < LOAD {
        tick.tick().await;
        let cache = cache.clone();
        calls.push(tokio::spawn(async move {
            let begun = Instant::now();
            black_box(way.call(&cache).await);
            begun.elapsed()
        }));
    }
    let mut times = Vec::new();
    for call in calls {
        times.push(call.await.unwrap());
    }
    times.sort();
    let at = |share: f64| format!("{:.2?}", times[((times.len() - 1) as f64 * share) as usize]);
    let (count, runs) = (times.len(), cache.stats().runs - before);
    println!("{:>24} {count:>8} {runs:>6} {:>10} {:>10} {:>10}", format!("{way:?}"), at(0.5), at(0.99), at(1.0));
}
