//! Reading, writing and invalidating without any work to run.

use cache_house::{CacheHandle, CacheOptions, KeyContext};

use super::{Fixture, call, over_every_backend};
use crate::support::current_thread;

over_every_backend!(
    what_is_inserted_is_found_until_its_removed,
    the_async_twins_do_the_same,
    async_calls_are_cached_as_sync_ones_are,
    an_insert_replaces_what_there_is,
    clearing_a_namespace_spares_what_only_begins_like_it,
    glob_characters_mean_themselves,
    clearing_a_namespace_keeps_to_the_key_prefix,
    clearing_finds_custom_keys_in_their_scope,
    clearing_keys_ends_at_the_end_of_a_part,
    clearing_many_keys_counts_them_all,
    clearing_nothing_at_all_is_refused,
);

fn what_is_inserted_is_found_until_its_removed(fixture: &impl Fixture) {
    let cache = fixture.build();
    assert_eq!(cache.get::<i32>(call("answer")), None);
    assert!(!cache.contains(call("answer")));
    cache.insert(call("answer"), &42).expect("it's stored");
    assert_eq!(cache.get::<i32>(call("answer")), Some(42));
    assert!(cache.contains(call("answer")));
    assert_eq!(cache.cached(call("answer"), || 0), 42);
    assert_eq!(cache.remove(call("answer")).expect("the cache is there").entries, 1);
    assert!(!cache.contains(call("answer")));
    assert_eq!(cache.remove(call("answer")).expect("the cache is there").entries, 0, "it was removed before");
    assert_eq!(cache.cached(call("answer"), || 43), 43);
    assert_eq!(cache.stats().runs, 1);
    assert_eq!(cache.stats().journal_length, 0);
}

fn the_async_twins_do_the_same(fixture: &impl Fixture) {
    let cache = fixture.build();
    current_thread().block_on(async {
        assert_eq!(cache.get_async::<i32>(call("answer")).await, None);
        cache.insert_async(call("answer"), &42).await.expect("it's stored");
        assert_eq!(cache.get_async::<i32>(call("answer")).await, Some(42));
        assert!(cache.contains_async(call("answer")).await);
        assert_eq!(cache.remove_async(call("answer")).await.expect("the cache is there").entries, 1);
        assert_eq!(cache.remove_async(call("answer")).await.expect("the cache is there").entries, 0);
        assert!(!cache.contains_async(call("answer")).await);
        for n in 0..3 {
            cache.insert_async(call("f").arg(n).namespace("users"), &n).await.expect("it's stored");
        }
        assert_eq!(cache.clear_namespace_async("users").await.expect("the cache is there").entries, 3);
        cache.insert_async(call("f"), &1).await.expect("it's stored");
        assert_eq!(cache.clear_keys_async("cachehouse").await.expect("the cache is there").entries, 1);
        assert_eq!(cache.get_async::<i32>(call("f")).await, None);
    });
}

fn async_calls_are_cached_as_sync_ones_are(fixture: &impl Fixture) {
    let cache = fixture.build();
    current_thread().block_on(async {
        let borrowed = String::from("Ada");
        let name = cache.cached_async(call("name"), || async { borrowed.clone() }).await;
        assert_eq!(name, "Ada");
        assert_eq!(cache.cached_async(call("name"), || async { String::new() }).await, "Ada");
        let error = cache.try_cached_async(call("flaky"), || async { Err::<u8, _>("no") }).await;
        assert_eq!(error, Err("no"));
        assert_eq!(cache.try_cached_async(call("flaky"), || async { Ok::<_, &str>(1) }).await, Ok(1));
        assert_eq!(cache.try_cached_async(call("flaky"), || async { Err("no") }).await, Ok(1));
    });
    assert_eq!(cache.cached(call("name"), String::new), "Ada");
    assert_eq!(cache.stats().runs, 3);
}

fn an_insert_replaces_what_there_is(fixture: &impl Fixture) {
    let cache = fixture.build();
    cache.cached(call("f"), || 1);
    cache.insert(call("f"), &2).expect("it's stored");
    assert_eq!(cache.cached(call("f"), || 3), 2);
    // Also by a value of another type.
    cache.insert(call("f"), &"two".to_owned()).expect("it's stored");
    assert_eq!(cache.get::<String>(call("f")), Some("two".into()));
}

/// Stores a value in each of these namespaces.
fn fill(cache: &CacheHandle, namespaces: &[&str]) {
    for namespace in namespaces {
        cache.insert(call("f").namespace(namespace), &1).expect("it's stored");
    }
}

/// Those of the namespaces that still have their value.
fn left<'a>(cache: &CacheHandle, namespaces: &[&'a str]) -> Vec<&'a str> {
    namespaces.iter().copied().filter(|namespace| cache.contains(call("f").namespace(namespace))).collect()
}

fn clearing_a_namespace_spares_what_only_begins_like_it(fixture: &impl Fixture) {
    let cache = fixture.build();
    let namespaces = ["users", "users2", "user", "users:admins", "Users"];
    fill(&cache, &namespaces);
    assert_eq!(cache.clear_namespace("users").expect("the cache is there").entries, 1);
    assert_eq!(left(&cache, &namespaces), ["users2", "user", "users:admins", "Users"]);
    assert_eq!(cache.clear_namespace("nobody").expect("the cache is there").entries, 0);
    assert_eq!(cache.clear_namespace("users:admins").expect("the cache is there").entries, 1);
    assert_eq!(left(&cache, &namespaces), ["users2", "user", "Users"]);
}

fn glob_characters_mean_themselves(fixture: &impl Fixture) {
    let cache = fixture.build();
    let namespaces = ["*", "?", "a*", "ab", "[ab]", "a", "b", "[^a]", "a-c", "\\", "\\*", "a%3Ab", "a:b", "%"];
    for cleared in namespaces {
        fill(&cache, &namespaces);
        assert_eq!(cache.clear_namespace(cleared).expect("the cache is there").entries, 1, "{cleared}");
        let others: Vec<_> = namespaces.into_iter().filter(|namespace| *namespace != cleared).collect();
        assert_eq!(left(&cache, &namespaces), others, "{cleared}");
    }
}

fn clearing_a_namespace_keeps_to_the_key_prefix(fixture: &impl Fixture) {
    let cache = fixture.build();
    let elsewhere = || call("f").key_prefix("other").namespace("users");
    cache.insert(elsewhere(), &1).expect("it's stored");
    fill(&cache, &["users"]);
    assert_eq!(cache.clear_namespace("users").expect("the cache is there").entries, 1);
    assert!(cache.contains(elsewhere()));
}

fn clearing_finds_custom_keys_in_their_scope(fixture: &impl Fixture) {
    let cache = fixture.build();
    let custom = |rest: &'static str| -> CacheOptions {
        call("f").namespace("users").key_builder(move |cx: &KeyContext<'_>| cx.scoped(rest))
    };
    let outside = || call("f").namespace("users").key_builder(|_: &KeyContext<'_>| "outside".into());
    for options in [custom("1"), custom("2:x"), outside()] {
        cache.insert(options, &1).expect("it's stored");
    }
    assert_eq!(cache.clear_namespace("users").expect("the cache is there").entries, 2);
    assert!(!cache.contains(custom("1")) && !cache.contains(custom("2:x")));
    assert!(cache.contains(outside()));
}

fn clearing_keys_ends_at_the_end_of_a_part(fixture: &impl Fixture) {
    let cache = fixture.build();
    let keyed = |key: &'static str| -> CacheOptions { call("f").key_builder(move |_: &KeyContext<'_>| key.into()) };
    let keys = ["a", "a:b", "a:b:c", "a:bc", "ab", "a:"];
    let left_after = |prefix: &str, count: u64| -> Vec<&str> {
        for key in keys {
            cache.insert(keyed(key), &1).expect("it's stored");
        }
        assert_eq!(cache.clear_keys(prefix).expect("the cache is there").entries, count, "{prefix}");
        keys.into_iter().filter(|key| cache.contains(keyed(key))).collect()
    };
    assert_eq!(left_after("a", 5), ["ab"]);
    assert_eq!(left_after("a:b", 2), ["a", "a:bc", "ab", "a:"]);
    assert_eq!(left_after("a:b:", 2), ["a", "a:bc", "ab", "a:"]);
    assert_eq!(left_after("a:b:c", 1), ["a", "a:b", "a:bc", "ab", "a:"]);
    assert_eq!(left_after("*", 0), keys);

    // A default key is found by any number of its parts, its hash included.
    let key = cache.key(&call("f")).expect("it has a key");
    for prefix in ["cachehouse", "cachehouse:main", "cachehouse:main:", &key] {
        cache.insert(call("f"), &1).expect("it's stored");
        assert_eq!(cache.clear_keys(prefix).expect("the cache is there").entries, 1, "{prefix}");
        assert!(!cache.contains(call("f")));
    }
    cache.insert(call("f"), &1).expect("it's stored");
    assert_eq!(cache.clear_keys(&key[..key.len() - 1]).expect("the cache is there").entries, 0);
    assert!(cache.contains(call("f")));
}

fn clearing_many_keys_counts_them_all(fixture: &impl Fixture) {
    const MANY: u64 = 2_500;
    let cache = fixture.build();
    cache.insert(call("f"), &0).expect("it's stored");
    for n in 0..MANY {
        cache.insert(call("f").arg(n).namespace("many"), &n).expect("it's stored");
    }
    assert_eq!(cache.clear_namespace("many").expect("the cache is there").entries, MANY);
    assert!((0..MANY).all(|n| cache.get::<u64>(call("f").arg(n).namespace("many")).is_none()));
    assert!(cache.contains(call("f")));
}

fn clearing_nothing_at_all_is_refused(fixture: &impl Fixture) {
    let cache = fixture.build();
    cache.insert(call("f"), &1).expect("it's stored");
    for error in [cache.clear_keys("").expect_err("it names all"), cache.clear_keys(":").expect_err("it names all")] {
        assert!(error.is_config(), "{error}");
    }
    assert!(cache.clear_namespace("").expect_err("it names no namespace").is_config());
    assert!(cache.contains(call("f")));
}
