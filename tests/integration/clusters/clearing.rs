//! Clearing a namespace over all shards at once.

use std::collections::HashSet;

use cache_house::{CacheHandle, CacheOptions, KeyContext};

use super::{shards, until_served};
use crate::support::cluster::{Borrowed, clustered, connected_to};
use crate::support::{Cluster, DEADLINE, wait_until};

fn call(namespace: &str, n: u64) -> CacheOptions {
    CacheOptions::new("f").arg(n).namespace(namespace)
}

fn fill(cache: &CacheHandle, namespace: &str, count: u64) {
    for n in 0..count {
        cache.insert(call(namespace, n), &n).expect("the cluster is there");
    }
}

#[test]
fn a_namespace_is_cleared_on_every_shard_and_no_other_is_touched() {
    let cluster = Borrowed::get();
    let cache = connected_to(&cluster);
    fill(&cache, "users", 300);
    fill(&cache, "users2", 50);
    assert!(cluster.nodes.iter().all(|node| node.keys().len() > 50), "all shards have some");
    assert_eq!(cache.clear_namespace("users").expect("the cluster is there").entries, 300);
    assert_eq!(cluster.keys().len(), 50);
    assert_eq!(cache.clear_keys("cachehouse").expect("the cluster is there").entries, 50);
    assert_eq!(cluster.keys(), Vec::<String>::new());
    assert_eq!(cache.clear_namespace("users").expect("the cluster is there").entries, 0);
}

#[test]
fn several_connections_to_each_node_are_waited_for() {
    let cluster = Borrowed::get();
    let cache = clustered(cluster.endpoint()).pool_size(3).build().expect("the builder is right");
    crate::support::until_connected(&cache);
    fill(&cache, "users", 100);
    assert_eq!(cache.clear_namespace("users").expect("the cluster is there").entries, 100);
    assert_eq!(cluster.keys(), Vec::<String>::new());
}

#[test]
fn what_could_not_be_reached_is_journalled_and_the_rest_is_gone() {
    let cluster = Cluster::of(3, 0, &["--appendonly", "yes"]);
    let cache = connected_to(&cluster);
    fill(&cache, "users", 150);
    let victim = &cluster.nodes[1];
    victim.kill();
    until_served(&cache, 2, 3);
    let applied = cache.clear_namespace("users").expect("it's journalled");
    assert!(applied.journalled, "a shard is away");
    let gone = |n: u64| assert_eq!(cache.get::<u64>(call("users", n)), None, "{n}");
    (0..150).for_each(gone);
    let others = || [&cluster.nodes[0], &cluster.nodes[2]];
    wait_until("the other shards have cleared it", DEADLINE, || others().iter().all(|node| node.keys().is_empty()));
    assert_eq!(cache.stats().journal_length, 1, "it waits for one shard");
    // Shards that have done it are used again, although the journal names the namespace.
    wait_until("a new value gets to its shard", DEADLINE, || {
        (1_000..1_010).for_each(|n| assert_eq!(cache.cached(call("users", n), || n), n));
        others().iter().all(|node| !node.keys().is_empty())
    });
    victim.restart();
    until_served(&cache, 3, 3);
    wait_until("the journal is empty", DEADLINE, || {
        (0..150).for_each(gone);
        cache.stats().journal_length == 0
    });
    assert!(
        victim
            .keys()
            .iter()
            .all(|key| { !(0..150).any(|n| cache.key(&call("users", n)).expect("it has a key") == *key) })
    );
}

#[test]
fn braces_in_prefix_and_namespace_do_not_keep_keys_on_one_shard() {
    let cluster = Borrowed::get();
    for (prefix, namespace) in [("cachehouse", "{users}"), ("{shop}", "users"), ("a{", "}b")] {
        let builder = clustered(cluster.endpoint()).key_prefix(prefix);
        let cache = builder.build().expect("the builder is right");
        crate::support::until_connected(&cache);
        fill(&cache, namespace, 300);
        assert!(cluster.nodes.iter().all(|node| node.keys().len() > 50), "{prefix} {namespace}");
        assert_eq!(cache.clear_namespace(namespace).expect("the cluster is there").entries, 300);
        assert_eq!(cluster.keys().len(), 0);
    }
}

#[test]
fn keys_that_move_while_they_are_cleared_do_not_escape() {
    let cluster = Cluster::of(3, 0, &[]);
    // All of one namespace in one slot, so that all of them move.
    let namespace = "moving";
    let tagged = move |cx: &KeyContext<'_>| {
        let tag = if cx.namespace() == namespace { "{moving}" } else { "" };
        cx.scoped(&format!("{tag}:{}", cx.args()[0]))
    };
    let cache = clustered(cluster.endpoint()).key_builder(tagged).build().expect("the builder is right");
    crate::support::until_connected(&cache);
    let key = cache.key(&call(namespace, 0)).expect("it has a key");
    let slot = usize::try_from(cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", &key]).integer()).expect("it's a slot");
    for _ in 0..4 {
        fill(&cache, namespace, 400);
        fill(&cache, "still", 100);
        let before: HashSet<_> = cluster.keys().into_iter().filter(|key| key.contains(namespace)).collect();
        assert_eq!(before.len(), 400);
        let from = cluster.owner_of_slot(slot);
        let to = cluster.nodes.iter().find(|node| node.port() != from.port()).expect("there are three");
        cluster.begin_move(slot, from, to);
        cluster.move_keys(slot, from, to, 150);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while cluster.move_keys(slot, from, to, 5) {}
                cluster.end_move(slot, to);
            });
            // An outage would be told; there is none.
            loop {
                if !cache.clear_namespace(namespace).expect("nothing is refused").journalled {
                    break;
                }
            }
        });
        let left = || cluster.keys().into_iter().filter(|key| key.contains(namespace)).count();
        assert_eq!(left(), 0);
        assert_eq!(cluster.keys().len(), 100);
        wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    }
    assert_eq!(shards(&cache), Some((3, 3)));
}
