//! A value that was invalidated while it was being computed isn't stored.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cache_house::{Applied, CacheHandle, Error, KeyContext};

use super::{Count, call, over_each};
use crate::support::{
    DEADLINE, Mode, Proxy, Server, connect, connected, finishes, standalone, until_degraded, wait_until,
};

/// Has `invalidate` done while a value of the call is being computed, and gives what the computing caller got.
fn while_computing(cache: &CacheHandle, invalidate: impl FnOnce(&CacheHandle)) -> String {
    let (begun, begins) = mpsc::channel();
    let (tell, told) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let leader = scope.spawn(move || {
            cache.cached(call("f"), || {
                begun.send(()).expect("the test waits for it");
                told.recv_timeout(DEADLINE).expect("the test tells it to end");
                "computed".to_owned()
            })
        });
        begins.recv_timeout(DEADLINE).expect("the work begins");
        invalidate(cache);
        tell.send(()).expect("the work waits for it");
        leader.join().expect("it doesn't panic")
    })
}

#[test]
fn a_value_that_is_removed_while_it_is_computed_isnt_stored() {
    over_each(|cache| {
        let value = while_computing(&cache, |cache| {
            assert_eq!(cache.remove(call("f")).expect("the cache is there").entries, 0);
        });
        assert_eq!(value, "computed");
        assert!(!cache.contains(call("f")));
        assert_eq!(cache.get::<String>(call("f")), None);
        assert_eq!(cache.stats().memory_entries, 0);
    });
}

#[test]
fn a_value_that_is_cleared_while_it_is_computed_isnt_stored() {
    type Clearing = fn(&CacheHandle) -> Result<Applied, Error>;
    let clearings: [Clearing; 4] = [
        |cache| cache.clear_namespace("main"),
        |cache| cache.clear_keys("cachehouse"),
        |cache| cache.clear_keys("cachehouse:main"),
        |cache| cache.clear_keys(cache.key(&call("f"))?),
    ];
    over_each(|cache| {
        for clear in clearings {
            while_computing(&cache, |cache| assert_eq!(clear(cache).expect("the cache is there").entries, 0));
            assert!(!cache.contains(call("f")));
            assert_eq!(cache.stats().memory_entries, 0);
        }
    });
}

#[test]
fn a_value_whose_key_another_call_makes_by_hand_and_invalidates_isnt_stored() {
    let server = Server::start();
    let cache = connected(&server);
    let key = cache.key(&call("f")).expect("it has a key");
    let by_hand = || {
        let key = key.clone();
        call("g").namespace("other").key_builder(move |_: &KeyContext<'_>| key.clone())
    };
    while_computing(&cache, |cache| assert_eq!(cache.remove(by_hand()).expect("the server is there").entries, 0));
    assert!(!server.has(&key));
    assert_eq!(cache.stats().memory_entries, 0);
    while_computing(&cache, |cache| {
        cache.insert(by_hand(), &"inserted".to_owned()).expect("the server is there");
    });
    assert_eq!(server.get(&key).as_deref(), Some(&b"\"inserted\""[..]));
    assert_eq!(cache.get::<String>(call("f")).as_deref(), Some("inserted"));
}

#[test]
fn a_value_that_isnt_invalidated_while_its_work_runs_is_stored() {
    over_each(|cache| {
        while_computing(&cache, |cache| {
            cache.remove(call("g")).expect("the cache is there");
            cache.clear_namespace("main2").expect("the cache is there");
            cache.clear_keys("cache").expect("the cache is there");
        });
        assert_eq!(cache.get::<String>(call("f")), Some("computed".into()));
    });
}

#[test]
fn what_is_inserted_while_a_value_is_computed_stays() {
    over_each(|cache| {
        let value = while_computing(&cache, |cache| {
            cache.insert(call("f"), &"inserted".to_owned()).expect("the cache is there");
            // Also for those who come before the computing ends.
            assert_eq!(cache.cached(call("f"), || "other".to_owned()), "inserted");
        });
        assert_eq!(value, "computed");
        assert_eq!(cache.get::<String>(call("f")), Some("inserted".into()));
    });
}

#[test]
fn a_caller_after_an_invalidation_doesnt_get_the_value_of_before() {
    over_each(|cache| {
        let value = while_computing(&cache, |cache| {
            cache.remove(call("f")).expect("the cache is there");
            assert_eq!(cache.cached(call("f"), || "fresh".to_owned()), "fresh");
        });
        assert_eq!(value, "computed");
        assert_eq!(cache.get::<String>(call("f")), Some("fresh".into()));
    });
}

/// Removes as the work ends, a little earlier or later each round; in all of them the removal began after the work.
fn race_removals_with_stores(cache: &CacheHandle, is_there: impl Fn(&str) -> bool) {
    for round in 0..150_u32 {
        let key = cache.key(&call("f").arg(round)).expect("it has a key");
        let (begun, begins) = mpsc::channel();
        thread::scope(|scope| {
            let leader = scope.spawn(move || {
                cache.cached(call("f").arg(round), || {
                    begun.send(()).expect("the test waits for it");
                    thread::sleep(Duration::from_micros(u64::from(round % 8) * 20));
                    round
                })
            });
            begins.recv_timeout(DEADLINE).expect("the work begins");
            thread::sleep(Duration::from_micros(u64::from(round % 12) * 30));
            if round % 3 == 0 {
                cache.clear_namespace("main").expect("the cache is there");
            } else {
                cache.remove(call("f").arg(round)).expect("the cache is there");
            }
            leader.join().expect("it doesn't panic");
        });
        assert!(!is_there(&key), "round {round}");
        assert_eq!(cache.get::<u32>(call("f").arg(round)), None, "round {round}");
    }
    assert_eq!(cache.stats().memory_entries, 0);
}

#[test]
fn a_removal_that_races_with_the_store_of_what_was_computed_before_wins() {
    over_each(|cache| race_removals_with_stores(&cache, |_| false));
}

#[test]
fn a_removal_wins_on_the_server_too_also_over_several_connections() {
    let server = Server::start();
    let mut connection = server.connect().expect("the server is there");
    let mut is_there = |key: &str| connection.command(&["EXISTS", key]).expect("the server is there").integer() == 1;
    let is_there = std::cell::RefCell::new(&mut is_there);
    for pool in [1, 4] {
        let cache = connect(standalone(server.endpoint()).pool_size(pool));
        race_removals_with_stores(&cache, |key| (is_there.borrow_mut())(key));
    }
}

#[test]
fn a_removal_waits_for_a_store_that_is_on_its_way() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    let key = cache.key(&call("f")).expect("it has a key");
    // The answer to the store comes late, so the caller that computed still waits for it.
    proxy.set(Mode::Delay(Duration::from_millis(50)));
    thread::scope(|scope| {
        scope.spawn(|| cache.cached(call("f"), || 1));
        wait_until("the value is on the server", DEADLINE, || server.has(&key));
        assert_eq!(cache.remove(call("f")).expect("the server is there").entries, 1);
        assert!(!server.has(&key));
    });
    assert!(!server.has(&key));
    assert_eq!(cache.get::<i32>(call("f")), None);
}

#[test]
fn a_value_read_from_the_server_just_before_its_removal_isnt_kept() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let (cache, other) = (connect(standalone(proxy.endpoint())), connected(&server));
    for n in 0..3 {
        other.insert(call("f").arg(n), &"old".to_owned()).expect("it's stored");
        proxy.set(Mode::Delay(Duration::from_millis(60)));
        // Asked beside the value, and by nothing else.
        let reads = server.calls("pttl");
        thread::scope(|scope| {
            let reader = scope.spawn(|| cache.get::<String>(call("f").arg(n)));
            wait_until("the server has answered the read", DEADLINE, || server.calls("pttl") > reads);
            // The old value is on its way to the reader now.
            cache.remove(call("f").arg(n)).expect("the server is there");
            reader.join().expect("it doesn't panic");
        });
        proxy.set(Mode::Pass);
        // Nothing of it may serve once the server is away.
        assert_eq!(cache.stats().memory_entries, 0);
        assert_eq!(cache.get::<String>(call("f").arg(n)), None);
    }
}

#[test]
fn a_value_that_is_read_while_its_removal_waits_isnt_kept() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    for n in 0..3 {
        let key = cache.key(&call("f").arg(n)).expect("it has a key");
        proxy.set(Mode::Delay(Duration::from_millis(60)));
        thread::scope(|scope| {
            scope.spawn(|| cache.cached(call("f").arg(n), || "old".to_owned()));
            wait_until("the value is on the server", DEADLINE, || server.has(&key));
            // Waits until the server has confirmed the store, while others may still read what was stored.
            scope.spawn(|| cache.remove(call("f").arg(n)).expect("the server is there"));
            wait_until("memory has forgotten it", DEADLINE, || cache.stats().memory_entries == 0);
            cache.get::<String>(call("f").arg(n));
        });
        proxy.set(Mode::Pass);
        // Nothing of it may serve once the server is away.
        assert_eq!(cache.stats().memory_entries, 0);
    }
}

#[test]
fn many_writers_and_readers_never_see_a_value_from_before_its_removal() {
    over_each(|cache| {
        finishes("writers and readers of one key", move || {
            let (current, removed) = (Count::default(), Count::default());
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for _ in 0..300 {
                            let least = removed.read();
                            let value = cache.cached(call("f"), || current.read());
                            assert!(value >= least, "{value}, although all before {least} had been removed");
                        }
                    });
                }
                scope.spawn(|| {
                    for _ in 0..100 {
                        current.add_one();
                        cache.remove(call("f")).expect("the cache is there");
                        removed.add_one();
                    }
                });
            });
        });
    });
}

#[test]
fn concurrent_inserts_leave_one_value_in_memory_and_on_the_server() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()).pool_size(4));
    const KEYS: u32 = 100;
    for n in 0..KEYS {
        thread::scope(|scope| {
            for writer in 0..3_u32 {
                let cache = &cache;
                scope.spawn(move || cache.insert(call("f").arg(n), &writer).expect("the server is there"));
            }
            scope.spawn(|| cache.cached(call("f").arg(n), || 9_u32));
        });
    }
    let key = |n: u32| cache.key(&call("f").arg(n)).expect("it has a key");
    let on_server: Vec<_> = (0..KEYS).map(|n| server.get(&key(n)).expect("it's stored")).collect();
    proxy.set(Mode::Refuse);
    until_degraded(&cache);
    for (n, on_server) in (0..KEYS).zip(on_server) {
        let in_memory = cache.get::<u32>(call("f").arg(n)).expect("memory has it too");
        assert_eq!(in_memory.to_string().into_bytes(), on_server, "round {n}");
    }
}
