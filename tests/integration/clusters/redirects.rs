//! Redirects that can't be right, as a broken or hostile server gives them.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, Health, ReasonKind, Reconnect};

use super::call;
use crate::support::cluster::clustered;
use crate::support::fake::{Answer, Fake, healthy};
use crate::support::{DEADLINE, alone, connect, logs, standalone, until_connected, wait_until};

fn names_a_key(words: &[String]) -> bool {
    matches!(words[0].to_ascii_uppercase().as_str(), "GET" | "MGET" | "SET" | "UNLINK")
}

/// A cluster of one node, which answers commands about a key as `answer` does, which is given the node's port.
fn cluster_of_one(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Fake {
    let port = Arc::new(OnceLock::new());
    let own_port = Arc::clone(&port);
    let node = Fake::answering(move |words| {
        let port = own_port.get().map_or("0", String::as_str);
        let reply = match words[0].to_ascii_uppercase().as_str() {
            _ if names_a_key(words) => answer(port),
            "HELLO" => "%1\r\n$4\r\nmode\r\n$7\r\ncluster\r\n".to_owned(),
            "CLUSTER" if words[1] == "SLOTS" => {
                format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n")
            }
            _ => return healthy(words),
        };
        Answer::Reply(reply.into_bytes())
    });
    let (_, own) =
        node.endpoint().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).expect("a port");
    port.set(own).expect("it's set once");
    node
}

/// A standalone server, which redirects commands about a key while it's told to.
fn redirecting_server(redirects: &Arc<AtomicBool>, greetings: &Arc<AtomicU32>) -> Fake {
    let (redirects, greetings) = (Arc::clone(redirects), Arc::clone(greetings));
    Fake::answering(move |words| {
        if words[0].eq_ignore_ascii_case("HELLO") {
            greetings.fetch_add(1, Ordering::SeqCst);
        }
        if names_a_key(words) && redirects.load(Ordering::SeqCst) {
            return Answer::Reply(b"-MOVED 7 127.0.0.1:1\r\n".to_vec());
        }
        healthy(words)
    })
}

fn is_wrong_topology(cache: &CacheHandle) -> bool {
    matches!(cache.health(), Health::Degraded { reason, .. } if reason.kind() == ReasonKind::WrongTopology)
}

#[test]
fn a_redirect_to_a_slot_that_no_cluster_has_is_refused() {
    for slot in ["16384", "65535", "65536", "-1"] {
        for kind in ["MOVED", "ASK"] {
            let node = cluster_of_one(move |_| format!("-{kind} {slot} 127.0.0.1:1\r\n"));
            let cache = clustered(node.endpoint()).fallback_to_memory(false).build().expect("the builder is right");
            until_connected(&cache);
            for n in 0..3 {
                assert_eq!(cache.cached(call(n), || n + 1), n + 1, "{kind} {slot}");
            }
            assert!(cache.insert(call(1), &1).is_err(), "{kind} {slot}");
            assert!(cache.remove(call(1)).is_err(), "{kind} {slot}");
        }
    }
}

#[test]
fn a_redirect_that_is_not_followed_is_counted() {
    const TIMEOUT: Duration = Duration::from_millis(400);
    // In circles, to where no node is, and the second time when the first deadline is over.
    for (to, is_late) in [(None, false), (Some("1"), false), (None, true)] {
        let sleeps = Arc::new(AtomicBool::new(false));
        let sleeping = Arc::clone(&sleeps);
        let node = cluster_of_one(move |own_port| {
            if sleeping.load(Ordering::SeqCst) {
                thread::sleep(TIMEOUT.mul_f64(0.7));
            }
            format!("-ASK 7 127.0.0.1:{}\r\n", to.unwrap_or(own_port))
        });
        let cache = clustered(node.endpoint()).command_timeout(TIMEOUT).build().expect("the builder is right");
        until_connected(&cache);
        sleeps.store(is_late, Ordering::SeqCst);
        let before = cache.stats();
        assert_eq!(cache.get::<u32>(call(7)), None);
        let after = cache.stats();
        let late = after.server_timeouts - before.server_timeouts;
        // On a busy machine the others may be late too.
        assert_eq!(late + after.server_errors - before.server_errors, 1, "{to:?}");
        assert!(late == 1 || !is_late, "{after:?}");
        assert!(cache.health().is_connected(), "no circuit shows it");
    }
}

#[test]
fn a_standalone_server_that_redirects_is_given_up_at_once_until_it_serves() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    for autodetected in [false, true] {
        let redirects = Arc::new(AtomicBool::new(false));
        let server = redirecting_server(&redirects, &Arc::default());
        let cache = match autodetected {
            false => connect(standalone(server.endpoint()).command_timeout(TIMEOUT)),
            true => {
                let quick = Reconnect::default().max_delay(Duration::from_millis(50));
                let builder = CacheHouse::builder().autodetect(server.endpoint()).reconnect(quick);
                builder.command_timeout(TIMEOUT).build().expect("the builder is right")
            }
        };
        until_connected(&cache);
        redirects.store(true, Ordering::SeqCst);
        let begin = Instant::now();
        // In a crowd, too, whose reads go together.
        thread::scope(|scope| {
            for n in 0..20 {
                let cache = &cache;
                scope.spawn(move || assert_eq!(cache.cached(call(n), || n + 1), n + 1));
            }
        });
        for n in 20..40 {
            assert_eq!(cache.cached(call(n), || n + 1), n + 1);
            assert!(cache.remove(call(n)).is_ok_and(|applied| applied.journalled));
        }
        assert!(begin.elapsed() < TIMEOUT, "{:?}", begin.elapsed());
        wait_until("it's told of", DEADLINE, || is_wrong_topology(&cache));
        redirects.store(false, Ordering::SeqCst);
        until_connected(&cache);
        wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    }
}

#[test]
fn a_server_that_calls_itself_standalone_and_redirects_is_not_looked_at_without_pause() {
    let (redirects, greetings) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
    let server = redirecting_server(&redirects, &greetings);
    let cache = CacheHouse::builder().autodetect(server.endpoint()).build().expect("the builder is right");
    wait_until("it's told of", DEADLINE, || is_wrong_topology(&cache));
    let before = greetings.load(Ordering::SeqCst);
    thread::sleep(Duration::from_secs(4));
    // At the reconnect delays, which double from 50 ms to 2 s: some seven by the driver, and as many by the discovery. Each greets twice.
    let seen = greetings.load(Ordering::SeqCst) - before;
    assert!(seen < 80, "{seen} greetings");
    assert!(is_wrong_topology(&cache));
}

#[test]
fn redirects_to_ever_new_nodes_neither_grow_nor_hold_calls_up() {
    alone("clusters::redirects::redirects_to_ever_new_nodes_neither_grow_nor_hold_calls_up", || {
        const CALLS: u64 = 1_000;
        logs::capture();
        let next = AtomicU64::new(0);
        let node = cluster_of_one(move |_| {
            let number = next.fetch_add(1, Ordering::SeqCst);
            format!("-MOVED {} 127.1.{}.{}:1\r\n", number % 16_384, number / 250 % 250, 1 + number % 250)
        });
        let cache = clustered(node.endpoint()).fallback_to_memory(false).build().expect("the builder is right");
        until_connected(&cache);
        let before = resident_kib();
        thread::scope(|scope| {
            for thread in 0..8 {
                let cache = &cache;
                scope.spawn(move || {
                    for n in (thread..CALLS).step_by(8) {
                        assert_eq!(cache.cached(call(n), || n + 1), n + 1);
                    }
                });
            }
        });
        // A node takes half a MiB, and there may be 64 that only redirects name.
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < 128 * 1024, "{grown} KiB more");
        assert_eq!(logs::containing("redirects name more nodes").len(), 1);
    });
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the process can be looked at");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size is told");
    resident.trim().trim_end_matches(" kB").parse().expect("it's a number")
}
