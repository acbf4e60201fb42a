//! `wait_for_server`: the first calls wait for the first connection, once and no longer than was said.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use cache_house::config::Standalone;
use cache_house::{CacheHouseBuilder, CacheOptions, Health};

use crate::support::{DEADLINE, Server, connected, current_thread, finishes, multi_thread, standalone, wait_until};

fn call(n: u64) -> CacheOptions {
    CacheOptions::new("square").arg(n)
}

/// A builder whose first call waits for as long as any test does.
fn patient(server: &Server) -> CacheHouseBuilder<Standalone> {
    standalone(server.endpoint()).wait_for_server(DEADLINE)
}

/// A server that has the values of the first calls.
fn with_values() -> Server {
    let server = Server::start();
    let cache = connected(&server);
    for n in 0..10 {
        cache.insert(call(n), &(n * n)).expect("the server takes it");
    }
    server
}

#[test]
fn the_first_call_finds_what_the_server_has() {
    let server = with_values();
    let sync = patient(&server).build().expect("it's right");
    assert_eq!(sync.cached(call(1), || 0_u64), 1);
    assert_eq!((sync.stats().server_hits, sync.stats().runs), (1, 0));

    for runtime in [current_thread(), multi_thread(2)] {
        runtime.block_on(async {
            let cache = patient(&server).build().expect("it's right");
            assert_eq!(cache.cached_async(call(2), || async { 0_u64 }).await, 4);
            assert_eq!((cache.stats().server_hits, cache.stats().runs), (1, 0));
            cache.close_async().await;

            let cache = patient(&server).build().expect("it's right");
            assert_eq!(cache.cached(call(3), || 0_u64), 9, "a sync call inside a runtime");
            cache.close_async().await;
        });
    }
}

#[test]
fn every_kind_of_first_call_waits() {
    let server = with_values();
    let cache = || patient(&server).build().expect("it's right");
    assert_eq!(cache().get::<u64>(call(4)), Some(16));
    assert!(cache().contains(call(4)));
    let many = cache().cached_many([5, 6], |n| call(*n), |missing: Vec<u64>| panic!("{missing:?} are there"));
    assert_eq!(many, HashMap::from([(5, 25), (6, 36)]));
    assert_eq!(cache().refresh(call(7), || 50_u64), 50);
    let applied = cache().insert(call(8), &65_u64).expect("the server takes it");
    assert!(!applied.journalled);
    let reader = connected(&server);
    assert_eq!((reader.get(call(7)), reader.get(call(8))), (Some(50_u64), Some(65_u64)));
    let removed = cache().remove(call(8)).expect("the server is there");
    assert_eq!((removed.entries, removed.journalled), (1, false));
    assert!(!cache().remove_tag("squares").expect("the server is there").journalled);
    assert!(!cache().remove(call(7).tag("squares")).expect("the server is there").journalled);
    assert!(!cache().insert(call(7).tag("squares"), &49_u64).expect("the server is there").journalled);
    assert_eq!(cache().cached(call(7).tag("squares"), || 0_u64), 49);
    assert!(!cache().clear_namespace("main").expect("the server is there").journalled);
    assert_eq!(reader.get::<u64>(call(4)), None);
}

#[test]
fn calls_at_the_same_time_all_wait() {
    let server = with_values();
    let cache = patient(&server).build().expect("it's right");
    thread::scope(|scope| {
        for n in 0..8 {
            let cache = &cache;
            scope.spawn(move || assert_eq!(cache.cached(call(n), || u64::MAX), n * n));
        }
    });
    assert_eq!((cache.stats().server_hits, cache.stats().runs), (8, 0));
}

#[test]
fn a_server_that_starts_meanwhile_is_used() {
    let server = Server::absent();
    let cache = patient(&server).build().expect("it's right");
    thread::scope(|scope| {
        let first = scope.spawn(|| cache.cached(call(3), || 9_u64));
        wait_until("an attempt has failed", DEADLINE, || matches!(cache.health(), Health::Degraded { .. }));
        assert!(!first.is_finished());
        server.restart();
        assert_eq!(first.join().expect("it doesn't panic"), 9);
    });
    assert_eq!(connected(&server).get::<u64>(call(3)), Some(9));
}

#[test]
fn without_a_server_one_wait_is_all() {
    let limit = Duration::from_millis(600);
    for frozen in [false, true] {
        let server = Server::start();
        if frozen {
            server.freeze();
        } else {
            server.kill();
        }
        let cache = standalone(server.endpoint()).wait_for_server(limit).build().expect("it's right");
        let begin = Instant::now();
        assert_eq!(cache.cached(call(1), || 1_u64), 1);
        let first = begin.elapsed();
        assert!(first >= limit, "the first call took {first:?}");
        let begin = Instant::now();
        for n in 2..6 {
            assert_eq!(cache.cached(call(n), || n), n);
        }
        assert!(cache.remove(call(1)).expect("it's journalled").journalled);
        assert!(begin.elapsed() < limit, "five later calls took {:?}", begin.elapsed());
    }
}

#[test]
fn nothing_waits_unless_asked_to() {
    let server = Server::start();
    server.freeze();
    for builder in [standalone(server.endpoint()), patient(&server).wait_for_server(Duration::ZERO)] {
        let cache = builder.build().expect("it's right");
        assert_eq!(finishes("the call", move || cache.cached(call(1), || 1_u64)), 1);
    }
}

#[test]
fn a_wrong_password_is_not_waited_for() {
    let server = Server::start_with(&["--requirepass", "right"]);
    let long = DEADLINE * 10;
    let cache = standalone(server.endpoint()).password("wrong").wait_for_server(long).build().expect("it's right");
    let answer = finishes("the call", move || {
        let answer = cache.cached(call(1), || 1_u64);
        assert!(!cache.health().is_connected());
        answer
    });
    assert_eq!(answer, 1);
}

#[test]
fn closing_ends_the_wait() {
    let server = Server::absent();
    let cache = standalone(server.endpoint()).wait_for_server(DEADLINE * 10).build().expect("it's right");
    let answer = finishes("the call", move || {
        thread::scope(|scope| {
            let first = scope.spawn(|| cache.cached(call(1), || 1_u64));
            wait_until("an attempt has failed", DEADLINE, || matches!(cache.health(), Health::Degraded { .. }));
            cache.close();
            first.join().expect("it doesn't panic")
        })
    });
    assert_eq!(answer, 1);
}

#[test]
fn a_removal_that_is_dropped_while_it_waits_is_done_later() {
    let server = with_values();
    server.freeze();
    for options in [call(1), call(2).tag("squares")] {
        let cache = patient(&server).build().expect("it's right");
        current_thread().block_on(async {
            let removal = cache.remove_async(options);
            assert!(tokio::time::timeout(Duration::from_millis(50), removal).await.is_err());
        });
        assert_eq!(cache.stats().journal_length, 1);
        // It lives on, so that its journal is replayed.
        std::mem::forget(cache);
    }
    server.thaw();
    wait_until("the journal is replayed", DEADLINE, || !server.has("cachehouse:main::square:1"));
}
