//! A service whose cache is configured by a file and the environment.
//!
//! ```sh
//! cargo run --example from_file
//! CACHEHOUSE_NAMESPACE=mine CACHEHOUSE_EXPIRE=10s cargo run --example from_file
//! ```
//!
//! It works alike with a Redis or Valkey on localhost:6379 and without one.
#![expect(clippy::print_stdout, reason = "a program that talks to its user")]

use std::time::Duration;

use cache_house::{CacheHouse, opts};

/// A service of yours says `CacheHouse::load()`, which reads `cachehouse.toml` where it runs.
const FILE: &str = "examples/cachehouse.toml";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Problems in the file or a variable are reported here, all at once.
    let cache = CacheHouse::from_file(FILE).build()?;
    println!("{FILE} is loaded; the cache is {}", cache.ready(Duration::from_millis(500)).await);

    // The file has an expiry for this namespace; a call may still have its own.
    let user = |id: u64| opts!("load_user", id).namespace("api.users");
    for attempt in ["first", "second"] {
        let name = cache.cached_async(user(7), async || format!("user {}", 7)).await;
        println!("  {attempt}: {name}, after {} runs of the work", cache.stats().runs);
    }
    println!("its key on the server: {}", cache.key(&user(7))?);
    cache.close_async().await;
    Ok(())
}
