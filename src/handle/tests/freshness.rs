//! Values in their windows, forced refreshes and timeouts.

use std::future::pending;

use super::super::freshness::{Fetched, Old, Verdict};
use super::super::read_through::Outcome;
use super::super::renewals::Slot;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);
/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

type Result<T = i32> = std::result::Result<T, &'static str>;

/// Fresh for a minute, and then served for another while it's renewed.
fn revalidated() -> CacheOptions {
    call().expire(MINUTE).stale_while_revalidate(MINUTE)
}

/// Fresh for a minute, and then served for another where the work fails.
fn if_error() -> CacheOptions {
    call().expire(MINUTE).stale_if_error(MINUTE)
}

impl Fake {
    /// The server has `value`, with so much left of its TTL; the engine's memory has nothing.
    pub(super) fn holds(&self, engine: &Engine<Fake>, value: &'static str, remaining: Duration) {
        let key = engine.key().server_key();
        self.0.values.lock().insert(key.clone(), Bytes::from_static(value.as_bytes()));
        self.0.ttls.lock().insert(key, remaining);
        engine.inner.tiers.memory.iter().for_each(Memory::clear);
    }
}

impl Engine<Fake> {
    async fn fetched(&self, options: CacheOptions, work: impl Future<Output = Result>) -> Result<Fetched<i32>> {
        self.read_through(&options, Caller::asynchronous, Want::VALUE, Work::plain(|_| work)).await
    }

    async fn cached(&self, options: CacheOptions, work: impl Future<Output = Result>) -> Result {
        self.fetched(options, work).await.map(|found| found.value)
    }

    async fn refreshed(&self, options: CacheOptions, work: impl Future<Output = Result>) -> Result {
        let work = Work::plain(|_| work);
        self.read_through(&options, Caller::asynchronous, Want { forced: true, ..Want::VALUE }, work)
            .await
            .map(|found| found.value)
    }

    async fn renewing(&self, options: CacheOptions, work: impl Future<Output = Result> + Send + 'static) -> Result {
        self.refreshing(options, Caller::asynchronous, || work, Slot::in_task).await
    }

    /// How often its work has run, old values were served, and values were renewed.
    fn counted(&self) -> (u64, u64, u64) {
        let stats = self.inner.tiers.stats();
        (stats.runs, stats.stale_hits, stats.refreshes)
    }
}

/// What `call` comes to; a hang is a failure.
async fn ends<T>(what: &str, call: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, call).await.unwrap_or_else(|_| panic!("hangs: {what}"))
}

async fn gives(value: i32) -> Result {
    Ok(value)
}

async fn fails() -> Result {
    Err("no route")
}

const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn the_remaining_ttl_says_whether_a_value_is_fresh_or_stale() {
    let (engine, server) = engine();
    for (options, remaining, value, failing) in [
        (revalidated(), 2 * MINUTE, 1, 1),
        (revalidated(), MINUTE + MS, 1, 1),
        (revalidated(), MINUTE, 2, 1),
        (revalidated(), MS, 2, 1),
        (if_error(), MINUTE + MS, 1, 1),
        (if_error(), MINUTE, 2, 1),
        (if_error(), MS, 2, 1),
        (call().expire(MINUTE), MS, 1, 1),
    ] {
        server.holds(&engine, "1", remaining);
        assert_eq!(engine.cached(options.clone(), fails()).await, Ok(failing), "{options:?} {remaining:?}");
        engine.inner.retries.forget(&engine.key());
        assert_eq!(engine.cached(options.clone(), gives(2)).await, Ok(value), "{options:?} {remaining:?}");
        engine.inner.retries.forget(&engine.key());
    }
    assert_eq!(engine.counted(), (8, 4, 8));
    server.0.values.lock().clear();
    assert_eq!(engine.cached(if_error(), fails()).await, Err("no route"));
}

#[tokio::test]
async fn what_is_stored_lives_for_its_ttl_and_the_longer_window() {
    let (engine, server) = engine();
    let options = revalidated().stale_if_error(3 * MINUTE);
    assert_eq!(engine.fetched(options, gives(1)).await.expect("it's made").remaining, Some(4 * MINUTE));
    assert_eq!(server.0.ttls.lock().get(&engine.key().server_key()), Some(&(4 * MINUTE)));
}

#[tokio::test]
async fn while_one_renews_the_others_read_the_old_value_themselves() {
    let (engine, server) = engine();
    server.holds(&engine, "1", MINUTE);
    let go_on = Notify::new();
    let mut renewing = pin!(engine.cached(revalidated(), async {
        go_on.notified().await;
        Ok(2)
    }));
    assert!(poll!(renewing.as_mut()).is_pending());
    let reads = server.count("get");
    for other in 1..4 {
        assert_eq!(engine.fetched(revalidated(), fails()).await.expect("the old value").value, 1);
        assert_eq!(server.count("get"), reads + other);
    }
    // What another process writes meanwhile is seen at once.
    server.holds(&engine, "5", 2 * MINUTE);
    assert_eq!(engine.cached(revalidated(), fails()).await, Ok(5));
    go_on.notify_one();
    assert_eq!(renewing.await, Ok(2));
    assert_eq!((server.has(&engine.key()).as_deref(), engine.counted()), (Some("2"), (1, 3, 1)));
}

#[tokio::test]
async fn a_removal_by_another_process_ends_a_window_and_the_renewal_in_it_is_stored_nowhere() {
    let (engine, server) = engine();
    server.holds(&engine, "1", MINUTE);
    let go_on = Notify::new();
    let mut renewing = pin!(engine.cached(revalidated(), async {
        go_on.notified().await;
        Ok(2)
    }));
    assert!(poll!(renewing.as_mut()).is_pending());
    server.remove(&engine.key().server_key()).await.expect("the server is there");
    let mut late = pin!(engine.cached(revalidated(), gives(3)));
    assert!(poll!(late.as_mut()).is_pending(), "there is nothing to serve");
    go_on.notify_one();
    assert_eq!(renewing.await, Ok(2));
    assert_eq!(ends("who came after the removal", late).await, Ok(3));
    assert_eq!((server.has(&engine.key()).as_deref(), engine.inner.tiers.stats().fenced), (Some("3"), 1));
}

#[tokio::test]
async fn a_removal_by_this_process_ends_a_window_at_once() {
    for options in [revalidated(), if_error()] {
        let (engine, server) = engine();
        server.holds(&engine, "1", MINUTE);
        let go_on = Notify::new();
        let mut renewing = pin!(engine.cached(options.clone(), async {
            go_on.notified().await;
            Err("no route")
        }));
        assert!(poll!(renewing.as_mut()).is_pending());
        engine.remove(&call()).await.expect("the server is there");
        assert_eq!(engine.cached(options.clone(), fails()).await, Err("no route"));
        assert_eq!(engine.cached(options, gives(3)).await, Ok(3));
        go_on.notify_one();
        // Its call began before the removal.
        assert_eq!(renewing.await, Ok(1));
        assert_eq!((server.has(&engine.key()).as_deref(), engine.look().await), (Some("3"), Some(3)));
    }
}

#[tokio::test]
async fn an_old_value_isnt_served_to_a_call_from_after_another_process_removed_it() {
    let (engine, server) = engine();
    server.holds(&engine, "1", MINUTE);
    server.hold("lease");
    let mut failing = pin!(engine.cached(if_error(), fails()));
    assert!(poll!(failing.as_mut()).is_pending(), "it has found the old value");
    server.remove(&engine.key().server_key()).await.expect("the server is there");
    let mut late = pin!(engine.cached(if_error(), gives(2)));
    assert!(poll!(late.as_mut()).is_pending());
    server.release();
    assert_eq!(failing.await, Ok(1), "its call began before the removal");
    assert_eq!(ends("who came after the removal", late).await, Ok(2));
}

#[tokio::test]
async fn a_value_that_is_stored_nowhere_has_no_remaining_ttl() {
    for (fails, has_memory, remaining) in [
        (None, true, Some(MINUTE)),
        // Memory has it.
        (Some(out_of_memory()), true, Some(MINUTE)),
        (Some(ServerError::Unavailable(Unavailable::TimedOut)), true, Some(MINUTE)),
        (Some(out_of_memory()), false, None),
        (Some(ServerError::WrongType), true, None),
    ] {
        let server = Fake::default();
        let engine = engine_with(&server, has_memory);
        let case = format!("{fails:?} {has_memory}");
        if let Some(error) = fails {
            server.fail("set", error);
        }
        let found = engine.fetched(call().expire(MINUTE), gives(1)).await.expect("it's computed");
        assert_eq!(found.remaining, remaining, "{case}");
    }
    let server = Fake::default();
    server.fail("lease", out_of_memory());
    let nowhere = engine_with(&server, false).fetched(call().expire(MINUTE), gives(1)).await.expect("it's computed");
    assert_eq!(nowhere.remaining, None, "there is no memory");
    let (engine, server) = engine();
    server.0.is_away.store(true, Ordering::SeqCst);
    let removed = engine.fetched(call().expire(MINUTE), async {
        engine.remove(&call()).await.expect("it's journalled");
        Ok(1)
    });
    assert_eq!(removed.await.expect("it's computed").remaining, None, "it's removed in an outage");
    let engine = engine_within(&Fake::default(), true, 0);
    let too_large = engine.fetched(call().expire(MINUTE), gives(1)).await.expect("it's computed");
    assert_eq!(too_large.remaining, None);
    let (engine, server) = super::engine();
    let removed = engine.fetched(call().expire(MINUTE), async {
        server.remove(&engine.key().server_key()).await.expect("the server is there");
        Ok(1)
    });
    assert_eq!(removed.await.expect("it's computed").remaining, None, "another process has removed it meanwhile");
}

#[tokio::test]
async fn an_old_value_isnt_served_once_the_server_has_said_that_it_is_gone() {
    let (engine, server) = engine();
    let options = || if_error().lease(MINUTE);
    server.holds(&engine, "1", MINUTE);
    assert_eq!(engine.cached(options(), fails()).await, Ok(1));
    engine.inner.retries.forget(&engine.key());
    server.hold("lease");
    let mut failing = pin!(engine.cached(options(), fails()));
    assert!(poll!(failing.as_mut()).is_pending(), "it has found the old value");
    server.0.values.lock().remove(&engine.key().server_key());
    server.release();
    // It looks again once it has its lease.
    assert_eq!(failing.await, Err("no route"));
}

#[tokio::test]
async fn an_old_value_is_served_where_another_version_of_the_program_has_stored_its_own() {
    let (engine, server) = engine();
    let options = || if_error().lease(MINUTE);
    server.holds(&engine, "1", MINUTE);
    server.hold("lease");
    let mut failing = pin!(engine.cached(options(), fails()));
    assert!(poll!(failing.as_mut()).is_pending(), "it has found the old value");
    server.0.values.lock().insert(engine.key().server_key(), Bytes::from_static(b"{}"));
    server.release();
    assert_eq!(failing.await, Ok(1));
}

#[tokio::test]
async fn what_comes_after_a_hard_timeout_is_returned_and_not_stored() {
    let (engine, server) = engine();
    let options = || call().hard_timeout(20 * MS);
    let go_on = Notify::new();
    let mut hung = pin!(engine.fetched(options(), async {
        go_on.notified().await;
        Ok(1)
    }));
    assert!(poll!(hung.as_mut()).is_pending());
    let mut waiting = pin!(engine.cached(options(), gives(2)));
    assert!(poll!(waiting.as_mut()).is_pending());
    // The hung call isn't even polled.
    assert_eq!(ends("who waits for hung work", waiting).await, Ok(2));
    assert_eq!(engine.cached(options(), gives(3)).await, Ok(2));
    go_on.notify_one();
    let late = ends("the late work", hung).await.expect("it's made");
    assert_eq!((late.value, late.remaining), (1, None));
    assert_eq!((server.has(&engine.key()).as_deref(), engine.look().await), (Some("2"), Some(2)));
}

#[tokio::test]
async fn a_call_past_its_hard_timeout_frees_the_key_on_the_server_too() {
    let (engine, server) = engine();
    let hung = engine.cached(call().hard_timeout(10 * MS), pending());
    assert!(tokio::time::timeout(100 * MS, hung).await.is_err());
    assert_eq!((server.count("release"), engine.cached(call(), gives(2)).await), (1, Ok(2)));
}

#[tokio::test]
async fn with_an_old_value_a_timeout_serves_it_and_holds_the_work_back() {
    for options in [if_error().soft_timeout(10 * MS), if_error().hard_timeout(10 * MS)] {
        let (engine, server) = engine();
        server.holds(&engine, "1", MINUTE);
        let slow = ends("slow work", engine.cached(options.clone(), pending())).await;
        assert_eq!((slow, engine.cached(options, gives(2)).await), (Ok(1), Ok(1)));
        assert_eq!((server.count("release"), engine.counted()), (1, (1, 2, 1)));
    }
}

#[tokio::test]
async fn a_forced_refresh_has_older_fills_refused_here_and_elsewhere() {
    for here in [true, false] {
        let (engine, server) = engine();
        let other = if here { engine.clone() } else { engine_of(&server) };
        let go_on = Notify::new();
        let mut older = pin!(other.cached(call(), async {
            go_on.notified().await;
            Ok(1)
        }));
        assert!(poll!(older.as_mut()).is_pending());
        assert_eq!(engine.refreshed(call(), gives(2)).await, Ok(2));
        go_on.notify_one();
        assert_eq!(older.await, Ok(1));
        assert_eq!((server.has(&engine.key()).as_deref(), other.look().await), (Some("2"), Some(2)), "{here}");
    }
}

#[tokio::test]
async fn concurrent_refreshes_share_a_run_and_other_callers_are_served_meanwhile() {
    let (engine, server) = engine();
    server.holds(&engine, "1", MINUTE);
    let go_on = Notify::new();
    let mut first = pin!(engine.refreshed(call(), async {
        go_on.notified().await;
        Ok(2)
    }));
    assert!(poll!(first.as_mut()).is_pending());
    let mut second = pin!(engine.refreshed(call(), fails()));
    assert!(poll!(second.as_mut()).is_pending());
    assert_eq!(engine.cached(call(), fails()).await, Ok(1));
    go_on.notify_one();
    assert_eq!((first.await, second.await), (Ok(2), Ok(2)));
    assert_eq!((engine.cached(call(), fails()).await, engine.counted()), (Ok(2), (1, 0, 1)));
}

#[tokio::test]
async fn without_a_value_others_wait_for_a_forced_refresh() {
    let (engine, _server) = engine();
    let go_on = Notify::new();
    let mut first = pin!(engine.refreshed(call(), async {
        go_on.notified().await;
        Ok(2)
    }));
    assert!(poll!(first.as_mut()).is_pending());
    let mut waiting = pin!(engine.cached(call(), gives(3)));
    assert!(poll!(waiting.as_mut()).is_pending());
    go_on.notify_one();
    assert_eq!((first.await, waiting.await), (Ok(2), Ok(2)));
}

#[tokio::test]
async fn a_forced_refresh_runs_also_with_a_lease() {
    let (engine, server) = engine();
    server.holds(&engine, "1", MINUTE);
    assert_eq!(ends("a refresh", engine.refreshed(call().lease(MINUTE), gives(2))).await, Ok(2));
    // Another process computes the key.
    let other = engine_of(&server);
    let mut computing = pin!(other.refreshed(call(), pending()));
    assert!(poll!(computing.as_mut()).is_pending());
    assert_eq!(ends("a refresh", engine.refreshed(call().lease(MINUTE), gives(3))).await, Ok(3));
    assert_eq!(server.has(&engine.key()).as_deref(), Some("3"));
}

#[tokio::test]
async fn a_refresh_that_comes_while_another_is_being_stored_runs_its_own_work() {
    let (engine, server) = engine();
    server.hold("set");
    let mut first = pin!(engine.refreshed(call(), gives(1)));
    assert!(poll!(first.as_mut()).is_pending());
    others_run().await;
    assert_eq!(server.count("set"), 1);
    let mut second = pin!(engine.refreshed(call(), gives(2)));
    assert!(poll!(second.as_mut()).is_pending());
    server.release();
    assert_eq!(first.await, Ok(1));
    assert_eq!(ends("the second refresh", second).await, Ok(2));
    assert_eq!(server.has(&engine.key()).as_deref(), Some("2"));
}

#[tokio::test]
async fn a_lease_does_not_keep_values_from_being_renewed_early() {
    let (engine, server) = engine();
    // Two of three are elected: exp(-0.4).
    let options = || call().expire(MINUTE).refresh_early(1.0).lease(MINUTE);
    const CALLS: u32 = 400;
    let mut renewed = 0;
    for _ in 0..CALLS {
        server.holds(&engine, "1", MINUTE);
        engine.inner.work_times.note(engine.name_hash(&call()), MINUTE.mul_f64(2.5));
        renewed += u32::from(engine.cached(options(), gives(2)).await == Ok(2));
    }
    assert!((230..310).contains(&renewed), "{renewed} of {CALLS}");
}

#[tokio::test]
async fn a_caller_elected_to_renew_early_leaves_a_newer_value_alone() {
    let (engine, server) = engine();
    let options = call().expire(MINUTE).refresh_early(1.0);
    let (key, want) = (engine.key(), Want::<&str>::VALUE);
    for (remaining, renews) in [(MINUTE, false), (MINUTE / 4, true)] {
        server.holds(&engine, "2", remaining);
        let fetched = Fetched { value: 1, source: Source::Memory, remaining: Some(MINUTE / 2) };
        let old = Some(Old { fetched, verdict: Verdict::Early });
        let outcome = engine.fetch::<i32, _, _>(&key, &options, Caller::asynchronous(), old.as_ref(), &want).await;
        assert_eq!(matches!(outcome, Outcome::Run(_)), renews, "{remaining:?}");
    }
}

#[tokio::test]
async fn a_waiter_on_a_renewal_gets_the_value_that_another_process_has_stored() {
    let (engine, server) = engine();
    server.holds(&engine, "1", MINUTE);
    let other = engine_of(&server);
    let go_on = Notify::new();
    let mut computing = pin!(other.cached(if_error(), async {
        go_on.notified().await;
        Ok(2)
    }));
    assert!(poll!(computing.as_mut()).is_pending());
    let mut waiting = pin!(engine.renewing(if_error().lease(MINUTE), gives(3)));
    assert!(poll!(waiting.as_mut()).is_pending());
    go_on.notify_one();
    assert_eq!(computing.await, Ok(2));
    assert_eq!(ends("who waits for another process", waiting).await, Ok(2));
}

#[tokio::test]
async fn a_soft_timeout_bounds_the_wait_for_another_process_too() {
    let (engine, server) = engine();
    server.holds(&engine, "1", MINUTE);
    let other = engine_of(&server);
    let mut computing = pin!(other.cached(if_error(), pending()));
    assert!(poll!(computing.as_mut()).is_pending());
    let options = if_error().lease(10 * MINUTE).soft_timeout(20 * MS);
    assert_eq!(ends("who waits for another process", engine.cached(options, gives(3))).await, Ok(1));
}

#[tokio::test]
async fn a_soft_timeout_bounds_the_wait_for_another_caller_too() {
    for renews in [false, true] {
        let (engine, server) = engine();
        server.holds(&engine, "1", MINUTE);
        let options = || if_error().soft_timeout(20 * MS).retry_after(50 * MS);
        let mut slow: std::pin::Pin<Box<dyn Future<Output = Result>>> = match renews {
            true => Box::pin(engine.renewing(options(), pending())),
            // Sync work, say, that no timeout interrupts.
            false => Box::pin(engine.cached(if_error(), pending())),
        };
        assert!(poll!(slow.as_mut()).is_pending());
        others_run().await;
        for other in 0..3 {
            let what = "who comes while slow work runs";
            assert_eq!(ends(what, engine.cached(options(), fails())).await, Ok(1), "{renews} {other}");
            if other == 1 {
                tokio::time::sleep(60 * MS).await;
            }
        }
        if renews {
            assert_eq!(ends("who has begun the renewal", slow).await, Ok(1));
        }
        // Not what another process has removed.
        server.remove(&engine.key().server_key()).await.expect("the server is there");
        let mut late = pin!(engine.cached(options(), fails()));
        assert!(tokio::time::timeout(100 * MS, late.as_mut()).await.is_err(), "it waits for the work");
    }
}

#[tokio::test]
async fn once_a_key_has_a_new_value_an_older_failure_holds_nothing_back() {
    let (engine, server) = engine();
    let options = || if_error().retry_after(60 * MINUTE);
    for stores in ["refreshed", "inserted", "computed"] {
        server.holds(&engine, "1", MINUTE);
        assert_eq!(engine.cached(options(), fails()).await, Ok(1));
        match stores {
            "refreshed" => _ = engine.refreshed(options(), gives(2)).await,
            "inserted" => _ = engine.insert(&options(), &2, Caller::asynchronous()).await,
            _ => {
                engine.remove(&options()).await.expect("the server is there");
                assert_eq!(engine.cached(options(), gives(2)).await, Ok(2));
            }
        }
        server.holds(&engine, "2", MINUTE);
        assert_eq!(engine.cached(options(), gives(3)).await, Ok(3), "{stores}");
    }
}

#[tokio::test]
async fn a_hard_timeout_does_not_count_the_store() {
    let (engine, server) = engine();
    server.hold("set");
    let mut storing = pin!(engine.cached(call().hard_timeout(30 * MS), gives(1)));
    assert!(poll!(storing.as_mut()).is_pending());
    others_run().await;
    assert_eq!(server.count("set"), 1);
    tokio::time::sleep(50 * MS).await;
    let mut late = pin!(engine.cached(call(), gives(2)));
    assert!(poll!(late.as_mut()).is_pending());
    server.release();
    assert_eq!((storing.await, engine.in_memory()), (Ok(1), true));
    assert_eq!((ends("who comes during the store", late).await, engine.counted().0), (Ok(1), 1));
}

#[tokio::test]
async fn a_waiter_on_invalidated_work_does_not_depend_on_its_being_polled() {
    for refreshes in [false, true] {
        let (engine, _server) = engine();
        let mut left = pin!(engine.cached(call(), pending()));
        assert!(poll!(left.as_mut()).is_pending());
        let mut waiting = pin!(engine.cached(call(), gives(2)));
        assert!(poll!(waiting.as_mut()).is_pending());
        if refreshes {
            assert_eq!(engine.refreshed(call(), gives(3)).await, Ok(3));
        } else {
            engine.remove(&call()).await.expect("the server is there");
        }
        let value = ends("who waits for work that isn't polled", waiting).await;
        assert_eq!(value, Ok(if refreshes { 3 } else { 2 }));
    }
}

#[tokio::test]
async fn a_refresh_after_a_failed_one_has_older_fills_refused_too() {
    let (engine, server) = engine();
    let go_on = Notify::new();
    let mut first = pin!(engine.refreshed(call(), async {
        go_on.notified().await;
        Err("no route")
    }));
    assert!(poll!(first.as_mut()).is_pending());
    let mut second = pin!(engine.refreshed(call(), gives(2)));
    assert!(poll!(second.as_mut()).is_pending());
    go_on.notify_one();
    assert_eq!((first.await, second.await), (Err("no route"), Ok(2)));
    assert_eq!((server.count("check_type"), server.has(&engine.key()).as_deref()), (2, Some("2")));
}

#[tokio::test]
async fn a_lease_outlasts_the_store_of_work_that_ends_just_in_time() {
    let (engine, server) = engine();
    let limit = || *server.0.lease_limit.lock();
    assert_eq!((engine.cached(call(), gives(1)).await, limit()), (Ok(1), None));
    engine.remove(&call()).await.expect("the server is there");
    assert_eq!(engine.cached(call().hard_timeout(MINUTE), gives(1)).await, Ok(1));
    assert_eq!(limit(), Some(MINUTE + server.patience()));
}

#[tokio::test]
async fn late_work_takes_no_lease_away_that_others_may_share_by_now() {
    for end in [Ok(1), Err("no route")] {
        let (engine, server) = engine();
        let late = engine.cached(call().hard_timeout(5 * MS), async {
            // No timeout interrupts what blocks, sync work say.
            std::thread::sleep(20 * MS);
            end
        });
        assert_eq!(late.await, end);
        assert_eq!((server.count("lease"), server.count("release"), server.has(&engine.key())), (1, 0, None));
        assert_eq!(engine.cached(call(), gives(2)).await, Ok(2));
        assert_eq!(server.has(&engine.key()).as_deref(), Some("2"));
    }
}

#[tokio::test]
async fn a_hung_call_that_is_polled_late_takes_no_lease_away_that_another_shares() {
    for old in [false, true] {
        let (engine, server) = engine();
        let options = || if old { if_error() } else { call() };
        if old {
            server.holds(&engine, "1", MINUTE);
        }
        let mut hung = pin!(engine.cached(options().hard_timeout(20 * MS), pending()));
        assert!(poll!(hung.as_mut()).is_pending());
        std::thread::sleep(30 * MS);
        let go_on = Notify::new();
        let mut next = pin!(engine.cached(options(), async {
            go_on.notified().await;
            Ok(2)
        }));
        assert!(poll!(next.as_mut()).is_pending());
        let late = tokio::time::timeout(100 * MS, hung.as_mut()).await;
        assert_eq!(late.ok(), old.then_some(Ok(1)));
        go_on.notify_one();
        assert_eq!((next.await, server.has(&engine.key()).as_deref()), (Ok(2), Some("2")), "{old}");
    }
}

#[tokio::test]
async fn a_hung_call_gives_its_lease_up_before_others_take_over() {
    let (engine, server) = engine();
    server.hold("release");
    let hung = engine.cached(call().hard_timeout(10 * MS), pending());
    let mut hung = pin!(tokio::time::timeout(100 * MS, hung));
    assert!(hung.as_mut().await.is_err());
    assert_eq!(server.count("release"), 1);
    let leases = server.count("lease");
    let mut next = pin!(engine.cached(call(), gives(2)));
    assert!(poll!(next.as_mut()).is_pending());
    others_run().await;
    assert_eq!(server.count("lease"), leases, "it would share the one that is about to go");
    server.release();
}
