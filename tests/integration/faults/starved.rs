//! A program that keeps its own runtime from running: no fault of the server.

use std::sync::Barrier;
use std::time::Duration;
use std::{sync::Arc, thread};

use cache_house::{CacheHandle, Health};
use tokio::runtime::Runtime;

use super::{squares, under_traffic, until_used};
use crate::support::{DEADLINE, Server, connect, multi_thread, standalone, wait_until};

const WORKERS: usize = 2;

/// Blocks all workers of the runtime at once, for so long; returns when they are free again.
fn block(runtime: &Runtime, time: Duration) {
    let all = Arc::new(Barrier::new(WORKERS));
    let blocking: Vec<_> = (0..WORKERS)
        .map(|_| {
            let all = Arc::clone(&all);
            runtime.spawn(async move {
                all.wait();
                thread::sleep(time);
            })
        })
        .collect();
    wait_until("the workers are free again", DEADLINE, || blocking.iter().all(|task| task.is_finished()));
}

fn in_runtime(runtime: &Runtime, server: &Server, timeout: Duration) -> CacheHandle {
    let _inside = runtime.enter();
    connect(standalone(server.endpoint()).command_timeout(timeout))
}

#[test]
fn a_runtime_that_is_blocked_by_the_program_is_no_outage() {
    let server = Server::start();
    let runtime = multi_thread(WORKERS);
    let cache = in_runtime(&runtime, &server, Duration::from_millis(250));
    let health = cache.watch_health();
    let plain = multi_thread(1);
    under_traffic(&plain, &cache, squares(0, 8), |seen| {
        // Much longer than the timeout, and hardly longer.
        for millis in [1_000, 300, 1_000, 280] {
            seen.wait_for_calls(200);
            block(&runtime, Duration::from_millis(millis));
            until_used(&cache);
            let after = cache.stats();
            assert_eq!(after.circuit_openings, 0, "{after:?}");
        }
    });
    assert!(cache.health().is_connected());
    assert!(matches!(*health.borrow(), Health::Connected { .. }));
    assert!(!health.has_changed().expect("the handle lives"), "there was nothing to tell");
}
