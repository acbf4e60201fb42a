//! `refreshing`: renewals in tasks and threads of their own.

use std::future::pending;
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{Notify, oneshot};

use super::*;
use crate::support::{eventually, finishes, let_others_run, multi_thread};

over_backends!(
    without_an_old_value_the_work_runs_in_the_call,
    no_async_call_waits_for_a_renewal,
    no_sync_call_waits_for_a_renewal,
    a_renewal_outlives_its_callers,
    a_renewal_that_fails_holds_the_work_back,
    a_renewal_that_panics_harms_no_caller,
    in_the_window_of_errors_a_call_waits_for_its_renewal,
    a_renewal_that_is_slower_than_its_soft_timeout_goes_on,
    a_hung_renewal_blocks_no_caller,
    what_is_removed_while_it_is_renewed_stays_removed,
    a_value_may_be_renewed_early_behind_its_callers,
);

/// Renewals end with the runtime that they run in.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| multi_thread(2));

/// Calls `try_refreshing`, or its async twin with work that ends at once.
fn ask_refreshing(
    is_async: bool,
    cache: &CacheHandle,
    options: CacheOptions,
    work: impl FnOnce() -> Outcome + Send + 'static,
) -> Outcome {
    match is_async {
        false => cache.try_refreshing(options, work),
        true => RUNTIME.block_on(cache.try_refreshing_async(options, async move || work())),
    }
}

fn until_it_has(cache: &CacheHandle, options: &CacheOptions, value: u32) {
    wait_until("the renewal's value is stored", DEADLINE, || cache.get::<u32>(options.clone()) == Some(value));
}

fn without_an_old_value_the_work_runs_in_the_call(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        let options = revalidated("f").arg(is_async);
        assert_eq!(ask_refreshing(is_async, &cache, options.clone(), fails), fails());
        assert_eq!(ask_refreshing(is_async, &cache, options.clone(), || Ok(1)), Ok(1));
        assert_eq!(ask_refreshing(is_async, &cache, options, never), Ok(1));
    }
    assert_eq!(counted(&cache), (4, 0, 0));
}

fn no_async_call_waits_for_a_renewal(backend: &impl Backend) {
    let cache = backend.cache();
    let options = revalidated("f");
    backend.set(&cache, &options, 1, STALE);
    multi_thread(2).block_on(async {
        let (tell, told_to) = oneshot::channel::<()>();
        let work = async move || {
            let _ = told_to.await;
            Ok::<u32, &str>(2)
        };
        assert_eq!(cache.try_refreshing_async(options.clone(), work).await, Ok(1));
        for _ in 0..100 {
            assert_eq!(cache.try_refreshing_async(options.clone(), async || never()).await, Ok(1));
            assert_eq!(cache.try_cached_async(options.clone(), async || never()).await, Ok(1));
        }
        tell.send(()).expect("the renewal runs");
        until_it_has(&cache, &options, 2);
        assert_eq!(counted(&cache), (1, 201, 1));
    });
}

fn no_sync_call_waits_for_a_renewal(backend: &impl Backend) {
    let cache = backend.cache();
    let options = revalidated("f");
    backend.set(&cache, &options, 1, STALE);
    let (tell, told_to) = mpsc::channel::<()>();
    let work = move || {
        told_to.recv_timeout(DEADLINE).expect("the test tells it to end");
        assert_eq!(thread::current().name(), Some("cache-house-renew"));
        Ok::<u32, &str>(2)
    };
    assert_eq!(cache.try_refreshing(options.clone(), work), Ok(1));
    for _ in 0..10 {
        assert_eq!(cache.try_refreshing(options.clone(), never), Ok(1));
        assert_eq!(cache.try_cached(options.clone(), never), Ok(1));
    }
    tell.send(()).expect("the renewal runs");
    until_it_has(&cache, &options, 2);
    // Inside a runtime, too.
    let options = revalidated("g");
    backend.set(&cache, &options, 1, STALE);
    for runtime in [current_thread(), multi_thread(1)] {
        runtime.block_on(async { assert!(cache.refreshing(options.clone(), || 2_u32) <= 2) });
    }
    until_it_has(&cache, &options, 2);
}

fn a_renewal_outlives_its_callers(backend: &impl Backend) {
    let cache = backend.cache();
    // The second kind of caller waits for it, and is dropped meanwhile.
    for options in [revalidated("revalidated"), if_error("if_error")] {
        backend.set(&cache, &options, 1, STALE);
        multi_thread(2).block_on(async {
            let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let caller = {
                let (cache, options, begun, go_on) = (cache.clone(), options.clone(), begun.clone(), go_on.clone());
                tokio::spawn(async move {
                    let work = async move || {
                        begun.notify_one();
                        go_on.notified().await;
                        2_u32
                    };
                    cache.refreshing_async(options, work).await
                })
            };
            begun.notified().await;
            caller.abort();
            let _ = caller.await;
            go_on.notify_one();
            until_it_has(&cache, &options, 2);
        });
    }
}

fn a_renewal_that_fails_holds_the_work_back(backend: &impl Backend) {
    let (cache, pause) = (backend.cache(), Duration::from_secs(5));
    for is_async in SIDES {
        let options = revalidated("f").arg(is_async).retry_after(pause);
        backend.set(&cache, &options, 1, STALE);
        let runs = cache.stats().runs;
        assert_eq!(ask_refreshing(is_async, &cache, options.clone(), fails), Ok(1));
        wait_until("the work has run", DEADLINE, || cache.stats().runs == runs + 1);
        thread::sleep(SHORT);
        let runs = cache.stats().runs;
        assert_eq!(ask_refreshing(is_async, &cache, options.clone(), never), Ok(1));
        assert_eq!(cache.stats().runs, runs);
        wait_until("the work is tried again", DEADLINE, || {
            backend.clock().advance(pause);
            assert!(ask_refreshing(is_async, &cache, options.clone(), || Ok(2)).is_ok());
            cache.get::<u32>(options.clone()) == Some(2)
        });
    }
}

fn a_renewal_that_panics_harms_no_caller(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        for options in [revalidated("revalidated"), if_error("if_error")] {
            let options = options.arg(is_async);
            backend.set(&cache, &options, 1, STALE);
            assert_eq!(ask_refreshing(is_async, &cache, options.clone(), || panic!("own")), Ok(1));
            wait_until("the pause has begun", DEADLINE, || {
                let runs = cache.stats().runs;
                cache.try_cached(options.clone(), fails) == Ok(1) && cache.stats().runs == runs
            });
            // The pause of the panic may begin a moment after its flight has ended.
            wait_until("the value is renewed", DEADLINE, || {
                backend.clock().advance(Duration::from_secs(2));
                assert!(ask_refreshing(is_async, &cache, options.clone(), || Ok(2)).is_ok());
                cache.get::<u32>(options.clone()) == Some(2)
            });
        }
    }
}

fn in_the_window_of_errors_a_call_waits_for_its_renewal(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        for (end, expected) in [((|| Ok(2)) as fn() -> Outcome, Ok(2)), (fails, Ok(1))] {
            let options = if_error("f").arg(is_async).arg(expected.unwrap_or_default());
            backend.set(&cache, &options, 1, STALE);
            let work = move || {
                thread::sleep(SHORT);
                end()
            };
            assert_eq!(ask_refreshing(is_async, &cache, options, work), expected);
        }
    }
    assert_eq!(counted(&cache), (4, 2, 4));
}

fn a_renewal_that_is_slower_than_its_soft_timeout_goes_on(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        for options in [revalidated("revalidated"), if_error("if_error")] {
            let options = options.arg(is_async).soft_timeout(SHORT);
            backend.set(&cache, &options, 1, STALE);
            RUNTIME.block_on(async {
                if is_async {
                    let (tell, told_to) = oneshot::channel::<()>();
                    let work = async move || {
                        let _ = told_to.await;
                        Ok::<u32, &str>(2)
                    };
                    assert_eq!(cache.try_refreshing_async(options.clone(), work).await, Ok(1));
                    tokio::time::sleep(2 * SHORT).await;
                    assert_eq!(cache.try_refreshing_async(options.clone(), async || never()).await, Ok(1));
                    tell.send(()).expect("the renewal goes on");
                } else {
                    let (tell, told_to) = mpsc::channel::<()>();
                    let work = move || {
                        told_to.recv_timeout(DEADLINE).expect("the test tells it to end");
                        Ok::<u32, &str>(2)
                    };
                    assert_eq!(cache.try_refreshing(options.clone(), work), Ok(1));
                    thread::sleep(2 * SHORT);
                    assert_eq!(cache.try_refreshing(options.clone(), never), Ok(1));
                    tell.send(()).expect("the renewal goes on");
                }
            });
            until_it_has(&cache, &options, 2);
            assert_eq!(ask_refreshing(is_async, &cache, options, never), Ok(2), "its success ends the pause");
        }
    }
}

fn a_hung_renewal_blocks_no_caller(backend: &impl Backend) {
    let cache = backend.cache();
    for options in [revalidated("revalidated"), if_error("if_error")] {
        let options = options.soft_timeout(SHORT).retry_after(SHORT);
        backend.set(&cache, &options, 1, STALE);
        multi_thread(2).block_on(async {
            for _ in 0..3 {
                let work = async || pending::<Outcome>().await;
                assert_eq!(cache.try_refreshing_async(options.clone(), work).await, Ok(1));
                assert_eq!(cache.try_cached_async(options.clone(), async || never()).await, Ok(1));
                backend.clock().advance(2 * SHORT);
                assert_eq!(cache.try_cached_async(options.clone(), async || never()).await, Ok(1), "it waits again");
            }
        });
    }
    // With a hard timeout the key is free.
    let options = revalidated("hard").hard_timeout(SHORT).retry_after(SHORT);
    backend.set(&cache, &options, 1, STALE);
    multi_thread(2).block_on(async {
        let work = async || pending::<Outcome>().await;
        assert_eq!(cache.try_refreshing_async(options.clone(), work).await, Ok(1));
        eventually("the key is free again", || {
            backend.clock().advance(2 * SHORT);
            assert!(cache.try_refreshing(options.clone(), || Ok::<u32, &str>(2)).is_ok());
            cache.get::<u32>(options.clone()) == Some(2)
        })
        .await;
    });
}

fn what_is_removed_while_it_is_renewed_stays_removed(backend: &impl Backend) {
    let cache = backend.cache();
    let others = std::iter::once(cache.clone()).chain(backend.other());
    for (number, remover) in others.enumerate() {
        let options = revalidated("f").arg(number);
        backend.set(&cache, &options, 1, STALE);
        multi_thread(2).block_on(async {
            let ((tell, told_to), (begun, begins)) = (oneshot::channel::<()>(), oneshot::channel());
            let work = async move || {
                begun.send(()).expect("the test waits for it");
                let _ = told_to.await;
                2_u32
            };
            assert_eq!(cache.refreshing_async(options.clone(), work).await, 1);
            begins.await.expect("the renewal runs");
            remover.remove_async(options.clone()).await.expect("the cache is there");
            let runs = cache.stats().runs;
            tell.send(()).expect("the renewal runs");
            let mut value = cache.try_cached_async(options.clone(), async || fails()).await;
            assert_ne!(value, Ok(1));
            // The renewal may have ended, or not: nothing of it is served either way.
            value = cache.try_cached_async(options.clone(), async || Ok::<u32, &str>(3)).await;
            assert_eq!(value, Ok(3), "{runs}");
        });
    }
}

fn a_value_may_be_renewed_early_behind_its_callers(backend: &impl Backend) {
    let cache = backend.cache();
    let options = plain("f").refresh_early(1e6);
    current_thread().block_on(async {
        let slow = async || {
            tokio::time::sleep(SHORT).await;
            1_u32
        };
        assert_eq!(cache.refreshing_async(options.clone(), slow).await, 1);
        // A gap of eight hours on average: nearly every call is elected.
        let mut value = 1;
        for _ in 0..1_000 {
            value = cache.refreshing_async(options.clone(), async || 2_u32).await;
            if value == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(value, 2);
    });
    let stats = cache.stats();
    assert!(stats.refreshes >= 1 && stats.stale_hits == 0, "{stats:?}");
}

#[test]
fn sixty_four_renewals_run_at_once_and_one_more_is_left_for_the_next_caller() {
    let backend = Memory::start();
    let cache = backend.cache();
    let options = |n: u32| revalidated("f").arg(n);
    for n in 0..65 {
        backend.set(&cache, &options(n), 1, STALE);
    }
    backend.set(&cache, &if_error("g"), 1, STALE);
    multi_thread(2).block_on(async {
        let go_on = Arc::new(tokio::sync::Semaphore::new(0));
        for n in 0..64 {
            let go_on = Arc::clone(&go_on);
            let work = async move || {
                let _permit = go_on.acquire().await.expect("it's open");
                2_u32
            };
            assert_eq!(cache.refreshing_async(options(n), work).await, 1);
        }
        wait_until("all run", DEADLINE, || cache.stats().runs == 64);
        for _ in 0..3 {
            assert_eq!(cache.try_refreshing_async(options(64), async || never()).await, Ok(1));
            assert_eq!(cache.try_refreshing(options(64), never), Ok(1));
        }
        // Where the old value isn't served, the call runs its work itself.
        assert_eq!(cache.refreshing_async(if_error("g"), async || 2_u32).await, 2);
        assert_eq!(cache.stats().runs, 65);
        go_on.add_permits(1);
        wait_until("a place is free", DEADLINE, || {
            cache.refreshing(options(64), || 2_u32);
            cache.get::<u32>(options(64)) == Some(2)
        });
        go_on.add_permits(64);
        for n in 0..64 {
            until_it_has(&cache, &options(n), 2);
        }
    });
}

#[test]
fn renewals_end_with_the_handle() {
    for closes in [true, false] {
        let backend = Memory::start();
        let cache = backend.cache();
        backend.set(&cache, &revalidated("f"), 1, STALE);
        let dropped = Arc::new(());
        multi_thread(2).block_on(async {
            let begun = Arc::new(Notify::new());
            let (held, begins) = (Arc::clone(&dropped), Arc::clone(&begun));
            let work = async move || {
                let _held = held;
                begins.notify_one();
                pending::<u32>().await
            };
            assert_eq!(cache.refreshing_async(revalidated("f"), work).await, 1);
            begun.notified().await;
            let clone = cache.clone();
            if closes {
                cache.close_async().await;
            } else {
                drop(cache);
                let_others_run().await;
                assert_eq!(Arc::strong_count(&dropped), 2, "a clone is left");
            }
            drop(clone);
            eventually("the renewal's future is dropped", || Arc::strong_count(&dropped) == 1).await;
        });
    }
}

#[test]
fn of_a_thread_nothing_is_stored_once_the_handle_is_closed() {
    let backend = Standalone::start();
    let cache = backend.cache();
    let options = revalidated("f");
    backend.set(&cache, &options, 1, STALE);
    let gate = Gate::default();
    let (ended, ends) = mpsc::channel::<()>();
    let gate_of_work = gate.clone();
    let work = move || {
        let _ended = ended;
        gate_of_work.pass();
        2_u32
    };
    assert_eq!(cache.refreshing(options.clone(), work), 1);
    gate.until_begun();
    let key = cache.key(&options).expect("it has a key");
    cache.close();
    gate.open();
    assert!(ends.recv_timeout(DEADLINE).is_err(), "the work ends");
    thread::sleep(2 * SHORT);
    assert_eq!(backend.0.get(&key).as_deref(), Some(&b"1"[..]));
    assert_eq!(cache.stats().memory_entries, 0);
}

#[test]
fn the_last_handle_may_go_inside_a_renewal() {
    finishes("a renewal that owns the handle", || {
        let backend = Standalone::start();
        let cache = backend.cache();
        let options = revalidated("f");
        backend.set(&cache, &options, 1, STALE);
        let (ended, ends) = mpsc::channel();
        multi_thread(2).block_on(async move {
            let (tell, told_to) = oneshot::channel::<()>();
            let clone = cache.clone();
            let work = async move || {
                let _ = told_to.await;
                drop(clone);
                ended.send(()).expect("the test waits for it");
                2_u32
            };
            assert_eq!(cache.refreshing_async(options, work).await, 1);
            drop(cache);
            tell.send(()).expect("the renewal holds the handle");
            ends.recv_timeout(DEADLINE).expect("the work ends");
        });
        wait_until("its connections are closed", DEADLINE, || backend.0.connections() == 0);
    });
}
