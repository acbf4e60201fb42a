//! Shows the configuration that is in effect and where each value comes from, then tries the server. Ends with 0 if all is well, with 1 if
//! anything isn't. `cachehouse check`, of the package `cache-house-cli`, finds out more; see `docs/operating.md`.
//!
//! ```sh
//! cargo run --example config_check              # as `CacheHouse::load()` has it
//! cargo run --example config_check -- FILE      # as `CacheHouse::from_file(FILE)` has it
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to its user")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, Config, Error, Health, NearCache, opts};

/// How long a server may take to answer at all.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    let config = std::env::args_os().nth(1).map_or_else(Config::load, Config::from_file);
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
    // Waits for the outcome of the first attempt, and no longer.
    let mut health = cache.watch_health();
    let settled = health.wait_for(|health| !matches!(health, Health::Connecting));
    drop(tokio::time::timeout(PATIENCE, settled).await);
    let mut missing = Vec::new();
    for server in cache.inspect_async().await {
        let version = server.version.as_deref().unwrap_or("a server that doesn't tell its version");
        let round_trip = server.round_trip.map_or("no answer".to_owned(), |time| format!("{time:.1?}"));
        println!("{}: {version}, {round_trip}", server.endpoint);
        missing.extend(server.missing);
    }
    match cache.health() {
        Health::Memory => {
            println!("there is no server to try: [memory]");
            return Ok(());
        }
        health @ Health::Connected { .. } => println!("{health}"),
        Health::Degraded { reason, .. } => return Err(format!("the server can't be used\n\n{reason}")),
        health => return Err(format!("the server can't be used\n\n{health}, after {PATIENCE:?}")),
    }
    let own = || opts!("config_check", std::process::id()).expire(PATIENCE);
    let inserted = cache.insert_async(own(), &"value".to_string()).await;
    let read = cache.get_async::<String>(own()).await;
    let removed = cache.remove_async(own()).await;
    match (inserted, read, removed) {
        (Ok(inserted), Some(_), Ok(removed)) if !inserted.journalled && removed.entries == 1 => {
            println!("insert, get, remove: fine");
        }
        results => return Err(format!("the server can't be used as it should: {results:?}")),
    }
    let begin = Instant::now();
    while cache.near_cache() == NearCache::Connecting && begin.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match cache.near_cache() {
        NearCache::Off => {}
        status => println!("near cache: {status}"),
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("the user may not run: {}\ndocs/permissions.md says what each is for", missing.join(", ")))
}
