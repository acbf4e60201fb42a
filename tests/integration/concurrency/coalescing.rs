//! One run for all who ask meanwhile.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use cache_house::CacheHandle;

use super::{Count, call, in_memory, over_each};
use crate::support::{DEADLINE, current_thread, eventually, finishes, let_others_run, multi_thread, wait_until};

#[test]
fn ten_thousand_async_callers_of_one_key_run_its_work_once() {
    const CALLERS: u32 = 10_000;
    over_each(|cache| {
        let (arrived, runs) = (Count::default(), Count::default());
        multi_thread(2).block_on(async {
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| {
                    let (cache, arrived, runs) = (cache.clone(), arrived.clone(), runs.clone());
                    tokio::spawn(async move {
                        arrived.add_one();
                        let work = async || {
                            runs.add_one();
                            eventually("all have come", || arrived.read() == CALLERS).await;
                            "value".to_owned()
                        };
                        cache.cached_async(call("f"), work).await
                    })
                })
                .collect();
            for caller in callers {
                assert_eq!(caller.await.expect("no caller panics"), "value");
            }
        });
        assert_eq!(runs.read(), 1);
        let stats = cache.stats();
        assert_eq!((stats.runs, stats.misses), (1, 1), "{stats:?}");
        assert!(stats.coalesced > 0, "{stats:?}");
    });
}

#[test]
fn sync_and_async_callers_of_one_key_run_its_work_once_together() {
    const THREADS: u32 = 32;
    const TASKS: u32 = 200;
    over_each(|cache| {
        finishes("sync and async callers of one key", move || {
            let (arrived, runs) = (Count::default(), Count::default());
            let runtime = multi_thread(2);
            let tasks: Vec<_> = (0..TASKS)
                .map(|n| {
                    let (cache, arrived, runs) = (cache.clone(), arrived.clone(), runs.clone());
                    runtime.spawn(async move {
                        arrived.add_one();
                        let all = move || arrived.read() == THREADS + TASKS;
                        // Every fourth task makes a sync call, on a worker of the runtime.
                        if n % 4 == 0 {
                            return cache.cached(call("f"), || {
                                runs.add_one();
                                wait_until("all have come", DEADLINE, all);
                                7
                            });
                        }
                        let work = async || {
                            runs.add_one();
                            eventually("all have come", all).await;
                            7
                        };
                        cache.cached_async(call("f"), work).await
                    })
                })
                .collect();
            let threads: Vec<_> = (0..THREADS)
                .map(|_| {
                    let (cache, arrived, runs) = (cache.clone(), arrived.clone(), runs.clone());
                    thread::spawn(move || {
                        arrived.add_one();
                        cache.cached(call("f"), || {
                            runs.add_one();
                            wait_until("all have come", DEADLINE, || arrived.read() == THREADS + TASKS);
                            7
                        })
                    })
                })
                .collect();
            for thread in threads {
                assert_eq!(thread.join().expect("no caller panics"), 7);
            }
            for task in tasks {
                assert_eq!(runtime.block_on(task).expect("no caller panics"), 7);
            }
            assert_eq!(runs.read(), 1);
        });
    });
}

#[test]
fn an_arrival_just_as_another_finishes_doesnt_run_again() {
    const THREADS: usize = 4;
    const ROUNDS: u32 = 400;
    over_each(|cache| {
        let start = Arc::new(Barrier::new(THREADS));
        let runs = Count::default();
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (cache, start, runs) = (cache.clone(), Arc::clone(&start), runs.clone());
                thread::spawn(move || {
                    for round in 0..ROUNDS {
                        start.wait();
                        // From all at once to one after another.
                        for _ in 0..thread as u32 * (round % 40) * 20 {
                            std::hint::spin_loop();
                        }
                        cache.cached(call("f").arg(round), || runs.add_one());
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no caller panics");
        }
        assert_eq!(runs.read(), ROUNDS);
    });
}

#[test]
fn callers_of_different_keys_dont_wait_for_each_other() {
    over_each(|cache| {
        let both = Barrier::new(2);
        thread::scope(|scope| {
            for n in 0..2 {
                let (cache, both) = (&cache, &both);
                // Neither ends before the other has begun.
                scope.spawn(move || cache.cached(call("f").arg(n), || both.wait().is_leader()));
            }
        });
        assert_eq!(cache.stats().runs, 2);
    });
}

#[test]
fn waiters_are_counted_as_coalesced_and_not_as_hits() {
    let cache = in_memory();
    current_thread().block_on(async {
        let (first, second) = (cache.clone(), cache.clone());
        let leader = tokio::spawn(async move {
            first
                .cached_async(call("f"), async || {
                    let_others_run().await;
                    1
                })
                .await
        });
        let waiter = tokio::spawn(async move { second.cached_async(call("f"), async || 2).await });
        assert_eq!((leader.await.expect("it runs"), waiter.await.expect("it runs")), (1, 1));
    });
    let stats = cache.stats();
    assert_eq!((stats.coalesced, stats.memory_hits, stats.misses, stats.runs), (1, 0, 1, 1));
}

#[test]
fn a_waiter_of_another_type_runs_its_own_work() {
    let cache = in_memory();
    current_thread().block_on(async {
        let (first, second) = (cache.clone(), cache.clone());
        let leader = tokio::spawn(async move {
            first
                .cached_async(call("f"), async || {
                    let_others_run().await;
                    1_u8
                })
                .await
        });
        let waiter = tokio::spawn(async move { second.cached_async(call("f"), async || "text".to_owned()).await });
        assert_eq!(leader.await.expect("it runs"), 1);
        assert_eq!(waiter.await.expect("it runs"), "text");
    });
}

/// Calls itself in its own work, `depth` deep.
fn recursive(cache: &CacheHandle, depth: u32) -> u32 {
    cache.cached(call("recursive"), || if depth == 0 { 0 } else { recursive(cache, depth - 1) + 1 })
}

async fn recursive_async(cache: &CacheHandle, depth: u32) -> u32 {
    cache
        .cached_async(call("recursive"), async || {
            if depth == 0 { 0 } else { Box::pin(recursive_async(cache, depth - 1)).await + 1 }
        })
        .await
}

#[test]
fn work_that_calls_its_own_key_runs_rather_than_hangs() {
    over_each(|cache| {
        let mixed = cache.scoped("mixed");
        let in_async = cache.scoped("in async");
        finishes("work that calls its own key", move || {
            assert_eq!(recursive(&cache, 3), 3);
            assert_eq!(recursive(&cache, 5), 3, "the outermost value is the one that's kept");
            for runtime in [multi_thread(1), current_thread()] {
                let cache = in_async.clone();
                cache.remove(call("recursive")).expect("the server is there");
                runtime.block_on(async move {
                    assert_eq!(recursive_async(&cache, 3).await, 3);
                    let outer = cache.cached_async(call("outer"), async || cache.cached(call("outer"), || 1) + 1).await;
                    assert_eq!(outer, 2);
                    cache.remove_async(call("outer")).await.expect("the server is there");
                });
            }
            let inner = || current_thread().block_on(mixed.cached_async(call("f"), async || 1));
            assert_eq!(mixed.cached(call("f"), || inner() + 1), 2);
        });
    });
}

#[test]
fn a_sync_call_doesnt_wait_for_a_leader_that_its_own_task_holds() {
    for in_task in [true, false] {
        let value = finishes("a sync call beside a pending call of the same task", move || {
            let cache = in_memory();
            let beside = async move {
                let mut pending = pin!(cache.cached_async(call("f"), std::future::pending::<i32>));
                let mut cx = Context::from_waker(Waker::noop());
                assert_eq!(pending.as_mut().poll(&mut cx), Poll::Pending);
                cache.cached(call("f"), || 1)
            };
            let runtime = multi_thread(2);
            if in_task { runtime.block_on(runtime.spawn(beside)).expect("it ends") } else { runtime.block_on(beside) }
        });
        assert_eq!(value, 1);
    }
    let value = finishes("a sync call beside a pending call without a runtime", || {
        let cache = in_memory();
        let mut pending = pin!(cache.cached_async(call("f"), std::future::pending::<i32>));
        assert!(pending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        cache.cached(call("f"), || 1)
    });
    assert_eq!(value, 1);
}

#[test]
fn two_calls_of_one_key_in_one_task_run_once() {
    over_each(|cache| {
        let both = async {
            let work = async || {
                tokio::time::sleep(Duration::from_millis(1)).await;
                1
            };
            tokio::join!(cache.cached_async(call("f"), work), cache.cached_async(call("f"), async || 2))
        };
        assert_eq!(current_thread().block_on(both), (1, 1));
    });
}

#[test]
fn callers_of_two_types_run_the_work_once() {
    over_each(|cache| {
        for round in 0..20 {
            let (runs, go_on) = (Count::default(), Count::default());
            let options = || call("f").arg(round);
            current_thread().block_on(async {
                let work = async || {
                    runs.add_one();
                    eventually("all have come", || go_on.read() > 0).await;
                    7
                };
                let small = futures::future::join_all(
                    (0..10).map(|_| cache.cached_async(options(), || async { work().await as u8 })),
                );
                let large = futures::future::join_all(
                    (0..10).map(|_| cache.cached_async(options(), || async { work().await as u64 })),
                );
                let go = async {
                    let_others_run().await;
                    go_on.add_one();
                };
                let (small, large, ()) = futures::join!(small, large, go);
                assert_eq!((small, large), (vec![7; 10], vec![7; 10]));
            });
            // Its bytes are read as either.
            assert_eq!(runs.read(), 1);
        }
        // Both find it from now on.
        let runs = cache.stats().runs;
        thread::scope(|scope| {
            for n in 0..8 {
                let cache = &cache;
                scope.spawn(move || {
                    for _ in 0..200 {
                        match n % 2 {
                            0 => assert_eq!(cache.cached(call("f").arg(1), || 8_u8), 7),
                            _ => assert_eq!(cache.cached(call("f").arg(1), || 8_u64), 7),
                        }
                    }
                });
            }
        });
        assert_eq!(cache.stats().runs, runs);
    });
}
