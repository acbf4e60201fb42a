//! Forced refreshes.

use std::thread;

use tokio::sync::Notify;

use super::*;
use crate::support::{let_others_run, multi_thread};

over_backends!(
    a_refresh_runs_and_stores_whatever_is_cached,
    a_refresh_that_fails_leaves_what_is_cached,
    concurrent_refreshes_share_one_run,
    plain_callers_are_served_meanwhile,
    a_caller_that_finds_nothing_waits_for_the_refresh,
    an_older_fill_is_not_stored_over_a_refresh,
    an_older_fill_of_another_handle_is_refused,
    a_refresh_that_is_removed_meanwhile_is_not_stored,
    a_dropped_refresh_hands_over,
    a_refresh_runs_with_a_lease_too,
);

fn refresh(is_async: bool, cache: &CacheHandle, options: CacheOptions, work: impl FnOnce() -> Outcome) -> Outcome {
    match is_async {
        false => cache.try_refresh(options, work),
        true => current_thread().block_on(cache.try_refresh_async(options, async || work())),
    }
}

fn a_refresh_runs_and_stores_whatever_is_cached(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        for (remaining, options) in [(FRESH, plain("fresh")), (STALE, revalidated("a")), (STALE, if_error("b"))] {
            let options = options.arg(is_async);
            assert_eq!(refresh(is_async, &cache, options.clone(), || Ok(0)), Ok(0), "nothing");
            cache.remove(options.clone()).expect("the cache is there");
            backend.set(&cache, &options, 1, remaining);
            assert_eq!(refresh(is_async, &cache, options.clone(), || Ok(2)), Ok(2));
            assert_eq!(ask(is_async, &cache, options.clone(), never), Ok(2));
            if let Some(other) = backend.other() {
                assert_eq!(ask(is_async, &other, options.clone(), never), Ok(2));
            }
        }
    }
    assert_eq!(counted(&cache), (12, 0, 12));
    assert_eq!(cache.refresh(plain("infallible"), || 3_u32), 3);
    assert_eq!(current_thread().block_on(cache.refresh_async(plain("infallible"), async || 4_u32)), 4);
}

fn a_refresh_that_fails_leaves_what_is_cached(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        for (remaining, options) in [(FRESH, plain("fresh")), (STALE, if_error("b"))] {
            let options = options.arg(is_async);
            backend.set(&cache, &options, 1, remaining);
            assert_eq!(refresh(is_async, &cache, options.clone(), fails), fails(), "no old value in its place");
            assert_eq!(ask(is_async, &cache, options, fails), Ok(1));
        }
    }
}

fn concurrent_refreshes_share_one_run(backend: &impl Backend) {
    let cache = backend.cache();
    let options = plain("f");
    backend.set(&cache, &options, 1, FRESH);
    current_thread().block_on(async {
        let go_on = Notify::new();
        let leads = cache.refresh_async(options.clone(), async || {
            go_on.notified().await;
            2_u32
        });
        let others =
            futures::future::join_all((0..100).map(|_| cache.try_refresh_async(options.clone(), async || never())));
        let tells = async {
            let_others_run().await;
            go_on.notify_one();
        };
        let (lead, others, ()) = futures::join!(leads, others, tells);
        assert_eq!(lead, 2);
        assert!(others.iter().all(|other| *other == Ok(2)), "{others:?}");
    });
    assert_eq!(counted(&cache), (1, 0, 1));
    // Sync callers too.
    let gate = Gate::default();
    thread::scope(|scope| {
        let leads = scope.spawn(|| {
            cache.refresh(options.clone(), || {
                gate.pass();
                3_u32
            })
        });
        gate.until_begun();
        let others: Vec<_> = (0..8).map(|_| scope.spawn(|| cache.refresh(options.clone(), || 4_u32))).collect();
        thread::sleep(SHORT);
        gate.open();
        assert_eq!(leads.join().expect("it doesn't panic"), 3);
        // One that came late has run its own.
        assert!(others.into_iter().all(|other| [3, 4].contains(&other.join().expect("it doesn't panic"))));
    });
}

fn plain_callers_are_served_meanwhile(backend: &impl Backend) {
    let cache = backend.cache();
    for (options, remaining) in [(plain("fresh"), FRESH), (revalidated("stale"), STALE)] {
        backend.set(&cache, &options, 1, remaining);
        current_thread().block_on(async {
            let go_on = Notify::new();
            let mut refreshing = Box::pin(cache.refresh_async(options.clone(), async || {
                go_on.notified().await;
                2_u32
            }));
            assert!(futures::poll!(refreshing.as_mut()).is_pending());
            let served = async {
                for _ in 0..10 {
                    assert_eq!(cache.try_cached_async(options.clone(), async || never()).await, Ok(1));
                }
            };
            tokio::select! {
                _ = refreshing.as_mut() => panic!("its work waits"),
                () = served => {}
            }
            go_on.notify_one();
            assert_eq!(refreshing.await, 2);
            assert_eq!(cache.try_cached_async(options.clone(), async || never()).await, Ok(2));
        });
    }
}

fn a_caller_that_finds_nothing_waits_for_the_refresh(backend: &impl Backend) {
    let cache = backend.cache();
    let options = if_error("f");
    // What is stale and served for errors alone is nothing here.
    for remaining in [None, Some(STALE)] {
        cache.remove(options.clone()).expect("the cache is there");
        if let Some(remaining) = remaining {
            backend.set(&cache, &options, 1, remaining);
        }
        current_thread().block_on(async {
            let go_on = Notify::new();
            let mut refreshing = Box::pin(cache.refresh_async(options.clone(), async || {
                go_on.notified().await;
                2_u32
            }));
            assert!(futures::poll!(refreshing.as_mut()).is_pending());
            let waiting = cache.try_cached_async(options.clone(), async || never());
            let tells = async {
                let_others_run().await;
                go_on.notify_one();
            };
            let (refreshed, waited, ()) = futures::join!(refreshing, waiting, tells);
            assert_eq!((refreshed, waited), (2, Ok(2)));
        });
    }
}

/// Has `meanwhile` done while the value of a plain miss is computed.
fn while_computing(cache: &CacheHandle, options: &CacheOptions, meanwhile: impl AsyncFnOnce()) {
    current_thread().block_on(async {
        let go_on = Notify::new();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let older = cache.cached_async(options.clone(), async || {
            begun.send(()).expect("the test waits for it");
            go_on.notified().await;
            1_u32
        });
        let meanwhile = async {
            begins.await.expect("the work begins");
            meanwhile().await;
            go_on.notify_one();
        };
        let (older, ()) = futures::join!(older, meanwhile);
        assert_eq!(older, 1);
    });
}

fn an_older_fill_is_not_stored_over_a_refresh(backend: &impl Backend) {
    let cache = backend.cache();
    let options = plain("f");
    while_computing(&cache, &options, async || {
        assert_eq!(cache.refresh_async(options.clone(), async || 2_u32).await, 2);
    });
    assert_eq!(cache.get::<u32>(options), Some(2));
}

fn an_older_fill_of_another_handle_is_refused(backend: &impl Backend) {
    let (cache, options) = (backend.cache(), plain("f"));
    let Some(other) = backend.other() else { return };
    while_computing(&other, &options, async || {
        assert_eq!(cache.refresh_async(options.clone(), async || 2_u32).await, 2);
    });
    assert_eq!((cache.get::<u32>(options.clone()), other.get::<u32>(options)), (Some(2), Some(2)));
    assert_eq!(other.stats().fenced, 1);
}

fn a_refresh_that_is_removed_meanwhile_is_not_stored(backend: &impl Backend) {
    let cache = backend.cache();
    let others = std::iter::once(cache.clone()).chain(backend.other());
    for (number, remover) in others.enumerate() {
        let options = plain("f").arg(number);
        backend.set(&cache, &options, 1, FRESH);
        current_thread().block_on(async {
            let refreshed = cache.refresh_async(options.clone(), async || {
                remover.remove_async(options.clone()).await.expect("the cache is there");
                2_u32
            });
            assert_eq!(refreshed.await, 2);
        });
        assert_eq!(cache.get::<u32>(options), None);
    }
}

fn a_dropped_refresh_hands_over(backend: &impl Backend) {
    let (cache, options) = (backend.cache(), plain("f"));
    multi_thread(2).block_on(async {
        let begun = Arc::new(Notify::new());
        let first = {
            let (cache, options, begun) = (cache.clone(), options.clone(), begun.clone());
            tokio::spawn(async move {
                let work = async || {
                    begun.notify_one();
                    std::future::pending::<u32>().await
                };
                cache.refresh_async(options, work).await
            })
        };
        begun.notified().await;
        let second = cache.refresh_async(options.clone(), async || 2_u32);
        let plain = cache.cached_async(options.clone(), async || 3_u32);
        let drops = async {
            let_others_run().await;
            first.abort();
        };
        let (second, plain, ()) = futures::join!(second, plain, drops);
        assert_eq!(second, 2);
        assert!([2, 3].contains(&plain));
    });
    assert_eq!(cache.get::<u32>(options), Some(2));
}

fn a_refresh_runs_with_a_lease_too(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        let options = plain("f").arg(is_async).lease(TTL);
        backend.set(&cache, &options, 1, FRESH);
        assert_eq!(refresh(is_async, &cache, options.clone(), || Ok(2)), Ok(2));
        assert_eq!(ask(is_async, &cache, options, never), Ok(2));
    }
}
