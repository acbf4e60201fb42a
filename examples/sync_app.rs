//! A program without async: threads that share work, direct use of the cache, and what the cache reports.
//!
//! ```sh
//! cargo run --release --example sync_app [ENDPOINT]
//! ```
//!
//! It works alike with a Redis or Valkey at the endpoint, localhost:6379 by default, and without one.
#![expect(clippy::print_stdout, reason = "a program that talks to its user")]

use std::time::{Duration, Instant};
use std::{env, thread};

use cache_house::{Applied, CacheHouse, opts};

const THREADS: usize = 4;
const LIMITS: [u64; 4] = [50_000, 100_000, 200_000, 400_000];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Built outside any runtime, the handle brings its own I/O thread.
    let endpoint = env::args().nth(1).unwrap_or_else(|| "localhost:6379".into());
    let cache = CacheHouse::builder().namespace("sync_app").standalone(endpoint).build()?;
    println!("the cache is {}", cache.ready_blocking(Duration::from_millis(500)));

    println!("\n{THREADS} threads ask for the same {} counts of primes", LIMITS.len());
    let start = Instant::now();
    let answers = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| LIMITS.map(|limit| cache.cached(opts!("primes_below", limit), || primes_below(limit))))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a thread panicked")).collect::<Result<Vec<_>, _>>()
    })?;
    let time = start.elapsed();
    for (limit, primes) in LIMITS.iter().zip(answers[0]) {
        println!("  {primes:>6} below {limit}");
    }
    println!("  all agree: {}, in {time:.1?}", answers.iter().all(|answer| *answer == answers[0]));

    println!("\ndirect use");
    let greeting = || opts!("greeting", "en").expire(Duration::from_secs(30));
    report("insert", cache.insert(greeting(), &"hello".to_string())?);
    println!("  get: {:?}", cache.get::<String>(greeting()));
    report("remove", cache.remove(greeting())?);
    println!("  contains: {}", cache.contains(greeting()));
    report("clear_namespace", cache.clear_namespace("sync_app")?);

    let stats = cache.stats();
    println!("\nstats");
    for (name, value) in [
        ("runs of the work", stats.runs),
        ("shared while it ran", stats.coalesced),
        ("hits in memory", stats.memory_hits),
        ("hits on the server", stats.server_hits),
        ("misses", stats.misses),
        ("waiting invalidations", stats.journal_length),
    ] {
        println!("  {name:<22} {value:>3}");
    }
    cache.close();
    Ok(())
}

/// Prints what a change has done. An outage is no error: then it's done in memory, and on the server when it's back.
fn report(what: &str, applied: Applied) {
    let when = if applied.journalled { ", and on the server when it's back" } else { "" };
    println!("  {what}: {} entries{when}", applied.entries);
}

/// The work that is worth caching.
fn primes_below(limit: u64) -> u64 {
    (2..limit).filter(|n| (2..).take_while(|d| d * d <= *n).all(|d| n % d != 0)).count() as u64
}
