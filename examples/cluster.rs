//! Caches over a cluster, and prints each second who served.
//!
//! ```sh
//! cargo run --release --example cluster [NODE…] [--seconds N]
//! ```
//!
//! Without arguments the nodes are those of `docker/`, which `docker compose --profile cluster up -d --wait` starts in that folder.
//! While this runs, stop one with `docker compose --profile cluster stop node-1`: its keys come from memory until a replica
//! has taken over, the others from their servers all the while. Where there is no cluster, memory serves.
#![expect(clippy::print_stdout, reason = "a program that talks to its user")]

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, CacheOptions, Health, Topology, opts};
use crc16::{State, XMODEM};
use tokio::time::{interval, sleep};

/// How many different calls there are; each has a key of its own.
const QUESTIONS: u64 = 300;
const CALLERS: u64 = 4;
/// A cluster divides its keys into so many slots, and those among its shards.
const SLOTS: usize = 16_384;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (nodes, seconds) = arguments()?;
    let (first, more) = nodes.split_first().ok_or("no node is named")?;
    // One node that answers is enough: it tells of all others.
    let builder = CacheHouse::builder().namespace("cluster").cluster(first);
    let cache = more.iter().fold(builder, |builder, node| builder.node(node)).build()?;

    let health = cache.ready(Duration::from_secs(2)).await;
    println!("{}: {health}", nodes.join(" "));
    match health {
        Health::Connected { topology: Topology::Cluster { shards, .. } } => show_spread(&cache, shards)?,
        _ => println!("no cluster there: memory serves, until one appears"),
    }

    println!("\ntime    calls  from server  from memory  computed    slowest  health");
    let slowest = AtomicU64::new(0);
    let callers = (0..CALLERS).map(|caller| call(&cache, caller, &slowest));
    tokio::select! {
        () = report(&cache, seconds, &slowest) => {}
        _ = futures::future::join_all(callers) => {}
    }
    cache.close_async().await;
    Ok(())
}

/// A call that is worth caching: it takes a while.
async fn square(n: u64) -> u64 {
    sleep(Duration::from_millis(5)).await;
    n * n
}

fn question(n: u64) -> CacheOptions {
    opts!("square", n).expire(Duration::from_secs(300))
}

/// Asks one question after another, without end.
async fn call(cache: &CacheHandle, caller: u64, slowest: &AtomicU64) {
    for turn in 0.. {
        let n = (turn * CALLERS + caller) % QUESTIONS;
        let begin = Instant::now();
        assert_eq!(cache.cached_async(question(n), || square(n)).await, n * n);
        let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
        slowest.fetch_max(micros, Ordering::Relaxed);
        sleep(Duration::from_millis(2)).await;
    }
}

/// Prints a line a second: what the calls of that second got, and how many shards are served.
async fn report(cache: &CacheHandle, seconds: u64, slowest: &AtomicU64) {
    let mut seconds_passed = interval(Duration::from_secs(1));
    seconds_passed.tick().await;
    let mut before = cache.stats();
    for second in 1..=seconds {
        seconds_passed.tick().await;
        let now = cache.stats();
        let (server, memory) = (now.server_hits - before.server_hits, now.memory_hits - before.memory_hits);
        let runs = now.runs - before.runs;
        let slowest = slowest.swap(0, Ordering::Relaxed) as f64 / 1e3;
        let (calls, health) = (server + memory + runs, cache.health());
        println!("{second:>3} s {calls:>7} {server:>12} {memory:>12} {runs:>9} {slowest:>7.1} ms  {health}");
        before = now;
    }
}

/// Prints how many of the keys fall into each shard's part of the slots, as a new cluster divides them.
fn show_spread(cache: &CacheHandle, shards: usize) -> Result<(), cache_house::Error> {
    let mut spread = BTreeMap::new();
    for n in 0..QUESTIONS {
        let slot = usize::from(State::<XMODEM>::calculate(cache.key(&question(n))?.as_bytes())) % SLOTS;
        *spread.entry(slot * shards / SLOTS).or_insert(0) += 1;
    }
    println!("{QUESTIONS} keys in {shards} equal parts of the slots: {:?}", spread.into_values().collect::<Vec<u64>>());
    Ok(())
}

/// The nodes to begin with, and how long to go on.
fn arguments() -> Result<(Vec<String>, u64), Box<dyn Error>> {
    let (mut nodes, mut seconds) = (Vec::new(), 30);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => seconds = arguments.next().ok_or("--seconds takes a number")?.parse()?,
            _ => nodes.push(argument),
        }
    }
    if nodes.is_empty() {
        nodes = ["127.0.0.1:7000", "127.0.0.1:7001", "127.0.0.1:7002"].map(String::from).to_vec();
    }
    Ok((nodes, seconds))
}
