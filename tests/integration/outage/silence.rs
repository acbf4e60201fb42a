//! A server or a network that doesn't answer: what a call waits for is bounded.

use std::thread;
use std::time::{Duration, Instant};

use cache_house::CacheHandle;

use super::call;
use crate::support::{
    DEADLINE, Mode, Proxy, Server, connect, connected, finishes, multi_thread, standalone, until_connected,
    until_degraded, wait_until,
};

/// Short beside the heartbeat, which would notice by itself after ten of these or so.
const TIMEOUT: Duration = Duration::from_millis(150);
/// Far more than one timeout, far less than waiting for ever.
const BOUND: Duration = Duration::from_secs(6);

/// Makes calls one after another, and checks that none waits for long and few wait at all.
fn assert_bounded(cache: &CacheHandle, what: &str) {
    let mut slow = 0;
    for n in 0..60 {
        let begin = Instant::now();
        assert_eq!(cache.cached(call(what).arg(n), || n), n);
        let took = begin.elapsed();
        assert!(took < BOUND, "{what}: call {n} took {took:?}");
        slow += u32::from(took >= TIMEOUT * 9 / 10);
    }
    // Three in a row open the circuit; the rest is for a busy machine.
    assert!(slow <= 6, "{what}: {slow} of 60 calls waited for the server");
    until_degraded(cache);
}

/// That the server gets values again.
fn until_used(cache: &CacheHandle, server: &Server) {
    let key = cache.key(&call("after")).expect("it has a key");
    wait_until("the server is used again", DEADLINE, || {
        let _ = cache.remove(call("after"));
        cache.cached(call("after"), || 1);
        server.has(&key)
    });
}

#[test]
fn a_frozen_server_costs_a_few_timeouts_and_is_used_again_when_it_thaws() {
    let server = Server::start();
    let runtime = multi_thread(2);
    for ambient in [false, true] {
        let _inside = ambient.then(|| runtime.enter());
        let cache = connect(standalone(server.endpoint()).command_timeout(TIMEOUT));
        for n in 0..60 {
            // A busy machine may take longer than the timeout.
            wait_until("it's stored", DEADLINE, || {
                cache.insert(call("warm").arg(n), &n).is_ok_and(|applied| !applied.journalled)
            });
        }
        let before = cache.stats();
        server.freeze();
        assert_bounded(&cache, "frozen");
        assert_eq!(cache.stats().circuit_openings, before.circuit_openings + 1);
        let before = cache.stats();
        for n in 0..60 {
            assert_eq!(cache.cached(call("warm").arg(n), || -1), n);
        }
        assert_eq!(cache.stats().memory_hits, before.memory_hits + 60);
        server.thaw();
        until_connected(&cache);
        until_used(&cache, &server);
    }
}

#[test]
fn a_frozen_server_is_noticed_without_any_call() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).command_timeout(TIMEOUT));
    server.freeze();
    until_degraded(&cache);
    server.thaw();
    until_connected(&cache);
}

#[test]
fn many_callers_at_once_all_return_when_the_server_freezes() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).command_timeout(TIMEOUT));
    server.freeze();
    finishes("1,000 callers of a frozen server", move || {
        multi_thread(2).block_on(async {
            let callers: Vec<_> = (0..1_000)
                .map(|n| {
                    let cache = cache.clone();
                    tokio::spawn(async move { cache.cached_async(call("f").arg(n), async || n).await })
                })
                .collect();
            for (n, caller) in callers.into_iter().enumerate() {
                assert_eq!(caller.await.expect("no caller panics"), n);
            }
        });
    });
}

#[test]
fn what_waits_for_a_frozen_server_is_capped_and_the_rest_goes_on_at_once() {
    let server = Server::start();
    // Nobody is going to wait so long.
    let cache = connect(standalone(server.endpoint()).command_timeout(DEADLINE * 2).max_in_flight(4));
    server.freeze();
    let waiting = cache.clone();
    thread::spawn(move || {
        thread::scope(|scope| {
            for n in 0..4 {
                let cache = &waiting;
                scope.spawn(move || cache.get::<i32>(call("waits").arg(n)));
            }
        });
    });
    finishes("calls beyond the cap", move || {
        wait_until("the cap is reached", DEADLINE, || {
            cache.stats().shed > 0 || {
                // Gets through or is turned away; only the second ends at once.
                let probe = cache.clone();
                thread::spawn(move || probe.contains(call("probe")));
                false
            }
        });
        for n in 0..50 {
            assert_eq!(cache.cached(call("f").arg(n), || n), n);
            assert_eq!(cache.cached(call("f").arg(n), || -1), n);
        }
        server.thaw();
    });
}

#[test]
fn a_network_that_swallows_everything_costs_a_few_timeouts_and_is_used_again() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()).command_timeout(TIMEOUT).connect_timeout(TIMEOUT * 3));
    proxy.set(Mode::Blackhole);
    assert_bounded(&cache, "swallowed");
    // The old connection is dead, and only a new one helps.
    proxy.set(Mode::Pass);
    until_connected(&cache);
    until_used(&cache, &server);
}

#[test]
fn a_network_that_swallows_everything_is_noticed_without_any_call() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()).connect_timeout(TIMEOUT * 3).command_timeout(TIMEOUT));
    proxy.set(Mode::Blackhole);
    until_degraded(&cache);
    proxy.set(Mode::Pass);
    until_connected(&cache);
}

#[test]
fn a_server_that_accepts_and_never_answers_blocks_no_call() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    proxy.set(Mode::Mute);
    let cache = standalone(proxy.endpoint()).connect_timeout(TIMEOUT).build().expect("a server isn't needed");
    let begin = Instant::now();
    for n in 0..100 {
        assert_eq!(cache.cached(call("f").arg(n), || n), n);
    }
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    assert_eq!(cache.stats().server_timeouts, 0);
    proxy.set(Mode::Pass);
    until_connected(&cache);
    until_used(&cache, &server);
}

#[test]
fn a_reply_that_breaks_off_is_no_value() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()).fallback_to_memory(false));
    let whole: String = (0..5_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
    cache.insert(call("f"), &whole).expect("the server is there");
    for allowed in [0, 1, 4, 7, 100, 4_000, 5_005] {
        until_connected(&cache);
        proxy.set(Mode::CutRepliesAfter(allowed));
        let value = cache.cached(call("f"), || "computed".to_owned());
        assert_eq!(value, "computed", "after {allowed} bytes");
        proxy.set(Mode::Pass);
        wait_until("the server is used again", DEADLINE, || {
            let value = cache.cached(call("f"), || "computed".to_owned());
            assert!(value == "computed" || value == whole, "after {allowed} bytes");
            value == whole
        });
    }
}

#[test]
fn answers_that_are_late_but_in_time_are_used() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    proxy.set(Mode::Delay(Duration::from_millis(30)));
    for n in 0..5 {
        assert_eq!(cache.cached(call("f").arg(n), || n), n);
        assert_eq!(cache.cached(call("f").arg(n), || -1), n);
    }
    let stats = cache.stats();
    assert_eq!((stats.server_hits, stats.server_timeouts, stats.circuit_openings), (5, 0, 0), "{stats:?}");
}

#[test]
fn late_answers_are_given_to_no_other_call() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()).command_timeout(Duration::from_millis(60)));
    let other = connected(&server);
    for n in 0..40 {
        other.insert(call("f").arg(n), &n).expect("the server is there");
    }
    // Some answers are in time, some late; each belongs to its own question.
    for n in 0..120_u64 {
        proxy.set(if n % 3 == 0 { Mode::Delay(Duration::from_millis(n % 7 * 20)) } else { Mode::Pass });
        let n = i32::try_from(n % 40).expect("it's small");
        assert_eq!(cache.cached(call("f").arg(n), || n), n);
        let found = cache.get::<i32>(call("f").arg(39 - n));
        assert!(found.is_none() || found == Some(39 - n), "{found:?} for {}", 39 - n);
    }
}
