//! More calls than a server that is frozen can take: memory stays flat.

#![cfg(target_os = "linux")]

use std::convert::Infallible;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::call;
use crate::support::{DEADLINE, Server, alone, connect, multi_thread, standalone, until_connected, wait_until};

const CALLS: u64 = 100_000;
const MEMORY: u64 = 8 * 1024 * 1024;
/// Of `max_in_flight`, where nothing is said.
const CAP: u64 = 4_096;
/// What one operation in flight may hold, its caller's task and futures without optimization included.
const EACH: u64 = 48 * 1024;
/// What all that follow may add; their values alone would be many times that.
const FLAT: u64 = 32 * 1024 * 1024;

/// A call of a value that costs nothing to encode: without optimization, JSON would take most of the test's time.
macro_rules! options {
    ($name:literal, $n:expr) => {
        call($name)
            .arg($n)
            .encoder(|value: &Vec<u8>| Ok::<_, Infallible>(value.clone()))
            .decoder(|bytes: &[u8]| Ok::<_, Infallible>(bytes.to_vec()))
    };
}

/// 1 KiB that only call `n` has.
fn value(n: u64) -> Vec<u8> {
    n.to_le_bytes().repeat(128)
}

#[test]
fn a_burst_against_a_frozen_server_adds_no_more_memory_than_the_cap_allows() {
    alone("faults::burst::a_burst_against_a_frozen_server_adds_no_more_memory_than_the_cap_allows", || {
        // The kernel ends a TCP connection that takes nothing for a second, and with it the burst.
        let server = Server::start_with(&["--unixsocket", "redis.sock"]);
        let runtime = multi_thread(2);
        // As long as can be, so that the circuit stays closed and the cap alone holds the calls back.
        let cache = connect(
            standalone(format!("unix://{}", server.path("redis.sock").display()))
                .command_timeout(DEADLINE * 2)
                .max_value_bytes(64 * 1024)
                .memory_max_bytes(MEMORY),
        );
        // What a program of this kind needs anyway.
        for n in 0..4_000 {
            cache.cached(options!("warm", n), || value(n));
        }
        let before = resident();
        server.freeze();
        let mut full = None;
        let returned = Arc::new(AtomicU64::new(0));
        for n in 0..CALLS {
            let (caller, counter) = (cache.clone(), Arc::clone(&returned));
            runtime.spawn(async move {
                if n % 100 > 0 {
                    assert_eq!(caller.cached_async(options!("f", n), async || value(n)).await, value(n));
                } else {
                    // The answer is an error as long as the server doesn't say that it has the value.
                    let _ = caller.insert_async(options!("f", n), &value(n)).await;
                }
                counter.fetch_add(1, Ordering::SeqCst);
            });
            // Those beyond the cap return at once, so this waits for few.
            wait_until("calls beyond the cap return", DEADLINE, || {
                n - returned.load(Ordering::SeqCst).min(n) <= CAP + 500
            });
            if full.is_none() && cache.stats().shed > CAP {
                full = Some(resident());
            }
        }
        wait_until("calls beyond the cap return", DEADLINE, || returned.load(Ordering::SeqCst) >= CALLS - CAP);
        let full = full.expect("the cap was reached");
        let (growth, later) = (full.saturating_sub(before), resident().saturating_sub(full));
        let stats = cache.stats();
        assert!(stats.shed > CAP, "{stats:?}");
        // A store is counted a moment before what has to go for it, and calls still return.
        wait_until("memory keeps to its limit", DEADLINE, || cache.stats().memory_bytes <= MEMORY);
        let bound = MEMORY + CAP * EACH;
        assert!(growth < bound, "{growth} bytes more, and {bound} is the most; {stats:?}");
        assert!(later < FLAT, "another {later} bytes more once the cap was reached; {stats:?}");
        server.thaw();
        wait_until("all return", DEADLINE, || returned.load(Ordering::SeqCst) == CALLS);
        // Also what didn't get through: old values go, and the server is used.
        wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
        until_connected(&cache);
    });
}

fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
    let kib: u64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("it's a number");
    kib * 1024
}
