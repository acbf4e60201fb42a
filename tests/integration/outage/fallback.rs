//! Memory serves while the server is away, and the server is used again when it's back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHouse, ManualClock};

use super::{call, persistent};
use crate::support::fake::{Answer, Fake, healthy};
use crate::support::{
    DEADLINE, Mode, Proxy, Server, connect, connected, multi_thread, standalone, until_connected, until_degraded,
    wait_until,
};

#[test]
fn calls_are_served_from_memory_until_a_server_appears_and_then_by_it() {
    let server = Server::absent();
    let runtime = multi_thread(2);
    for ambient in [false, true] {
        let begin = Instant::now();
        let _inside = ambient.then(|| runtime.enter());
        let cache = standalone(server.endpoint()).connect_timeout(DEADLINE).build().expect("a server isn't needed");
        assert_eq!(cache.cached(call("f"), || 1), 1);
        assert_eq!(cache.cached(call("f"), || 2), 1);
        assert_eq!(cache.get::<i32>(call("f")), Some(1));
        assert!(begin.elapsed() < DEADLINE / 3, "nothing of this waits for a server");
        let stats = cache.stats();
        assert_eq!((stats.runs, stats.memory_hits, stats.server_timeouts), (1, 2, 0));

        server.restart();
        until_connected(&cache);
        cache.cached(call("g"), || 3);
        assert!(server.has(&cache.key(&call("g")).expect("it has a key")));
        server.kill();
    }
}

#[test]
fn a_server_that_dies_under_traffic_changes_no_value_and_is_used_again() {
    let server = Server::start();
    let runtime = multi_thread(2);
    for ambient in [false, true] {
        let _inside = ambient.then(|| runtime.enter());
        let cache = connected(&server);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut n = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        n = (n + 7) % 101;
                        assert_eq!(cache.cached(call("square").arg(n), || n * n), n * n);
                    }
                });
            }
            for _ in 0..3 {
                let before = cache.stats();
                wait_until("the server is in use", DEADLINE, || cache.stats().server_hits > before.server_hits + 100);
                server.kill();
                until_degraded(&cache);
                let before = cache.stats();
                wait_until("memory serves", DEADLINE, || cache.stats().memory_hits > before.memory_hits + 100);
                server.restart();
                let before = cache.stats();
                wait_until("the server is used again", DEADLINE, || {
                    cache.stats().server_hits > before.server_hits + 100
                });
            }
            stop.store(true, Ordering::Relaxed);
        });
        let stats = cache.stats();
        assert_eq!((stats.circuit_openings, stats.decode_failures), (3, 0), "{stats:?}");
        drop(cache);
        server.command(&["FLUSHALL"]);
    }
}

#[test]
fn what_went_to_and_came_from_the_server_is_served_while_its_away() {
    let server = Server::start();
    let (cache, other) = (connected(&server), connected(&server));
    cache.cached(call("went"), || 1);
    cache.insert(call("inserted"), &2).expect("it's stored");
    other.cached(call("came"), || 3);
    other.cached(call("read"), || 4);
    assert_eq!(cache.cached(call("came"), || 0), 3);
    assert_eq!(cache.get::<i32>(call("read")), Some(4));
    server.kill();
    until_degraded(&cache);
    for (name, value) in [("went", 1), ("inserted", 2), ("came", 3), ("read", 4)] {
        assert_eq!(cache.cached(call(name), || 0), value, "{name}");
        assert_eq!(cache.get::<i32>(call(name)), Some(value), "{name}");
        assert!(cache.contains(call(name)), "{name}");
    }
    assert_eq!(cache.stats().runs, 1);
}

#[test]
fn a_copy_in_memory_ends_with_the_ttl_that_was_left_on_the_server() {
    let server = Server::start();
    let clock = ManualClock::new();
    let other = connected(&server);
    let cache = connect(standalone(server.endpoint()).clock(clock.clone()));
    let (minute, second) = (Duration::from_secs(60), Duration::from_secs(1));
    other.insert(call("came").expire(minute), &1).expect("it's stored");
    server.command(&["PEXPIRE", &cache.key(&call("came")).expect("it has a key"), "30000"]);
    cache.get::<i32>(call("came"));
    cache.insert(call("went").expire(minute / 2), &1).expect("it's stored");
    server.kill();
    until_degraded(&cache);
    // The clock has stood still since the values came.
    clock.advance(minute / 2 - second * 10);
    assert!(cache.contains(call("came")) && cache.contains(call("went")));
    clock.advance(second * 10);
    assert!(!cache.contains(call("came")));
    assert!(!cache.contains(call("went")));
    assert_eq!(cache.cached(call("came"), || 2), 2);
    assert_eq!(cache.cached(call("went"), || 2), 2);
}

#[test]
fn a_copy_in_memory_follows_a_ttl_that_was_shortened_on_the_server() {
    let server = Server::start();
    let clock = ManualClock::new();
    let other = connected(&server);
    let cache = connect(standalone(server.endpoint()).clock(clock.clone()));
    other.insert(call("f").expire(Duration::from_secs(3600)), &1).expect("it's stored");
    assert_eq!(cache.get::<i32>(call("f")), Some(1));
    // The same value again, for a shorter TTL; and it's read again, though not at once.
    other.insert(call("f").expire(Duration::from_secs(60)), &1).expect("it's stored");
    clock.advance(Duration::from_secs(400));
    assert_eq!(cache.get::<i32>(call("f")), Some(1));
    server.kill();
    until_degraded(&cache);
    clock.advance(Duration::from_secs(60));
    assert_eq!(cache.get::<i32>(call("f")), None, "it ended on the server long ago");
}

#[test]
fn copies_are_served_no_longer_than_fallback_max_age_after_the_servers_last_word() {
    let server = Server::start();
    let clock = ManualClock::new();
    let minute = Duration::from_secs(60);
    let cache = connect(standalone(server.endpoint()).clock(clock.clone()).fallback_max_age(minute));
    for name in ["read again", "stored only"] {
        cache.insert(call(name).expire(minute * 60), &1).expect("it's stored");
    }
    clock.advance(minute / 2);
    assert_eq!(cache.get::<i32>(call("read again")), Some(1));
    clock.advance(minute / 2);
    // While the server is there, it has the say, whatever the age of the copy.
    assert_eq!(cache.stats().outdated, 0);
    server.kill();
    until_degraded(&cache);
    let health = cache.health().to_string();
    assert!(health.ends_with("; memory serves copies for 60s after the server confirmed them"), "{health}");
    assert!(cache.contains(call("stored only")) && cache.contains(call("read again")));
    clock.advance(Duration::from_secs(1));
    assert!(!cache.contains(call("stored only")) && cache.contains(call("read again")));
    assert_eq!(cache.get::<i32>(call("stored only")), None);
    assert_eq!(cache.cached(call("stored only"), || 2), 2);
    assert_eq!(cache.cached(call("read again"), || 2), 1);
    assert_eq!(cache.stats().outdated, 1);
    // What is computed meanwhile is as old as its computation.
    clock.advance(minute);
    assert_eq!(cache.cached(call("stored only"), || 3), 2);
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.cached(call("stored only"), || 3), 3);
    assert_eq!(cache.stats().outdated, 2);
}

#[test]
fn a_copy_in_memory_doesnt_live_longer_because_the_answer_came_late() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()).command_timeout(Duration::from_secs(10)));
    let key = cache.key(&call("f")).expect("it has a key");
    connected(&server).insert(call("f").expire(Duration::from_millis(1_500)), &1).expect("it's stored");
    proxy.set(Mode::Delay(Duration::from_secs(1)));
    cache.get::<i32>(call("f"));
    proxy.set(Mode::Refuse);
    wait_until("the key expires on the server", DEADLINE, || !server.has(&key));
    until_degraded(&cache);
    assert_eq!(cache.get::<i32>(call("f")), None, "it has expired on the server");
}

#[test]
fn what_the_server_lost_in_a_crash_isnt_served_from_memory_afterwards() {
    let server = Server::start();
    let cache = connected(&server);
    cache.cached(call("f"), || 1);
    server.crash_and_restart();
    until_degraded_and_back(&cache);
    assert_eq!(cache.cached(call("f"), || 2), 2, "the server is the truth, and it knows nothing");
}

#[test]
fn what_the_server_no_longer_has_isnt_served_in_a_later_outage() {
    let server = Server::start();
    let cache = connected(&server);
    cache.cached(call("f"), || 1);
    server.command(&["FLUSHALL"]);
    assert_eq!(cache.get::<i32>(call("f")), None);
    server.kill();
    until_degraded(&cache);
    assert_eq!(cache.get::<i32>(call("f")), None);
}

fn until_degraded_and_back(cache: &cache_house::CacheHandle) {
    wait_until("the loss is noticed", DEADLINE, || cache.stats().circuit_openings > 0);
    until_connected(cache);
}

#[test]
fn what_the_server_kept_over_a_crash_is_used_again() {
    let server = persistent();
    let cache = connected(&server);
    cache.cached(call("f"), || 1);
    server.crash_and_restart();
    until_degraded_and_back(&cache);
    let before = cache.stats();
    assert_eq!(cache.cached(call("f"), || 2), 1);
    assert_eq!(cache.stats().server_hits, before.server_hits + 1);
}

#[test]
fn without_memory_an_outage_means_that_the_work_runs_each_time() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).fallback_to_memory(false));
    cache.cached(call("f"), || 0);
    server.kill();
    until_degraded(&cache);
    for n in 1..4 {
        assert_eq!(cache.cached(call("f"), || n), n);
        assert_eq!(cache.get::<i32>(call("f")), None);
        assert!(!cache.contains(call("f")));
    }
    assert!(cache.insert(call("f"), &1).expect("it's journalled").journalled, "there is no place for it");
    server.restart();
    until_connected(&cache);
    wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    assert_eq!(cache.cached(call("f"), || 5), 5);
    assert_eq!(cache.cached(call("f"), || 6), 5);
}

#[test]
fn a_call_in_an_outage_costs_next_to_nothing() {
    let server = Server::start();
    let timeout = Duration::from_secs(2);
    let cache = connect(standalone(server.endpoint()).command_timeout(timeout));
    server.kill();
    until_degraded(&cache);
    let begin = Instant::now();
    for n in 0..1_000 {
        assert_eq!(cache.cached(call("f").arg(n), || n), n);
        assert_eq!(cache.cached(call("f").arg(n), || 0), n);
    }
    assert!(begin.elapsed() < timeout, "2,000 calls took {:?}", begin.elapsed());
    assert_eq!(cache.stats().server_timeouts, 0);
}

#[test]
fn a_server_that_says_it_isnt_ready_is_an_outage() {
    let server = Server::start();
    let cache = connected(&server);
    cache.cached(call("f"), || 1);
    // A replica that has lost its master, and answers each read with MASTERDOWN.
    server.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    wait_until("the server is given up", DEADLINE, || {
        assert_eq!(cache.cached(call("f"), || 2), 1);
        !cache.health().is_connected()
    });
    assert_eq!(cache.stats().runs, 1);
    server.command(&["REPLICAOF", "NO", "ONE"]);
    until_connected(&cache);
    let before = cache.stats();
    assert_eq!(cache.cached(call("f"), || 2), 1);
    assert_eq!(cache.stats().server_hits, before.server_hits + 1);
}

#[test]
fn a_read_only_server_is_read_and_the_writes_are_counted_as_failed() {
    let server = Server::start();
    let cache = connected(&server);
    cache.cached(call("f"), || 1);
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(cache.cached(call("f"), || 2), 1);
    assert_eq!(cache.cached(call("g"), || 3), 3);
    assert_eq!(cache.stats().failed_writes, 1);
    assert!(cache.health().is_connected());
    // The old value is to go all the same, as soon as the server allows it.
    assert!(cache.remove(call("f")).expect("it's journalled").journalled, "it's read-only");
    assert_eq!(cache.get::<i32>(call("f")), None);
    server.command(&["REPLICAOF", "NO", "ONE"]);
    wait_until("the removal is made up for", DEADLINE, || cache.stats().journal_length == 0);
    assert!(!server.has(&cache.key(&call("f")).expect("it has a key")));
}

#[test]
fn two_types_over_the_same_bytes_are_both_served_in_an_outage() {
    let server = Server::start();
    let cache = connected(&server);
    cache.insert(call("f"), &7_u8).expect("the server is there");
    assert_eq!((cache.get::<u8>(call("f")), cache.get::<u64>(call("f"))), (Some(7), Some(7)));
    server.kill();
    until_degraded(&cache);
    for _ in 0..3 {
        assert_eq!((cache.get::<u64>(call("f")), cache.get::<u8>(call("f"))), (Some(7), Some(7)));
        assert_eq!(cache.cached(call("f"), || 8_u64), 7);
        assert_eq!(cache.cached(call("f"), || 8_u8), 7);
    }
    // What can't be read as the other type is a miss, and overwritten, as on the server.
    assert_eq!(cache.get::<String>(call("f")), None);
    assert_eq!(cache.cached(call("f"), || "text".to_owned()), "text");
    assert_eq!(cache.get::<u64>(call("f")), None);
    assert_eq!(cache.stats().runs, 1);
}

#[test]
fn a_copy_of_a_value_that_is_replaced_while_its_ttl_is_asked_for_does_not_get_the_ttl_of_its_successor() {
    // Another client's write comes between the two questions of a read, whichever is the first.
    let questions = Arc::new(AtomicU32::new(0));
    let asked = Arc::clone(&questions);
    let named =
        CacheHouse::builder().memory().build().expect("it needs nothing").key(&call("f")).expect("it has a key");
    let server = Fake::answering(move |words| {
        let is_old = || asked.fetch_add(1, Ordering::SeqCst) == 0;
        let key = words.get(1).filter(|key| **key == named);
        let reply = match (words[0].to_ascii_uppercase().as_str(), key) {
            ("GET", Some(_)) => {
                if is_old() {
                    "$1\r\n1\r\n"
                } else {
                    "$1\r\n2\r\n"
                }
            }
            ("PTTL", Some(_)) => {
                if is_old() {
                    ":1000\r\n"
                } else {
                    ":3600000\r\n"
                }
            }
            _ => return healthy(words),
        };
        Answer::Reply(reply.as_bytes().to_vec())
    });
    let clock = ManualClock::new();
    let cache = connect(standalone(server.endpoint()).clock(clock.clone()));
    assert!(cache.get::<i32>(call("f")).is_some());
    assert_eq!(questions.load(Ordering::SeqCst), 2);
    drop(server);
    until_degraded(&cache);
    clock.advance(Duration::from_millis(900));
    assert!(cache.contains(call("f")), "there is a copy");
    clock.advance(Duration::from_millis(200));
    assert_ne!(cache.get::<i32>(call("f")), Some(1), "what was replaced lives on");
}
