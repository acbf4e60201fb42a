//! What an operator runs first: shows the configuration that is in effect and where each value comes from, then tries the
//! server. Ends with 0 if all is well, with 1 if anything isn't.
//!
//! ```sh
//! cargo run --example config_check              # as `CacheHouse::load()` has it
//! cargo run --example config_check -- FILE      # as `CacheHouse::from_file(FILE)` has it
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to its user")]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheOptions, Config, Error, Health, NearCache, ServerReport};

/// How long a server may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(10);
const ROUND_TRIPS: u32 = 9;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let config = match &arguments[..] {
        [] => Config::load(),
        [path] => Config::from_file(path),
        _ => {
            eprintln!("config_check takes one argument at most, the path of a file");
            return ExitCode::FAILURE;
        }
    };
    match check(config).await {
        Ok(()) => {
            println!("\nall is well");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

async fn check(config: Result<Config, Error>) -> Result<(), String> {
    let wrong = |error: Error| format!("the configuration is wrong\n\n{error}");
    let config = config.map_err(wrong)?;
    println!("the configuration in effect\n\n{config}\n");
    let cache = config.into_builder().build().map_err(wrong)?;
    let result = try_server(&cache).await;
    cache.close_async().await;
    result
}

/// Connects, and prints what was found.
async fn try_server(cache: &CacheHandle) -> Result<(), String> {
    let health = settled(cache).await;
    let missing = print_servers(&cache.inspect_async().await);
    let advice = if missing.is_empty() {
        String::new()
    } else {
        format!(
            "\n\nthe user may not run: {missing}\nallow it with ACL SETUSER, or name another user; docs/permissions.md says what each is for"
        )
    };
    match health {
        Health::Memory => {
            println!("there is no server to try: [memory]");
            return Ok(());
        }
        health @ Health::Connected { .. } => println!("{health}"),
        Health::Degraded { reason, .. } => return Err(format!("the server can't be used\n\n{reason}{advice}")),
        health => return Err(format!("the server can't be used\n\n{health}, after {PATIENCE:?}")),
    }
    println!("round trip: {:.1?}, the median of {ROUND_TRIPS}", round_trip(cache).await);
    trial(cache).await.map_err(|problem| format!("the server can't be used as it should\n\n{problem}{advice}"))?;
    println!("insert, get, remove: fine");
    match settled_near_cache(cache).await {
        NearCache::Off => {}
        NearCache::On => println!("near cache: on"),
        status => return Err(format!("the server can be used, and there is no near cache\n\n{status}{advice}")),
    }
    if advice.is_empty() { Ok(()) } else { Err(format!("the server can be used in part{advice}")) }
}

/// Prints a line a server; the commands that the user lacks on any of them.
fn print_servers(servers: &[ServerReport]) -> String {
    let mut missing = BTreeSet::new();
    for server in servers {
        let version = server.version.as_deref().unwrap_or("a server that doesn't tell its version");
        let round_trip = server.round_trip.map_or("no answer".to_owned(), |time| format!("{time:.1?}"));
        println!("{}: {version}, {round_trip}", server.endpoint);
        missing.extend(server.missing.iter().map(String::as_str));
    }
    missing.into_iter().collect::<Vec<_>>().join(", ")
}

/// The health once it's known how the first attempt to connect went.
async fn settled(cache: &CacheHandle) -> Health {
    let mut health = cache.watch_health();
    let known = |health: &Health| !matches!(health, Health::Connecting);
    let waited = tokio::time::timeout(PATIENCE, health.wait_for(known)).await;
    drop(waited);
    cache.health()
}

/// Whether there is a near cache, once that's known.
async fn settled_near_cache(cache: &CacheHandle) -> NearCache {
    let begin = Instant::now();
    while cache.near_cache() == NearCache::Connecting && begin.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cache.near_cache()
}

async fn round_trip(cache: &CacheHandle) -> Duration {
    let mut times = Vec::new();
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        cache.contains_async(call()).await;
        times.push(start.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

/// Stores a value in the configured namespace, reads it and removes it.
async fn trial(cache: &CacheHandle) -> Result<(), String> {
    let value = format!("{:?}", Instant::now());
    let at = |step: &str, error: Error| format!("{step}: {error}");
    let inserted = cache.insert_async(call(), &value).await.map_err(|error| at("insert", error))?;
    if inserted.journalled {
        return Err(format!("insert: the server is gone ({})", cache.health()));
    }
    let before = cache.stats().server_hits;
    let read = cache.get_async::<String>(call()).await;
    if read.as_ref() != Some(&value) || cache.stats().server_hits == before {
        return Err(format!("get: what was just inserted isn't read from the server ({})", cache.health()));
    }
    if cache.remove_async(call()).await.map_err(|error| at("remove", error))?.entries == 0 {
        return Err("remove: what was just inserted isn't there".into());
    }
    Ok(())
}

/// A key that no program has.
fn call() -> CacheOptions {
    CacheOptions::new("config_check").arg(std::process::id()).expire(Duration::from_secs(10))
}
