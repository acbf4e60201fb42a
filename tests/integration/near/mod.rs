//! The near cache: hits without a question to the server, while it reports changes.

mod demotion;
mod history;
mod surroundings;

use std::time::Duration;

use cache_house::{CacheHandle, CacheHouse, CacheOptions, ManualClock, NearCache};

use crate::support::cluster::{Borrowed, clustered};
use crate::support::fake::{Answer, Fake, healthy};
use crate::support::resp::Reply;
use crate::support::{
    DEADLINE, Mode, Proxy, Server, connect, connected, standalone, until_connected, until_degraded, wait_until,
};

/// Long, so that nothing but a report ends what is near.
const LONG: Duration = Duration::from_secs(600);

fn call(n: usize) -> CacheOptions {
    CacheOptions::new("near").arg(n)
}

/// A handle with a near cache that is on.
fn near(server: &Server, max_staleness: Duration) -> CacheHandle {
    let cache = connect(standalone(server.endpoint()).near_cache(max_staleness));
    until_near(&cache);
    cache
}

fn until_near(cache: &CacheHandle) {
    wait_until("the near cache is on", DEADLINE, || cache.near_cache() == NearCache::On);
}

/// Stores a value by another process, and reads it so that it's near.
fn make_near(cache: &CacheHandle, other: &CacheHandle, n: usize, value: u32) {
    other.insert(call(n), &value).expect("the server is there");
    wait_until("the value is near", DEADLINE, || {
        let before = cache.stats().near_hits;
        // What was near before may be served for one hop more.
        cache.get(call(n)) == Some(value) && cache.stats().near_hits > before
    });
}

#[test]
fn the_second_hit_asks_no_server() {
    let server = Server::start();
    let (cache, other) = (near(&server, LONG), connected(&server));
    make_near(&cache, &other, 1, 7);
    let (asked, hits) = (server.calls("get"), cache.stats());
    for _ in 0..100 {
        assert_eq!(cache.cached(call(1), || 0), 7);
    }
    // But for a beat that may come meanwhile.
    assert!(server.calls("get") <= asked + 1);
    let stats = cache.stats();
    assert_eq!((stats.near_hits, stats.server_hits), (hits.near_hits + 100, hits.server_hits));
}

#[test]
fn a_change_by_another_process_is_heard_of() {
    let server = Server::start();
    let (cache, other) = (near(&server, LONG), connected(&server));
    for n in 0..50 {
        make_near(&cache, &other, n, 1);
        other.insert(call(n), &2).expect("the server is there");
        wait_until("the change is seen", DEADLINE, || cache.get(call(n)) == Some(2_u32));
        make_near(&cache, &other, n, 3);
        other.remove(call(n)).expect("the server is there");
        wait_until("the removal is seen", DEADLINE, || cache.get::<u32>(call(n)).is_none());
    }
}

#[test]
fn an_invalidation_of_its_own_counts_at_once() {
    let server = Server::start();
    let (cache, other) = (near(&server, LONG), connected(&server));
    for n in 0..200 {
        make_near(&cache, &other, n, 1);
        match n % 3 {
            0 => _ = cache.remove(call(n)).expect("the server is there"),
            1 => _ = cache.clear_namespace("main").expect("the server is there"),
            _ => _ = cache.insert(call(n), &2).expect("the server is there"),
        }
        assert_ne!(cache.get(call(n)), Some(1), "{n}");
    }
}

#[test]
fn what_takes_no_near_cache_asks_the_server() {
    let server = Server::start();
    let (cache, other) = (near(&server, LONG), connected(&server));
    make_near(&cache, &other, 1, 7);
    let hits = cache.stats().server_hits;
    assert_eq!(cache.cached(call(1).max_staleness(Duration::ZERO), || 0), 7);
    assert_eq!(cache.stats().server_hits, hits + 1);
    assert_eq!(other.near_cache(), NearCache::Off);
}

#[test]
fn nothing_is_near_after_the_machine_has_slept() {
    let server = Server::start();
    let clock = ManualClock::new();
    let cache = connect(standalone(server.endpoint()).near_cache(LONG).clock(clock.clone()));
    until_near(&cache);
    make_near(&cache, &connected(&server), 1, 7);
    clock.advance(LONG);
    let before = cache.stats();
    assert_eq!(cache.get(call(1)), Some(7_u32));
    assert_eq!((cache.stats().near_hits, cache.stats().server_hits), (before.near_hits, before.server_hits + 1));
}

#[test]
fn an_emptied_database_is_noticed_within_the_bound() {
    for empty in [&["FLUSHALL"][..], &["FLUSHDB"], &["SWAPDB", "0", "1"]] {
        let server = Server::start();
        let (cache, other) = (near(&server, Duration::from_millis(300)), connected(&server));
        make_near(&cache, &other, 1, 7);
        server.command(empty);
        wait_until("the flush is noticed", DEADLINE, || cache.get::<u32>(call(1)).is_none());
        // And goes on.
        make_near(&cache, &other, 1, 8);
    }
}

#[test]
fn a_line_that_is_opened_again_leaves_no_key_behind() {
    let server = Server::start();
    let cache = near(&server, LONG);
    let sentinel = || {
        let names: Vec<_> = server.keys().into_iter().filter(|key| key.contains("::near:")).collect();
        (server.get(&names[0]).expect("it's there"), names)
    };
    let (mut value, names) = sentinel();
    assert_eq!(names.len(), 1);
    for _ in 0..3 {
        demotion::end_lines(&server);
        wait_until("there is another line", DEADLINE, || sentinel().0 != value);
        value = sentinel().0;
        assert_eq!(sentinel().1, names);
        until_near(&cache);
    }
    assert!(server.command(&["PTTL", &names[0]]).integer() > 0, "it ends with its process");
}

#[test]
fn a_ttl_that_was_changed_is_asked_for() {
    let server = Server::debuggable(&[]);
    let (cache, other) = (near(&server, Duration::from_millis(300)), connected(&server));
    // So that the server doesn't report by itself what has expired.
    assert_eq!(server.command(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]), Reply::Simple("OK".into()));
    make_near(&cache, &other, 1, 7);
    let key = cache.key(&call(1)).expect("it has a key");
    server.command(&["PEXPIRE", &key, "700"]);
    wait_until("it's near again", DEADLINE, || {
        let before = cache.stats().near_hits;
        assert_eq!(cache.get(call(1)), Some(7_u32));
        cache.stats().near_hits > before
    });
    std::thread::sleep(Duration::from_millis(1_200));
    assert_eq!(cache.get::<u32>(call(1)), None, "the server has it no more");
}

#[test]
fn a_full_tracking_table_costs_hits_and_nothing_else() {
    let server = Server::start_with(&["--tracking-table-max-keys", "20"]);
    let (cache, other) = (near(&server, LONG), connected(&server));
    for n in 0..200 {
        other.insert(call(n), &n).expect("the server is there");
    }
    for round in 1..4 {
        for n in 0..200 {
            assert_eq!(cache.get(call(n)), Some(n + (round - 1) * 1_000));
            other.insert(call(n), &(n + round * 1_000)).expect("the server is there");
            wait_until("the change is seen", DEADLINE, || cache.get(call(n)) == Some(n + round * 1_000));
        }
    }
}

#[test]
fn each_primary_of_a_cluster_has_one() {
    let cluster = Borrowed::get();
    let cache = clustered(cluster.endpoint()).near_cache(LONG).build().expect("the builder is right");
    let other = clustered(cluster.endpoint()).build().expect("the builder is right");
    until_connected(&cache);
    until_connected(&other);
    until_near(&cache);
    for n in 0..50 {
        make_near(&cache, &other, n, 1);
        other.insert(call(n), &2).expect("the cluster is there");
        wait_until("the change is seen", DEADLINE, || cache.get(call(n)) == Some(2_u32));
    }
}

#[test]
fn either_kind_of_server_that_is_found_has_one() {
    let (server, cluster) = (Server::start(), Borrowed::get());
    for endpoint in [server.endpoint(), cluster.endpoint()] {
        let builder = || CacheHouse::builder().autodetect(&*endpoint).command_timeout(Duration::from_secs(5));
        let [cache, other] = [builder().near_cache(LONG), builder()].map(|it| it.build().expect("it's right"));
        until_connected(&cache);
        until_connected(&other);
        until_near(&cache);
        make_near(&cache, &other, 1, 7);
        other.remove(call(1)).expect("the server is there");
        wait_until("the removal is seen", DEADLINE, || cache.get::<u32>(call(1)).is_none());
    }
}

#[test]
fn a_user_without_tracking_has_no_near_cache_and_its_status_says_why() {
    let server = Server::start();
    server.command(&["ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-client|tracking"]);
    let cache = connect(standalone(server.endpoint()).username("app").password("pw").near_cache(LONG));
    let reason = why_not(&cache);
    assert!(reason.contains("CLIENT TRACKING") && reason.contains("NOPERM"), "{reason}");
    // Everything else works.
    assert_eq!(cache.cached(call(1), || 1), 1);
    assert_eq!(cache.get(call(1)), Some(1));
}

/// Waits until there is no near cache, and returns why.
fn why_not(cache: &CacheHandle) -> String {
    let mut why = None;
    wait_until("the near cache is given up", DEADLINE, || {
        if let NearCache::Unavailable { reason } = cache.near_cache() {
            why = Some(reason);
        }
        why.is_some()
    });
    why.expect("it was given up")
}

#[test]
fn a_server_that_is_too_old_has_none() {
    let server = Fake::answering(|words| match words[0].as_str() {
        "HELLO" => {
            Answer::Reply(b"%2\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$7\r\nversion\r\n$6\r\n6.2.14\r\n".to_vec())
        }
        _ => healthy(words),
    });
    let cache = connect(standalone(server.endpoint()).near_cache(LONG));
    let reason = why_not(&cache);
    assert!(reason.contains("6.2.14") && reason.contains("Redis 7"), "{reason}");
}

#[test]
fn a_proxy_that_passes_no_reports_on_leaves_none() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    proxy.set(Mode::WithoutReports);
    let cache = connect(standalone(proxy.endpoint()).near_cache(LONG).command_timeout(Duration::from_millis(500)));
    let reason = why_not(&cache);
    assert!(reason.contains("wasn't reported"), "{reason}");
    // Hits come from the server.
    let other = connected(&server);
    other.insert(call(1), &7).expect("the server is there");
    for _ in 0..3 {
        assert_eq!(cache.get(call(1)), Some(7));
    }
    assert_eq!((cache.stats().near_hits, cache.stats().server_hits), (0, 3));
    // Once it passes them on, and there is a new connection, there is one.
    proxy.set(Mode::Refuse);
    until_degraded(&cache);
    proxy.set(Mode::Pass);
    until_near(&cache);
}
