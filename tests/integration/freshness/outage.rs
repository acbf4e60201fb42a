//! Windows while the server goes away and comes back, lives that pass for good, and the attribute's options.

use std::time::Duration;

use super::*;
use crate::support::{finishes, until_degraded};

#[test]
fn memory_serves_stale_values_by_the_same_rules_in_an_outage() {
    finishes("an outage in a window", || {
        let backend = Standalone::start();
        let cache = backend.cache();
        let cases = [(plain("plain"), STALE), (revalidated("revalidated"), STALE), (if_error("if_error"), STALE)];
        for (options, remaining) in &cases {
            backend.set(&cache, options, 1, *remaining);
            // Memory has a copy from here on.
            assert_eq!(cache.try_cached(options.clone(), fails), Ok(1));
        }
        backend.set(&cache, &if_error("removed"), 1, STALE);
        assert_eq!(cache.try_cached(if_error("removed"), fails), Ok(1));
        backend.0.kill();
        until_degraded(&cache);
        backend.clock().advance(Duration::from_secs(2));
        for is_async in SIDES {
            assert_eq!(ask(is_async, &cache, plain("plain"), never), Ok(1));
            for options in [revalidated("revalidated"), if_error("if_error")] {
                assert!(!cache.contains(options.clone()));
                assert_eq!(cache.get::<u32>(options.clone()), None);
                assert_eq!(ask(is_async, &cache, options.clone(), fails), Ok(1));
                assert_eq!(ask(is_async, &cache, options.clone(), never), Ok(1), "it's held back");
            }
            backend.clock().advance(Duration::from_secs(2));
        }
        // A removal in the outage ends a window, too.
        assert!(cache.remove(if_error("removed")).expect("it's journalled").journalled);
        assert_eq!(ask(false, &cache, if_error("removed"), fails), fails());
        assert_eq!(ask(false, &cache, revalidated("revalidated"), || Ok(2)), Ok(2));
        assert_eq!(ask(false, &cache, revalidated("revalidated"), never), Ok(2));
        // Past its windows nothing is served.
        backend.clock().advance(STALE);
        assert_eq!(ask(false, &cache, if_error("if_error"), fails), fails());
        assert_eq!(ask(false, &cache, plain("plain"), fails), fails());
    });
}

#[test]
fn a_renewal_that_an_outage_overtakes_ends() {
    finishes("a renewal whose server goes away", || {
        let backend = Standalone::start();
        let cache = backend.cache();
        let options = revalidated("f");
        backend.set(&cache, &options, 1, STALE);
        current_thread().block_on(async {
            let work = async || {
                backend.0.kill();
                until_degraded(&cache);
                // A call of the same key inside the work runs alone.
                assert_eq!(cache.try_cached_async(options.clone(), async || Ok::<u32, &str>(9)).await, Ok(9));
                Ok::<u32, &str>(2)
            };
            assert_eq!(cache.try_cached_async(options.clone(), work).await, Ok(2));
        });
        assert_eq!(ask(false, &cache, options.clone(), never), Ok(2), "memory has it");
        backend.0.restart();
        wait_until("the server is used again", DEADLINE, || cache.health().is_connected());
        assert_eq!(ask(false, &cache, options, || Ok(3)), Ok(3), "the server is empty");
    });
}

/// By the server's own clock.
#[test]
fn a_value_grows_stale_and_then_goes() {
    finishes("a value to its end", || {
        let backend = Standalone::start();
        let cache = backend.cache();
        let window = Duration::from_millis(1_500);
        for (n, options) in [revalidated("a"), if_error("b")].into_iter().enumerate() {
            let zero = Duration::ZERO;
            let options = options.expire(Duration::from_millis(300)).retry_after(Duration::from_millis(1));
            let options = match n {
                0 => options.stale_while_revalidate(window).stale_if_error(zero),
                _ => options.stale_if_error(window).stale_while_revalidate(zero),
            };
            assert_eq!(ask(false, &cache, options.clone(), || Ok(1)), Ok(1));
            let mut seen_stale = false;
            wait_until("the value is gone", DEADLINE, || {
                backend.clock().advance(Duration::from_millis(1));
                let entry = cache.try_entry(options.clone(), |_| fails());
                seen_stale |= entry.as_ref().is_ok_and(cache_house::Entry::is_stale);
                entry.is_err()
            });
            assert!(seen_stale);
        }
        assert!(cache.stats().stale_hits > 0);
    });
}

#[cfg(feature = "macros")]
#[test]
fn the_attributes_options_reach_the_engine() {
    use cache_house::cached;

    #[cached(handle = cache, skip(cache, runs, outcome), expire = "10m", stale_if_error = "10m", retry_after = "5s")]
    fn rate(cache: &CacheHandle, runs: &Count, outcome: Outcome, currency: &str) -> Result<u32, &'static str> {
        assert!(!currency.is_empty());
        runs.add_one();
        outcome
    }

    let backend = Memory::start();
    let (cache, runs) = (backend.cache(), Count::default());
    assert_eq!(rate(&cache, &runs, Ok(1), "EUR"), Ok(1));
    backend.clock().advance(TTL + STALE);
    assert_eq!(rate(&cache, &runs, fails(), "EUR"), Ok(1));
    assert_eq!(rate(&cache, &runs, Ok(2), "EUR"), Ok(1), "it's held back");
    backend.clock().advance(Duration::from_secs(5));
    assert_eq!(rate(&cache, &runs, Ok(2), "EUR"), Ok(2));
    assert_eq!(runs.read(), 3);
}

#[test]
fn a_copy_of_a_value_without_a_ttl_is_fresh_in_an_outage() {
    finishes("a value without a TTL", || {
        let backend = Standalone::start();
        let (cache, options) = (backend.cache(), if_error("endless"));
        backend.set(&cache, &options, 1, STALE);
        let key = cache.key(&options).expect("it has a key");
        assert_eq!(backend.0.command(&["PERSIST", &key]).integer(), 1);
        assert_eq!(ask(false, &cache, options.clone(), never), Ok(1));
        backend.0.kill();
        until_degraded(&cache);
        assert_eq!(ask(false, &cache, options, never), Ok(1));
    });
}
