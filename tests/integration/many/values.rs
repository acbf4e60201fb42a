//! What a batch returns and stores, over every backend.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use cache_house::CacheOptions;

use super::{Outcome, SIDES, Values, ask, call, never, squares};
use crate::conformance::{Fixture, over_every_backend};
use crate::support::{current_thread, hits};

over_every_backend!(
    what_is_cached_needs_no_run,
    what_is_missing_is_computed_in_one_run_in_the_order_asked,
    the_work_is_asked_for_nothing_but_what_is_missing,
    keys_of_the_same_call_are_asked_once,
    what_the_work_leaves_out_is_absent_and_not_stored,
    what_the_work_adds_is_ignored,
    no_keys_are_no_run,
    an_option_is_a_negative_result,
    calls_without_a_key_run_and_keep_nothing,
    a_closed_handle_runs_the_work,
    each_key_has_its_own_options,
    a_pair_of_functions_encodes_each_value,
    an_error_is_returned_once_and_nothing_is_stored,
    what_is_cached_and_fails_to_be_completed_is_an_error,
    a_forced_refresh_runs_for_all_keys,
    a_key_of_another_type_is_a_miss_for_its_batch,
);

/// The keys that the work is run for, each time.
#[derive(Default)]
struct Asked(RefCell<Vec<Vec<u32>>>);

impl Asked {
    fn squares(&self) -> impl FnOnce(Vec<u32>) -> Outcome {
        |missing| {
            self.0.borrow_mut().push(missing.clone());
            Ok(squares(missing))
        }
    }

    fn take(&self) -> Vec<Vec<u32>> {
        self.0.take()
    }
}

fn what_is_cached_needs_no_run(fixture: &impl Fixture) {
    let cache = fixture.build();
    for id in 0..30 {
        assert_eq!(cache.cached(call(id), || id * id), id * id);
    }
    for is_async in SIDES {
        let before = cache.stats();
        assert_eq!(ask(is_async, &cache, 0..30, |id| call(*id), never), Ok(squares(0..30)));
        let after = cache.stats();
        assert_eq!((after.runs - before.runs, hits(&after) - hits(&before)), (0, 30));
        assert_eq!(after.misses, before.misses);
    }
}

fn what_is_missing_is_computed_in_one_run_in_the_order_asked(fixture: &impl Fixture) {
    for is_async in SIDES {
        let (cache, asked) = (fixture.build(), Asked::default());
        let offset = u32::from(is_async) * 100;
        let keys = [5, 3, 9, 3, 1, 5].map(|key| key + offset);
        let distinct = [5, 3, 9, 1].map(|key| key + offset);
        assert_eq!(ask(is_async, &cache, keys, |id| call(*id), asked.squares()), Ok(squares(distinct)));
        assert_eq!(asked.take(), [distinct]);
        let stats = cache.stats();
        assert_eq!((stats.runs, stats.misses, hits(&stats)), (1, 4, 0));
        // Under the very keys of single calls, as the very bytes.
        for id in distinct {
            let key = cache.key(&call(id)).expect("it has a key");
            fixture.assert_stored(&key, (id * id).to_string().as_bytes());
            assert_eq!(cache.cached(call(id), || 0), id * id);
        }
        if let Some(server) = fixture.server() {
            let key = cache.key(&call(distinct[0])).expect("it has a key");
            assert!(server.millis_left(&key) > 60_000, "it lives as long as that of a single call");
            let leases: Vec<_> = server.keys().into_iter().filter(|key| key.contains("::lease:")).collect();
            assert!(leases.is_empty(), "{leases:?}");
        }
    }
}

fn the_work_is_asked_for_nothing_but_what_is_missing(fixture: &impl Fixture) {
    for is_async in SIDES {
        let (cache, asked) = (fixture.build(), Asked::default());
        let own = |id: &u32| call(*id).kwarg("side", is_async);
        for id in (0..40).filter(|id| id % 3 != 1) {
            cache.cached(own(&id), || id * id);
        }
        let before = cache.stats();
        assert_eq!(ask(is_async, &cache, 0..40, own, asked.squares()), Ok(squares(0..40)));
        assert_eq!(asked.take(), [(0..40).filter(|id| id % 3 == 1).collect::<Vec<_>>()]);
        let after = cache.stats();
        assert_eq!((after.runs - before.runs, after.misses - before.misses), (1, 13));
        assert_eq!(hits(&after) - hits(&before), 27);
        assert_eq!(ask(is_async, &cache, 0..40, own, never), Ok(squares(0..40)));
    }
}

fn keys_of_the_same_call_are_asked_once(fixture: &impl Fixture) {
    for is_async in SIDES {
        let (cache, asked) = (fixture.build(), Asked::default());
        // Two and three, four and five … are one call.
        let halved = |id: &u32| call(id / 2).kwarg("side", is_async);
        let values = ask(is_async, &cache, [4, 5, 7, 6], halved, asked.squares());
        assert_eq!(values, Ok(Values::from([(4, 16), (5, 16), (7, 49), (6, 49)])));
        assert_eq!(asked.take(), [[4, 7]]);
        assert_eq!(ask(is_async, &cache, [5, 6], halved, never), Ok(Values::from([(5, 16), (6, 49)])));
    }
}

fn what_the_work_leaves_out_is_absent_and_not_stored(fixture: &impl Fixture) {
    for is_async in SIDES {
        let (cache, own) = (fixture.build(), |id: &u32| call(*id).kwarg("side", is_async));
        let even = |missing: Vec<u32>| Ok(squares(missing.into_iter().filter(|id| id % 2 == 0)));
        assert_eq!(ask(is_async, &cache, 0..10, own, even), Ok(squares((0..10).step_by(2))));
        for id in 0..10 {
            assert_eq!(cache.contains(own(&id)), id % 2 == 0, "{id}");
        }
        // It's asked for again, and nothing else is.
        let asked = Asked::default();
        assert_eq!(ask(is_async, &cache, 0..10, own, asked.squares()), Ok(squares(0..10)));
        assert_eq!(asked.take(), [[1, 3, 5, 7, 9]]);
    }
}

fn what_the_work_adds_is_ignored(fixture: &impl Fixture) {
    for is_async in SIDES {
        let (cache, own) = (fixture.build(), |id: &u32| call(*id).kwarg("side", is_async));
        cache.cached(own(&1), || 1_u32);
        assert_eq!(
            ask(is_async, &cache, [1, 2], own, |_| Ok(squares(0..10)
                .into_iter()
                .map(|(key, value)| (key, value + 1000 * u32::from(key == 1)))
                .collect())),
            Ok(squares([1, 2]))
        );
        assert!(!cache.contains(own(&3)));
        assert_eq!(cache.get(own(&1)), Some(1_u32));
    }
}

fn no_keys_are_no_run(fixture: &impl Fixture) {
    let cache = fixture.build();
    for is_async in SIDES {
        assert_eq!(ask(is_async, &cache, [], |id| call(*id), never), Ok(Values::new()));
    }
    assert_eq!(cache.stats().runs, 0);
}

fn an_option_is_a_negative_result(fixture: &impl Fixture) {
    let cache = fixture.build();
    let work = |missing: Vec<u32>| missing.into_iter().map(|id| (id, (id % 2 == 0).then_some(id))).collect();
    let values: HashMap<u32, Option<u32>> = cache.cached_many([1, 2], |id| call(*id), work);
    assert_eq!(values, HashMap::from([(1, None), (2, Some(2))]));
    assert_eq!(cache.cached_many([1, 2], |id| call(*id), never::<HashMap<u32, Option<u32>>>), values);
}

fn calls_without_a_key_run_and_keep_nothing(fixture: &impl Fixture) {
    let cache = fixture.build();
    for is_async in SIDES {
        let asked = Asked::default();
        let odd_have_none = |id: &u32| match id % 2 {
            0 => call(*id).kwarg("side", is_async),
            _ => call(*id).arg(f64::NAN),
        };
        for missing in [vec![1, 2, 3], vec![1, 3]] {
            assert_eq!(ask(is_async, &cache, [1, 1, 2, 3], odd_have_none, asked.squares()), Ok(squares(1..4)));
            assert_eq!(asked.take(), [missing]);
        }
    }
    assert_eq!(cache.stats().runs, 4);
}

fn a_closed_handle_runs_the_work(fixture: &impl Fixture) {
    let cache = fixture.build();
    cache.cached(call(1), || 7);
    cache.close();
    for is_async in SIDES {
        let asked = Asked::default();
        assert_eq!(ask(is_async, &cache, [1, 2], |id| call(*id), asked.squares()), Ok(squares([1, 2])));
        assert_eq!(asked.take(), [[1, 2]]);
    }
}

fn each_key_has_its_own_options(fixture: &impl Fixture) {
    let cache = fixture.build();
    let second = Duration::from_secs(1);
    let own = |id: &u32| match id {
        0 => call(*id).expire(Duration::ZERO),
        1 => call(*id).namespace("own").expire(second),
        _ => call(*id),
    };
    assert_eq!(ask(true, &cache, 0..3, own, |missing| Ok(squares(missing))), Ok(squares(0..3)));
    assert!(!cache.contains(own(&0)));
    let key = cache.key(&own(&1)).expect("it has a key");
    assert!(key.contains(":own:"), "{key}");
    fixture.outlive(&key, second);
    assert_eq!((cache.get::<u32>(own(&1)), cache.get(own(&2))), (None, Some(4_u32)));
}

fn a_pair_of_functions_encodes_each_value(fixture: &impl Fixture) {
    #[derive(Clone, PartialEq, Debug)]
    struct Celsius(u8);

    let cache = fixture.build();
    let own = |city: &&'static str| {
        CacheOptions::new("temperature")
            .arg(city)
            .encoder(|v: &Celsius| Ok::<_, Infallible>(vec![v.0]))
            .decoder(|b: &[u8]| b.first().copied().map(Celsius).ok_or("no byte"))
            .store_if(|v: &Celsius| v.0 > 0)
    };
    let values = cache.cached_many(["Oslo", "Bergen"], own, |missing| {
        missing.into_iter().map(|city| (city, Celsius(if city == "Oslo" { 0 } else { 7 }))).collect()
    });
    assert_eq!(values, HashMap::from([("Oslo", Celsius(0)), ("Bergen", Celsius(7))]));
    fixture.assert_stored(&cache.key(&own(&"Bergen")).expect("it has a key"), &[7]);
    assert!(!cache.contains(own(&"Oslo")));
}

fn an_error_is_returned_once_and_nothing_is_stored(fixture: &impl Fixture) {
    let cache = fixture.build();
    for is_async in SIDES {
        let own = |id: &u32| call(*id).kwarg("side", is_async);
        assert_eq!(ask(is_async, &cache, 0..20, own, |_| Err("no route")), Err("no route"));
        fixture.assert_server_is_empty();
        assert!((0..20).all(|id| !cache.contains(own(&id))));
        assert_eq!(ask(is_async, &cache, 0..20, own, |missing| Ok(squares(missing))), Ok(squares(0..20)));
        (0..20).for_each(|id| _ = cache.remove(own(&id)).expect("the cache is there"));
    }
    assert_eq!(cache.stats().runs, 4);
}

fn what_is_cached_and_fails_to_be_completed_is_an_error(fixture: &impl Fixture) {
    let cache = fixture.build();
    cache.cached(call(1), || 1_u32);
    for is_async in SIDES {
        assert_eq!(ask(is_async, &cache, [1, 2], |id| call(*id), |_| Err("no route")), Err("no route"));
        assert_eq!(ask(is_async, &cache, [1], |id| call(*id), never), Ok(squares([1])));
    }
}

fn a_forced_refresh_runs_for_all_keys(fixture: &impl Fixture) {
    let cache = fixture.build();
    for id in 0..10 {
        cache.cached(call(id), || 1_u32);
    }
    for is_async in SIDES {
        let asked = Asked::default();
        let even = |id: &u32| if id.is_multiple_of(2) { call(*id).__refresh() } else { call(*id) };
        let values = ask(is_async, &cache, 0..10, even, asked.squares()).expect("the work doesn't fail");
        assert_eq!(asked.take(), [[0, 2, 4, 6, 8]]);
        assert!((0..10).all(|id| values[&id] == if id % 2 == 0 { id * id } else { 1 }), "{values:?}");
        assert_eq!(cache.get(call(4)), Some(16_u32));
        cache.insert(call(4), &1_u32).expect("the cache is there");
    }
}

fn a_key_of_another_type_is_a_miss_for_its_batch(fixture: &impl Fixture) {
    let cache = fixture.build();
    cache.insert(call(1), &"text".to_owned()).expect("the cache is there");
    assert_eq!(ask(true, &cache, [1, 2], |id| call(*id), |missing| Ok(squares(missing))), Ok(squares([1, 2])));
    assert_eq!(current_thread().block_on(cache.get_async(call(1))), Some(1_u32));
}
