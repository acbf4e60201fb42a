//! A long journal: how soon the server is used again, and what that costs the callers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheOptions, KeyContext};

use super::call;
use crate::support::{
    DEADLINE, Mode, Proxy, Server, connect, connected, standalone, until_connected, until_degraded, wait_until,
};

/// That the server answers for a key at once, which the journal doesn't name, and for one that it names not before the journal is empty.
fn assert_used_at_once(cache: &CacheHandle, named: impl Fn() -> CacheOptions) {
    let others = || call("f").namespace("others");
    let mut while_waiting = 0;
    wait_until("the journal is empty", DEADLINE, || {
        let before = cache.stats();
        assert_eq!(cache.get::<String>(named()), None, "it was invalidated");
        let value = cache.get::<String>(others());
        let after = cache.stats();
        if cache.health().is_connected() && after.journal_length > 0 {
            assert_eq!(value.as_deref(), Some("theirs"));
            while_waiting += after.server_hits - before.server_hits;
        }
        after.journal_length == 0
    });
    assert!(while_waiting > 0, "the server wasn't used before the journal was empty");
}

/// Ends another thread however this one goes on.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_key_in_each_of_99_000_namespaces_is_invalidated_soon_and_no_call_waits_for_that() {
    const NAMESPACES: u32 = 99_000;
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    let key = |n: u32| call("f").namespace(format!("tenant-{n}"));
    for n in [0, NAMESPACES / 2, NAMESPACES - 1] {
        cache.insert(key(n), &"old".to_owned()).expect("the server is there");
    }
    cache.insert(call("f").namespace("others"), &"theirs".to_owned()).expect("the server is there");
    proxy.set(Mode::Refuse);
    until_degraded(&cache);
    for n in 0..NAMESPACES {
        let applied = cache.remove(key(n)).expect("it's journalled");
        assert!(applied.journalled, "the server is away");
    }
    assert_eq!(cache.stats().journal_length, u64::from(NAMESPACES));

    let over = AtomicBool::new(false);
    proxy.set(Mode::Pass);
    let slowest = thread::scope(|scope| {
        let removing = scope.spawn(|| {
            let mut slowest = Duration::ZERO;
            while !over.load(Ordering::SeqCst) {
                let begun = Instant::now();
                let _ = cache.remove(call("g"));
                slowest = slowest.max(begun.elapsed());
            }
            slowest
        });
        let ends = Ends(&over);
        assert_used_at_once(&cache, || key(NAMESPACES - 1));
        drop(ends);
        removing.join().expect("it doesn't panic")
    });
    assert!(slowest < Duration::from_secs(2), "a removal took {slowest:?}");
    assert_eq!(server.keys().len(), 1, "what was removed is gone");
}

#[test]
fn clearings_made_in_an_outage_take_one_walk_and_all_else_is_used_meanwhile() {
    const KEYS: u64 = 100_000;
    const CLEARINGS: u64 = 20;
    let server = Server::debuggable(&[]);
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    let key = |n: u64| call("f").namespace(format!("cleared-{n}"));
    for n in 0..CLEARINGS {
        cache.insert(key(n), &"old".to_owned()).expect("the server is there");
    }
    cache.insert(call("f").namespace("others"), &"theirs".to_owned()).expect("the server is there");
    server.command(&["DEBUG", "POPULATE", &KEYS.to_string(), "cachehouse:many", "1"]);
    let pages = || server.calls("scan");
    cache.clear_namespace("nothing").expect("the server is there");
    let of_one_walk = pages();
    proxy.set(Mode::Refuse);
    until_degraded(&cache);
    for n in 0..CLEARINGS {
        assert!(
            cache.clear_namespace(format!("cleared-{n}")).expect("it's journalled").journalled,
            "the server is away"
        );
    }
    // So that walking takes its time.
    proxy.set(Mode::Delay(Duration::from_millis(4)));
    assert_used_at_once(&cache, || key(CLEARINGS - 1));
    assert!(pages() < 3 * of_one_walk, "{} pages, where one walk takes {of_one_walk}", pages() - of_one_walk);
    assert_eq!(server.command(&["DBSIZE"]).integer(), 1 + i64::try_from(KEYS).expect("it's a small number"));
}

#[test]
fn a_key_of_ones_own_is_not_read_from_the_server_by_whichever_call_while_it_waits_to_be_removed() {
    let server = Server::start();
    let cache = connected(&server);
    let shared = |namespace: &str| {
        call("f").namespace(namespace).key_builder(|_: &KeyContext<'_>| "cachehouse:one:shared".to_owned())
    };
    for (removing, reading) in [("one", "other"), ("other", "one"), ("other", "third")] {
        cache.insert(shared(removing), &"old".to_owned()).expect("the server is there");
        // Refused for now, so it stays in the journal while all else works.
        server.command(&["REPLICAOF", "127.0.0.1", "1"]);
        assert!(cache.remove(shared(removing)).expect("it's journalled").journalled, "a replica is read-only");
        assert!(server.has("cachehouse:one:shared"));
        assert_eq!(cache.get::<String>(shared(removing)), None);
        assert_eq!(cache.get::<String>(shared(reading)), None, "removed in {removing}, read in {reading}");
        server.command(&["REPLICAOF", "NO", "ONE"]);
        wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
        until_connected(&cache);
    }
}

#[test]
fn a_key_builder_that_returns_the_default_key_of_another_call_shares_its_invalidations() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    let key = cache.key(&call("f")).expect("it has a key");
    let default = || call("f");
    let by_hand = || {
        let key = key.clone();
        call("g").namespace("other").key_builder(move |_: &KeyContext<'_>| key.clone())
    };
    let both: [&dyn Fn() -> CacheOptions; 2] = [&default, &by_hand];
    let old = |options: CacheOptions| assert_eq!(cache.get::<String>(options), None, "the old value");
    for [one, other] in [both, [both[1], both[0]]] {
        // Removed, and replaced, by the one; read by the other: before an outage, and in one.
        for away in [false, true] {
            cache.insert(other(), &"old".to_owned()).expect("the server is there");
            if away {
                proxy.set(Mode::Refuse);
                until_degraded(&cache);
            }
            assert_eq!(cache.remove(one()).expect("it's journalled at least").journalled, away);
            old(other());
            proxy.set(Mode::Refuse);
            until_degraded(&cache);
            old(other());
            proxy.set(Mode::Pass);
            wait_until("the journal is empty", DEADLINE, || {
                old(other());
                cache.health().is_connected() && cache.stats().journal_length == 0
            });
            cache.insert(other(), &"old".to_owned()).expect("the server is there");
            cache.insert(one(), &"new".to_owned()).expect("the server is there");
            proxy.set(Mode::Refuse);
            until_degraded(&cache);
            assert_ne!(cache.get::<String>(other()).as_deref(), Some("old"));
            proxy.set(Mode::Pass);
            until_connected(&cache);
        }
    }
}
