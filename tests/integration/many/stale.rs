//! Batches of calls with windows and timeouts.

use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, CacheOptions, ManualClock};
use tokio::time::sleep;

use super::{SIDES, Values, ask, call, squares};
use crate::support::{Count, Server, connect, current_thread, eventually, multi_thread, standalone};

const TTL: Duration = Duration::from_secs(600);

/// A backend in which the values of 0 to 9 are stale, and those of 10 to 14 fresh.
struct Stale {
    cache: CacheHandle,
    _server: Option<Server>,
}

/// What the old values are.
const OLD: u32 = 1_000;

impl Stale {
    fn each(options: fn(u32) -> CacheOptions) -> [Self; 2] {
        let clock = ManualClock::new();
        let cache = CacheHouse::builder().memory().clock(clock.clone()).build().expect("the builder is right");
        for id in 0..10 {
            cache.insert(options(id), &OLD).expect("memory takes it");
        }
        clock.advance(TTL + TTL / 2);
        for id in 10..15 {
            cache.insert(options(id), &(id * id)).expect("memory takes it");
        }
        let server = Server::start();
        let served = connect(standalone(server.endpoint()));
        for id in 0..15 {
            let (value, left) = if id < 10 { (OLD, TTL / 2) } else { (id * id, TTL + TTL / 2) };
            let key = served.key(&options(id)).expect("it has a key");
            server.command(&["SET", &key, &value.to_string(), "PX", &left.as_millis().to_string()]);
        }
        [Self { cache, _server: None }, Self { cache: served, _server: Some(server) }]
    }
}

fn if_error(id: u32) -> CacheOptions {
    call(id).expire(TTL).stale_if_error(TTL)
}

fn old(keys: impl IntoIterator<Item = u32>) -> Values {
    keys.into_iter().map(|key| (key, OLD)).collect()
}

#[test]
fn stale_values_are_renewed_in_one_run() {
    for is_async in SIDES {
        for Stale { cache, .. } in &Stale::each(if_error) {
            let values = ask(
                is_async,
                cache,
                0..20,
                |id| if_error(*id),
                |missing| {
                    assert_eq!(missing, (0..10).chain(15..20).collect::<Vec<_>>());
                    Ok(squares(missing))
                },
            );
            assert_eq!(values, Ok(squares(0..20)));
            let stats = cache.stats();
            assert_eq!((stats.runs, stats.refreshes, stats.misses, stats.stale_hits), (1, 10, 15, 0), "{stats:?}");
            assert_eq!(cache.get(if_error(3)), Some(9_u32));
        }
    }
}

#[test]
fn where_the_work_fails_old_values_are_served_and_the_rest_is_an_error() {
    for is_async in SIDES {
        for Stale { cache, .. } in &Stale::each(if_error) {
            let fails = |_: Vec<u32>| Err("no route");
            assert_eq!(ask(is_async, cache, 0..20, |id| if_error(*id), fails), Err("no route"));
            // For now the work isn't even tried.
            let served = old(0..10).into_iter().chain(squares(10..15)).collect();
            let never = |_: Vec<u32>| panic!("the work runs");
            assert_eq!(ask(is_async, cache, 0..15, |id| if_error(*id), never), Ok(served));
            assert_eq!(cache.stats().runs, 1);
        }
        for Stale { cache, .. } in &Stale::each(if_error) {
            let served = old(0..10).into_iter().chain(squares(10..15)).collect();
            let fails = |missing| {
                assert_eq!(missing, (0..10).collect::<Vec<u32>>());
                Err("no route")
            };
            assert_eq!(ask(is_async, cache, 0..15, |id| if_error(*id), fails), Ok(served));
            assert_eq!((cache.stats().runs, cache.stats().stale_hits), (1, 10));
        }
    }
}

#[test]
fn a_stale_value_that_the_work_says_is_gone_is_not_served() {
    for is_async in SIDES {
        for Stale { cache, .. } in &Stale::each(if_error) {
            let even = |missing: Vec<u32>| Ok(squares(missing.into_iter().filter(|id| id % 2 == 0)));
            let values = ask(is_async, cache, 0..10, |id| if_error(*id), even);
            assert_eq!(values, Ok(squares((0..10).step_by(2))));
            assert_eq!((cache.stats().misses, cache.stats().stale_hits), (10, 0));
        }
    }
}

#[test]
fn after_the_soft_timeout_old_values_are_served_and_the_work_goes_on_for_the_rest() {
    let own = |id: u32| if_error(id).soft_timeout(Duration::from_millis(100));
    for Stale { cache, .. } in &Stale::each(own) {
        current_thread().block_on(async {
            // All have old values: nothing waits for the work.
            let begin = Instant::now();
            let work = async |_: Vec<u32>| std::future::pending::<Values>().await;
            assert_eq!(cache.cached_many_async(0..5, |id| own(*id), work).await, old(0..5));
            assert!(begin.elapsed() >= Duration::from_millis(100));
            assert_eq!(cache.stats().stale_hits, 5);
            // One has none, so the new values are there in the end; those of the others came too late to be stored.
            let work = async |missing: Vec<u32>| {
                eventually("the old values are served", || cache.stats().stale_hits == 10).await;
                squares(missing)
            };
            let keys = (5..10).chain([20]);
            assert_eq!(cache.cached_many_async(keys.clone(), |id| own(*id), work).await, squares(keys));
            assert_eq!(cache.get(own(20)), Some(400_u32));
        });
    }
}

#[test]
fn a_soft_timeout_ends_the_wait_of_a_sync_batch_too() {
    let own = |id: u32| if_error(id).soft_timeout(Duration::from_millis(100));
    for Stale { cache, .. } in &Stale::each(own) {
        // Sync work can't be left, but other calls' work can.
        let runtime = multi_thread(2);
        let begun = Count::default();
        let leads = {
            let (cache, begun) = (cache.clone(), begun.clone());
            runtime.spawn(async move {
                let work = async || {
                    begun.add_one();
                    sleep(Duration::from_secs(5)).await;
                    Ok::<_, ()>(0_u32)
                };
                cache.try_cached_async(if_error(1), work).await
            })
        };
        runtime.block_on(eventually("the work begins", || begun.read() == 1));
        let begin = Instant::now();
        let values = cache.cached_many([1], |id| own(*id), |_| panic!("the work runs"));
        assert_eq!(values, old([1]));
        assert!((Duration::from_millis(100)..Duration::from_secs(4)).contains(&begin.elapsed()));
        leads.abort();
    }
}

#[test]
fn the_soft_timeout_counts_from_when_the_work_begins() {
    let own = |id: u32| if_error(id).soft_timeout(Duration::from_millis(300));
    for Stale { cache, .. } in &Stale::each(own) {
        current_thread().block_on(async {
            let slow = cache.cached_async(call(30), async || {
                sleep(Duration::from_millis(600)).await;
                900_u32
            });
            // It waits for the slow call before its work runs, which is quick.
            let batch = async {
                sleep(Duration::from_millis(10)).await;
                let own = |id: &u32| if *id == 30 { call(30) } else { own(*id) };
                cache.cached_many_async([1, 30], own, async |missing| squares(missing)).await
            };
            let (slow, batch) = futures::join!(slow, batch);
            assert_eq!((slow, batch), (900, squares([1, 30])));
        });
        assert_eq!((cache.stats().stale_hits, cache.get(own(1))), (0, Some(1_u32)));
    }
}

#[test]
fn after_the_hard_timeout_the_keys_are_free_and_the_late_values_are_returned() {
    let own = |id: &u32| call(*id).hard_timeout(Duration::from_millis(100));
    let server = Server::start();
    for cache in [super::in_memory(), connect(standalone(server.endpoint()))] {
        current_thread().block_on(async {
            let go_on = tokio::sync::Notify::new();
            let late = cache.cached_many_async(0..10, own, async |missing| {
                go_on.notified().await;
                squares(missing)
            });
            let quick = async {
                eventually("the work runs", || cache.stats().runs == 1).await;
                // Each waits for the timeout of its own key: the keys' times begin one after the other.
                let quick = (0..10)
                    .map(|id| cache.cached_async(own(&id).store_if(move |_: &u32| id == 3), async move || 1_000 + id));
                let quick = futures::future::join_all(quick).await;
                go_on.notify_one();
                quick
            };
            assert_eq!(futures::join!(late, quick), (squares(0..10), (1_000..1_010).collect()));
            for id in 0..10 {
                assert_eq!(cache.get::<u32>(own(&id)), (id == 3).then_some(1_003), "{id}: a late value isn't stored");
            }
        });
    }
}
