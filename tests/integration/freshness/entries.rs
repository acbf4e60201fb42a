//! What a call says of its value, what work decides about it, and failures that are shared.

use std::thread;
use std::time::Duration;

use cache_house::{Entry, Source, WorkContext};
use tokio::sync::Notify;

use super::*;
use crate::support::let_others_run;

over_backends!(
    an_entry_says_where_its_value_is_from_and_how_fresh_it_is,
    work_sees_what_it_replaces,
    work_decides_how_long_its_value_lives,
    a_value_decides_how_long_it_lives,
    a_decision_that_panics_stores_nothing,
    what_is_not_stored_is_shared_all_the_same,
    a_hundred_callers_share_one_failure,
    sync_callers_share_a_failure,
    a_shared_failure_is_not_kept,
    old_values_win_over_shared_failures,
    callers_that_share_and_callers_that_do_not_mix,
);

fn entry(
    is_async: bool,
    cache: &CacheHandle,
    options: CacheOptions,
    work: impl FnOnce(WorkContext<u32>) -> Outcome,
) -> Result<Entry<u32>, &'static str> {
    match is_async {
        false => cache.try_entry(options, work),
        true => current_thread().block_on(cache.try_entry_async(options, async |cx| work(cx))),
    }
}

/// Within the seconds that a test takes.
#[track_caller]
fn assert_near(duration: Option<Duration>, expected: Duration) {
    let duration = duration.expect("it's known");
    assert!(duration.abs_diff(expected) < Duration::from_secs(60), "{duration:?}, and not about {expected:?}");
}

fn an_entry_says_where_its_value_is_from_and_how_fresh_it_is(backend: &impl Backend) {
    let cache = backend.cache();
    let stored = if backend.other().is_some() { Source::Server } else { Source::Memory };
    for is_async in SIDES {
        let options = || revalidated("f").arg(is_async);
        let made = entry(is_async, &cache, options(), |_| Ok(1)).expect("it's made");
        assert_eq!((*made.value(), made.source(), made.is_stale()), (1, Source::Work, false));
        assert_eq!((made.age(), made.remaining()), (Some(Duration::ZERO), Some(TTL)));

        let hit = entry(is_async, &cache, options(), |_| never()).expect("it's there");
        assert_eq!((*hit.value(), hit.source(), hit.is_stale()), (1, stored, false));
        assert_near(hit.age(), Duration::ZERO);
        assert_near(hit.remaining(), TTL);

        let options = || options().arg("set");
        backend.set(&cache, &options(), 1, FRESH);
        let fresh = entry(is_async, &cache, options(), |_| never()).expect("it's there");
        assert_near(fresh.age(), 2 * TTL - FRESH);
        assert_near(fresh.remaining(), FRESH - TTL);

        let options = || options().arg("stale");
        backend.set(&cache, &options(), 1, STALE);
        let stale = entry(is_async, &cache, options(), |_| fails()).expect("it's there");
        assert_eq!((*stale.value(), stale.source(), stale.is_stale()), (1, stored, true));
        assert_near(stale.age(), 2 * TTL - STALE);
        assert_eq!(stale.remaining(), Some(Duration::ZERO));

        let plain = plain("plain").arg(is_async);
        backend.set(&cache, &plain, 1, STALE);
        let hit = entry(is_async, &cache, plain.clone(), |_| never()).expect("it's there");
        assert!(!hit.is_stale());
        assert_near(hit.age(), TTL - STALE);
        assert_near(hit.remaining(), STALE);
        assert_eq!(hit.into_value(), 1);
    }
    assert_eq!(entry(false, &cache, plain("none"), |_| fails()).map(Entry::into_value), fails());
    // Who waits for another.
    current_thread().block_on(async {
        let go_on = Notify::new();
        let leads = cache.entry_async(plain("waited"), async |_| {
            go_on.notified().await;
            1_u32
        });
        let waits = cache.entry_async(plain("waited"), async |_| 2_u32);
        let tells = async {
            let_others_run().await;
            go_on.notify_one();
        };
        let (_, waited, ()) = futures::join!(leads, waits, tells);
        assert_eq!((*waited.value(), waited.source(), waited.is_stale()), (1, Source::Coalesced, false));
        assert_near(waited.remaining(), TTL);
    });
}

fn work_sees_what_it_replaces(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        let options = || if_error("f").arg(is_async);
        let key = cache.key(&options()).expect("it has a key");
        let made = entry(is_async, &cache, options(), |cx| {
            assert_eq!((cx.stale(), cx.key()), (None, key.as_str()));
            Ok(1)
        });
        assert_eq!(made.map(Entry::into_value), Ok(1));
        let options = || options().arg("set");
        backend.set(&cache, &options(), 1, STALE);
        // "Not modified": the old value once more.
        let renewed = entry(is_async, &cache, options(), |cx| cx.clone().stale().copied().ok_or("no value"));
        let renewed = renewed.expect("it's there");
        assert_eq!((*renewed.value(), renewed.is_stale(), renewed.source()), (1, false, Source::Work));
        let hit = entry(is_async, &cache, options(), |_| never()).expect("it's stored anew");
        assert_near(hit.remaining(), TTL);
    }
}

fn work_decides_how_long_its_value_lives(backend: &impl Backend) {
    let cache = backend.cache();
    for is_async in SIDES {
        let options = || revalidated("f").arg(is_async);
        let made = entry(is_async, &cache, options(), |cx| {
            cx.expire(TTL / 4);
            Ok(1)
        });
        assert_eq!(made.expect("it's made").remaining(), Some(TTL / 4));
        if let Some(remaining) = backend.remaining(&cache, &options()) {
            assert_near(Some(remaining), TTL / 4 + TTL);
        }
        assert_near(entry(is_async, &cache, options(), |_| never()).expect("it's there").remaining(), TTL / 4);
        for skips in [false, true] {
            let options = || options().arg(skips);
            let made = entry(is_async, &cache, options(), |cx| {
                if skips {
                    cx.skip_store();
                } else {
                    cx.expire(Duration::ZERO);
                }
                Ok(1)
            });
            let made = made.expect("it's made");
            assert_eq!((made.remaining(), made.is_stale(), made.age()), (None, false, Some(Duration::ZERO)));
            assert!(!cache.contains(options()));
        }
    }
    // What isn't stored leaves the old value alone.
    backend.set(&cache, &revalidated("old"), 1, STALE);
    let made = cache.entry(revalidated("old"), |cx| {
        cx.skip_store();
        2_u32
    });
    assert_eq!(*made.value(), 2);
    assert_eq!(ask(false, &cache, revalidated("old"), fails), Ok(1));
}

fn a_value_decides_how_long_it_lives(backend: &impl Backend) {
    let cache = backend.cache();
    let by_value = |n: u32| revalidated("f").arg(n).expire_by(|value: &u32| Duration::from_secs(u64::from(*value)));
    for (value, stores) in [(0, false), (300, true), (3_000, true)] {
        assert_eq!(cache.cached(by_value(value), || value), value);
        let found = cache.entry(by_value(value), |_| 7_u32);
        if stores {
            assert_eq!(*found.value(), value);
            assert_near(found.remaining(), Duration::from_secs(u64::from(value)));
            assert_near(found.age(), Duration::ZERO);
        } else {
            assert_eq!(*found.value(), 7, "zero TTL");
        }
    }
    let conditional = |n: u32| plain("g").arg(n).store_if(|value: &u32| *value > 1);
    for (value, next) in [(1, 7), (2, 2)] {
        assert_eq!(current_thread().block_on(cache.cached_async(conditional(value), async || value)), value);
        assert_eq!(cache.cached(conditional(value), || 7_u32), next);
    }
    // Both say what an insert stores, and what goes.
    cache.insert(conditional(3), &5).expect("it's stored");
    assert!(cache.contains(plain("g").arg(3)));
    cache.insert(conditional(3), &1).expect("the old value goes");
    assert!(!cache.contains(plain("g").arg(3)));
}

fn a_decision_that_panics_stores_nothing(backend: &impl Backend) {
    let cache = backend.cache();
    let by_value = || plain("f").expire_by(|_: &u32| panic!("own"));
    let conditional = || plain("g").store_if(|_: &u32| panic!("own"));
    assert_eq!((cache.cached(by_value(), || 1_u32), cache.cached(conditional(), || 1_u32)), (1, 1));
    current_thread().block_on(async {
        assert_eq!(cache.cached_async(by_value(), async || 2_u32).await, 2);
        assert_eq!(cache.refresh_async(conditional(), async || 2_u32).await, 2);
    });
    assert!(!cache.contains(plain("f")) && !cache.contains(plain("g")));
    backend.set(&cache, &plain("f"), 5, STALE);
    // Its age isn't known, and that's no reason to fail.
    let entry = cache.entry(by_value(), |_| 6_u32);
    assert_eq!(*entry.value(), 5);
}

fn what_is_not_stored_is_shared_all_the_same(backend: &impl Backend) {
    let cache = backend.cache();
    let runs = Count::default();
    for (number, ttl) in [Duration::ZERO, TTL].into_iter().enumerate() {
        let options = || plain("f").arg(number).expire_by(move |_: &u32| ttl).store_if(move |_: &u32| ttl.is_zero());
        current_thread().block_on(async {
            // So that the work doesn't begin before all have joined: what isn't stored is as old as its work.
            backend.servers().into_iter().for_each(Server::freeze);
            let go_on = Notify::new();
            let work = async || {
                go_on.notified().await;
                10 * runs.add_one()
            };
            let leads = cache.cached_async(options(), work);
            let others =
                futures::future::join_all((0..20).map(|_| cache.cached_async(options(), async || runs.add_one())));
            let tells = async {
                let_others_run().await;
                backend.servers().into_iter().for_each(Server::thaw);
                go_on.notify_one();
            };
            let (lead, others, ()) = futures::join!(leads, others, tells);
            assert!(others.iter().all(|other| *other == lead), "{lead} {others:?}");
        });
        assert!(!cache.contains(plain("f").arg(number)));
    }
    assert_eq!(runs.read(), 2);
}

fn a_hundred_callers_share_one_failure(backend: &impl Backend) {
    let (cache, runs) = (backend.cache(), Count::default());
    current_thread().block_on(async {
        let go_on = Notify::new();
        let leads = cache.try_cached_shared_async(plain("f"), async || {
            go_on.notified().await;
            runs.add_one();
            Err::<u32, _>("no route".to_owned())
        });
        let others = futures::future::join_all((0..100).map(|_| {
            cache.try_cached_shared_async(plain("f"), async || {
                runs.add_one();
                Err::<u32, _>("another".to_owned())
            })
        }));
        let tells = async {
            let_others_run().await;
            go_on.notify_one();
        };
        let (lead, others, ()) = futures::join!(leads, others, tells);
        let failure = lead.expect_err("it fails");
        assert_eq!(*failure, "no route");
        for other in others {
            assert!(Arc::ptr_eq(&other.expect_err("it fails for all"), &failure), "the very same");
        }
    });
    assert_eq!((runs.read(), cache.stats().runs), (1, 1));
}

fn sync_callers_share_a_failure(backend: &impl Backend) {
    let (cache, runs) = (backend.cache(), Count::default());
    let gate = Gate::default();
    thread::scope(|scope| {
        let leads = scope.spawn(|| {
            cache.try_cached_shared(plain("f"), || {
                gate.pass();
                runs.add_one();
                Err::<u32, _>("no route")
            })
        });
        gate.until_begun();
        let coalesced = || cache.stats().coalesced;
        let others: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    cache.try_cached_shared(plain("f"), || {
                        runs.add_one();
                        Err::<u32, _>("another")
                    })
                })
            })
            .collect();
        thread::sleep(10 * SHORT);
        gate.open();
        assert_eq!(leads.join().expect("it doesn't panic"), Err(Arc::new("no route")));
        let failures: Vec<_> = others.into_iter().map(|other| other.join().expect("it doesn't panic")).collect();
        let shared = failures.iter().filter(|failure| **failure == Err(Arc::new("no route"))).count();
        // One that came late ran its own.
        assert!(shared > 0 && runs.read() < 17, "{shared} {}", coalesced());
        assert_eq!(coalesced(), shared as u64 + 16 - shared as u64 - (u64::from(runs.read()) - 1));
    });
}

fn a_shared_failure_is_not_kept(backend: &impl Backend) {
    let cache = backend.cache();
    assert_eq!(cache.try_cached_shared(plain("f"), fails), Err(Arc::new("no route")));
    assert_eq!(cache.try_cached_shared(plain("f"), || Ok::<u32, &str>(1)), Ok(1));
    assert_eq!(current_thread().block_on(cache.try_cached_shared_async(plain("f"), async || fails())), Ok(1));
}

fn old_values_win_over_shared_failures(backend: &impl Backend) {
    let cache = backend.cache();
    backend.set(&cache, &if_error("f"), 1, STALE);
    assert_eq!(cache.try_cached_shared(if_error("f"), fails), Ok(1));
    assert_eq!(current_thread().block_on(cache.try_cached_shared_async(if_error("f"), async || never())), Ok(1));
}

fn callers_that_share_and_callers_that_do_not_mix(backend: &impl Backend) {
    let cache = backend.cache();
    current_thread().block_on(async {
        let go_on = Notify::new();
        let leads = cache.try_cached_shared_async(plain("f"), async || {
            go_on.notified().await;
            fails()
        });
        let other_type = cache.try_cached_shared_async(plain("f"), async || Err::<u32, _>(7_u8));
        let own = cache.try_cached_async(plain("f"), async || Ok::<u32, &str>(2));
        let tells = async {
            let_others_run().await;
            go_on.notify_one();
        };
        let (lead, other_type, own, ()) = futures::join!(leads, other_type, own, tells);
        assert_eq!((lead, other_type, own), (Err(Arc::new("no route")), Err(Arc::new(7)), Ok(2)));
        // A failure that isn't shared.
        let leads = cache.try_cached_async(plain("g"), async || {
            go_on.notified().await;
            fails()
        });
        let shares = cache.try_cached_shared_async(plain("g"), async || Ok::<u32, &str>(2));
        let tells = async {
            let_others_run().await;
            go_on.notify_one();
        };
        let (lead, shares, ()) = futures::join!(leads, shares, tells);
        assert_eq!((lead, shares), (fails(), Ok(2)));
    });
}
