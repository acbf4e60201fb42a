//! A server that is absent, dies, falls silent, and comes back.

mod demotion;
mod fallback;
mod invalidation;
mod journal;
mod pooled;
mod silence;
mod telling;

use cache_house::CacheOptions;

use crate::support::Server;

fn call(name: &str) -> CacheOptions {
    CacheOptions::new(name)
}

/// A server that keeps what it holds when it's killed.
fn persistent() -> Server {
    Server::start_with(&["--appendonly", "yes"])
}
