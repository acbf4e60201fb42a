//! Batches beside single calls and other batches of the same keys.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::CacheHandle;
use futures::FutureExt;
use futures::future::join_all;
use tokio::sync::{Barrier, Notify, oneshot};
use tokio::time::sleep;

use super::{SIDES, Values, ask, call, in_memory, never, squares};
use crate::support::{
    Count, DEADLINE, Server, connect, connected, current_thread, eventually, finishes, let_others_run, multi_thread,
    standalone, wait_until,
};

/// Longer than a batch with work to do waits for others.
const LONG: Duration = Duration::from_millis(1500);

/// Shorter than that.
const BRIEF: Duration = Duration::from_millis(900);

/// Runs `test` over memory, a server, and a server without memory beside it.
fn over_each(what: &str, test: impl Fn(&CacheHandle) + Copy + Send + 'static) {
    let server = Server::start();
    let mut caches = vec![in_memory(), connected(&server)];
    caches.push(connect(standalone(server.endpoint()).fallback_to_memory(false)));
    for cache in caches {
        finishes(what, move || test(&cache));
        server.command(&["FLUSHALL"]);
    }
}

#[test]
fn overlapping_batches_in_parallel_compute_each_key_once() {
    const KEYS: u32 = 100;
    const BATCHES: u32 = 8;
    over_each("overlapping batches", |cache| {
        let runtime = multi_thread(4);
        let mut rounds = 0;
        for round in 0.. {
            let computed = Arc::new(Mutex::new(HashMap::<u32, u32>::new()));
            let (own, together) = (move |id: &u32| call(*id).arg(round), Arc::new(Barrier::new(BATCHES as usize)));
            let begin = Instant::now();
            let batches: Vec<_> = (0..BATCHES)
                .map(|batch| {
                    let (cache, computed, together) = (cache.clone(), Arc::clone(&computed), Arc::clone(&together));
                    // In orders that have nothing in common.
                    let step = [1, 3, 7, 9, 11, 13, 17, 19][batch as usize];
                    let keys: Vec<u32> = (0..60).map(|n| (batch * 13 + n * step) % KEYS).collect();
                    runtime.spawn(async move {
                        together.wait().await;
                        let work = async |missing: Vec<u32>| {
                            for id in &missing {
                                *computed.lock().expect("no panic").entry(*id).or_default() += 1;
                            }
                            sleep(Duration::from_millis(5)).await;
                            squares(missing)
                        };
                        assert_eq!(cache.cached_many_async(keys.clone(), own, work).await, squares(keys));
                    })
                })
                .collect();
            for batch in batches {
                runtime.block_on(batch).expect("no batch panics");
            }
            let computed = computed.lock().expect("no panic");
            assert_eq!(computed.len(), KEYS as usize);
            if begin.elapsed() > BRIEF {
                // The machine is so busy that batches no longer waited for each other.
                continue;
            }
            assert!(computed.values().all(|times| *times == 1), "round {round}: {computed:?}");
            rounds += 1;
            if rounds == 10 {
                break;
            }
        }
    });
}

#[test]
fn batches_of_all_sides_in_parallel_compute_each_key_once() {
    over_each("sync and async batches", |cache| {
        let runtime = multi_thread(2);
        let computed = Count::default();
        thread::scope(|scope| {
            for batch in 0..6_u32 {
                let (computed, runtime) = (computed.clone(), &runtime);
                scope.spawn(move || {
                    let keys = (batch..batch + 20).rev();
                    let work = |missing: Vec<u32>| {
                        missing.iter().for_each(|_| _ = computed.add_one());
                        thread::sleep(Duration::from_millis(5));
                        squares(missing)
                    };
                    let values = match batch % 3 {
                        0 => cache.cached_many(keys.clone(), |id| call(*id), work),
                        1 => runtime.block_on(cache.cached_many_async(
                            keys.clone(),
                            |id| call(*id),
                            async |missing| work(missing),
                        )),
                        _ => {
                            let (cache, keys) = (cache.clone(), keys.clone());
                            let work = move |missing: Vec<u32>| {
                                missing.iter().for_each(|_| _ = computed.add_one());
                                squares(missing)
                            };
                            // Sync, on a worker.
                            let batch = runtime.spawn(async move { cache.cached_many(keys, |id| call(*id), work) });
                            runtime.block_on(batch).expect("it doesn't panic")
                        }
                    };
                    assert_eq!(values, squares(keys));
                });
            }
        });
        assert_eq!(computed.read(), 25);
    });
}

#[test]
fn a_single_call_shares_what_a_batch_computes() {
    over_each("single calls beside a batch", |cache| {
        current_thread().block_on(async {
            let go_on = Notify::new();
            let (begun, begins) = oneshot::channel();
            let work = async |missing: Vec<u32>| {
                begun.send(()).expect("the test waits for it");
                go_on.notified().await;
                squares(missing)
            };
            let batch = cache.cached_many_async(0..50, |id| call(*id), work);
            let singles = async {
                begins.await.expect("the work begins");
                let singles = (0..50).map(|id| cache.cached_async(call(id), async move || never(vec![id])));
                let opens = async {
                    let_others_run().await;
                    go_on.notify_one();
                };
                futures::join!(join_all(singles), opens).0
            };
            let (batch, singles): (Values, Vec<u32>) = futures::join!(batch, singles);
            assert_eq!(batch, squares(0..50));
            assert_eq!(singles, (0..50).map(|id| id * id).collect::<Vec<_>>());
        });
        let stats = cache.stats();
        assert_eq!((stats.runs, stats.coalesced, stats.misses), (1, 50, 50), "{stats:?}");
    });
}

#[test]
fn a_batch_shares_what_a_single_call_computes() {
    over_each("a batch beside a single call", |cache| {
        for is_all in [true, false] {
            let own = move |id: &u32| call(*id).kwarg("all", is_all);
            let before = cache.stats();
            current_thread().block_on(async {
                let go_on = Notify::new();
                let mut single = pin!(cache.cached_async(own(&1), async || {
                    go_on.notified().await;
                    100_u32
                }));
                assert!(futures::poll!(single.as_mut()).is_pending());
                let work = async |missing: Vec<u32>| {
                    assert_eq!(missing, [2, 3]);
                    squares(missing)
                };
                let keys = if is_all { 1..2 } else { 1..4 };
                let batch = cache.cached_many_async(keys, own, work);
                let opens = async {
                    sleep(Duration::from_millis(50)).await;
                    go_on.notify_one();
                };
                let (single, batch, ()) = futures::join!(single, batch, opens);
                assert_eq!((single, batch[&1]), (100, 100));
            });
            let after = cache.stats();
            assert_eq!(after.coalesced - before.coalesced, 1);
            assert_eq!(after.runs - before.runs, if is_all { 1 } else { 2 });
        }
    });
}

#[test]
fn a_batch_computes_what_a_single_call_fails_to() {
    over_each("a batch beside work that fails", |cache| {
        for is_all in [true, false] {
            let own = move |id: &u32| call(*id).kwarg("all", is_all);
            current_thread().block_on(async {
                let go_on = Notify::new();
                let mut single = pin!(cache.try_cached_async(own(&1), async || {
                    go_on.notified().await;
                    Err::<u32, _>("no route")
                }));
                assert!(futures::poll!(single.as_mut()).is_pending());
                let keys = if is_all { 1..2 } else { 1..4 };
                let batch = cache.cached_many_async(keys.clone(), own, async |missing| squares(missing));
                let opens = async {
                    sleep(Duration::from_millis(50)).await;
                    go_on.notify_one();
                };
                let (single, batch, ()) = futures::join!(single, batch, opens);
                assert_eq!((single, batch), (Err("no route"), squares(keys)));
            });
            assert_eq!(cache.get::<u32>(own(&1)), Some(1));
        }
    });
}

#[test]
fn a_batch_with_work_to_do_waits_a_second_for_what_others_compute() {
    over_each("a batch beside slow work", |cache| {
        for is_async in SIDES {
            let own = move |id: &u32| call(*id).kwarg("side", is_async);
            let begun = Count::default();
            thread::scope(|scope| {
                let slow = scope.spawn(|| {
                    cache.cached(own(&1), || {
                        begun.add_one();
                        thread::sleep(2 * LONG);
                        100_u32
                    })
                });
                wait_until("the slow work begins", DEADLINE, || begun.read() == 1);
                let begin = Instant::now();
                let values = ask(is_async, cache, [2, 1], own, |missing| {
                    assert_eq!(missing, [2, 1]);
                    Ok(squares(missing))
                });
                assert_eq!(values, Ok(squares([1, 2])));
                assert!((Duration::from_millis(900)..LONG).contains(&begin.elapsed()), "{:?}", begin.elapsed());
                assert_eq!(slow.join().expect("it doesn't panic"), 100);
            });
            assert_eq!(
                (cache.get(own(&1)), cache.get(own(&2))),
                (Some(100_u32), Some(4_u32)),
                "it's the leader's to store"
            );
        }
    });
}

#[test]
fn a_batch_without_work_waits_for_as_long_as_others_take() {
    let cache = in_memory();
    for is_async in SIDES {
        let own = move |id: &u32| call(*id).kwarg("side", is_async);
        cache.cached(own(&2), || 4_u32);
        let begun = Count::default();
        thread::scope(|scope| {
            let slow = scope.spawn(|| {
                cache.cached(own(&1), || {
                    begun.add_one();
                    thread::sleep(LONG);
                    1_u32
                })
            });
            wait_until("the slow work begins", DEADLINE, || begun.read() == 1);
            assert_eq!(ask(is_async, &cache, [2, 1], own, never), Ok(squares([1, 2])));
            assert_eq!(slow.join().expect("it doesn't panic"), 1);
        });
    }
}

#[test]
fn work_that_panics_hands_over_and_leaves_the_keys_free() {
    over_each("a batch that panics", |cache| {
        current_thread().block_on(async {
            let go_on = Notify::new();
            let work = async |_: Vec<u32>| {
                go_on.notified().await;
                panic!("on purpose")
            };
            let batch = AssertUnwindSafe(cache.cached_many_async(0..10, |id| call(*id), work)).catch_unwind();
            let waits = async {
                let_others_run().await;
                cache.cached_async(call(7), async || 7_u32).await
            };
            let opens = async {
                sleep(Duration::from_millis(50)).await;
                go_on.notify_one();
            };
            let (batch, waited, ()): (Result<Values, _>, _, _) = futures::join!(batch, waits, opens);
            assert!(batch.is_err());
            assert_eq!(waited, 7);
        });
        let panics =
            std::panic::catch_unwind(AssertUnwindSafe(|| cache.cached_many(0..10, |id| call(*id), never::<Values>)));
        assert!(panics.is_err());
        let begin = Instant::now();
        let values = cache.cached_many(0..10, |id| call(*id), squares);
        assert_eq!(
            values,
            squares(0..10).into_iter().map(|(id, value)| (id, if id == 7 { 7 } else { value })).collect()
        );
        assert!(begin.elapsed() < Duration::from_millis(900), "nothing waits for the dead: {:?}", begin.elapsed());
    });
}

#[test]
fn a_dropped_batch_hands_over_to_its_waiters() {
    over_each("a dropped batch", |cache| {
        let runtime = multi_thread(2);
        let begun = Count::default();
        let batch = {
            let (cache, begun) = (cache.clone(), begun.clone());
            runtime.spawn(async move {
                let work = async |_: Vec<u32>| {
                    begun.add_one();
                    std::future::pending::<Values>().await
                };
                cache.cached_many_async(0..10, |id| call(*id), work).await
            })
        };
        wait_until("the work begins", DEADLINE, || begun.read() == 1);
        runtime.block_on(async {
            let single = cache.cached_async(call(1), async || 1_u32);
            let other = cache.cached_many_async(2..12, |id| call(*id), async |missing| squares(missing));
            let drops = async {
                let_others_run().await;
                batch.abort();
            };
            let (single, other, ()) = futures::join!(single, other, drops);
            assert_eq!((single, other), (1, squares(2..12)));
        });
        assert_eq!(cache.cached_many(1..12, |id| call(*id), never::<Values>), squares(1..12));
    });
}

#[test]
fn a_batch_that_is_not_polled_any_more_hands_over() {
    over_each("a batch that isn't polled", |cache| {
        current_thread().block_on(async {
            let work = async |_: Vec<u32>| std::future::pending::<Values>().await;
            let mut batch = pin!(cache.cached_many_async(0..10, |id| call(*id), work));
            let until_begun = async {
                eventually("the work runs", || cache.stats().runs == 1).await;
            };
            tokio::select! {
                _ = batch.as_mut() => panic!("its work doesn't end"),
                () = until_begun => {}
            }
            // It's alive, and nobody polls it.
            assert_eq!(cache.cached_async(call(3), async || 3_u32).await, 3);
        });
    });
}

#[test]
fn a_batch_whose_work_holds_its_thread_up_is_waited_for() {
    over_each("work that blocks", |cache| {
        let runtime = multi_thread(2);
        let begun = Count::default();
        let batch = {
            let (cache, begun) = (cache.clone(), begun.clone());
            runtime.spawn(async move {
                let work = async |missing: Vec<u32>| {
                    begun.add_one();
                    thread::sleep(Duration::from_millis(3500));
                    squares(missing)
                };
                cache.cached_many_async(0..10, |id| call(*id), work).await
            })
        };
        wait_until("the work begins", DEADLINE, || begun.read() == 1);
        let single = runtime.block_on(cache.cached_async(call(3), async || 0_u32));
        assert_eq!((single, runtime.block_on(batch).expect("it doesn't panic")), (9, squares(0..10)));
        assert_eq!(cache.stats().runs, 1);
    });
}

#[test]
fn what_is_invalidated_while_the_work_runs_is_not_stored() {
    let server = Server::start();
    let caches = [in_memory(), connected(&server)];
    let others = [caches[0].clone(), caches[1].clone(), connected(&server)];
    for (number, other) in others.iter().enumerate() {
        let cache = &caches[number.min(1)];
        for is_async in SIDES {
            let own = |id: &u32| call(*id).arg(number).arg(is_async);
            let values = ask(is_async, cache, 0..10, own, |missing| {
                other.remove(own(&3)).expect("the cache is there");
                Ok(squares(missing))
            });
            assert_eq!(values, Ok(squares(0..10)));
            assert!((0..10).all(|id| cache.contains(own(&id)) == (id != 3)));
            cache.remove(own(&4)).expect("the cache is there");
            let values = ask(is_async, cache, 0..10, own, |missing| {
                assert_eq!(missing, [3, 4]);
                other.insert(own(&4), &44_u32).expect("the cache is there");
                other.clear_namespace("elsewhere").expect("the cache is there");
                Ok(squares(missing))
            });
            assert_eq!(values, Ok(squares(0..10)));
            assert_eq!((cache.get(own(&3)), cache.get(own(&4))), (Some(9_u32), Some(44_u32)));
            let values = ask(is_async, cache, 20..30, own, |missing| {
                other.clear_namespace("main").expect("the cache is there");
                Ok(squares(missing))
            });
            assert_eq!(values, Ok(squares(20..30)));
            assert!((0..30).all(|id| !cache.contains(own(&id))));
        }
    }
}

#[test]
fn calls_of_a_batchs_own_keys_inside_its_work_do_not_wait_for_it() {
    over_each("calls inside a batch's work", |cache| {
        let begin = Instant::now();
        for runtime in [current_thread(), multi_thread(2)] {
            let own = |id: &u32| call(*id);
            let nested = async |missing: Vec<u32>| {
                let single = cache.cached_async(own(&1), async || 1_u32).await;
                let sync = cache.cached(own(&2), || 4_u32);
                let many = cache.cached_many_async(0..4, own, async |missing| squares(missing)).await;
                let sync_many = cache.cached_many(0..4, own, squares);
                assert_eq!((single, sync), (1, 4));
                assert_eq!((many, sync_many), (squares(0..4), squares(0..4)));
                squares(missing)
            };
            assert_eq!(runtime.block_on(cache.cached_many_async(0..10, own, nested)), squares(0..10));
            let sync = cache.cached_many(10..20, own, |missing| {
                assert_eq!(cache.cached(own(&11), || 121_u32), 121);
                assert_eq!(cache.cached_many(10..14, own, squares), squares(10..14));
                squares(missing)
            });
            assert_eq!(sync, squares(10..20));
            cache.clear_namespace("main").expect("the cache is there");
        }
        assert!(begin.elapsed() < Duration::from_millis(900), "nothing waits: {:?}", begin.elapsed());
    });
}

#[test]
fn a_sync_batch_beside_an_async_one_of_its_own_thread_runs_its_work() {
    over_each("a sync batch beside an async one", |cache| {
        current_thread().block_on(async {
            let go_on = Notify::new();
            let work = async |missing: Vec<u32>| {
                go_on.notified().await;
                squares(missing)
            };
            let mut batch = pin!(cache.cached_many_async(0..10, |id| call(*id), work));
            let until_begun = eventually("the work runs", || cache.stats().runs == 1);
            tokio::select! {
                _ = batch.as_mut() => panic!("its work waits"),
                () = until_begun => {}
            }
            let begin = Instant::now();
            assert_eq!(cache.cached_many(5..15, |id| call(*id), squares), squares(5..15));
            assert!(begin.elapsed() < Duration::from_millis(900), "it doesn't wait for what can't go on");
            go_on.notify_one();
            assert_eq!(batch.await, squares(0..10));
        });
        assert_eq!(cache.cached_many(0..15, |id| call(*id), never::<Values>), squares(0..15));
    });
}
