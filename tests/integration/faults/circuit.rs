//! When the server is given up on, when it isn't, and how it's tried again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, Health, ReasonKind};

use super::busy::reason;
use super::{BOUND, call, squares, under_traffic, until_used};
use crate::support::resp::Reply;
use crate::support::{
    DEADLINE, Server, connect, connected, multi_thread, standalone, until_connected, until_degraded, wait_until,
};

/// Three of these are over before the heartbeat would notice.
const SHORT: Duration = Duration::from_millis(100);

/// One operation of the server, which a frozen one doesn't answer.
fn ask(cache: &CacheHandle) {
    cache.contains(call("asked"));
}

#[test]
fn three_timeouts_in_a_row_open_the_circuit_and_are_logged() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).command_timeout(SHORT));
    let mut health = cache.watch_health();
    health.mark_unchanged();
    server.freeze();
    for _ in 0..2 {
        ask(&cache);
        assert_eq!(cache.stats().circuit_openings, 0);
        assert!(cache.health().is_connected());
    }
    // One or two more on a machine that is too busy to tell.
    wait_until("the circuit opens", DEADLINE, || {
        ask(&cache);
        cache.stats().circuit_openings == 1
    });
    let timeouts = cache.stats().server_timeouts;
    assert!((3..=6).contains(&timeouts), "{timeouts}");
    assert_eq!(reason(&cache), Some(ReasonKind::TimedOut), "{}", cache.health());
    assert!(health.has_changed().expect("the handle lives"));
    assert!(matches!(*health.borrow_and_update(), Health::Degraded { .. }));
    // Nobody waits any more.
    let begin = Instant::now();
    for n in 0..1_000 {
        assert_eq!(cache.cached(call("f").arg(n), || n), n);
    }
    assert!(begin.elapsed() < BOUND);
    assert_eq!(cache.stats().server_timeouts, timeouts);
    server.thaw();
    until_connected(&cache);
    assert!(health.has_changed().expect("the handle lives"));
    assert_eq!(cache.stats().circuit_openings, 1);
}

#[test]
fn an_answer_between_timeouts_keeps_the_circuit_closed() {
    let server = Server::start();
    let timeout = SHORT * 4;
    let cache = connect(standalone(server.endpoint()).command_timeout(timeout));
    for _ in 0..3 {
        server.freeze();
        ask(&cache);
        ask(&cache);
        server.thaw();
        let answered = cache.stats();
        wait_until("it answers", DEADLINE, || {
            cache.get::<i32>(call("never"));
            cache.stats().server_timeouts == answered.server_timeouts
        });
        assert_eq!(cache.stats().circuit_openings, 0, "{:?}", cache.stats());
    }
    assert!(cache.stats().server_timeouts >= 6);
}

#[test]
fn a_lost_connection_opens_the_circuit_at_once() {
    let server = Server::start();
    // Whoever waited for this would be noticed.
    let cache = connect(standalone(server.endpoint()).command_timeout(DEADLINE * 2));
    cache.cached(call("warm"), || 1);
    server.freeze();
    let runtime = multi_thread(2);
    let sent = AtomicU64::new(0);
    thread::scope(|scope| {
        for n in 0..8 {
            let (cache, sent) = (&cache, &sent);
            scope.spawn(move || {
                sent.fetch_add(1, Ordering::SeqCst);
                assert_eq!(cache.cached(call("f").arg(n), || n), n);
            });
        }
        let waiting = runtime.spawn({
            let cache = cache.clone();
            async move { cache.cached_async(call("g"), async || 1).await }
        });
        wait_until("calls are on their way", DEADLINE, || sent.load(Ordering::SeqCst) == 8);
        let begin = Instant::now();
        server.kill();
        assert_eq!(runtime.block_on(waiting).expect("it doesn't panic"), 1);
        until_degraded(&cache);
        assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    });
    let stats = cache.stats();
    assert_eq!((stats.circuit_openings, stats.server_timeouts), (1, 0), "{stats:?}");
    assert_eq!(cache.cached(call("warm"), || 2), 1);
}

#[test]
fn thousands_of_refusals_are_no_outage() {
    const CALLS: u64 = 1_500;
    let server = Server::start_with(&["--maxmemory-policy", "noeviction"]);
    let rules = ["ACL", "SETUSER", "app", "on", ">pw", "~cachehouse:main:*", "+@all"];
    assert_eq!(server.command(&rules), Reply::Simple("OK".into()));
    let cache = connect(standalone(server.endpoint()).username("app").password("pw"));
    let foreign = cache.key(&call("foreign")).expect("it has a key");
    server.command(&["RPUSH", &foreign, "theirs"]);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    thread::scope(|scope| {
        for caller in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                for n in 0..CALLS / 4 {
                    // No room for it, somebody else's, and not this user's.
                    assert_eq!(cache.cached(call("full").arg(caller).arg(n), || n), n);
                    assert_eq!(cache.cached(call("foreign"), || n / 1_000_000), 0);
                    let hidden = call("hidden").arg(caller).arg(n).namespace("theirs");
                    assert_eq!(cache.cached(hidden, || n), n);
                }
            });
        }
    });
    let stats = cache.stats();
    assert!(stats.failed_writes >= CALLS, "{stats:?}");
    assert!(stats.server_errors >= 2 * CALLS, "{stats:?}");
    assert_eq!((stats.circuit_openings, stats.server_timeouts, stats.journal_length), (0, 0, 0), "{stats:?}");
    assert!(cache.health().is_connected(), "{}", cache.health());
    assert_eq!(server.command(&["LLEN", &foreign]), Reply::Integer(1));
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    until_used(&cache);
}

#[test]
fn calls_beyond_the_cap_are_counted_and_are_no_outage() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).max_in_flight(1));
    let runtime = multi_thread(2);
    under_traffic(&runtime, &cache, squares(16, 4), |seen| {
        wait_until("the cap is reached", DEADLINE, || cache.stats().shed > 200);
        seen.wait_for_calls(500);
        let before = cache.stats();
        wait_until("the server is used all the same", DEADLINE, || cache.stats().server_hits > before.server_hits + 50);
    });
    let stats = cache.stats();
    assert_eq!((stats.circuit_openings, stats.server_timeouts, stats.server_errors), (0, 0, 0), "{stats:?}");
    assert!(cache.health().is_connected());
}

#[test]
fn an_invalidation_that_meets_the_cap_is_made_up_for() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).max_in_flight(1));
    let key = cache.key(&call("removed")).expect("it has a key");
    let runtime = multi_thread(2);
    wait_until("it's stored", DEADLINE, || cache.insert(call("removed"), &1).is_ok_and(|applied| !applied.journalled));
    under_traffic(&runtime, &cache, squares(8, 4), |_| {
        wait_until("a removal meets the cap", DEADLINE, || {
            // Also where it didn't, and stays so.
            let met = cache.remove(call("removed")).is_ok_and(|applied| applied.journalled);
            assert_eq!(cache.get::<i32>(call("removed")), None);
            met || {
                let _ = cache.insert(call("removed"), &1);
                false
            }
        });
    });
    wait_until("it's made up for", DEADLINE, || {
        assert_eq!(cache.get::<i32>(call("removed")), None);
        cache.stats().journal_length == 0
    });
    assert!(!server.has(&key));
    assert_eq!(cache.stats().circuit_openings, 0);
}

#[test]
fn a_server_that_was_given_up_on_is_asked_by_one_probe_at_a_time() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).command_timeout(SHORT));
    let probes = || server.calls("get");
    let (probes_before, asked_before) = (probes(), server.calls("exists"));
    server.freeze();
    wait_until("the circuit opens", DEADLINE, || {
        ask(&cache);
        cache.stats().circuit_openings == 1
    });
    let sent = cache.stats().server_timeouts;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    ask(&cache);
                    assert_eq!(cache.get::<i32>(call("asked")), None);
                }
            });
        }
    });
    server.thaw();
    until_connected(&cache);
    // What was sent while it was frozen, it has read by now. Each probe waits for half a second, so there is hardly
    // more than one, and one for each connection that it took.
    let probes = probes() - probes_before;
    assert!((1..=6).contains(&probes), "{probes} probes");
    let asked = server.calls("exists") - asked_before;
    assert!(asked <= sent, "{asked} of 4,000 calls reached a server that was given up on; {sent} had timed out");
    assert_eq!(connected(&server).cached(call("f"), || 1), 1);
}
