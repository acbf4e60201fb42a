//! A server that freezes while large values are on their way, so that the sockets fill up and sending them blocks.

use std::convert::Infallible;

use cache_house::CacheHandle;
use futures::FutureExt;

use super::{BOUND, Callers, TIMEOUT, Verdict, call, under_traffic};
use crate::support::{
    DEADLINE, Server, connect, multi_thread, standalone, until_connected, until_degraded, wait_until,
};

const SIZE: usize = 1024 * 1024;
/// So many keys that memory can hold all of them.
const KEYS: u64 = 12;

/// 1 MiB that only key `n` has.
fn large(n: u64) -> Vec<u8> {
    n.to_le_bytes().into_iter().cycle().take(SIZE).collect()
}

/// Calls of a large value, as bytes: JSON would take longer than the network.
macro_rules! options {
    ($n:expr) => {
        call("large")
            .arg($n)
            .encoder(|value: &Vec<u8>| Ok::<_, Infallible>(value.clone()))
            .decoder(|bytes: &[u8]| Ok::<_, Infallible>(bytes.to_vec()))
    };
}

fn is_right(n: u64, value: &[u8]) -> Verdict {
    let right = value.len() == SIZE && value.starts_with(&n.to_le_bytes()) && value.ends_with(&n.to_le_bytes());
    if right { Ok(()) } else { Err(format!("{} bytes of another key than {n}", value.len())) }
}

/// Every third call writes.
fn callers() -> Callers {
    Callers {
        tasks: 6,
        threads: 2,
        ask_async: |cache, n| {
            async move {
                let key = n % KEYS;
                if n.is_multiple_of(3) {
                    // In an outage it's an error, and stored in memory all the same.
                    let _ = cache.insert_async(options!(key), &large(key)).await;
                    return Ok(());
                }
                is_right(key, &cache.cached_async(options!(key), async || large(key)).await)
            }
            .boxed()
        },
        ask: |cache, n| {
            let key = n % KEYS;
            is_right(key, &cache.cached(options!(key), || large(key)))
        },
    }
}

#[test]
fn a_server_that_freezes_under_large_values_blocks_no_call_and_is_used_again() {
    let server = Server::start();
    let runtime = multi_thread(2);
    for ambient in [true, false] {
        let cache = {
            let _inside = ambient.then(|| runtime.enter());
            connect(standalone(server.endpoint()).command_timeout(TIMEOUT * 2))
        };
        under_traffic(&runtime, &cache, callers(), |seen| {
            for _ in 0..2 {
                seen.wait_for_calls(30);
                server.freeze();
                until_degraded(&cache);
                seen.wait_for_calls(60);
                server.thaw();
                until_hit(&cache);
            }
        });
        drop(cache);
        wait_until("its connection is gone", DEADLINE, || server.connections() == 0);
        server.command(&["FLUSHALL"]);
    }
    wait_until("its tasks are gone", DEADLINE, || runtime.metrics().num_alive_tasks() == 0);
}

/// Until the server answers under the traffic.
fn until_hit(cache: &CacheHandle) {
    until_connected(cache);
    let before = cache.stats().server_hits;
    wait_until("the server is used again", DEADLINE, || cache.stats().server_hits > before);
}

#[test]
fn a_removal_behind_a_full_socket_is_seen_at_once_and_made_up_for() {
    let server = Server::start();
    let runtime = multi_thread(2);
    let cache = connect(standalone(server.endpoint()).command_timeout(TIMEOUT * 2));
    let key = cache.key(&call("small")).expect("it has a key");
    wait_until("it's stored", DEADLINE, || {
        cache.insert(call("small"), &"old".to_owned()).is_ok_and(|applied| !applied.journalled)
    });
    under_traffic(&runtime, &cache, callers(), |seen| {
        server.freeze();
        // Each is larger than what sockets hold, and nobody reads.
        seen.wait_for_calls(10);
        let begin = std::time::Instant::now();
        let applied = cache.remove(call("small")).expect("it's journalled");
        assert!(applied.journalled, "the server is frozen");
        assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
        assert_eq!(cache.get::<String>(call("small")), None);
        server.thaw();
        wait_until("the removal is made up for", DEADLINE, || {
            assert_eq!(cache.get::<String>(call("small")), None);
            cache.health().is_connected() && cache.stats().journal_length == 0
        });
        assert!(!server.has(&key));
    });
}
