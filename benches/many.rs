//! What a batch of hits costs beside fred's own `MGET` of the same keys, and what a batch of misses costs.
//!
//! `cargo bench --bench many`. The pairs are measured in turn (A B A B …), so that both see the same noise. `-- count hits` and
//! `-- count raw` only make 2,000 batches of 100 hits, for a counter of instructions; `-- count nothing` makes none.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "a bench that can't go on stops")]

mod common;

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_house::{CacheHandle, opts};
use common::{KEYS, ROUND, ROUNDS, RedisServer, User, connected, fred_client, median, options, throughput, user};
use fred::prelude::{Client, KeysInterface};

/// No two misses have the same.
static NEXT: AtomicU64 = AtomicU64::new(KEYS);

/// Batches that are made for a counter of instructions.
const COUNTED: u64 = 2_000;

#[tokio::main]
async fn main() {
    let server = RedisServer::start();
    let cache = connected(&server, Duration::from_secs(3600)).await;
    let fred = fred_client(server.port).await;
    let filled = cache.cached_many_async(0..KEYS, |id| options(*id), |ids| async { users(ids) }).await;
    assert_eq!(filled.len() as u64, KEYS);
    let keys: Arc<[String]> = (0..KEYS).map(|id| cache.key(&options(id)).unwrap()).collect();
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "count") {
        // The first make copies in memory, and those that are decoded.
        let counts = |most| move |done: u64| done < most;
        hits(cache.clone(), 100, 0, counts(COUNTED / 10)).await;
        match arguments.get(at + 1).map(String::as_str) {
            Some("hits") => _ = hits(cache.clone(), 100, 0, counts(COUNTED)).await,
            Some("raw") => _ = raw_hits(fred, keys, 100, 0, counts(COUNTED)).await,
            Some("nothing") => {}
            _ => panic!("count hits, raw or nothing"),
        }
        return cache.close_async().await;
    }
    println!("Batches a second; the ratio is of times, over raw fred MGET and serde_json, median of {ROUNDS} pairs");
    println!("{:>10} {:>6} {:>12} {:>12} {:>7}", "hits", "tasks", "cache-house", "raw fred", "ratio");
    for (size, tasks) in [(1, 1), (10, 1), (100, 1), (1000, 1), (100, 8)] {
        let mut pairs = Vec::new();
        for round in 0..=ROUNDS {
            let ours = throughput(tasks, |task, start| hits(cache.clone(), size, task, until_over(start))).await;
            let raw_calls = |task, start| raw_hits(fred.clone(), Arc::clone(&keys), size, task, until_over(start));
            let raw = throughput(tasks, raw_calls).await;
            // The first round warms up.
            if round > 0 {
                pairs.push((ours, raw));
            }
        }
        let ours = median(pairs.iter().map(|pair| pair.0));
        let raw = median(pairs.iter().map(|pair| pair.1));
        let ratio = median(pairs.iter().map(|pair| pair.1 / pair.0));
        println!("{size:>10} {tasks:>6} {ours:>12.0} {raw:>12.0} {ratio:>7.2}");
    }
    assert_eq!(cache.stats().runs, 1, "each measured call was a hit");

    println!("\n{:>10} {:>14} {:>14} {:>7}", "misses", "one batch", "single calls", "ratio");
    for size in [1, 10, 100, 1000] {
        let mut pairs = Vec::new();
        for _ in 0..=ROUNDS {
            let batch = timed(misses(&cache, size)).await;
            let single = timed(single_misses(&cache, size)).await;
            pairs.push((batch, single));
        }
        let batch = median(pairs.iter().map(|pair| pair.0));
        let single = median(pairs.iter().map(|pair| pair.1));
        let ratio = median(pairs.iter().map(|pair| pair.1 / pair.0));
        println!("{size:>10} {:>11.2} ms {:>11.2} ms {ratio:>7.2}", batch * 1e3, single * 1e3);
    }
    let stats = cache.stats();
    assert_eq!((stats.shed, stats.fenced, stats.failed_writes, stats.server_timeouts), (0, 0, 0, 0));
    cache.close_async().await;
}

fn users(ids: Vec<u64>) -> HashMap<u64, User> {
    ids.into_iter().map(|id| (id, user(id))).collect()
}

fn until_over(start: Instant) -> impl Fn(u64) -> bool {
    move |_| start.elapsed() < ROUND
}

/// Calls for as long as it `goes_on` after so many; how many.
async fn hits(cache: CacheHandle, size: u64, task: u64, goes_on: impl Fn(u64) -> bool) -> u64 {
    let mut done = 0;
    while goes_on(done) {
        let first = (task * 131 + done * 7) % KEYS;
        let ids = (first..first + size).map(|id| id % KEYS);
        let work = |_| async { unreachable!("every call is a hit") };
        let found: HashMap<u64, User> = cache.cached_many_async(ids, |id| options(*id), work).await;
        assert_eq!(black_box(found).len() as u64, size);
        done += 1;
    }
    done
}

/// The same by fred's own `mget`.
async fn raw_hits(fred: Client, keys: Arc<[String]>, size: u64, task: u64, goes_on: impl Fn(u64) -> bool) -> u64 {
    let mut done = 0;
    while goes_on(done) {
        let first = (task * 131 + done * 7) % KEYS;
        let ids: Vec<u64> = (first..first + size).map(|id| id % KEYS).collect();
        let asked: Vec<&str> = ids.iter().map(|id| keys[*id as usize].as_str()).collect();
        let data: Vec<Bytes> = fred.mget(asked).await.unwrap();
        let decoded = data.iter().map(|data| serde_json::from_slice::<User>(data).unwrap());
        let found: HashMap<u64, User> = ids.into_iter().zip(decoded).collect();
        assert_eq!(black_box(found).len() as u64, size);
        done += 1;
    }
    done
}

async fn misses(cache: &CacheHandle, size: u64) {
    let first = NEXT.fetch_add(size, Ordering::Relaxed);
    let call = |id: &u64| opts!("get_user", id, "full");
    black_box(cache.cached_many_async(first..first + size, call, |ids| async { users(ids) }).await);
}

/// The same, one task each.
async fn single_misses(cache: &CacheHandle, size: u64) {
    let first = NEXT.fetch_add(size, Ordering::Relaxed);
    let calls: Vec<_> = (first..first + size)
        .map(|id| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.cached_async(opts!("get_user", id, "full"), || async { user(id) }).await })
        })
        .collect();
    for call in calls {
        black_box(call.await.unwrap());
    }
}

async fn timed(what: impl Future<Output = ()>) -> f64 {
    let begin = Instant::now();
    what.await;
    begin.elapsed().as_secs_f64()
}
