//! Handles from their building to their end.

use std::time::Duration;

use cache_house::{CacheHouse, Health};

use super::{Fixture, Runs, call, over_every_backend};
use crate::support::{alone, current_thread, standalone};

over_every_backend!(
    a_closed_handle_just_runs_the_work,
    direct_operations_on_a_closed_handle_say_so,
    closing_twice_or_from_async_code_is_fine,
    clones_share_one_cache,
    a_connected_handle_is_ready_at_once,
);

fn a_closed_handle_just_runs_the_work(fixture: &impl Fixture) {
    let cache = fixture.build();
    let clone = cache.scoped("other");
    let runs = Runs::default();
    cache.cached(call("f"), runs.gives(1));
    cache.close();
    assert_eq!(cache.health(), Health::Closed);
    assert_eq!(cache.cached(call("f"), runs.gives(2)), 2);
    assert_eq!(cache.try_cached(call("f"), runs.gives(Ok::<_, ()>(3))), Ok(3));
    assert_eq!(clone.cached(call("f"), runs.gives(4)), 4);
    assert_eq!(current_thread().block_on(cache.cached_async(call("f"), async || 5)), 5);
    assert_eq!(runs.count(), 4);
}

fn direct_operations_on_a_closed_handle_say_so(fixture: &impl Fixture) {
    let cache = fixture.build();
    cache.insert(call("f"), &1).expect("it's stored");
    cache.close();
    assert_eq!(cache.get::<i32>(call("f")), None);
    assert!(!cache.contains(call("f")));
    assert!(cache.insert(call("f"), &1).expect_err("it's closed").is_closed());
    assert!(cache.remove(call("f")).expect_err("it's closed").is_closed());
    assert!(cache.clear_namespace("main").expect_err("it's closed").is_closed());
    assert!(cache.clear_keys("cachehouse").expect_err("it's closed").is_closed());
    assert_eq!(cache.stats().memory_entries, 0);
    let key = cache.key(&call("f")).expect("it has a key");
    fixture.assert_stored(&key, b"1");
}

fn closing_twice_or_from_async_code_is_fine(fixture: &impl Fixture) {
    let cache = fixture.build();
    current_thread().block_on(cache.close_async());
    cache.close();
    let health = current_thread().block_on(cache.ready(Duration::from_secs(20)));
    assert_eq!(health, Health::Closed);
}

fn clones_share_one_cache(fixture: &impl Fixture) {
    let cache = fixture.build();
    let clone = cache.clone();
    cache.cached(call("f"), || 1);
    drop(cache);
    assert_eq!(clone.cached(call("f"), || 2), 1);
    assert_eq!(clone.stats().runs, 1);
}

fn a_connected_handle_is_ready_at_once(fixture: &impl Fixture) {
    let cache = fixture.build();
    let expected = cache.health();
    let is_right = if fixture.server().is_some() { expected.is_connected() } else { expected == Health::Memory };
    assert!(is_right, "{expected:?}");
    assert_eq!(cache.ready_blocking(Duration::ZERO), expected);
    assert_eq!(current_thread().block_on(cache.ready(Duration::from_secs(20))), expected);
}

#[test]
fn the_last_handle_that_was_installed_is_the_process_wide_default() {
    // It's one for all tests of a process.
    alone("conformance::lifecycle::the_last_handle_that_was_installed_is_the_process_wide_default", || {
        assert!(CacheHouse::installed().is_none());
        let build = |namespace: &str| CacheHouse::builder().namespace(namespace).memory().build().expect("it's right");
        assert!(CacheHouse::install(build("one")).is_none());
        let one = CacheHouse::installed().expect("one is installed");
        one.cached(call("f"), || 1);
        assert_eq!(CacheHouse::installed().expect("one is installed").cached(call("f"), || 2), 1);
        let before = CacheHouse::install(build("two")).expect("one was installed");
        assert_eq!(before.get::<i32>(call("f")), Some(1));
        assert_eq!(CacheHouse::installed().expect("two is installed").get::<i32>(call("f")), None);
    });
}

#[test]
fn what_can_be_shown_shows_no_secret() {
    let secret = "hunter2-in-a-box";
    let endpoint = format!("redis://app:{secret}@127.0.0.1:1");
    let builder = standalone(&endpoint);
    let in_option = standalone("127.0.0.1:1").username("app").password(secret);
    let options = call("login").arg(secret).kwarg("password", secret);
    let mut shown = vec![format!("{builder:?} {in_option:?} {options:?}")];
    let cache = builder.build().expect("the builder is right");
    shown.push(format!("{cache:?} {:?} {:?}", cache.health(), cache.stats()));
    cache.insert(options.clone(), &secret.to_owned()).map_err(|error| shown.push(format!("{error:?} {error}"))).ok();
    let wrong = CacheHouse::builder().standalone(format!("{endpoint}/x")).build().expect_err("no such database");
    shown.push(format!("{wrong:?} {wrong}"));
    let wrong = standalone(&endpoint).password(secret).build().expect_err("it's given twice");
    shown.push(format!("{wrong:?} {wrong}"));
    for text in shown {
        assert!(!text.contains(secret), "{text}");
    }
}
