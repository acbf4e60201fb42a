//! Which values are kept, and for how long.

use std::time::Duration;

use super::{Fixture, Runs, call, over_every_backend};
use crate::support::hits;

over_every_backend!(
    zero_empty_false_none_and_nothing_are_values_that_hit,
    hits_misses_and_runs_are_counted,
    a_value_lives_as_long_as_its_call_says,
    a_value_lives_as_long_as_its_handle_says,
    a_zero_expire_runs_each_time_and_stores_nothing,
    the_shortest_expire_is_one,
    a_value_over_the_limit_is_returned_and_not_stored,
    a_value_at_the_limit_is_stored,
    an_error_is_returned_and_not_stored,
    a_value_of_another_type_is_a_miss_and_overwritten,
    a_call_that_has_no_key_runs_uncached,
    memory_holds_no_more_than_its_bounds,
);

fn zero_empty_false_none_and_nothing_are_values_that_hit(fixture: &impl Fixture) {
    let cache = fixture.build();
    let runs = Runs::default();
    for _ in 0..2 {
        assert_eq!(cache.cached(call("zero"), runs.gives(0)), 0);
        assert_eq!(cache.cached(call("empty"), runs.gives(String::new())), "");
        assert!(!cache.cached(call("false"), runs.gives(false)));
        assert_eq!(cache.cached(call("none"), runs.gives(None::<u8>)), None);
        assert!(cache.cached(call("nothing"), runs.gives(Vec::<u8>::new())).is_empty());
        cache.cached(call("unit"), runs.gives(()));
    }
    assert_eq!(runs.count(), 6);
    assert_eq!(hits(&cache.stats()), 6);
    assert_eq!(cache.get::<Option<u8>>(call("none")), Some(None));
}

fn hits_misses_and_runs_are_counted(fixture: &impl Fixture) {
    let cache = fixture.build();
    for (name, n) in [("one", 1), ("two", 2), ("one", 3), ("one", 4)] {
        cache.cached(call(name), || n);
    }
    let stats = cache.stats();
    assert_eq!((hits(&stats), stats.misses, stats.runs), (2, 2, 2), "{stats:?}");
    let from_server = if fixture.server().is_some() { 2 } else { 0 };
    assert_eq!(stats.server_hits, from_server);

    assert_eq!(cache.get::<i32>(call("one")), Some(1));
    assert_eq!(cache.get::<i32>(call("three")), None);
    let stats = cache.stats();
    assert_eq!((hits(&stats), stats.misses, stats.runs), (3, 3, 2), "{stats:?}");
}

fn a_value_lives_as_long_as_its_call_says(fixture: &impl Fixture) {
    let cache = fixture.build();
    let runs = Runs::default();
    let ttl = Duration::from_millis(137);
    let key = cache.key(&call("short")).expect("it has a key");
    cache.cached(call("long"), runs.gives(1));
    cache.cached(call("short").expire(ttl), runs.gives(2));
    fixture.outlive(&key, ttl);
    assert_eq!(cache.get::<i32>(call("short")), None);
    assert_eq!(cache.cached(call("short"), runs.gives(3)), 3);
    assert_eq!(cache.cached(call("long"), runs.gives(4)), 1);
    assert_eq!(runs.count(), 3);
}

fn a_value_lives_as_long_as_its_handle_says(fixture: &impl Fixture) {
    let ttl = Duration::from_millis(83);
    let cache = fixture.build_with(|builder| builder.expire(ttl));
    let key = cache.key(&call("short")).expect("it has a key");
    cache.cached(call("short"), || 1);
    fixture.outlive(&key, ttl);
    assert_eq!(cache.cached(call("short"), || 2), 2);
}

fn a_zero_expire_runs_each_time_and_stores_nothing(fixture: &impl Fixture) {
    let cache = fixture.build();
    for n in 0..3 {
        assert_eq!(cache.cached(call("unstored").expire(Duration::ZERO), || n), n);
    }
    assert!(!cache.contains(call("unstored")));
    fixture.assert_server_is_empty();

    // To insert a value that isn't to be stored leaves none: the one before is out of date.
    cache.insert(call("unstored"), &7).expect("it's stored");
    cache.insert(call("unstored").expire(Duration::ZERO), &8).expect("it's done");
    assert_eq!(cache.get::<i32>(call("unstored")), None);
    fixture.assert_server_is_empty();
}

fn the_shortest_expire_is_one(fixture: &impl Fixture) {
    let cache = fixture.build();
    let ttl = Duration::from_nanos(1);
    let key = cache.key(&call("blink")).expect("it has a key");
    cache.insert(call("blink").expire(ttl), &1).expect("it's stored");
    fixture.outlive(&key, Duration::from_millis(1));
    assert_eq!(cache.get::<i32>(call("blink")), None);
}

fn a_value_over_the_limit_is_returned_and_not_stored(fixture: &impl Fixture) {
    let cache = fixture.build_with(|builder| builder.max_value_bytes(100));
    // With the quotes of JSON, one byte too many.
    let large = "x".repeat(99);
    let runs = Runs::default();
    for _ in 0..2 {
        assert_eq!(cache.cached(call("large"), runs.gives(large.clone())), large);
    }
    assert_eq!(runs.count(), 2);
    assert_eq!(cache.stats().uncached, 2);
    let error = cache.insert(call("large"), &large).expect_err("it's too large");
    assert!(error.is_too_large(), "{error}");
    assert!(!cache.contains(call("large")));
    fixture.assert_server_is_empty();
}

fn a_value_at_the_limit_is_stored(fixture: &impl Fixture) {
    let cache = fixture.build_with(|builder| builder.max_value_bytes(100));
    let runs = Runs::default();
    for _ in 0..2 {
        cache.cached(call("large"), runs.gives("x".repeat(98)));
    }
    assert_eq!(runs.count(), 1);
}

fn an_error_is_returned_and_not_stored(fixture: &impl Fixture) {
    let cache = fixture.build();
    assert_eq!(cache.try_cached(call("flaky"), || Err::<u8, _>("no")), Err("no"));
    assert!(!cache.contains(call("flaky")));
    fixture.assert_server_is_empty();
    assert_eq!(cache.try_cached(call("flaky"), || Ok::<u8, &str>(1)), Ok(1));
    assert_eq!(cache.try_cached(call("flaky"), || Err::<u8, _>("no")), Ok(1));
    assert_eq!(cache.stats().runs, 2);
}

fn a_value_of_another_type_is_a_miss_and_overwritten(fixture: &impl Fixture) {
    let cache = fixture.build();
    cache.cached(call("shape"), || "text".to_owned());
    assert_eq!(cache.get::<u32>(call("shape")), None);
    assert_eq!(cache.cached(call("shape"), || 5_u32), 5);
    assert_eq!(cache.cached(call("shape"), || 6_u32), 5);
    assert_eq!(cache.get::<String>(call("shape")), None);
}

fn a_call_that_has_no_key_runs_uncached(fixture: &impl Fixture) {
    let cache = fixture.build();
    let unkeyable = || call("unkeyable").arg(f64::NAN);
    for n in 0..2 {
        assert_eq!(cache.cached(unkeyable(), || n), n);
    }
    assert_eq!(cache.stats().runs, 2);
    assert_eq!(cache.stats().uncached, 2);
    assert_eq!(cache.get::<i32>(unkeyable()), None);
    assert!(!cache.contains(unkeyable()));
    assert!(cache.insert(unkeyable(), &1).expect_err("it has no key").is_key());
    assert!(cache.remove(unkeyable()).expect_err("it has no key").is_key());
    assert!(cache.key(&unkeyable()).expect_err("it has no key").is_key());
    fixture.assert_server_is_empty();
}

fn memory_holds_no_more_than_its_bounds(fixture: &impl Fixture) {
    let cache = fixture.build_with(|builder| builder.memory_max_entries(100).memory_max_bytes(100_000));
    for n in 0..300 {
        cache.cached(call("f").arg(n), || "x".repeat(n));
        let stats = cache.stats();
        assert!(stats.memory_entries <= 100 && stats.memory_bytes <= 100_000, "{stats:?}");
    }
}
