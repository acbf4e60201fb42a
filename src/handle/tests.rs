//! The engine over a server whose answers a test holds back.

mod fake;
mod freshness;
mod routes;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::poll;
use tokio::sync::Notify;

use self::fake::Fake;
use super::caller::Caller;
use super::freshness::infallible;
use super::want::{Want, Work};
use super::*;
use crate::backend::measured::Measured;
use crate::backend::memory::{Memory, MemoryLimits};
use crate::backend::server::{Server, ServerError, Unavailable};
use crate::backend::tiers::{Read, Route, Tiers};
use crate::clock::Clock;
use crate::config::Namespaces;
use crate::health::HealthReporter;
use crate::key::{CallKey, Scope};
use crate::options::CacheOptions;
use crate::policy::Overrides;

fn engine() -> (Engine<Fake>, Fake) {
    let server = Fake::default();
    (engine_of(&server), server)
}

/// A process that uses this server.
fn engine_of(server: &Fake) -> Engine<Fake> {
    engine_with(server, true)
}

/// The same, with or without memory.
fn engine_with(server: &Fake, has_memory: bool) -> Engine<Fake> {
    engine_within(server, has_memory, 1 << 20)
}

/// The same, for values of so many bytes at most.
fn engine_within(server: &Fake, has_memory: bool, max_value_bytes: u64) -> Engine<Fake> {
    let limits = MemoryLimits { max_entries: 100, max_bytes: 1 << 20 };
    let tiers = Tiers {
        memory: has_memory.then(|| Memory::new(limits, Clock::default())),
        server: Some(Measured::new(server.clone())),
        journal: Arc::default(),
        counters: Arc::default(),
        max_value_bytes,
        fallback_max_age: None,
        near: None,
        weighers: crate::codec::Weighers::default(),
        sealing: crate::codec::Sealing::default(),
    };
    let defaults = Defaults::new(Overrides::defaults(), Namespaces::default());
    let health = Arc::new(HealthReporter::new(Health::Connecting, ""));
    let inner = Inner::new(tiers, health, defaults, None, Duration::from_secs(1), Clock::default());
    Engine::new(inner, Scope::new("p", "n").expect("both parts are given"))
}

fn call() -> CacheOptions {
    CacheOptions::new("f")
}

impl Engine<Fake> {
    fn key(&self) -> CallKey {
        self.call_key(&call()).expect("it has a key")
    }

    async fn put(&self, value: i32) -> Result<Applied, Error> {
        self.insert(&call(), &value, Caller::asynchronous()).await
    }

    async fn look(&self) -> Option<i32> {
        self.get(&call(), Caller::asynchronous()).await
    }

    async fn compute(&self, work: impl Future<Output = i32>) -> i32 {
        self.compute_as(call(), work).await
    }

    async fn refresh_as(&self, options: CacheOptions, work: impl Future<Output = i32>) -> i32 {
        let (work, want) = (Work::plain(|_| async { Ok(work.await) }), Want { forced: true, ..Want::VALUE });
        infallible(self.read_through(&options, Caller::asynchronous, want, work).await).value
    }

    async fn compute_as(&self, options: CacheOptions, work: impl Future<Output = i32>) -> i32 {
        let work = Work::plain(|_| async { Ok(work.await) });
        infallible(self.read_through(&options, Caller::asynchronous, Want::VALUE, work).await).value
    }

    fn in_memory(&self) -> bool {
        self.inner.tiers.memory.as_ref().is_some_and(|memory| memory.find(&self.key()).is_some())
    }
}

fn out_of_memory() -> ServerError {
    ServerError::Refused { code: "OOM".into(), message: "command not allowed".into() }
}

/// Lets the tasks of this thread run.
async fn others_run() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hit_comes_from_the_server_and_its_copy_serves_while_that_is_away() {
    let (engine, server) = engine();
    assert_eq!(engine.compute(async { 1 }).await, 1);
    assert_eq!(server.has(&engine.key()).as_deref(), Some("1"));
    engine.inner.tiers.memory.as_ref().expect("there is memory").clear();
    assert_eq!(engine.compute(async { 2 }).await, 1);
    server.fail("get", ServerError::Unavailable(Unavailable::TimedOut));
    assert_eq!(engine.compute(async { 2 }).await, 1);
    assert_eq!((server.count("set"), engine.look().await), (1, Some(1)));
}

#[tokio::test]
async fn a_value_whose_key_is_removed_while_its_work_runs_is_stored_nowhere() {
    let (engine, server) = engine();
    let go_on = Notify::new();
    let mut computing = pin!(engine.compute(async {
        go_on.notified().await;
        1
    }));
    assert!(poll!(computing.as_mut()).is_pending());
    assert_eq!(engine.remove(&call()).await.expect("the server is there").entries, 0);
    go_on.notify_one();
    assert_eq!(computing.await, 1);
    assert_eq!((server.count("set"), server.has(&engine.key()), engine.in_memory()), (0, None, false));
}

#[tokio::test]
async fn a_fill_that_another_process_has_invalidated_is_stored_nowhere() {
    let (engine, server) = engine();
    let go_on = Notify::new();
    let mut computing = pin!(engine.compute(async {
        go_on.notified().await;
        1
    }));
    assert!(poll!(computing.as_mut()).is_pending());
    // Another process removes the key, and its lease with it.
    server.remove(&engine.key().server_key()).await.expect("the server is there");
    go_on.notify_one();
    assert_eq!(computing.await, 1);
    assert_eq!((server.has(&engine.key()), engine.in_memory()), (None, false));
    assert_eq!(engine.inner.tiers.stats().fenced, 1);
    assert_eq!(engine.compute(async { 2 }).await, 2);
    assert_eq!((server.has(&engine.key()).as_deref(), engine.in_memory()), (Some("2"), true));
}

/// Why no fence confirms a value.
#[derive(Debug, Clone, Copy)]
enum Unconfirmed {
    InvalidatedElsewhere,
    InvalidatedHereToo,
    NoRoomForTheLease,
    NoRoomForTheValue,
    BegunInAnOutage,
    NotStored,
    TooLarge,
}

#[tokio::test]
async fn a_value_that_no_fence_confirms_is_for_callers_from_before_its_work_and_one_run_serves_the_others() {
    use Unconfirmed::*;
    for why in [
        InvalidatedElsewhere,
        InvalidatedHereToo,
        NoRoomForTheLease,
        NoRoomForTheValue,
        BegunInAnOutage,
        NotStored,
        TooLarge,
    ] {
        let server = Fake::default();
        let engine = engine_within(&server, true, if matches!(why, TooLarge) { 0 } else { 1 << 20 });
        let options = || call().expire(if matches!(why, NotStored) { Duration::ZERO } else { Duration::from_secs(60) });
        match why {
            NoRoomForTheLease => server.fail("lease", out_of_memory()),
            NoRoomForTheValue => server.fail("set", out_of_memory()),
            BegunInAnOutage => server.fail("lease", ServerError::Unavailable(Unavailable::TimedOut)),
            _ => {}
        }
        server.hold("get");
        let go_on = Notify::new();
        let mut computing = pin!(engine.compute_as(options(), async {
            go_on.notified().await;
            1
        }));
        assert!(poll!(computing.as_mut()).is_pending());
        let mut early = pin!(engine.compute_as(options(), async { 0 }));
        assert!(poll!(early.as_mut()).is_pending(), "it waits for the read");
        server.release();
        assert!(poll!(computing.as_mut()).is_pending());
        others_run().await;
        assert!(poll!(computing.as_mut()).is_pending(), "its work runs");
        let runs = AtomicI32::new(0);
        let late = || {
            engine.compute_as(options(), async {
                tokio::task::yield_now().await;
                2 + runs.fetch_add(1, Ordering::SeqCst)
            })
        };
        let mut late = [Box::pin(late()), Box::pin(late()), Box::pin(late())];
        for waiting in &mut late {
            assert!(poll!(waiting.as_mut()).is_pending(), "it waits for the work that runs");
        }
        match why {
            InvalidatedElsewhere => drop(server.remove(&engine.key().server_key()).await),
            InvalidatedHereToo => {
                server.remove(&engine.key().server_key()).await.expect("the server is there");
                // So the value isn't stored, and no fence is asked.
                engine.remove(&call()).await.expect("the server is there");
            }
            BegunInAnOutage => server.mend(),
            _ => {}
        }
        go_on.notify_one();
        assert_eq!((computing.await, early.await), (1, 1), "{why:?}");
        assert_eq!(futures::future::join_all(late).await, [2, 2, 2], "{why:?}");
    }
}

#[tokio::test]
async fn waiters_get_a_fenced_value_with_the_servers_answer_also_if_the_leader_is_not_polled_again() {
    let (engine, server) = engine();
    for dies in [false, true] {
        server.hold("set");
        let go_on = Notify::new();
        let mut computing = pin!(engine.compute(async {
            go_on.notified().await;
            1
        }));
        assert!(poll!(computing.as_mut()).is_pending());
        let mut waiting = pin!(engine.compute(async { 2 }));
        assert!(poll!(waiting.as_mut()).is_pending());
        go_on.notify_one();
        assert!(poll!(computing.as_mut()).is_pending());
        others_run().await;
        if dies {
            server.fail("set", ServerError::Unavailable(Unavailable::TimedOut));
        }
        server.release();
        assert_eq!(waiting.await, 1);
        assert_eq!(computing.await, 1);
        server.mend();
        engine.remove(&call()).await.expect("the server is there");
    }
}

#[tokio::test]
async fn a_copy_of_a_leader_that_is_polled_late_takes_the_place_of_no_newer_one() {
    let (engine, server) = engine();
    server.hold("set");
    let mut computing = pin!(engine.compute(async { 1 }));
    assert!(poll!(computing.as_mut()).is_pending());
    others_run().await;
    server.release();
    others_run().await;
    assert_eq!(server.has(&engine.key()).as_deref(), Some("1"), "it's stored, and its leader isn't polled");
    // Another process removes it, and this one computes it anew.
    server.remove(&engine.key().server_key()).await.expect("the server is there");
    assert_eq!(engine.compute(async { 2 }).await, 2);
    assert_eq!(computing.await, 1);
    server.fail("get", ServerError::Unavailable(Unavailable::TimedOut));
    assert_ne!(engine.look().await, Some(1));
}

#[tokio::test]
async fn a_value_that_a_call_read_while_an_insert_took_long_is_not_kept() {
    for fails in [false, true] {
        let (engine, server) = engine();
        server.0.values.lock().insert(engine.key().server_key(), Bytes::from_static(b"1"));
        server.hold("check_type");
        let ttl = Duration::from_millis(10);
        let mut inserting = pin!(async { engine.insert(&call().expire(ttl), &2, Caller::asynchronous()).await });
        assert!(poll!(inserting.as_mut()).is_pending());
        // The inserted value isn't handed on any more: the next call asks the server, which has the old one yet.
        tokio::time::sleep(2 * ttl).await;
        assert_eq!(engine.compute(async { 3 }).await, 1);
        assert!(engine.in_memory());
        if fails {
            server.fail("remove", ServerError::Unavailable(Unavailable::TimedOut));
        }
        server.release();
        let applied = inserting.await.expect("the server is there, or it's journalled");
        assert_eq!((applied.entries, applied.journalled), (0, fails));
        assert!(!engine.in_memory(), "what was replaced");
    }
}

#[tokio::test]
async fn a_value_is_not_stored_where_a_lease_may_be_left_by_which_an_older_one_would_be() {
    let refused = |code: &str| ServerError::Refused { code: code.into(), message: "not now".into() };
    for (code, is_stored) in [("NOPERM", true), ("NOREPLICAS", false), ("READONLY", false)] {
        let (engine, server) = engine();
        server.fail("check_type", refused(code));
        let refreshed = engine.refresh_as(call(), async { 1 }).await;
        assert_eq!((refreshed, server.has(&engine.key()).is_some()), (1, is_stored), "{code}");
        let inserted = engine.put(2).await.map(|applied| applied.journalled);
        let expected = match code {
            "NOPERM" => Ok(false),
            // As any write of a server that was demoted: the new primary is sent the removal.
            "READONLY" => Ok(true),
            _ => Err(()),
        };
        assert_eq!(inserted.map_err(drop), expected, "{code}");
        assert_eq!(engine.inner.tiers.journal.blocks(&engine.key()), !is_stored, "{code}");
        assert_eq!(engine.inner.tiers.stats().failed_writes, if is_stored { 0 } else { 2 }, "{code}");
    }
}

#[tokio::test]
async fn an_answer_that_a_removal_overtakes_is_not_kept() {
    let (engine, server) = engine();
    server.0.values.lock().insert(engine.key().server_key(), Bytes::from_static(b"1"));
    server.hold("get");
    let mut reading = pin!(engine.compute(async { 2 }));
    assert!(poll!(reading.as_mut()).is_pending());
    assert_eq!(engine.remove(&call()).await.expect("the server is there").entries, 1);
    server.release();
    // The call began before the removal.
    assert_eq!(reading.await, 1);
    assert!(!engine.in_memory());
    assert_eq!(engine.compute(async { 3 }).await, 3);
}

#[tokio::test]
async fn a_removal_goes_to_the_server_behind_a_store_that_is_under_way() {
    let (engine, server) = engine();
    server.hold("set");
    let mut computing = pin!(engine.compute(async { 1 }));
    assert!(poll!(computing.as_mut()).is_pending());
    others_run().await;
    assert_eq!(server.count("set"), 1);
    let mut removing = pin!(async { engine.remove(&call()).await });
    assert!(poll!(removing.as_mut()).is_pending());
    others_run().await;
    assert!(poll!(removing.as_mut()).is_pending());
    assert_eq!(server.count("remove"), 0);
    server.release();
    assert_eq!(removing.await.expect("the server is there").entries, 1);
    assert_eq!(computing.await, 1);
    assert_eq!((server.has(&engine.key()), engine.in_memory()), (None, false));
}

#[tokio::test]
async fn a_removal_between_the_servers_answer_and_the_copy_in_memory_leaves_no_copy() {
    let (engine, server) = engine();
    server.hold("set");
    let mut computing = pin!(engine.compute(async { 1 }));
    assert!(poll!(computing.as_mut()).is_pending());
    others_run().await;
    server.release();
    others_run().await;
    // The server has answered, and the leader hasn't gone on yet.
    assert_eq!(engine.remove(&call()).await.expect("the server is there").entries, 1);
    assert_eq!(computing.await, 1);
    assert_eq!((server.has(&engine.key()), engine.in_memory()), (None, false));
}

#[tokio::test]
async fn a_removal_that_the_server_does_not_confirm_keeps_calls_from_reading_the_key_there() {
    let (engine, server) = engine();
    engine.put(1).await.expect("the server is there");
    server.fail("remove", ServerError::Unavailable(Unavailable::TimedOut));
    assert!(engine.remove(&call()).await.expect("it's journalled").journalled);
    server.mend();
    let reads = server.count("get");
    assert_eq!((engine.look().await, server.has(&engine.key()).as_deref()), (None, Some("1")));
    assert_eq!(engine.compute(async { 2 }).await, 2);
    assert_eq!((server.count("get"), engine.inner.tiers.journal.len()), (reads, 1));
}

#[tokio::test]
async fn a_read_does_not_ask_the_server_if_its_key_was_journalled_before_its_fence() {
    let (engine, server) = engine();
    engine.put(1).await.expect("the server is there");
    // Another thread removes the key between this call's look at the route and its fence, which so doesn't know of the removal.
    let (key, options, tiers) = (engine.key(), call(), &engine.inner.tiers);
    assert_eq!(tiers.route(&key), Route::Server);
    server.fail("remove", ServerError::Unavailable(Unavailable::TimedOut));
    assert!(engine.remove(&options).await.expect("it's journalled").journalled);
    let observer = engine.inner.flights.observe(&key, Caller::asynchronous());

    let (server, call) = (tiers.server.as_ref().expect("there is one"), engine.resolve(&key, &options));
    let alone: Read<i32> = tiers.read_server(server, &call, &observer).await;
    assert!(matches!(alone, Read::Unavailable));
    let together = tiers.read_together::<i32, _, _>(server, &[call], |_| &observer).await;
    assert!(together.is_none());
    assert!(!engine.in_memory());
}

#[tokio::test]
async fn a_removal_that_is_dropped_half_way_is_journalled() {
    let (engine, server) = engine();
    engine.put(1).await.expect("the server is there");
    server.hold("remove");
    {
        let mut removing = pin!(async { engine.remove(&call()).await });
        assert!(poll!(removing.as_mut()).is_pending());
    }
    assert_eq!((engine.inner.tiers.journal.len(), engine.in_memory()), (1, false));
}

#[tokio::test]
async fn nothing_of_the_value_that_a_refused_insert_was_to_replace_is_kept() {
    let (engine, server) = engine();
    engine.put(1).await.expect("the server is there");
    server.fail("set", out_of_memory());
    server.hold("set");
    let mut inserting = pin!(engine.put(2));
    assert!(poll!(inserting.as_mut()).is_pending());
    others_run().await;
    server.release();
    others_run().await;
    // The server has answered, and the insert hasn't gone on yet: the new value, or none, but not the old one.
    let between = engine.look().await;
    assert_ne!(between, Some(1));
    assert_ne!(engine.compute(async { 3 }).await, 1);
    assert!(inserting.await.expect_err("it's refused").is_refused());
    server.fail("get", ServerError::Unavailable(Unavailable::TimedOut));
    assert_ne!(engine.look().await, Some(1), "in the next outage");
    assert_eq!(engine.inner.tiers.journal.len(), 1);
}

#[tokio::test]
async fn an_insert_over_another_programs_key_leaves_it_alone() {
    let (engine, server) = engine();
    server.fail("check_type", ServerError::WrongType);
    assert!(engine.put(1).await.expect_err("it's a list, say").is_refused());
    assert_eq!((server.count("set"), engine.inner.tiers.journal.len()), (0, 0));
}

#[tokio::test]
async fn waiters_on_an_insert_do_not_wait_for_the_server() {
    let (engine, server) = engine();
    server.hold("check_type");
    let mut inserting = pin!(engine.put(2));
    assert!(poll!(inserting.as_mut()).is_pending());
    let mut waiting = pin!(engine.compute(async { 3 }));
    assert_eq!(poll!(waiting.as_mut()), Poll::Ready(2));
    server.release();
    inserting.await.expect("the server is there");
}

#[tokio::test]
async fn a_call_does_not_get_an_answer_that_is_older_than_the_call() {
    let (engine, server) = engine();
    let key = engine.key().server_key();
    server.0.values.lock().insert(key.clone(), Bytes::from_static(b"1"));
    server.hold("get");
    let mut reading = pin!(engine.compute(async { 2 }));
    assert!(poll!(reading.as_mut()).is_pending());
    // Another process removes the key while the answer is on its way.
    server.0.values.lock().remove(&key);
    let mut late: Vec<_> = (3..6).map(|own| Box::pin(engine.compute(async move { own }))).collect();
    for late in &mut late {
        assert!(poll!(late.as_mut()).is_pending());
    }
    server.release();
    assert_eq!(reading.await, 1);
    let late = futures::future::join_all(late).await;
    assert_eq!((late, server.count("get"), server.count("set")), (vec![3; 3], 2, 1), "one of them asks again, for all");
}

#[tokio::test]
async fn a_call_does_not_get_a_value_whose_store_is_older_than_the_call() {
    for inserts in [false, true] {
        let (engine, server) = engine();
        server.hold("set");
        let mut storing = pin!(async {
            match inserts {
                false => _ = engine.compute(async { 1 }).await,
                true => _ = engine.put(1).await.expect("the server is there"),
            }
        });
        assert!(poll!(storing.as_mut()).is_pending());
        others_run().await;
        assert_eq!(server.has(&engine.key()).as_deref(), Some("1"));
        // Another process removes the key while the answer to the store is on its way.
        server.0.values.lock().remove(&engine.key().server_key());
        let mut late = pin!(engine.compute(async { 2 }));
        assert!(poll!(late.as_mut()).is_pending());
        server.release();
        storing.await;
        assert_eq!(late.await, 2, "{inserts}");
    }
}

#[tokio::test]
async fn an_insert_that_a_clearing_overtakes_returns_once_the_old_value_is_gone() {
    let (engine, server) = engine();
    engine.put(1).await.expect("the server is there");
    server.hold("check_type");
    let mut inserting = pin!(engine.put(2));
    assert!(poll!(inserting.as_mut()).is_pending());
    // It begins, and doesn't reach the server.
    server.fail("clear", ServerError::Unavailable(Unavailable::TimedOut));
    assert!(engine.clear_namespace("n").await.expect("it's journalled").journalled);
    server.release();
    let inserted = inserting.await.expect("the server is there");
    assert_eq!((inserted.entries, inserted.journalled), (0, false));
    assert_eq!(server.has(&engine.key()), None, "other processes would read it");
}

#[tokio::test]
async fn an_insert_that_a_later_one_overtakes_leaves_that_ones_value() {
    let (engine, server) = engine();
    engine.put(1).await.expect("the server is there");
    server.hold("check_type");
    let mut early = pin!(engine.put(2));
    assert!(poll!(early.as_mut()).is_pending());
    let mut late = pin!(engine.put(3));
    assert!(poll!(late.as_mut()).is_pending());
    server.hold("set");
    server.0.released.notify_waiters();
    assert!(poll!(early.as_mut()).is_pending(), "the old value is still there");
    assert!(poll!(late.as_mut()).is_pending());
    others_run().await;
    server.release();
    assert_eq!(late.await.expect("the server is there").entries, 1);
    let overtaken = early.await.expect("the server is there");
    assert_eq!((overtaken.entries, overtaken.journalled), (0, false));
    assert_eq!((server.has(&engine.key()).as_deref(), engine.look().await), (Some("3"), Some(3)));
}
