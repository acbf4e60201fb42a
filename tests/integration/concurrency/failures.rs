//! Leaders that go away, panic or fail.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cache_house::CacheHandle;
use tokio::sync::{Barrier, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Count, call, in_memory, over_each};
use crate::support::{DEADLINE, current_thread, finishes, let_others_run, wait_until};

/// A leader whose work ends, by `end`, when it's told; it's at work when this returns.
async fn leader<T: Send + 'static>(
    cache: &CacheHandle,
    end: impl FnOnce() -> Result<i32, T> + Send + 'static,
) -> (JoinHandle<Result<i32, T>>, oneshot::Sender<()>) {
    let (tell, told) = oneshot::channel();
    let (begun, begins) = oneshot::channel();
    let cache = cache.clone();
    let task = tokio::spawn(async move {
        let work = async move || {
            begun.send(()).expect("the test waits for it");
            let _ = told.await;
            end()
        };
        cache.try_cached_async(call("f"), work).await
    });
    begins.await.expect("the work begins");
    (task, tell)
}

/// Callers that wait for the leader by the time this returns, if the runtime is a current-thread one.
async fn waiters(cache: &CacheHandle, count: i32, runs: &Count) -> Vec<JoinHandle<i32>> {
    let waiters = (0..count)
        .map(|n| {
            let (cache, runs) = (cache.clone(), runs.clone());
            tokio::spawn(async move {
                let work = async || {
                    runs.add_one();
                    let_others_run().await;
                    n
                };
                cache.cached_async(call("f"), work).await
            })
        })
        .collect();
    let_others_run().await;
    waiters
}

/// That one of the waiters ran its work, and all have its value.
async fn assert_one_took_over(waiters: Vec<JoinHandle<i32>>, runs: &Count) {
    let mut values = Vec::new();
    for waiter in waiters {
        let value = timeout(DEADLINE, waiter).await.expect("no waiter hangs").expect("no waiter panics");
        values.push(value);
    }
    values.dedup();
    assert_eq!(values.len(), 1, "{values:?}");
    assert_eq!(runs.read(), 1);
}

#[test]
fn an_aborted_leader_hands_over_to_a_waiter() {
    over_each(|cache| {
        current_thread().block_on(async {
            let runs = Count::default();
            let (leader, _never_told) = leader(&cache, || Ok::<_, ()>(-1)).await;
            let waiters = waiters(&cache, 10, &runs).await;
            assert_eq!(runs.read(), 0);
            leader.abort();
            assert_one_took_over(waiters, &runs).await;
            assert!(leader.await.expect_err("it was aborted").is_cancelled());
        });
    });
}

#[test]
fn a_leader_that_panics_hands_over_and_only_its_own_caller_sees_it() {
    over_each(|cache| {
        current_thread().block_on(async {
            let runs = Count::default();
            let (leader, tell) = leader(&cache, || -> Result<_, ()> { panic!("on purpose") }).await;
            let waiters = waiters(&cache, 10, &runs).await;
            tell.send(()).expect("the leader waits for it");
            assert_one_took_over(waiters, &runs).await;
            assert!(leader.await.expect_err("it panicked").is_panic());
        });
        assert!(cache.contains(call("f")));
    });
}

#[test]
fn waiters_that_take_over_may_panic_in_turn() {
    let cache = in_memory();
    current_thread().block_on(async {
        let (leader, tell) = leader(&cache, || -> Result<_, ()> { panic!("on purpose") }).await;
        let callers: Vec<_> = (0..5)
            .map(|n| {
                let cache = cache.clone();
                tokio::spawn(async move {
                    cache.cached_async(call("f"), async || if n < 4 { panic!("on purpose") } else { n }).await
                })
            })
            .collect();
        let_others_run().await;
        tell.send(()).expect("the leader waits for it");
        assert!(leader.await.is_err());
        for (n, caller) in callers.into_iter().enumerate() {
            let outcome = timeout(DEADLINE, caller).await.expect("no waiter hangs");
            assert_eq!(outcome.ok(), (n == 4).then_some(4), "{n}");
        }
    });
}

#[test]
fn a_sync_leader_that_panics_hands_over_to_sync_and_async_waiters() {
    over_each(|cache| {
        finishes("waiters of a sync leader that panics", move || {
            let (at_work, arrived, runs) = (Count::default(), Count::default(), Count::default());
            let leader = {
                let (cache, at_work, arrived) = (cache.clone(), at_work.clone(), arrived.clone());
                thread::spawn(move || {
                    cache.cached(call("f"), || -> i32 {
                        at_work.add_one();
                        wait_until("the waiters have come", DEADLINE, || arrived.read() == 8);
                        panic!("on purpose")
                    })
                })
            };
            wait_until("the leader is at work", DEADLINE, || at_work.read() == 1);
            let waiters: Vec<_> = (0..8)
                .map(|n| {
                    let (cache, arrived, runs) = (cache.clone(), arrived.clone(), runs.clone());
                    thread::spawn(move || {
                        arrived.add_one();
                        let work = || {
                            runs.add_one();
                            5
                        };
                        if n % 2 == 0 {
                            return cache.cached(call("f"), work);
                        }
                        current_thread().block_on(cache.cached_async(call("f"), async || work()))
                    })
                })
                .collect();
            for waiter in waiters {
                assert_eq!(waiter.join().expect("only the leader's caller sees the panic"), 5);
            }
            assert!(leader.join().is_err());
            assert_eq!(runs.read(), 1);
        });
    });
}

#[test]
fn an_error_reaches_only_its_own_caller_and_waiters_run_side_by_side() {
    const WAITERS: usize = 6;
    over_each(|cache| {
        current_thread().block_on(async {
            let (leader, tell) = leader(&cache, || Err("the leader's")).await;
            // None of them ends before all are at work.
            let all = Arc::new(Barrier::new(WAITERS));
            let waiters: Vec<_> = (0..WAITERS)
                .map(|n| {
                    let (cache, all) = (cache.clone(), Arc::clone(&all));
                    tokio::spawn(async move {
                        let work = async || {
                            all.wait().await;
                            Err::<i32, _>(n)
                        };
                        cache.try_cached_async(call("f"), work).await
                    })
                })
                .collect();
            let_others_run().await;
            tell.send(()).expect("the leader waits for it");
            for (n, waiter) in waiters.into_iter().enumerate() {
                let outcome = timeout(DEADLINE, waiter).await.expect("they run side by side");
                assert_eq!(outcome.expect("no waiter panics"), Err(n));
            }
            assert_eq!(leader.await.expect("it ends"), Err("the leader's"));
        });
        assert!(!cache.contains(call("f")));
        assert_eq!(cache.stats().runs, 1 + WAITERS as u64);
    });
}

#[test]
fn after_an_error_a_waiter_that_succeeds_is_stored() {
    over_each(|cache| {
        current_thread().block_on(async {
            let (leader, tell) = leader(&cache, || Err("no")).await;
            let runs = Count::default();
            let waiters = waiters(&cache, 4, &runs).await;
            tell.send(()).expect("the leader waits for it");
            for (n, waiter) in waiters.into_iter().enumerate() {
                let value = timeout(DEADLINE, waiter).await.expect("no waiter hangs").expect("no waiter panics");
                assert_eq!(usize::try_from(value), Ok(n), "each has its own");
            }
            assert_eq!(leader.await.expect("it ends"), Err("no"));
            assert_eq!(runs.read(), 4);
            let kept = cache.get_async::<i32>(call("f")).await;
            assert!(matches!(kept, Some(0..4)), "{kept:?}");
        });
    });
}

#[test]
fn a_waiter_that_is_dropped_leaves_the_others_alone() {
    over_each(|cache| {
        current_thread().block_on(async {
            let runs = Count::default();
            let (leader, tell) = leader(&cache, || Ok::<_, ()>(-1)).await;
            let waiters = waiters(&cache, 4, &runs).await;
            waiters[1].abort();
            tell.send(()).expect("the leader waits for it");
            for (n, waiter) in waiters.into_iter().enumerate() {
                let outcome = timeout(DEADLINE, waiter).await.expect("no waiter hangs");
                assert_eq!(outcome.ok(), (n != 1).then_some(-1));
            }
            assert_eq!(leader.await.expect("it ends"), Ok(-1));
            assert_eq!(runs.read(), 0);
        });
    });
}

#[test]
fn leaders_that_are_aborted_at_any_moment_never_leave_a_key_stuck() {
    over_each(|cache| {
        crate::support::multi_thread(2).block_on(async {
            for round in 0..150_u64 {
                let tasks: Vec<_> = (0..6)
                    .map(|_| {
                        let cache = cache.clone();
                        let work = async || tokio::time::sleep(Duration::from_micros(50)).await;
                        tokio::spawn(async move { cache.cached_async(call("f").arg(round), work).await })
                    })
                    .collect();
                for (n, task) in tasks.iter().enumerate().take(5) {
                    if (round >> n) & 1 == 1 {
                        tokio::task::yield_now().await;
                    }
                    task.abort();
                }
                let last = tasks.into_iter().next_back().expect("there are six");
                timeout(DEADLINE, last).await.expect("it doesn't hang").expect("it isn't aborted");
            }
        });
        let after = cache.clone();
        finishes("a call after the aborted ones", move || after.cached(call("f").arg(0_u64), || ()));
    });
}

#[test]
fn a_leader_that_is_aborted_while_it_stores_leaves_the_key_free() {
    over_each(|cache| {
        current_thread().block_on(async {
            // Polled once, it has computed its value; over a server it then waits for the store.
            for n in 0..50 {
                let caller = cache.clone();
                let task = tokio::spawn(async move { caller.cached_async(call("f").arg(n), async || n).await });
                for _ in 0..n % 10 {
                    tokio::task::yield_now().await;
                }
                task.abort();
                let again = timeout(DEADLINE, cache.cached_async(call("f").arg(n), async || n)).await;
                assert_eq!(again.expect("it doesn't hang"), n);
            }
        });
    });
}
