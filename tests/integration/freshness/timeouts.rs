//! Work that is slower than its timeouts.

use std::future::pending;
use std::thread;
use std::time::Instant;

use tokio::sync::Notify;

use super::*;
use crate::support::multi_thread;

over_backends!(
    slow_async_work_leaves_the_old_value_and_is_dropped,
    slow_sync_work_goes_on_and_others_are_served_the_old_value,
    without_an_old_value_a_soft_timeout_changes_nothing,
    hung_work_frees_its_key_after_its_hard_timeout,
    hung_sync_work_frees_its_key_after_its_hard_timeout,
    a_waiter_on_hung_work_takes_a_turn,
    late_work_returns_its_value_and_its_error,
    work_in_time_is_stored,
);

/// Sets a flag once it's dropped.
struct Dropped(Count);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add_one();
    }
}

fn slow_async_work_leaves_the_old_value_and_is_dropped(backend: &impl Backend) {
    let cache = backend.cache();
    let cases = [
        revalidated("a").soft_timeout(SHORT),
        if_error("b").soft_timeout(SHORT),
        revalidated("c").hard_timeout(SHORT),
        if_error("d").hard_timeout(SHORT),
        if_error("e").soft_timeout(SHORT).hard_timeout(TTL),
    ];
    for options in cases {
        backend.set(&cache, &options, 1, STALE);
        let dropped = Count::default();
        let guard = Dropped(dropped.clone());
        current_thread().block_on(async {
            let begun = Instant::now();
            let work = async || {
                let _guard = guard;
                pending::<Outcome>().await
            };
            assert_eq!(cache.try_cached_async(options.clone(), work).await, Ok(1));
            assert!(begun.elapsed() >= SHORT);
            assert_eq!(dropped.read(), 1);
            assert_eq!(cache.try_cached_async(options.clone(), async || never()).await, Ok(1), "it's held back");
        });
        backend.clock().advance(Duration::from_secs(2));
        assert_eq!(ask(true, &cache, options, || Ok(2)), Ok(2));
    }
    assert_eq!(counted(&cache), (10, 10, 10));
}

fn slow_sync_work_goes_on_and_others_are_served_the_old_value(backend: &impl Backend) {
    let cache = backend.cache();
    for options in [revalidated("a").soft_timeout(SHORT), if_error("b").soft_timeout(SHORT)] {
        backend.set(&cache, &options, 1, STALE);
        let gate = Gate::default();
        thread::scope(|scope| {
            let slow = scope.spawn(|| {
                cache.try_cached(options.clone(), || {
                    gate.pass();
                    Ok::<u32, &str>(2)
                })
            });
            gate.until_begun();
            for is_async in SIDES {
                assert_eq!(ask(is_async, &cache, options.clone(), never), Ok(1));
            }
            thread::sleep(2 * SHORT);
            gate.open();
            assert_eq!(slow.join().expect("it doesn't panic"), Ok(2), "nothing interrupts sync work");
        });
        assert_eq!(ask(false, &cache, options, never), Ok(2));
    }
}

fn without_an_old_value_a_soft_timeout_changes_nothing(backend: &impl Backend) {
    let cache = backend.cache();
    let options = if_error("f").soft_timeout(SHORT);
    current_thread().block_on(async {
        let work = async || {
            tokio::time::sleep(3 * SHORT).await;
            Ok::<u32, &str>(1)
        };
        let (one, two) = futures::join!(
            cache.try_cached_async(options.clone(), work),
            cache.try_cached_async(options.clone(), async || never())
        );
        assert_eq!((one, two), (Ok(1), Ok(1)));
    });
    assert_eq!(ask(false, &cache, options, never), Ok(1), "it's stored");
}

fn hung_work_frees_its_key_after_its_hard_timeout(backend: &impl Backend) {
    let cache = backend.cache();
    let options = plain("f").hard_timeout(SHORT);
    current_thread().block_on(async {
        let go_on = Notify::new();
        let work = async || {
            go_on.notified().await;
            Ok::<u32, &str>(1)
        };
        let mut hung = Box::pin(cache.try_cached_async(options.clone(), work));
        let others = async {
            tokio::time::sleep(2 * SHORT).await;
            // Without a timeout of its own, which a busy machine might let pass.
            assert_eq!(cache.try_cached_async(plain("f"), async || Ok::<u32, &str>(2)).await, Ok(2));
            assert_eq!(cache.try_cached_async(options.clone(), async || never()).await, Ok(2));
        };
        tokio::select! {
            _ = hung.as_mut() => panic!("it goes on waiting for its own work"),
            () = others => {}
        }
        go_on.notify_one();
        assert_eq!(hung.await, Ok(1));
        assert_eq!(
            cache.try_cached_async(options.clone(), async || never()).await,
            Ok(2),
            "the late value isn't stored"
        );
    });
    if let Some(other) = backend.other() {
        assert_eq!(ask(false, &other, options.clone(), never), Ok(2));
    }
}

fn hung_sync_work_frees_its_key_after_its_hard_timeout(backend: &impl Backend) {
    let cache = backend.cache();
    let options = plain("f").hard_timeout(SHORT);
    let gate = Gate::default();
    thread::scope(|scope| {
        let hung = scope.spawn(|| {
            cache.cached(options.clone(), || {
                gate.pass();
                1_u32
            })
        });
        gate.until_begun();
        // The second waits at first, or comes after the timeout.
        assert_eq!(cache.cached(plain("f"), || 2_u32), 2);
        thread::sleep(2 * SHORT);
        gate.open();
        assert_eq!(hung.join().expect("it doesn't panic"), 1);
    });
    assert_eq!(cache.cached(options, || 3_u32), 2);
}

fn a_waiter_on_hung_work_takes_a_turn(backend: &impl Backend) {
    let cache = backend.cache();
    let options = plain("f").hard_timeout(4 * SHORT);
    multi_thread(2).block_on(async {
        let begun = Arc::new(Notify::new());
        let hung = {
            let (cache, options, begun) = (cache.clone(), options.clone(), begun.clone());
            tokio::spawn(async move {
                let work = async || {
                    begun.notify_one();
                    pending::<u32>().await
                };
                cache.cached_async(options, work).await
            })
        };
        begun.notified().await;
        let runs = Count::default();
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let (cache, runs) = (cache.clone(), runs.clone());
                tokio::spawn(async move { cache.cached_async(plain("f"), async || 100 + runs.add_one()).await })
            })
            .collect();
        for waiting in waiting {
            assert_eq!(waiting.await.expect("it doesn't panic"), 101);
        }
        hung.abort();
    });
}

fn late_work_returns_its_value_and_its_error(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        for end in [Ok(1), Err("no route")] {
            let options = plain("f").arg(is_async).hard_timeout(SHORT);
            let late = if is_async {
                current_thread().block_on(cache.try_cached_async(options.clone(), async || {
                    tokio::time::sleep(2 * SHORT).await;
                    end
                }))
            } else {
                cache.try_cached(options.clone(), || {
                    thread::sleep(2 * SHORT);
                    end
                })
            };
            assert_eq!(late, end);
            assert_eq!(cache.get::<u32>(options), None, "{is_async}");
        }
    }
}

fn work_in_time_is_stored(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        let options = plain("f").arg(is_async).hard_timeout(TTL).soft_timeout(TTL / 2);
        assert_eq!(ask(is_async, &cache, options.clone(), || Ok(1)), Ok(1));
        assert_eq!(ask(is_async, &cache, options, never), Ok(1));
    }
    wait_until("nothing is under way", DEADLINE, || cache.stats().runs == 2);
}
