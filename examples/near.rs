//! Two processes side by side: one sets a hundred keys over and over, the other reads them through a near cache. By the second it
//! prints how many hits there were, how many of them asked the server, and how old the oldest answer was: for how long the server had had
//! another value already.
//!
//! ```sh
//! cargo run --release --example near                          # a server at localhost:6379
//! cargo run --release --example near -- cache.example:6379 20 # another, for 20 s
//! ```
//!
//! On a quiet network no answer is older than a few milliseconds. Freeze the server (`kill -STOP`): after the bound, half a second, there are
//! no near hits any more, and once it goes on there are.
#![expect(clippy::print_stdout, reason = "a program that talks to its user")]

use std::env;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cache_house::{CacheHandle, CacheHouse, CacheOptions, opts};

const BOUND: Duration = Duration::from_millis(500);
const KEYS: u64 = 100;
/// Between two sets.
const PERIOD: Duration = Duration::from_millis(5);
/// One in so many answers is compared with the server's.
const COMPARED: u64 = 256;
const READERS: u64 = 2;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = env::args().skip(1);
    let endpoint = arguments.next().unwrap_or_else(|| "localhost:6379".into());
    match arguments.next().as_deref() {
        Some("set") => set(&endpoint).await,
        seconds => read(&endpoint, seconds.map_or(Ok(5), str::parse)?).await,
    }
}

fn call(key: u64) -> CacheOptions {
    opts!("near_example", key).namespace("near_example").expire(Duration::from_secs(60))
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The process that sets the keys, until it's ended.
async fn set(endpoint: &str) -> Result<(), Failure> {
    let cache = CacheHouse::builder().standalone(endpoint).build()?;
    cache.ready(Duration::from_secs(5)).await;
    loop {
        for key in 0..KEYS {
            cache.insert_async(call(key), &now()).await?;
            tokio::time::sleep(PERIOD).await;
        }
    }
}

/// The process that reads them.
async fn read(endpoint: &str, seconds: u64) -> Result<(), Failure> {
    let cache = CacheHouse::builder().standalone(endpoint).near_cache(BOUND).build()?;
    if !cache.ready(Duration::from_secs(5)).await.is_connected() {
        println!("there is no server at {endpoint}: {}", cache.health());
        return Ok(());
    }
    let mut setter = Command::new(env::current_exe()?).args([endpoint, "set"]).stdout(Stdio::null()).spawn()?;
    println!("{:>6} {:>14} {:>14} {:>16}  near cache", "second", "near hits", "asked", "oldest answer");
    for second in 1..=seconds {
        let (before, end) = (cache.stats(), Instant::now() + Duration::from_secs(1));
        let readers: Vec<_> = (0..READERS).map(|reader| tokio::spawn(oldest(cache.clone(), reader, end))).collect();
        let mut oldest = Duration::ZERO;
        for reader in readers {
            oldest = oldest.max(reader.await?);
        }
        let stats = cache.stats();
        let (near, asked) = (stats.near_hits - before.near_hits, stats.server_hits - before.server_hits);
        println!("{second:>6} {near:>14} {asked:>14} {oldest:>16.1?}  {}", cache.near_cache());
    }
    setter.kill()?;
    setter.wait()?;
    cache.clear_namespace_async("near_example").await?;
    cache.close_async().await;
    Ok(())
}

/// Reads until `end`; the age of the oldest answer among those that are compared.
async fn oldest(cache: CacheHandle, reader: u64, end: Instant) -> Duration {
    let mut oldest = Duration::ZERO;
    for read in reader.. {
        if Instant::now() >= end {
            break;
        }
        let (key, at) = (read * 7 % KEYS, now());
        let answer: Option<Duration> = cache.get_async(call(key)).await;
        if read % COMPARED != 0 {
            continue;
        }
        // Each value is the time at which it was set.
        let newest: Option<Duration> = cache.get_async(call(key).max_staleness(Duration::ZERO)).await;
        if let (Some(answer), Some(newest)) = (answer, newest)
            && answer < newest
        {
            oldest = oldest.max(at.saturating_sub(newest));
        }
    }
    oldest
}
