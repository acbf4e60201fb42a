//! No invalidation is lost.

use std::time::Duration;

use cache_house::{Applied, CacheHandle, Error};

use super::{call, persistent};
use crate::support::{
    DEADLINE, Mode, Proxy, Server, connect, connected, current_thread, standalone, until_connected, until_degraded,
    wait_until,
};

/// A way to invalidate `f`, and what is to be found afterwards as long as the server is away.
type Invalidation = (&'static str, fn(&CacheHandle) -> Result<Applied, Error>, Option<&'static str>);

const INVALIDATIONS: [Invalidation; 5] = [
    ("remove", |cache| cache.remove(call("f")), None),
    ("clear_namespace", |cache| cache.clear_namespace("main"), None),
    ("clear_keys", |cache| cache.clear_keys("cachehouse"), None),
    ("insert", |cache| cache.insert(call("f"), &"new".to_owned()), Some("new")),
    ("insert, not to be stored", |cache| cache.insert(call("f").expire(Duration::ZERO), &"new".to_owned()), None),
];

fn get(cache: &CacheHandle) -> Option<String> {
    cache.get(call("f"))
}

/// That the old value never shows, until the server is used again and the journal is empty.
fn assert_never_old_again(cache: &CacheHandle, server: &Server, what: &str) {
    let key = cache.key(&call("f")).expect("it has a key");
    wait_until(&format!("the server is used again after {what}"), DEADLINE, || {
        let found = get(cache);
        assert_ne!(found.as_deref(), Some("old"), "{what}");
        cache.health().is_connected() && cache.stats().journal_length == 0
    });
    assert_ne!(get(cache).as_deref(), Some("old"), "{what}");
    assert_ne!(server.get(&key).as_deref(), Some(&b"\"old\""[..]), "{what}");
    // What comes after is kept, and nothing takes it away.
    cache.remove(call("f")).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(cache.cached(call("f"), || "later".to_owned()), "later");
    assert_eq!(server.get(&key).as_deref(), Some(&b"\"later\""[..]), "{what}");
}

#[test]
fn an_invalidation_in_an_outage_is_seen_at_once_and_done_on_the_servers_return() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    for fallback in [true, false] {
        let builder = standalone(proxy.endpoint()).fallback_to_memory(fallback);
        let cache = connect(builder.command_timeout(Duration::from_millis(500)));
        for (what, invalidate, found) in INVALIDATIONS {
            cache.insert(call("f"), &"old".to_owned()).expect("the server is there");
            proxy.set(Mode::Refuse);
            until_degraded(&cache);
            let applied = invalidate(&cache).expect("it's journalled");
            assert!(applied.journalled, "{what}: the server is away");
            assert_eq!(get(&cache).as_deref(), found.filter(|_| fallback), "{what}");
            assert!(cache.stats().journal_length > 0, "{what}");
            let key = cache.key(&call("f")).expect("it has a key");
            assert!(server.has(&key), "{what}: the old value is still there, to come back if it can");
            proxy.set(Mode::Pass);
            assert_never_old_again(&cache, &server, what);
        }
    }
}

#[test]
fn an_invalidation_that_gets_no_answer_is_made_up_for() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    for (what, invalidate, found) in INVALIDATIONS {
        let cache = connect(standalone(proxy.endpoint()).command_timeout(Duration::from_millis(200)));
        cache.insert(call("f"), &"old".to_owned()).expect("the server is there");
        proxy.set(Mode::Blackhole);
        // The circuit is closed yet, so this one waits, in vain.
        let applied = invalidate(&cache).expect("it's journalled");
        assert!(applied.journalled, "{what}: the server doesn't answer");
        assert_eq!(get(&cache).as_deref(), found, "{what}");
        proxy.set(Mode::Pass);
        assert_never_old_again(&cache, &server, what);
    }
}

#[test]
fn an_invalidation_while_the_server_is_dead_outlives_what_it_has_on_disk() {
    let server = persistent();
    let cache = connected(&server);
    for (what, invalidate, found) in INVALIDATIONS {
        cache.insert(call("f"), &"old".to_owned()).expect("the server is there");
        server.kill();
        until_degraded(&cache);
        let applied = invalidate(&cache).expect("it's journalled");
        assert!(applied.journalled, "{what}: the server is dead");
        assert_eq!(get(&cache).as_deref(), found, "{what}");
        server.restart();
        assert_never_old_again(&cache, &server, what);
    }
}

#[test]
fn an_invalidation_of_a_frozen_server_is_seen_at_once() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).command_timeout(Duration::from_millis(200)));
    for (what, invalidate, found) in INVALIDATIONS {
        cache.insert(call("f"), &"old".to_owned()).expect("the server is there");
        server.freeze();
        let applied = invalidate(&cache).expect("it's journalled");
        assert!(applied.journalled, "{what}: the server is frozen");
        assert_eq!(get(&cache).as_deref(), found, "{what}");
        server.thaw();
        assert_never_old_again(&cache, &server, what);
    }
}

#[test]
fn an_invalidation_whose_caller_gives_up_half_way_is_made_up_for() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    cache.insert(call("f"), &"old".to_owned()).expect("the server is there");
    proxy.set(Mode::Blackhole);
    current_thread().block_on(async {
        let removal = tokio::time::timeout(Duration::from_millis(20), cache.remove_async(call("f")));
        assert!(removal.await.is_err(), "it's dropped before it ends");
    });
    assert_eq!(cache.stats().journal_length, 1);
    proxy.set(Mode::Refuse);
    proxy.set(Mode::Pass);
    assert_never_old_again(&cache, &server, "a removal that was dropped");
}

#[test]
fn a_write_that_was_held_up_in_the_network_doesnt_arrive_after_a_later_removal() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()).command_timeout(Duration::from_millis(150)));
    let key = cache.key(&call("f")).expect("it has a key");
    let mut set = false;
    // The question gets through, and its answer; what is computed then doesn't.
    wait_until("the write is sent, and held up", DEADLINE, || {
        let before = cache.stats();
        let value = cache.cached(call("f"), || {
            set = cache.stats().server_timeouts == before.server_timeouts && cache.health().is_connected();
            proxy.set(if set { Mode::HoldStanding } else { Mode::Pass });
            "old".to_owned()
        });
        assert_eq!(value, "old");
        let _ = set || cache.remove(call("f")).is_ok();
        set
    });
    assert_eq!(get(&cache).as_deref(), Some("old"), "memory has it");
    // Only then is the removal not on its way behind the write, on the same connection.
    wait_until("the server is given up", DEADLINE, || {
        cache.contains(call("g"));
        !cache.health().is_connected()
    });
    let applied = cache.remove(call("f")).expect("it's journalled");
    assert!(applied.journalled, "the server is away");
    // Over a new connection, while the write still is on its way over the old one.
    wait_until("the server is used again", DEADLINE, || {
        assert_eq!(get(&cache), None);
        proxy.connections() == 2 && cache.health().is_connected() && cache.stats().journal_length == 0
    });
    proxy.set(Mode::Pass);
    wait_until("the old connection ends", DEADLINE, || proxy.connections() == 1);
    assert!(!server.has(&key));
    assert_eq!(get(&cache), None);
}

#[test]
fn only_what_was_named_is_removed_on_the_servers_return() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    let names = ["main", "users", "users2", "orders"];
    for name in names {
        cache.insert(call("f").namespace(name), &1).expect("the server is there");
        cache.insert(call("g").namespace(name), &1).expect("the server is there");
    }
    proxy.set(Mode::Refuse);
    until_degraded(&cache);
    assert!(cache.clear_namespace("users").expect("it's journalled").journalled);
    assert!(cache.remove(call("f").namespace("orders")).expect("it's journalled").journalled);
    proxy.set(Mode::Pass);
    until_connected(&cache);
    wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    let key = |function: &str, name: &str| cache.key(&call(function).namespace(name)).expect("it has a key");
    let left = |function: &str| names.into_iter().filter(|name| server.has(&key(function, name))).collect::<Vec<_>>();
    assert_eq!(left("f"), ["main", "users2"]);
    assert_eq!(left("g"), ["main", "users2", "orders"]);
}

#[test]
fn past_ten_thousand_keys_the_journal_becomes_the_clearing_of_their_namespace() {
    const KEYS: u32 = 10_050;
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    let key = |n: u32| call("f").arg(n).namespace("many");
    for n in [0, 5_000, KEYS - 1] {
        cache.insert(key(n), &"old".to_owned()).expect("the server is there");
    }
    cache.insert(call("f"), &"other".to_owned()).expect("the server is there");
    proxy.set(Mode::Refuse);
    until_degraded(&cache);
    for n in 0..KEYS {
        let applied = cache.remove(key(n)).expect("it's journalled");
        assert!(applied.journalled, "the server is away");
        assert!(cache.stats().journal_length <= 10_000);
    }
    assert!(cache.stats().journal_length < 100, "{}", cache.stats().journal_length);
    proxy.set(Mode::Pass);
    until_connected(&cache);
    wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    assert_eq!(server.keys().len(), 1);
    assert_eq!(cache.get::<String>(call("f")), Some("other".into()));
}

#[test]
fn values_computed_in_an_outage_are_not_older_than_its_invalidations() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    cache.insert(call("f"), &"old".to_owned()).expect("the server is there");
    proxy.set(Mode::Refuse);
    until_degraded(&cache);
    assert!(cache.remove(call("f")).expect("it's journalled").journalled);
    assert_eq!(cache.cached(call("f"), || "fresh".to_owned()), "fresh");
    assert_eq!(get(&cache).as_deref(), Some("fresh"));
    proxy.set(Mode::Pass);
    assert_never_old_again(&cache, &server, "a value that was computed in the outage");
}

#[test]
fn closing_makes_up_for_what_is_in_the_journal() {
    let server = Server::start();
    let cache = connected(&server);
    let key = cache.key(&call("f")).expect("it has a key");
    cache.insert(call("f"), &"old".to_owned()).expect("the server is there");
    // Refused for now, so it stays in the journal while all else works.
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    assert!(cache.remove(call("f")).expect("it's journalled").journalled, "a replica is read-only");
    assert_eq!(cache.stats().journal_length, 1);
    assert!(server.has(&key));
    assert_eq!(get(&cache), None, "the server still has it, and isn't asked");
    server.command(&["REPLICAOF", "NO", "ONE"]);
    cache.close();
    assert!(!server.has(&key));
}
