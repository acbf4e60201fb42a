//! Tags: calls that are invalidated together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, CacheOptions, KeyContext, NamespaceOptions, NearCache};

use crate::support::cluster::{Borrowed, clustered};
use crate::support::server::is_before_7;
use crate::support::{
    Count, DEADLINE, Mode, Proxy, Server, connect, connected, current_thread, finishes, standalone, until_connected,
    until_degraded, wait_until,
};

fn user(n: usize) -> CacheOptions {
    CacheOptions::new("user").arg(n)
}

fn in_team(n: usize) -> CacheOptions {
    user(n).tag("team-7")
}

/// As an other process has to, to see a removal from when it has returned.
fn asking(options: CacheOptions) -> CacheOptions {
    options.max_staleness(Duration::ZERO)
}

fn memory() -> CacheHandle {
    CacheHouse::builder().memory().build().expect("the builder is right")
}

/// The tests that hold for every kind of handle.
fn each_kind(test: impl Fn(&CacheHandle)) {
    let (server, cluster) = (Server::start(), Borrowed::get());
    let of_cluster = clustered(cluster.endpoint()).build().expect("the builder is right");
    until_connected(&of_cluster);
    let near = connect(standalone(server.endpoint()).namespace("near").near_cache(Duration::from_secs(600)));
    wait_until("the near cache is on", DEADLINE, || is_before_7() || near.near_cache() == NearCache::On);
    for cache in [memory(), connected(&server), of_cluster, near] {
        test(&cache);
    }
}

#[test]
fn removing_a_tag_invalidates_all_calls_that_have_it_and_no_others() {
    each_kind(|cache| {
        let runs = Count::default();
        let all = || {
            for n in 0..20 {
                cache.cached(in_team(n), || runs.add_one());
                cache.cached(user(n).tag("team-8"), || runs.add_one());
                cache.cached(user(n).tags(["all", "team-8", "team-7"]), || runs.add_one());
                cache.cached(user(n), || runs.add_one());
            }
        };
        all();
        assert_eq!(runs.read(), 80, "each set of tags has keys of its own");
        all();
        assert_eq!(runs.read(), 80, "they are hits");
        for round in 1..=20 {
            let removed = cache.remove_tag("team-7").expect("nothing is in the way");
            assert_eq!((removed.entries, removed.journalled), (1, false));
            all();
            assert_eq!(runs.read(), 80 + 40 * round, "those of team-7, and those that have it among others");
        }
        assert_eq!(cache.remove_tag("nobody").expect("nothing is in the way").entries, 0);
        assert_eq!(cache.stats().runs, u64::from(runs.read()), "tokens count as no run");
    });
}

#[test]
fn every_way_to_call_has_the_tags() {
    each_kind(|cache| {
        cache.insert(in_team(1), &1_u32).expect("it's taken");
        assert_eq!(cache.get::<u32>(user(1)), None, "without its tags it's another call");
        assert!(cache.contains(in_team(1)));
        assert_eq!(cache.get(in_team(1)), Some(1_u32));
        assert_eq!(cache.entry(in_team(1), |_| 2).into_value(), 1_u32);
        assert_eq!(cache.try_cached(in_team(1), || Err::<u32, _>("runs")), Ok(1));
        assert_eq!(cache.try_cached_shared(in_team(1), || Err::<u32, _>("runs")), Ok(1));
        assert_eq!(cache.refreshing(in_team(1), || 2), 1_u32);
        assert_eq!(cache.remove(in_team(1)).expect("it's there").entries, 1);
        current_thread().block_on(async {
            assert_eq!(cache.cached_async(in_team(1), async || 3).await, 3);
            assert_eq!(cache.refreshing_async(in_team(1), async || 4).await, 3);
            assert_eq!(cache.refresh_async(in_team(1), async || 5).await, 5);
            cache.remove_tag_async("team-7").await.expect("nothing is in the way");
            assert!(!cache.contains_async(in_team(1)).await);
        });
        let before = cache.key(&in_team(1)).expect("it has a key");
        assert_eq!(cache.key(&in_team(1)).expect("it has a key"), before);
        cache.remove_tag("team-7").expect("nothing is in the way");
        assert_ne!(cache.key(&in_team(1)).expect("it has a key"), before);
    });
}

#[test]
fn calls_of_a_batch_have_theirs() {
    each_kind(|cache| {
        let runs = Count::default();
        let batch = || {
            let options = |n: &usize| user(*n).tag(format!("team-{}", n % 200)).tag("all");
            let squares = |missing: Vec<usize>| -> HashMap<usize, usize> {
                missing.into_iter().map(|n| (n, runs.add_one() as usize)).collect()
            };
            cache.cached_many(0..400, options, squares)
        };
        let first = batch();
        assert_eq!((first.len(), runs.read()), (400, 400));
        assert_eq!(batch(), first);
        cache.remove_tag("team-3").expect("nothing is in the way");
        let second = batch();
        assert_eq!(runs.read(), 402);
        assert!(first.iter().all(|(n, value)| (n % 200 == 3) == (second[n] != *value)));
    });
}

#[test]
fn tags_of_handle_and_namespace_add_up() {
    let teams = NamespaceOptions::default().tag("teams");
    let cache = CacheHouse::builder().tag("all").namespace_options("t", teams).memory().build();
    let cache = cache.expect("the builder is right");
    let runs = Count::default();
    let both = || {
        cache.cached(user(1).namespace("t").tag("own"), || runs.add_one());
        cache.cached(user(1), || runs.add_one());
    };
    both();
    for (tag, ran) in [("own", 3), ("teams", 4), ("all", 6), ("other", 6)] {
        cache.remove_tag(tag).expect("nothing is in the way");
        both();
        assert_eq!(runs.read(), ran, "{tag}");
    }
}

#[test]
fn a_key_builder_has_no_say_in_it() {
    let builder = |cx: &KeyContext<'_>| format!("mine:{}", cx.name());
    let cache = memory();
    let call = || in_team(1).key_builder(builder);
    assert_eq!(cache.cached(call(), || 1), 1);
    assert_eq!(cache.cached(call(), || 2), 1);
    assert!(cache.key(&call()).expect("it has a key").starts_with("mine:user:t"));
    cache.remove_tag("team-7").expect("nothing is in the way");
    assert_eq!(cache.cached(call(), || 3), 3);
}

#[test]
fn what_is_computed_meanwhile_is_found_no_more() {
    each_kind(|cache| {
        let (running, runs) = mpsc::channel();
        let (end, ends) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                let work = || {
                    running.send(()).expect("the test waits");
                    ends.recv_timeout(DEADLINE).expect("the test ends it");
                    1
                };
                assert_eq!(cache.cached(in_team(1), work), 1);
            });
            runs.recv_timeout(DEADLINE).expect("the work runs");
            cache.remove_tag("team-7").expect("nothing is in the way");
            assert_eq!(cache.cached(in_team(1), || 2), 2, "nobody waits for what was invalidated");
            end.send(()).expect("the work waits");
        });
        assert_eq!(cache.cached(in_team(1), || 3), 2);
    });
}

#[test]
fn another_process_sees_a_removal_from_when_it_has_returned_if_it_asks() {
    let server = Server::start();
    let (one, other) = (connected(&server), connected(&server));
    for n in 0..200 {
        assert_eq!(one.cached(asking(in_team(1)), || n), n);
        assert_eq!(other.cached(asking(in_team(1)), || 1_000), n, "they have the same token");
        one.remove_tag("team-7").expect("the server is there");
        assert!(!other.contains(asking(in_team(1))));
    }
}

#[test]
fn another_process_hears_of_a_removal() {
    let server = Server::start();
    for near in [None, Some(Duration::from_secs(600))] {
        let (one, builder) = (connected(&server), standalone(server.endpoint()));
        let other = connect(match near {
            Some(near) => builder.near_cache(near),
            None => builder,
        });
        for n in 0..20 {
            one.insert(in_team(1), &n).expect("the server is there");
            wait_until("the other reads it", DEADLINE, || other.get(in_team(1)) == Some(n));
            one.remove_tag("team-7").expect("the server is there");
            wait_until("the other hears of it", DEADLINE, || other.get::<u32>(in_team(1)).is_none());
        }
    }
}

#[test]
fn a_hit_with_tags_asks_no_more_than_one_without() {
    let server = Server::start();
    let cache = connected(&server);
    cache.cached(in_team(1), || 1);
    let asks = |options: fn() -> CacheOptions| {
        let before = server.calls("get");
        for _ in 0..50 {
            cache.get::<i32>(options());
        }
        server.calls("get") - before
    };
    // Once the token is near; beats come beside.
    wait_until("a hit asks once", DEADLINE, || asks(|| in_team(1)) <= 52);
}

#[test]
fn a_call_may_have_more_tags_than_may_be_in_flight() {
    let server = Server::start();
    let (cache, other) = (connect(standalone(server.endpoint()).max_in_flight(4)), connected(&server));
    let call = || user(1).tags((0..20).map(|n| format!("team-{n}")));
    let runs = Count::default();
    for _ in 0..5 {
        cache.cached(call(), || runs.add_one());
    }
    assert_eq!(runs.read(), 1, "{:?}", cache.stats());
    assert_eq!(other.get(asking(call())), Some(1_u32), "another process has the same tokens");
    cache.insert(call(), &7_u32).expect("the server is there");
    assert_eq!(other.get(asking(call())), Some(7_u32));
    let of_batch = |n: &usize| user(*n).tag(format!("of-{n}"));
    let all =
        || cache.cached_many(0..20, of_batch, |missing| missing.into_iter().map(|n| (n, runs.add_one())).collect());
    assert_eq!(all(), all());
    assert_eq!(runs.read(), 21, "{:?}", cache.stats());
}

#[test]
fn a_handle_without_a_namespace_looks_tokens_up_where_others_do() {
    let server = Server::start();
    let cache = connected(&server);
    let call = || in_team(1).namespace("own");
    assert_eq!(cache.scoped("").cached(call(), || 1), 1);
    assert_eq!(cache.cached(call(), || 2), 1);
    cache.scoped("").cached(in_team(1), || 3);
    cache.remove_tag("team-7").expect("the server is there");
    assert_eq!(cache.scoped("").cached(asking(call()), || 4), 4);
    assert_eq!(server.keys().iter().find(|key| !key.starts_with("cachehouse:")), None);
}

#[test]
fn a_user_who_may_not_track_has_tags_and_is_told() {
    let server = Server::start();
    server.command(&["ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-client|tracking"]);
    let cache = connect(standalone(server.endpoint()).username("app").password("pw"));
    let missing = || cache.inspect()[0].missing.clone();
    assert_eq!(cache.cached(user(1), || 0), 0);
    assert_eq!(missing(), [""; 0], "a call without tags has no use for it");
    assert_eq!(cache.cached(in_team(1), || 1), 1);
    assert_eq!(cache.cached(in_team(1), || 2), 1);
    assert_eq!(missing(), ["client|tracking"]);
    cache.remove_tag("team-7").expect("the server is there");
    assert_eq!(cache.cached(in_team(1), || 3), 3);
}

#[test]
fn a_token_that_is_evicted_means_misses_and_no_old_value() {
    let server = Server::start();
    let cache = connected(&server);
    assert_eq!(cache.cached(in_team(1), || 1), 1);
    let token = server.get("cachehouse::tag:team-7").expect("it's there");
    assert_eq!(token.len(), 32);
    server.command(&["DEL", "cachehouse::tag:team-7"]);
    wait_until("it's a miss", DEADLINE, || !cache.contains(in_team(1)));
    assert_eq!(cache.cached(asking(in_team(1)), || 2), 2);
    assert_ne!(server.get("cachehouse::tag:team-7").expect("there is another"), token);
    // What another program puts there is no token.
    server.set("cachehouse::tag:team-7", "\",\"");
    assert_eq!(cache.cached(asking(in_team(1)), || 3), 3);
    assert_eq!(cache.cached(asking(in_team(1)), || 4), 3);
}

#[test]
fn a_tag_with_ten_thousand_entries_is_removed_in_one_step() {
    let server = Server::start();
    let cache = connected(&server);
    let call = |n: &usize| in_team(*n);
    let all = cache.cached_many(0..10_000, call, |missing| missing.into_iter().map(|n| (n, n)).collect());
    assert_eq!(all.len(), 10_000);
    let before = ["unlink", "scan"].map(|command| server.calls(command));
    cache.remove_tag("team-7").expect("the server is there");
    let after = ["unlink", "scan"].map(|command| server.calls(command));
    assert!(after[0] - before[0] <= 2 && after[1] == before[1], "{before:?} {after:?}");
    let none = cache.cached_many((0..10_000).step_by(100), call, |missing| {
        assert_eq!(missing.len(), 100);
        HashMap::<usize, usize>::new()
    });
    assert!(none.is_empty());
}

#[test]
fn in_an_outage_a_tag_is_removed_here_at_once_and_there_afterwards() {
    let server = Server::start();
    let quick = Duration::from_millis(250);
    let cache = connect(standalone(server.endpoint()).command_timeout(quick));
    let other = connected(&server);
    assert_eq!(cache.cached(in_team(1), || 1), 1);
    assert_eq!(other.cached(in_team(1), || 0), 1);
    server.freeze();
    let removed = finishes("the removal", {
        let cache = cache.clone();
        move || cache.remove_tag("team-7").expect("an outage is no error")
    });
    assert!(removed.journalled);
    until_degraded(&cache);
    assert_eq!(cache.cached(in_team(1), || 2), 2);
    assert_eq!(cache.cached(in_team(1), || 3), 2, "from memory");
    server.thaw();
    until_connected(&cache);
    wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    wait_until("the other hears of it", DEADLINE, || !other.contains(in_team(1)));
    let value = cache.cached(asking(in_team(1)), || 4);
    assert_eq!(other.cached(asking(in_team(1)), || 5), value);
}

#[test]
fn clearing_spares_tokens_and_does_not_count_them() {
    each_kind(|cache| {
        cache.insert(in_team(1), &1).expect("it's taken");
        let cleared = cache.clear_keys("cachehouse").expect("nothing is in the way");
        assert_eq!(cleared.entries, 1, "{:?}", cache.stats());
        assert!(!cache.contains(in_team(1)));
        assert_eq!(cache.remove_tag("team-7").expect("nothing is in the way").entries, 1, "its token was there");
    });
}

#[test]
fn any_text_may_be_a_tag() {
    let cluster = Borrowed::get();
    let cache = clustered(cluster.endpoint()).build().expect("the builder is right");
    until_connected(&cache);
    for tag in ["}", "{", "{}", "a}b{c", "%7D", "ä:*?[", "\n", &"x".repeat(512)] {
        let call = || user(1).tag(tag);
        assert_eq!(cache.cached(call(), || 1), 1, "{tag:?}");
        assert_eq!(cache.cached(call(), || 2), 1, "{tag:?}");
        cache.remove_tag(tag).expect("the cluster is there");
        assert_eq!(cache.cached(asking(call()), || 3), 3, "{tag:?}");
    }
    assert_eq!(cache.stats().unfenced, 0);
    for tag in ["", &"x".repeat(513)] {
        assert!(cache.remove_tag(tag).expect_err("it's no tag").is_key());
    }
}

#[test]
fn a_panicking_or_dropped_call_leaves_the_tag_as_it_is() {
    let cache = Arc::new(memory());
    let panics = Arc::clone(&cache);
    thread::spawn(move || panics.cached(in_team(1), || -> u32 { panic!("own") })).join().expect_err("it panics");
    assert_eq!(cache.cached(in_team(1), || 1), 1);
    assert_eq!(cache.cached(in_team(1), || 2), 1);
}

/// Runs `change` where the server is away and the handle has never seen the tag's token; what another process reads afterwards.
fn after_an_outage(change: impl FnOnce(&CacheHandle) -> bool) -> Option<u32> {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let (cache, other) = (connect(standalone(proxy.endpoint())), connected(&server));
    other.insert(in_team(1), &1_u32).expect("the server is there");
    proxy.set(Mode::Refuse);
    until_degraded(&cache);
    assert!(change(&cache), "it's journalled");
    proxy.set(Mode::Pass);
    until_connected(&cache);
    wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    other.get(asking(in_team(1)))
}

#[test]
fn a_call_with_tags_that_is_removed_in_an_outage_is_gone_afterwards() {
    let left = after_an_outage(|cache| cache.remove(in_team(1)).expect("an outage is no error").journalled);
    assert_eq!(left, None);
}

#[test]
fn a_call_with_tags_that_is_inserted_in_an_outage_replaces_what_there_is() {
    let left = after_an_outage(|cache| {
        let applied = cache.insert(in_team(1), &2_u32).expect("an outage is no error");
        assert_eq!(cache.get(in_team(1)), Some(2_u32), "from memory");
        applied.journalled
    });
    assert_ne!(left, Some(1));
}

#[test]
fn a_tag_that_is_removed_in_an_outage_stays_removed_when_all_keys_are_cleared() {
    let builder = |cx: &KeyContext<'_>| format!("mine:{}", cx.name());
    let call = || in_team(1).key_builder(builder);
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let (cache, other) = (connect(standalone(proxy.endpoint())), connected(&server));
    other.insert(call(), &1_u32).expect("the server is there");
    proxy.set(Mode::Refuse);
    until_degraded(&cache);
    assert!(cache.remove_tag("team-7").expect("an outage is no error").journalled);
    assert!(cache.clear_keys("cachehouse").expect("an outage is no error").journalled);
    proxy.set(Mode::Pass);
    until_connected(&cache);
    wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    assert_eq!(other.get::<u32>(asking(call())), None);
}

#[test]
fn a_call_is_removed_by_the_token_that_its_tag_has_now() {
    const BOUND: Duration = Duration::from_secs(6);
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()).near_cache(BOUND));
    wait_until("the near cache is on", DEADLINE, || cache.near_cache() == NearCache::On);
    let other = connected(&server);
    other.insert(in_team(1), &1_u32).expect("the server is there");
    wait_until("it's near", DEADLINE, || {
        let before = cache.stats().near_hits;
        assert_eq!(cache.get(in_team(1)), Some(1_u32));
        cache.stats().near_hits > before
    });
    // The connection that reports is held up; the one that calls go by isn't.
    proxy.set(Mode::HoldFrom(b"::near:"));
    wait_until("the line is held up", DEADLINE, || proxy.holds());
    other.remove_tag("team-7").expect("the server is there");
    other.insert(in_team(1), &2_u32).expect("the server is there");
    assert!(!cache.remove(in_team(1)).expect("the server is there").journalled);
    assert_eq!(other.get::<u32>(asking(in_team(1))), None, "it was removed");
}

#[test]
fn a_key_of_the_users_own_is_cleared_whatever_it_looks_like() {
    for key in ["shop::tag:7", "shop::near:7"] {
        let cache = memory();
        let call = || user(1).key_builder(move |_: &KeyContext<'_>| key.to_owned());
        assert_eq!(cache.cached(call(), || 1), 1);
        cache.clear_keys("shop").expect("nothing is in the way");
        assert!(!cache.contains(call()), "{key}");
    }
}

#[test]
fn a_handle_without_a_namespace_removes_no_tag() {
    let cache = memory();
    assert!(cache.scoped("").remove(user(1)).is_err());
    assert!(cache.scoped("").remove_tag("team-7").is_err());
}

#[test]
fn a_call_with_tags_whose_removal_is_dropped_half_way_is_gone_all_the_same() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let (cache, other) = (connect(standalone(proxy.endpoint())), connected(&server));
    other.insert(in_team(1), &1_u32).expect("the server is there");
    assert_eq!(cache.get(user(2)), None::<u32>);
    proxy.set(Mode::HoldStanding);
    current_thread().block_on(async {
        let removal = cache.remove_async(in_team(1));
        tokio::time::timeout(Duration::from_millis(100), removal).await.expect_err("nothing answers");
    });
    proxy.set(Mode::Pass);
    wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    assert_eq!(other.get::<u32>(asking(in_team(1))), None);
}

#[test]
fn a_sync_call_inside_a_runtime_waits_for_no_task_that_it_blocks() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let (cache, other) = (connect(standalone(proxy.endpoint())), connected(&server));
    other.insert(in_team(1), &1_u32).expect("the server is there");
    proxy.set(Mode::Delay(Duration::from_millis(50)));
    current_thread().block_on(async {
        for step in ["get", "contains", "remove"] {
            cache.remove_tag_async("other").await.expect("the server is there");
            let call = || in_team(1).tag("other");
            let reading = tokio::spawn({
                let cache = cache.clone();
                async move { cache.get_async::<u32>(call()).await }
            });
            crate::support::let_others_run().await;
            // Its token is being read by a task that can't go on meanwhile.
            let begun = Instant::now();
            match step {
                "get" => _ = cache.get::<u32>(call()),
                "contains" => _ = cache.contains(call()),
                _ => _ = cache.remove(call()).expect("the server is there"),
            }
            let waited = begun.elapsed();
            assert!(waited < Duration::from_millis(700), "{step}: {waited:?}");
            reading.await.expect("it doesn't panic");
        }
    });
}

#[test]
fn a_sync_batch_waits_no_longer_for_tokens_that_another_process_makes_than_a_call() {
    let server = Server::start();
    let cache = connected(&server);
    let tag = |n: usize| format!("of-{n}");
    for n in 0..40 {
        // It has begun to, and has died.
        let lease = format!("cachehouse::lease:{{cachehouse::tag:{}}}", tag(n));
        server.command(&["SET", &lease, "token", "PX", "60000"]);
    }
    let values: HashMap<_, _> = finishes("a batch with forty tags", move || {
        let work = |missing: Vec<_>| missing.into_iter().map(|n| (n, n)).collect();
        cache.cached_many(0..40_usize, |n| user(*n).tag(tag(*n)), work)
    });
    assert_eq!(values.len(), 40);
}
