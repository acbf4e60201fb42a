//! What a near hit costs beside a hit of `memory()` and beside a hit on the server, how soon another process's change is seen, and what it
//! costs to remove a tag that many entries have.
//!
//! `cargo bench --bench near`. The pairs are measured in turn (A B A B …), so that both see the same noise.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "a bench that can't go on stops")]

mod common;

use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, CacheOptions, NearCache, opts};
use common::{KEYS, ROUNDS, RedisServer, cached_calls, connected, median, options, throughput, user};

const BOUND: Duration = Duration::from_secs(1);
const CHANGES: u32 = 500;
const TAGGED: u64 = 100_000;
const REMOVALS: usize = 200;

#[tokio::main]
async fn main() {
    let server = RedisServer::start();
    let expire = Duration::from_secs(3600);
    let plain = connected(&server, expire).await;
    let builder = CacheHouse::builder().standalone(("127.0.0.1", server.port)).near_cache(BOUND);
    let near = builder.command_timeout(Duration::from_secs(2)).build().unwrap();
    while near.near_cache() != NearCache::On {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let memory = CacheHouse::builder().memory().build().unwrap();
    for cache in [&plain, &memory] {
        fill(cache).await;
    }
    // Read until they are near, and decoded.
    for _ in 0..3 {
        fill(&near).await;
    }
    println!("Hits a second, median of {ROUNDS} pairs");
    println!("{:>6} {:>12} {:>12} {:>7}", "tasks", "near", "beside", "ratio");
    for tasks in [1, 64] {
        pairs(tasks, &near, "memory()", &memory).await;
        pairs(tasks, &near, "the server", &plain).await;
    }
    assert!(near.stats().near_hits > near.stats().server_hits, "they were near: {:?}", near.stats());
    changes(&near, &plain).await;
    removals(&plain).await;
}

async fn fill(cache: &CacheHandle) {
    for id in 0..KEYS {
        assert_eq!(cache.cached_async(options(id), || async { user(id) }).await, user(id));
    }
}

async fn pairs(tasks: u64, near: &CacheHandle, what: &str, other: &CacheHandle) {
    let mut pairs = Vec::new();
    for round in 0..=ROUNDS {
        let ours = throughput(tasks, |task, start| cached_calls(near.clone(), options, task, start)).await;
        let beside = throughput(tasks, |task, start| cached_calls(other.clone(), options, task, start)).await;
        if round > 0 {
            pairs.push((ours, beside));
        }
    }
    let (ours, beside) = (median(pairs.iter().map(|pair| pair.0)), median(pairs.iter().map(|pair| pair.1)));
    let ratio = median(pairs.iter().map(|pair| pair.0 / pair.1));
    println!("{tasks:>6} {ours:>12.0} {beside:>12.0} {ratio:>7.2}  {what}");
}

/// From the return of another process's `insert` to the first read that sees it.
async fn changes(near: &CacheHandle, other: &CacheHandle) {
    let call = || -> CacheOptions { opts!("changes") };
    let mut times = Vec::new();
    for number in 0..CHANGES {
        other.insert_async(call(), &number).await.unwrap();
        let begun = Instant::now();
        while near.get_async::<u32>(call()).await != Some(number) {}
        times.push(begun.elapsed().as_secs_f64() * 1e6);
        // Near again.
        for _ in 0..2 {
            near.get_async::<u32>(call()).await;
        }
    }
    let worst = times.iter().copied().fold(0.0, f64::max);
    println!(
        "\nA change by another process is seen after {:.0} µs (median of {CHANGES}; the longest {worst:.0} µs)",
        median(times.into_iter())
    );
}

/// Removing one entry, and removing a tag that 100,000 entries have, in turn.
async fn removals(cache: &CacheHandle) {
    let tagged = |id: &u64| opts!("tagged", id).tag("all");
    let all =
        cache.cached_many_async(0..TAGGED, tagged, async |ids| ids.into_iter().map(|id| (id, id)).collect()).await;
    assert_eq!(all.len() as u64, TAGGED);
    let (mut ones, mut tags) = (Vec::new(), Vec::new());
    for _ in 0..REMOVALS {
        cache.insert_async(opts!("one"), &1).await.unwrap();
        let begun = Instant::now();
        assert_eq!(cache.remove_async(opts!("one")).await.unwrap().entries, 1);
        ones.push(begun.elapsed().as_secs_f64() * 1e6);
        // The tag's token is there.
        cache.contains_async(tagged(&1)).await;
        let begun = Instant::now();
        assert_eq!(cache.remove_tag_async("all").await.unwrap().entries, 1);
        tags.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    let (one, tag) = (median(ones.into_iter()), median(tags.into_iter()));
    println!("\nRemoving one entry {one:.0} µs, a tag of {TAGGED} entries {tag:.0} µs (medians of {REMOVALS})");
}
