//! How soon a server is used again after an outage: under traffic, and with a journal that is nearly full.
//!
//! `cargo bench --bench outage`.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "a bench that can't go on stops")]

mod common;

use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, opts};
use common::{RedisServer, connected, options, user};
use tokio::runtime::Runtime;

/// Namespaces, each with a removed key.
const NAMESPACES: u64 = 99_000;

fn main() {
    let runtime = Runtime::new().unwrap();
    for seconds in [1, 2, 3, 5] {
        for _ in 0..2 {
            let server = RedisServer::start();
            let cache = runtime.block_on(connected(&server, Duration::from_secs(60)));
            let port = server.port;
            drop(server);
            call_for(&cache, Duration::from_secs(seconds));
            let (_server, started) = (RedisServer::start_at(port, &[]), Instant::now());
            while !cache.health().is_connected() {
                call_for(&cache, Duration::from_millis(1));
            }
            println!("used again {:.1?} after an outage of {seconds} s, under traffic", started.elapsed());
            cache.close();
        }
    }

    let server = RedisServer::start();
    let cache = runtime.block_on(connected(&server, Duration::from_secs(60)));
    let port = server.port;
    drop(server);
    while cache.health().is_connected() {
        call_for(&cache, Duration::from_millis(1));
    }
    let removing = Instant::now();
    for namespace in 0..NAMESPACES {
        assert!(cache.remove(opts!("f").namespace(format!("tenant-{namespace}"))).unwrap().journalled);
    }
    println!("{NAMESPACES} removals in as many namespaces journalled in {:.1?}", removing.elapsed());
    let (_server, started) = (RedisServer::start_at(port, &[]), Instant::now());
    let (mut slowest, mut used_after) = (Duration::ZERO, None);
    while cache.stats().journal_length > 0 {
        let removal = Instant::now();
        cache.remove(opts!("g")).unwrap();
        slowest = slowest.max(removal.elapsed());
        if cache.health().is_connected() {
            used_after.get_or_insert(started.elapsed());
        }
        thread::sleep(Duration::from_millis(1));
    }
    println!(
        "used again after {:.1?}, replayed after {:.1?}; the slowest of the removals meanwhile {slowest:.1?}",
        used_after.unwrap_or_else(|| started.elapsed()),
        started.elapsed()
    );
    cache.close();
}

/// A call each millisecond.
fn call_for(cache: &CacheHandle, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        cache.cached(options(1), || user(1));
        thread::sleep(Duration::from_millis(1));
    }
}
