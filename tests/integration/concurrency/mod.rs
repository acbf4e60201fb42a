//! Many callers of one key at once.

mod coalescing;
mod failures;
mod fences;
mod liveness;
mod places;
mod user_code;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cache_house::{CacheHandle, CacheHouse, CacheOptions};

use crate::support::{Server, connect, connected, standalone};

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

/// Counts across threads.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU32>);

impl Count {
    fn add_one(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn read(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}
