//! Between processes: here, handles of their own on one server.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheOptions, KeyContext};

use crate::support::cluster::{Borrowed, clustered};
use crate::support::{
    DEADLINE, Mode, Proxy, Server, connect, connect_in, connected, current_thread, finishes, multi_thread, standalone,
    until_connected, until_degraded, wait_until,
};

fn call(name: &str) -> CacheOptions {
    CacheOptions::new(name)
}

/// Begins to compute `old` with `filling`, invalidates with `invalidate` while the work runs, and lets the work end.
fn fill_overtaken_by(filling: &CacheHandle, invalidate: impl FnOnce()) {
    let (running, runs) = mpsc::channel();
    let (end, ends) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            let value = filling.cached(call("f"), || {
                running.send(()).expect("the test waits");
                ends.recv_timeout(DEADLINE).expect("the test ends it");
                "old".to_owned()
            });
            assert_eq!(value, "old", "the caller gets its own value");
        });
        runs.recv_timeout(DEADLINE).expect("the work runs");
        invalidate();
        end.send(()).expect("the work waits");
    });
}

type Invalidation = (&'static str, fn(&CacheHandle), Option<&'static str>);

const INVALIDATIONS: [Invalidation; 4] = [
    ("remove", |cache| assert!(!cache.remove(call("f")).expect("the server is there").journalled), None),
    ("clear_namespace", |cache| assert!(!cache.clear_namespace("main").expect("the server is there").journalled), None),
    ("clear_keys", |cache| assert!(!cache.clear_keys("cachehouse").expect("the server is there").journalled), None),
    (
        "insert",
        |cache| assert!(!cache.insert(call("f"), &"new".to_owned()).expect("the server is there").journalled),
        Some("new"),
    ),
];

fn a_fill_is_refused_between(filling: &CacheHandle, invalidating: &CacheHandle) {
    for (fenced, (what, invalidate, found)) in (1..).zip(INVALIDATIONS) {
        fill_overtaken_by(filling, || invalidate(invalidating));
        for cache in [filling, invalidating] {
            assert_eq!(cache.get::<String>(call("f")).as_deref(), found, "{what}");
        }
        assert_eq!(filling.stats().fenced, fenced, "{what}");
        assert_eq!(filling.stats().memory_entries, u64::from(found.is_some()), "{what}");
        invalidating.remove(call("f")).expect("the server is there");
        // What is computed from here on is stored.
        assert_eq!(filling.cached(call("f"), || "newer".to_owned()), "newer", "{what}");
        assert_eq!(invalidating.get::<String>(call("f")).as_deref(), Some("newer"), "{what}");
        invalidating.remove(call("f")).expect("the server is there");
    }
}

#[test]
fn a_fill_that_another_process_has_invalidated_is_refused() {
    let server = Server::start();
    a_fill_is_refused_between(&connected(&server), &connected(&server));
    assert_eq!(server.keys(), Vec::<String>::new(), "no lease is left");
}

#[test]
fn a_fill_that_another_process_has_invalidated_is_refused_by_a_cluster() {
    let cluster = Borrowed::get();
    let cache = || {
        let cache = clustered(cluster.endpoint()).build().expect("the builder is right");
        until_connected(&cache);
        cache
    };
    a_fill_is_refused_between(&cache(), &cache());
}

#[test]
fn without_a_fence_the_late_fill_is_stored() {
    let server = Server::start();
    let cache = standalone(server.endpoint()).fence(false).build().expect("the builder is right");
    until_connected(&cache);
    fill_overtaken_by(&cache, || _ = connected(&server).remove(call("f")).expect("the server is there"));
    assert_eq!(cache.get::<String>(call("f")).as_deref(), Some("old"));
    assert_eq!(cache.stats().fenced, 0);
    assert!(server.keys().iter().all(|key| !key.contains("::lease:")));
}

#[test]
fn a_removal_made_in_an_outage_takes_leases_along_when_it_is_replayed() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let filling = connected(&server);
    let cut_off = connect(standalone(proxy.endpoint()));
    fill_overtaken_by(&filling, || {
        proxy.set(Mode::Refuse);
        until_degraded(&cut_off);
        assert!(cut_off.remove(call("f")).expect("it's journalled").journalled);
        proxy.set(Mode::Pass);
        wait_until("the journal is empty", DEADLINE, || cut_off.stats().journal_length == 0);
    });
    assert_eq!(filling.get::<String>(call("f")), None);
    assert_eq!(filling.stats().fenced, 1);
}

#[test]
fn work_that_takes_longer_than_a_lease_is_renewed() {
    let server = Server::start();
    let cache = connected(&server);
    let lease = format!("cachehouse::lease:{{{}}}", cache.key(&call("slow")).expect("it has a key"));
    let left = || server.command(&["PTTL", &lease]).integer();
    let value = cache.cached(call("slow"), || {
        assert!(left() > 0, "it's taken before the work begins");
        // Nearly over, as if the work had run for most of its time.
        server.command(&["PEXPIRE", &lease, "20000"]);
        wait_until("it's renewed", DEADLINE, || left() > 20_000);
        1
    });
    assert_eq!((value, cache.get(call("slow"))), (1, Some(1)));
    assert_eq!(left(), -2, "the fill takes it away");
}

#[test]
fn a_user_without_scripts_has_no_fence_and_all_else() {
    let server = Server::start();
    server.command(&["ACL", "SETUSER", "plain", "on", ">pw", "~cachehouse:*", "+@all", "-eval", "-evalsha"]);
    let builder = standalone(server.endpoint()).username("plain").password("pw");
    let cache = builder.command_timeout(Duration::from_secs(5)).build().expect("the builder is right");
    until_connected(&cache);
    assert_eq!(cache.cached(call("f"), || 1), 1);
    assert!(server.has(&cache.key(&call("f")).expect("it has a key")));
    assert_eq!(cache.cached(call("g"), || 1), 1);
    let stats = cache.stats();
    assert_eq!((stats.fenced, stats.unfenced, stats.circuit_openings), (0, 1, 0), "the first one finds it out");
}

#[test]
fn a_key_whose_braces_allow_no_lease_has_no_fence_and_is_counted() {
    let server = Server::start();
    let (cache, other) = (connected(&server), connected(&server));
    let options = || call("f").key_builder(|cx: &KeyContext<'_>| cx.scoped("a}b"));
    let remove = || assert!(!other.remove(options()).expect("the server is there").journalled);
    assert_eq!(cache.cached(options(), || (remove(), 1).1), 1);
    assert!(server.has("cachehouse:main:a}b"), "nothing refuses it");
    assert_eq!(cache.cached(call("f"), || 1), 1);
    assert_eq!((cache.stats().fenced, cache.stats().unfenced), (0, 1));
}

/// Handles of as many processes.
fn fleet(server: &Server, processes: usize) -> Vec<CacheHandle> {
    (0..processes).map(|_| connected(server)).collect()
}

#[test]
fn under_a_lease_one_process_computes_a_key() {
    let server = Server::start();
    let fleet = fleet(&server, 6);
    let runs = AtomicU32::new(0);
    let (running, runs_now) = mpsc::channel();
    let (end, ends) = mpsc::channel();
    let ends = Mutex::new(ends);
    thread::scope(|scope| {
        for cache in &fleet {
            for _ in 0..10 {
                let (running, ends, runs) = (running.clone(), &ends, &runs);
                scope.spawn(move || {
                    let value = cache.cached(call("f").lease(DEADLINE), || {
                        running.send(()).expect("the test waits");
                        ends.lock().expect("nothing panics").recv_timeout(DEADLINE).expect("the test ends it");
                        runs.fetch_add(1, Ordering::SeqCst)
                    });
                    assert_eq!(value, 0);
                });
            }
        }
        runs_now.recv_timeout(DEADLINE).expect("one runs");
        let waits = || fleet.iter().map(|cache| cache.stats().lease_waits).sum::<u64>();
        wait_until("the other processes wait", DEADLINE, || waits() == 5);
        end.send(()).expect("it waits");
    });
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    wait_until("no lease is left", DEADLINE, || server.keys().len() == 1);
}

#[test]
fn a_lease_whose_holder_is_gone_holds_others_up_for_no_longer_than_they_wait() {
    let server = Server::start();
    let cache = connected(&server);
    let key = cache.key(&call("f")).expect("it has a key");
    // As a process leaves it that was killed while it computed.
    server.set(&format!("cachehouse::lease:{{{key}}}"), "token");
    let begin = Instant::now();
    let wait = Duration::from_millis(300);
    assert_eq!(cache.cached(call("f").lease(wait), || 1), 1);
    assert!(begin.elapsed() >= wait && begin.elapsed() < 20 * wait, "{:?}", begin.elapsed());
    assert!(server.has(&key), "stored under the same token");
    assert_eq!(cache.stats().lease_waits, 1);
}

#[test]
fn work_that_fails_under_a_lease_hands_over_at_once() {
    let server = Server::start();
    let fleet = fleet(&server, 2);
    let (running, runs) = mpsc::channel();
    let (end, ends) = mpsc::channel();
    thread::scope(|scope| {
        let failing = &fleet[0];
        scope.spawn(move || {
            let result = failing.try_cached(call("f").lease(DEADLINE), || {
                running.send(()).expect("the test waits");
                ends.recv_timeout(DEADLINE).expect("the test ends it");
                Err::<u32, _>("no")
            });
            assert_eq!(result, Err("no"));
        });
        runs.recv_timeout(DEADLINE).expect("it runs");
        let waiting = scope.spawn(|| {
            let begin = Instant::now();
            assert_eq!(fleet[1].cached(call("f").lease(10 * DEADLINE), || 2_u32), 2);
            begin.elapsed()
        });
        wait_until("the other waits", DEADLINE, || fleet[1].stats().lease_waits == 1);
        end.send(()).expect("it waits");
        assert!(waiting.join().expect("it doesn't panic") < DEADLINE);
    });
}

#[test]
fn a_lease_that_no_call_could_wait_for_is_an_error_of_build() {
    for lease in [Duration::ZERO, Duration::from_secs(3601)] {
        let error = standalone("localhost").lease(lease).build().expect_err("it's out of bounds");
        assert_eq!(error.to_string(), format!("lease: is {lease:?}; accepts 1ms to 3600s"));
    }
}

#[test]
fn clearing_counts_entries_and_no_leases() {
    let server = Server::start();
    let cache = connected(&server);
    (0..3).for_each(|n| _ = cache.insert(call("g").arg(n), &n).expect("the server is there"));
    fill_overtaken_by(&cache, || {
        assert_eq!(cache.clear_keys("cachehouse").expect("the server is there").entries, 3);
    });
    assert_eq!(server.keys(), Vec::<String>::new());
}

#[test]
fn a_removal_needs_room_for_one_operation_only() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).max_in_flight(1));
    wait_until("there is room", DEADLINE, || {
        cache.insert(call("f"), &1).expect("nothing is refused");
        !cache.remove(call("f")).expect("nothing is refused").journalled
    });
}

#[test]
fn work_that_is_dropped_hands_its_lease_over() {
    let server = Server::start();
    let runtime = multi_thread(2);
    let cache = connect_in(&runtime, standalone(server.endpoint()));
    let (running, runs) = mpsc::channel();
    let task = runtime.spawn({
        let cache = cache.clone();
        async move {
            let work = async || {
                running.send(()).expect("the test waits");
                std::future::pending::<u32>().await
            };
            cache.cached_async(call("f"), work).await
        }
    });
    runs.recv_timeout(DEADLINE).expect("it runs");
    assert_eq!(server.keys().len(), 1, "its lease");
    task.abort();
    assert_eq!(cache.cached(call("f"), || 2), 2);
    assert_eq!(server.keys(), [cache.key(&call("f")).expect("it has a key")], "stored, and the lease is spent");
}

#[test]
fn sync_work_that_blocks_on_a_call_waits_no_longer_for_its_lease_than_it_says() {
    let server = Server::start();
    let cache = connected(&server);
    let key = cache.key(&call("inner")).expect("it has a key");
    // Its holder is gone.
    server.command(&["SET", &format!("cachehouse::lease:{{{key}}}"), "token", "PX", "60000"]);
    let value = finishes("work that blocks on a call", move || {
        let inner = || cache.cached_async(call("inner").lease(Duration::from_millis(100)), async || 7);
        cache.cached(call("outer"), || current_thread().block_on(inner()))
    });
    assert_eq!(value, 7);
}

#[test]
fn a_value_that_cant_be_stored_isnt_given_to_a_caller_that_came_after_an_invalidation() {
    let server = Server::start();
    let (cache, other) = (connect(standalone(server.endpoint()).max_value_bytes(1_000)), connected(&server));
    let (running, runs) = mpsc::channel();
    let (end, ends) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let cache = &cache;
        let first = scope.spawn(move || {
            cache.cached(call("f"), || {
                running.send(()).expect("the test waits");
                ends.recv_timeout(DEADLINE).expect("the test ends it");
                "old".repeat(1_000)
            })
        });
        runs.recv_timeout(DEADLINE).expect("the work runs");
        other.remove(call("f")).expect("the server is there");
        let second = scope.spawn(|| cache.cached(call("f"), || "new".repeat(1_000)));
        // It joins the first one meanwhile.
        thread::sleep(Duration::from_millis(200));
        end.send(()).expect("the work waits");
        assert!(first.join().expect("it doesn't panic").starts_with("old"));
        assert!(second.join().expect("it doesn't panic").starts_with("new"));
    });
    assert_eq!(cache.stats().uncached, 2);
}

#[test]
fn a_key_that_may_not_be_removed_leaves_no_lease_of_another() {
    let server = Server::start();
    server.command(&["ACL", "SETUSER", "app", "on", ">pw", "~cachehouse:*", "+@all"]);
    let proxy = Proxy::of(&server);
    let (filling, cut_off) = (connected(&server), connect(standalone(proxy.endpoint()).username("app").password("pw")));
    fill_overtaken_by(&filling, || {
        proxy.set(Mode::Refuse);
        until_degraded(&cut_off);
        for options in [call("f"), call("f").key_prefix("foreign")] {
            assert!(cut_off.remove(options).expect("it's journalled").journalled);
        }
        proxy.set(Mode::Pass);
        wait_until("what is refused alone is left", DEADLINE, || cut_off.stats().journal_length == 1);
    });
    assert_eq!(filling.get::<String>(call("f")), None);
    assert_eq!(filling.stats().fenced, 1);
}
