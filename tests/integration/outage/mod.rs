//! A server that is absent, dies, falls silent, and comes back.

mod demotion;
mod fallback;
mod invalidation;
mod journal;
mod pooled;
mod returns;
mod silence;
mod telling;

use cache_house::CacheOptions;

use crate::support::Server;

fn call(name: &str) -> CacheOptions {
    CacheOptions::new(name)
}

/// A server that keeps what it holds when it's killed.
fn persistent() -> Server {
    // By default it answers before it has written, while the disk is slow.
    Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
}
