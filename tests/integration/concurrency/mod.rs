//! Many callers of one key at once.

mod coalescing;
mod failures;
mod fences;
mod liveness;
mod places;
mod user_code;

use cache_house::{CacheHandle, CacheHouse, CacheOptions};

use crate::support::{Count, Server, connect, connected, standalone};

fn call(name: &str) -> CacheOptions {
    CacheOptions::new(name)
}

fn in_memory() -> CacheHandle {
    CacheHouse::builder().memory().build().expect("the builder is right")
}

/// Runs `test` over memory, a server, and a server without memory beside it.
fn over_each(test: impl Fn(CacheHandle)) {
    test(in_memory());
    let server = Server::start();
    test(connected(&server));
    server.command(&["FLUSHALL"]);
    test(connect(standalone(server.endpoint()).fallback_to_memory(false)));
}
