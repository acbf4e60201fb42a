//! Finds out what is at an endpoint, a server or a cluster, and prints each change of it.
//!
//! ```sh
//! cargo run --release --example autodetect [ENDPOINT] [--seconds N]
//! ```
//!
//! The endpoint is localhost:6379 where none is named. While this runs, stop what is there, start it again, or start something else
//! in its place: calls go on, and the program needs no restart.
#![expect(clippy::print_stdout, reason = "a program that talks to its user")]

use std::env;
use std::error::Error;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, Health, Topology, opts};
use tokio::time::{sleep, timeout};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (endpoint, seconds) = arguments()?;
    let cache = CacheHouse::builder().namespace("autodetect").autodetect(&endpoint).build()?;
    println!("following {endpoint} for {seconds} s");
    tokio::select! {
        _ = timeout(Duration::from_secs(seconds), follow(&cache)) => {}
        () = call(&cache) => {}
    }
    let stats = cache.stats();
    println!("calls served by the server: {}, from memory: {}", stats.server_hits, stats.memory_hits);
    println!("calls that ran their work: {}", stats.runs);
    cache.close_async().await;
    Ok(())
}

/// Prints the health now, and whenever it changes, until the handle is gone.
async fn follow(cache: &CacheHandle) {
    let (begin, mut health) = (Instant::now(), cache.watch_health());
    loop {
        let now = health.borrow_and_update().clone();
        println!("{:>5.1} s  {now}; {}", begin.elapsed().as_secs_f64(), who_serves(&now));
        if health.changed().await.is_err() {
            return;
        }
    }
}

fn who_serves(health: &Health) -> &'static str {
    match health {
        Health::Connected { topology: Topology::Cluster { shards, served } } if served < shards => {
            "memory serves what the other shards have"
        }
        Health::Connected { .. } => "the server serves",
        _ => "memory serves",
    }
}

/// Uses the cache all the while: the 20 values live for ten seconds each.
async fn call(cache: &CacheHandle) {
    for turn in 0_u64.. {
        let n = turn % 20;
        let square = cache.cached_async(opts!("square", n).expire(Duration::from_secs(10)), || async { n * n }).await;
        assert_eq!(square, n * n);
        sleep(Duration::from_millis(20)).await;
    }
}

/// What to connect to, and for how long.
fn arguments() -> Result<(String, u64), Box<dyn Error>> {
    let (mut endpoint, mut seconds) = (String::from("localhost:6379"), 30);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => seconds = arguments.next().ok_or("--seconds takes a number")?.parse()?,
            _ => endpoint = argument,
        }
    }
    Ok((endpoint, seconds))
}
