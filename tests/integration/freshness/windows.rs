//! What is served in a window, to whom, and what ends it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use cache_house::{CacheHandle, CacheOptions};
use futures::FutureExt;
use tokio::sync::{Notify, oneshot};

use super::*;
use crate::support::{let_others_run, multi_thread};

over_backends!(
    a_fresh_value_is_served,
    a_stale_value_is_replaced_by_quick_work,
    without_windows_the_ttl_is_all,
    failing_work_leaves_the_old_value_for_the_window,
    failed_work_waits_for_its_pause,
    a_hundred_callers_renew_a_value_once,
    sync_callers_are_served_while_one_renews,
    a_caller_in_the_window_of_errors_waits_for_the_work,
    get_and_contains_find_fresh_values_only,
    an_explicit_removal_ends_a_window,
    a_removal_in_mid_renewal_wins,
    a_leader_that_is_dropped_leaves_the_window_to_others,
    all_callers_may_go,
    a_panic_reaches_its_own_caller_alone,
    a_renewal_with_a_codec_of_its_own_keeps_its_window,
);

fn a_fresh_value_is_served(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        for options in [plain("plain"), revalidated("revalidated"), if_error("if_error")] {
            let options = options.arg(is_async);
            backend.set(&cache, &options, 1, FRESH);
            assert_eq!(ask(is_async, &cache, options, never), Ok(1));
        }
    }
    assert_eq!(counted(&cache), (0, 0, 0));
}

fn a_stale_value_is_replaced_by_quick_work(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        for options in [revalidated("revalidated"), if_error("if_error")] {
            let options = options.arg(is_async);
            backend.set(&cache, &options, 1, STALE);
            assert_eq!(ask(is_async, &cache, options.clone(), || Ok(2)), Ok(2));
            assert_eq!(ask(is_async, &cache, options.clone(), never), Ok(2));
            if let Some(remaining) = backend.remaining(&cache, &options) {
                assert!(remaining > TTL + FRESH / 2 && remaining <= 2 * TTL, "{remaining:?}");
            }
        }
    }
    assert_eq!(counted(&cache), (4, 0, 4));
}

fn without_windows_the_ttl_is_all(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        let options = plain("f").arg(is_async);
        assert_eq!(ask(is_async, &cache, options.clone(), || Ok(1)), Ok(1));
        if let Some(remaining) = backend.remaining(&cache, &options) {
            assert!(remaining <= TTL, "{remaining:?}");
        }
        // Read as one without a window, a value is fresh to its end.
        backend.set(&cache, &options, 1, STALE);
        assert_eq!(ask(is_async, &cache, options.clone(), never), Ok(1));
        cache.remove(options.clone()).expect("the cache is there");
        assert_eq!(ask(is_async, &cache, options, fails), fails());
    }
}

fn failing_work_leaves_the_old_value_for_the_window(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        for options in [revalidated("revalidated"), if_error("if_error")] {
            let options = options.arg(is_async);
            backend.set(&cache, &options, 1, STALE);
            assert_eq!(ask(is_async, &cache, options.clone(), fails), Ok(1));
            let before = cache.stats();
            assert_eq!(ask(is_async, &cache, options.clone(), never), Ok(1), "it's held back");
            let after = cache.stats();
            assert_eq!((after.stale_hits - before.stale_hits, after.runs - before.runs), (1, 0));
            cache.remove(options.clone()).expect("the cache is there");
            assert_eq!(ask(is_async, &cache, options, fails), fails(), "there is no value");
        }
    }
}

fn failed_work_waits_for_its_pause(backend: &impl Backend) {
    let (cache, pause) = (backend.cache(), Duration::from_secs(5));
    for is_async in SIDES {
        let options = if_error("f").arg(is_async).retry_after(pause);
        backend.set(&cache, &options, 1, STALE);
        assert_eq!(ask(is_async, &cache, options.clone(), fails), Ok(1));
        backend.clock().advance(pause - Duration::from_millis(1));
        assert_eq!(ask(is_async, &cache, options.clone(), never), Ok(1));
        backend.clock().advance(Duration::from_millis(1));
        assert_eq!(ask(is_async, &cache, options.clone(), fails), Ok(1), "and a new pause begins");
        assert_eq!(ask(is_async, &cache, options.clone(), never), Ok(1));
        backend.clock().advance(pause);
        assert_eq!(ask(is_async, &cache, options.clone(), || Ok(2)), Ok(2));
    }
    assert_eq!(cache.stats().runs, 6);
}

/// Renews the value in a task, whose work is under way when this returns, and ends once it's told.
async fn renewal(
    cache: &CacheHandle,
    options: &CacheOptions,
    end: impl FnOnce() -> Outcome + Send + 'static,
) -> (tokio::task::JoinHandle<Outcome>, oneshot::Sender<()>) {
    let ((tell, told), (begun, begins)) = (oneshot::channel(), oneshot::channel());
    let (cache, options) = (cache.clone(), options.clone());
    let task = tokio::spawn(async move {
        let work = async || {
            begun.send(()).expect("the test waits for it");
            let _ = told.await;
            end()
        };
        cache.try_cached_async(options, work).await
    });
    begins.await.expect("the work begins");
    (task, tell)
}

fn a_hundred_callers_renew_a_value_once(backend: &impl Backend) {
    let cache = backend.cache();
    let options = revalidated("f");
    backend.set(&cache, &options, 1, STALE);
    multi_thread(4).block_on(async {
        let (renewing, tell) = renewal(&cache, &options, || Ok(2)).await;
        let calls = (0..100).map(|_| {
            let (cache, options) = (cache.clone(), options.clone());
            tokio::spawn(async move { cache.try_cached_async(options, async || never()).await })
        });
        for call in calls.collect::<Vec<_>>() {
            assert_eq!(call.await.expect("it doesn't panic"), Ok(1));
        }
        assert_eq!(counted(&cache), (1, 100, 1));
        tell.send(()).expect("the work waits for it");
        assert_eq!(renewing.await.expect("it doesn't panic"), Ok(2));
        assert_eq!(cache.try_cached_async(options.clone(), async || never()).await, Ok(2));
    });
    // All at once: one of them renews it.
    let options = revalidated("g");
    backend.set(&cache, &options, 1, STALE);
    let before = cache.stats().runs;
    multi_thread(4).block_on(async {
        let calls = (0..100).map(|_| {
            let (cache, options) = (cache.clone(), options.clone());
            tokio::spawn(async move {
                let work = async || {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Ok(2)
                };
                let value: Outcome = cache.try_cached_async(options, work).await;
                value.expect("it's made")
            })
        });
        let mut values = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            values.push(call.await.expect("it doesn't panic"));
        }
        assert!(values.iter().all(|value| [1, 2].contains(value)), "{values:?}");
        assert!(values.contains(&2));
    });
    assert_eq!(cache.stats().runs - before, 1);
}

fn sync_callers_are_served_while_one_renews(backend: &impl Backend) {
    let cache = backend.cache();
    let options = revalidated("f");
    backend.set(&cache, &options, 1, STALE);
    let gate = Gate::default();
    thread::scope(|scope| {
        let renewing = scope.spawn(|| {
            cache.try_cached(options.clone(), || {
                gate.pass();
                Ok::<u32, &str>(2)
            })
        });
        gate.until_begun();
        for _ in 0..10 {
            assert_eq!(cache.try_cached(options.clone(), never), Ok(1));
        }
        gate.open();
        assert_eq!(renewing.join().expect("it doesn't panic"), Ok(2));
    });
    assert_eq!(cache.try_cached(options, never), Ok(2));
}

fn a_caller_in_the_window_of_errors_waits_for_the_work(backend: &impl Backend) {
    let cache = backend.cache();
    for (name, end, expected) in [("well", (|| Ok(2)) as fn() -> Outcome, Ok(2)), ("failing", fails, Ok(1))] {
        let options = if_error(name);
        backend.set(&cache, &options, 1, STALE);
        current_thread().block_on(async {
            let (renewing, tell) = renewal(&cache, &options, end).await;
            let mut waiting = Box::pin(cache.try_cached_async(options.clone(), async || never()));
            let_others_run().await;
            assert!(futures::poll!(waiting.as_mut()).is_pending(), "{name}");
            tell.send(()).expect("the work waits for it");
            assert_eq!(renewing.await.expect("it doesn't panic"), expected, "{name}");
            assert_eq!(waiting.await, expected, "{name}");
        });
    }
}

fn get_and_contains_find_fresh_values_only(backend: &impl Backend) {
    let cache = backend.cache();
    for options in [revalidated("revalidated"), if_error("if_error")] {
        for (remaining, is_fresh) in [(FRESH, true), (STALE, false)] {
            let options = options.clone().arg(is_fresh);
            backend.set(&cache, &options, 1, remaining);
            assert_eq!(cache.contains(options.clone()), is_fresh);
            assert_eq!(cache.get::<u32>(options.clone()), is_fresh.then_some(1));
            current_thread().block_on(async {
                assert_eq!(cache.contains_async(options.clone()).await, is_fresh);
                assert_eq!(cache.get_async::<u32>(options.clone()).await, is_fresh.then_some(1));
            });
        }
    }
    let stats = cache.stats();
    assert_eq!((stats.stale_hits, stats.misses), (0, 4));
}

fn an_explicit_removal_ends_a_window(backend: &impl Backend) {
    let cache = backend.cache();
    let others = std::iter::once(cache.clone()).chain(backend.other());
    for (number, remover) in others.enumerate() {
        for options in [revalidated("revalidated"), if_error("if_error")] {
            // Before any failure, and while the work is held back after one.
            for has_failed in [false, true] {
                let options = options.clone().arg(number).arg(has_failed);
                backend.set(&cache, &options, 1, STALE);
                if has_failed {
                    assert_eq!(ask(false, &cache, options.clone(), fails), Ok(1));
                }
                assert_eq!(remover.remove(options.clone()).expect("the cache is there").entries, 1);
                assert_eq!(ask(false, &cache, options.clone(), fails), fails());
                assert_eq!(ask(true, &cache, options.clone(), || Ok(2)), Ok(2));
            }
            let options = options.arg("cleared");
            backend.set(&cache, &options, 1, STALE);
            assert!(remover.clear_namespace("main").expect("the cache is there").entries >= 1);
            assert_eq!(ask(false, &cache, options.clone(), fails), fails());
        }
    }
}

fn a_removal_in_mid_renewal_wins(backend: &impl Backend) {
    let cache = backend.cache();
    let others = std::iter::once(cache.clone()).chain(backend.other());
    for (number, remover) in others.enumerate() {
        for (options, end) in [(revalidated("f"), (|| Ok(2)) as fn() -> Outcome), (revalidated("g"), fails)] {
            let options = options.arg(number);
            backend.set(&cache, &options, 1, STALE);
            multi_thread(2).block_on(async {
                let (renewing, tell) = renewal(&cache, &options, end).await;
                assert_eq!(cache.try_cached_async(options.clone(), async || never()).await, Ok(1));
                remover.remove_async(options.clone()).await.expect("the cache is there");
                let late = {
                    let (cache, options) = (cache.clone(), options.clone());
                    tokio::spawn(async move { cache.try_cached_async(options, async || Ok::<u32, &str>(3)).await })
                };
                tell.send(()).expect("the work waits for it");
                // That call began before the removal.
                let renewed = renewing.await.expect("it doesn't panic").expect("the old value or the new");
                assert!([1, 2].contains(&renewed));
                assert_eq!(late.await.expect("it doesn't panic"), Ok(3));
                assert_eq!(cache.get_async::<u32>(options.clone()).await, Some(3));
            });
        }
    }
}

fn a_leader_that_is_dropped_leaves_the_window_to_others(backend: &impl Backend) {
    let cache = backend.cache();
    for options in [revalidated("revalidated"), if_error("if_error")] {
        backend.set(&cache, &options, 1, STALE);
        current_thread().block_on(async {
            let (renewing, _tell) = renewal(&cache, &options, fails).await;
            let mut waiting = Box::pin(cache.try_cached_async(options.clone(), async || Ok::<u32, &str>(2)));
            // In the window of errors it waits; else it's served.
            let mut served = futures::poll!(waiting.as_mut()).is_ready();
            renewing.abort();
            assert!(renewing.await.is_err());
            if !served {
                served = waiting.await.is_ok();
            }
            assert!(served);
            assert_eq!(cache.try_cached_async(options.clone(), async || Ok::<u32, &str>(2)).await, Ok(2));
        });
    }
}

fn all_callers_may_go(backend: &impl Backend) {
    let cache = backend.cache();
    for options in [revalidated("revalidated"), if_error("if_error")] {
        backend.set(&cache, &options, 1, STALE);
        current_thread().block_on(async {
            let (renewing, _tell) = renewal(&cache, &options, fails).await;
            let calls: Vec<_> = (0..5)
                .map(|_| {
                    let (cache, options) = (cache.clone(), options.clone());
                    tokio::spawn(async move { cache.try_cached_async(options, async || never()).await })
                })
                .collect();
            let_others_run().await;
            renewing.abort();
            calls.iter().for_each(tokio::task::JoinHandle::abort);
            assert!(renewing.await.is_err());
            for call in calls {
                // It was served, or is gone.
                assert!(call.await.map_or(true, |value| value == Ok(1)));
            }
            assert_eq!(cache.try_cached_async(options.clone(), async || Ok::<u32, &str>(2)).await, Ok(2));
        });
    }
}

fn a_panic_reaches_its_own_caller_alone(backend: &impl Backend) {
    let cache = backend.cache();
    for options in [revalidated("revalidated"), if_error("if_error")] {
        backend.set(&cache, &options, 1, STALE);
        let sync =
            catch_unwind(AssertUnwindSafe(|| cache.try_cached(options.clone(), || -> Outcome { panic!("own") })));
        assert!(sync.is_err());
        current_thread().block_on(async {
            let go_on = Notify::new();
            let panics = AssertUnwindSafe(cache.try_cached_async(options.clone(), async || -> Outcome {
                go_on.notified().await;
                panic!("own")
            }))
            .catch_unwind();
            let others = async {
                let_others_run().await;
                let other = cache.try_cached_async(options.clone(), async || Ok::<u32, &str>(2));
                go_on.notify_one();
                other.await
            };
            let (panicked, other) = futures::join!(panics, others);
            assert!(panicked.is_err() && other.is_ok());
            assert_eq!(cache.try_cached_async(options.clone(), async || Ok::<u32, &str>(2)).await, Ok(2));
        });
    }
}

fn a_renewal_with_a_codec_of_its_own_keeps_its_window(backend: &impl Backend) {
    let cache = backend.cache();
    let options = || {
        let encode = |value: &u32| Ok::<_, std::convert::Infallible>(value.to_string().into_bytes());
        let decode = |bytes: &[u8]| std::str::from_utf8(bytes).map_err(|_| "no text")?.parse().map_err(|_| "no number");
        revalidated("f").encoder(encode).decoder(decode)
    };
    backend.set(&cache, &revalidated("f"), 1, STALE);
    assert_eq!(cache.try_cached(options(), fails), Ok(1));
    assert_eq!(cache.try_refresh(options(), || Ok::<u32, &str>(2)), Ok(2));
    assert_eq!(cache.try_cached(options(), never), Ok(2));
}
