//! What a stored miss costs with the fence, beside the same miss without it, in one run.
//!
//! `cargo bench --bench miss`. Each call has a key of its own, so each runs its work and stores its value. The pairs are measured in
//! turn (A B A B …), so that both see the same noise.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod common;

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, opts};
use common::{ROUND, ROUNDS, RedisServer, User, connected, median, throughput, user};

/// No two calls have the same.
static KEY: AtomicU64 = AtomicU64::new(0);

#[tokio::main]
async fn main() {
    let server = RedisServer::start();
    let cache = connected(&server, Duration::from_secs(5)).await;
    println!(
        "A stored miss: calls a second, with the fence and without, median of {ROUNDS} pairs; the ratio is of times"
    );
    println!("{:>8} {:>6} {:>12} {:>12} {:>7}", "work", "tasks", "fence", "no fence", "ratio");
    for (work, tasks) in [(0, 1), (0, 64), (5, 1), (5, 64)] {
        let work = Duration::from_millis(work);
        let mut pairs = Vec::new();
        for round in 0..=ROUNDS {
            let with = throughput(tasks, |_, start| misses(cache.clone(), true, work, start)).await;
            let without = throughput(tasks, |_, start| misses(cache.clone(), false, work, start)).await;
            // The first round warms up.
            if round > 0 {
                pairs.push((with, without));
            }
        }
        let with = median(pairs.iter().map(|pair| pair.0));
        let without = median(pairs.iter().map(|pair| pair.1));
        let ratio = median(pairs.iter().map(|pair| pair.1 / pair.0));
        println!("{work:>8.0?} {tasks:>6} {with:>12.0} {without:>12.0} {ratio:>7.2}");
    }
    let stats = cache.stats();
    assert_eq!((stats.fenced, stats.failed_writes, stats.server_timeouts), (0, 0, 0), "each value was stored");
    cache.close_async().await;
}

/// Calls until the round is over; how many.
async fn misses(cache: CacheHandle, fence: bool, work: Duration, start: Instant) -> u64 {
    let mut done = 0;
    while start.elapsed() < ROUND {
        let id = KEY.fetch_add(1, Ordering::Relaxed);
        let call = opts!("get_user", id, "full").fence(fence);
        let value: User = cache.cached_async(call, || async { compute(id, work).await }).await;
        black_box(value);
        done += 1;
    }
    done
}

async fn compute(id: u64, takes: Duration) -> User {
    if !takes.is_zero() {
        tokio::time::sleep(takes).await;
    }
    user(id)
}
