//! Slots that move, and nodes that come and go.

use cache_house::KeyContext;

use super::{Callers, call, shards, until_served, warm};
use crate::support::cluster::connected_to;
use crate::support::{Cluster, DEADLINE, Server, wait_until};

/// The slot of all keys of [`one_slot`].
fn of_one_slot(cache: &cache_house::CacheHandle, cluster: &Cluster) -> usize {
    let key = cache.key(&call(0)).expect("it has a key");
    usize::try_from(cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", &key]).integer()).expect("it's a slot")
}

/// A handle whose key builder gives all keys one hash tag.
fn one_slot(cluster: &Cluster) -> cache_house::CacheHandle {
    let tagged = |cx: &KeyContext<'_>| cx.scoped(&format!("{{moving}}:{}", cx.args()[0]));
    let builder = crate::support::cluster::clustered(cluster.endpoint()).key_builder(tagged);
    // Whatever is computed again is seen: memory can't stand in.
    let cache = builder.fallback_to_memory(false).build().expect("the builder is right");
    crate::support::until_connected(&cache);
    cache
}

#[test]
fn a_slot_that_moves_under_traffic_loses_no_call_and_no_value() {
    let mut cluster = Cluster::of(3, 0, &[]);
    let added = cluster.add_node();
    let cache = one_slot(&cluster);
    let slot = of_one_slot(&cache, &cluster);
    let questions: Vec<_> = (0..200).collect();
    warm(&cache, &questions);
    let callers = Callers::of(&cache, &questions, 4);
    callers.wait_for_calls(400);
    let first = cluster.owner_of_slot(slot).port();
    let at = |port: u16| cluster.nodes.iter().find(|node| node.port() == port).expect("it's one of them");
    // To a node that knows the cluster and has slots, to one that has none, and back.
    let second =
        cluster.nodes.iter().map(Server::port).find(|port| *port != first && *port != cluster.nodes[added].port());
    let path = [first, second.expect("there are three"), cluster.nodes[added].port(), first];
    for step in path.windows(2) {
        let (from, to) = (at(step[0]), at(step[1]));
        cluster.begin_move(slot, from, to);
        callers.wait_for_calls(200);
        while cluster.move_keys(slot, from, to, 10) {
            callers.wait_for_calls(20);
        }
        callers.wait_for_calls(200);
        cluster.end_move(slot, to);
        callers.wait_for_calls(400);
    }
    let (runs, _) = callers.stop();
    let stats = cache.stats();
    assert_eq!(runs, 0, "values that stayed alive were computed again: {stats:?}");
    assert_eq!((stats.server_timeouts, stats.server_errors, stats.circuit_openings), (0, 0, 0), "{stats:?}");
}

#[test]
fn writes_and_removals_follow_their_slot() {
    let cluster = Cluster::of(3, 0, &[]);
    let cache = one_slot(&cluster);
    let slot = of_one_slot(&cache, &cluster);
    let from = cluster.owner_of_slot(slot);
    let to = cluster.nodes.iter().find(|node| node.port() != from.port()).expect("there are three");
    warm(&cache, &[1, 2, 3, 4]);
    cluster.begin_move(slot, from, to);
    cluster.move_keys(slot, from, to, 2);
    // Some are on either side now, and new ones belong to the other.
    for n in 1..=4 {
        assert!(cache.contains(call(n)));
        assert!(cache.remove(call(n)).expect("both sides are there"), "{n}");
        assert!(!cache.contains(call(n)));
    }
    warm(&cache, &[5, 6]);
    cache.insert(call(5), &7_u64).expect("both sides are there");
    assert_eq!(cache.get::<u64>(call(5)), Some(7));
    assert_eq!((from.keys().len(), to.keys().len()), (0, 2));
    while cluster.move_keys(slot, from, to, 10) {}
    cluster.end_move(slot, to);
    assert_eq!(cache.get::<u64>(call(5)), Some(7));
    assert!(cache.remove(call(6)).expect("the slot has settled"));
}

#[test]
fn a_node_that_joins_and_gets_slots_is_used_and_one_that_leaves_is_closed() {
    let mut cluster = Cluster::of(3, 0, &[]);
    let cache = connected_to(&cluster);
    let questions: Vec<_> = (0..50).collect();
    warm(&cache, &questions);
    let added = cluster.add_node();
    let (first, last) = (0, 40);
    let move_to = |from: &Server, to: &Server| {
        for slot in first..=last {
            cluster.begin_move(slot, from, to);
            while cluster.move_keys(slot, from, to, 100) {}
            cluster.end_move(slot, to);
        }
    };
    move_to(&cluster.nodes[0], &cluster.nodes[added]);
    // Nobody tells: it's found out with age, or by a redirect.
    until_served(&cache, 4, 4);
    let (runs, _) = Callers::of(&cache, &questions, 2).stop();
    assert_eq!(runs, 0);
    move_to(&cluster.nodes[added], &cluster.nodes[0]);
    until_served(&cache, 3, 3);
    let id = cluster.nodes[added].cluster_id();
    for node in &cluster.nodes[..3] {
        node.command(&["CLUSTER", "FORGET", &id]);
    }
    warm(&cache, &questions);
    assert_eq!(shards(&cache), Some((3, 3)));
    wait_until("its connection is closed", DEADLINE, || {
        cluster.nodes[added].command(&["CLIENT", "LIST", "TYPE", "normal"]).text().lines().count() == 1
    });
}
