//! Slots that move, and nodes that come and go.

use std::time::Duration;

use cache_house::KeyContext;

use super::{Callers, call, shards, until_served, warm};
use crate::support::cluster::connected_to;
use crate::support::{Cluster, DEADLINE, Mode, Proxy, Server, wait_until};

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
        assert_eq!(cache.remove(call(n)).expect("both sides are there").entries, 1, "{n}");
        assert!(!cache.contains(call(n)));
    }
    warm(&cache, &[5, 6]);
    cache.insert(call(5), &7_u64).expect("both sides are there");
    assert_eq!(cache.get::<u64>(call(5)), Some(7));
    assert_eq!((from.keys().len(), to.keys().len()), (0, 2));
    while cluster.move_keys(slot, from, to, 10) {}
    cluster.end_move(slot, to);
    assert_eq!(cache.get::<u64>(call(5)), Some(7));
    assert_eq!(cache.remove(call(6)).expect("the slot has settled").entries, 1);
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

#[test]
fn a_removal_that_is_given_up_while_a_store_is_redirected_is_not_undone_by_it() {
    const STALE: u64 = 77_777_777;
    let cluster = Cluster::of(3, 0, &[]);
    let proxies: Vec<_> = cluster.nodes.iter().map(Proxy::of).collect();
    for (node, proxy) in cluster.nodes.iter().zip(&proxies) {
        node.command(&["CONFIG", "SET", "cluster-announce-port", &proxy.port().to_string()]);
    }
    let knows_proxies = |node: &Server| {
        let nodes = node.command(&["CLUSTER", "NODES"]).text();
        proxies.iter().all(|proxy| nodes.contains(&format!(":{}@", proxy.port())))
    };
    wait_until("all nodes are known by their proxies", DEADLINE, || cluster.nodes.iter().all(knows_proxies));
    let builder = crate::support::cluster::clustered(proxies[2].endpoint()).command_timeout(Duration::from_secs(15));
    let cache = builder.build().expect("the builder is right");
    until_served(&cache, 3, 3);

    let slot_of = |n: u64| {
        let key = cache.key(&call(n)).expect("it has a key");
        usize::try_from(cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", &key]).integer()).expect("it's a slot")
    };
    let of_node = |node: usize| {
        let (first, last) = cluster.share(node);
        (0..).find(|n| (first..=last).contains(&slot_of(*n))).expect("there are many")
    };
    let move_to_second = |n: u64, from: usize| {
        cluster.begin_move(slot_of(n), &cluster.nodes[from], &cluster.nodes[1]);
        cluster.end_move(slot_of(n), &cluster.nodes[1]);
    };
    let (n, other) = (of_node(0), of_node(2));
    std::thread::scope(|scope| {
        let filling = scope.spawn(|| {
            // The slot moves between the question and the store, which is held up on its way to where the slot was.
            cache.cached(call(n), || {
                move_to_second(n, 0);
                proxies[0].set(Mode::HoldFrom(b"77777777"));
                STALE
            })
        });
        wait_until("the store is held up", DEADLINE, || proxies[0].holds());
        // The handle hears of it from another node.
        let told = || cluster.nodes[1].calls("cluster|slots") + cluster.nodes[2].calls("cluster|slots");
        let before = told();
        move_to_second(other, 2);
        cache.contains(call(other));
        wait_until("the handle has a new map", DEADLINE, || told() > before);
        crate::support::current_thread().block_on(async {
            let removal = tokio::time::timeout(Duration::from_millis(50), cache.remove_async(call(n)));
            assert!(removal.await.is_err(), "it waits for the store");
        });
        wait_until("the journal is replayed", DEADLINE, || cluster.nodes[1].calls("unlink") > 0);
        assert!(!filling.is_finished());
        proxies[1].set(Mode::Delay(Duration::from_millis(50)));
        proxies[0].set(Mode::Pass);
        wait_until("the store has ended, and the journal is empty", DEADLINE, || {
            assert_ne!(cache.get::<u64>(call(n)), Some(STALE), "what was removed is back");
            filling.is_finished() && cache.stats().journal_length == 0
        });
    });
    assert_eq!(cache.get::<u64>(call(n)), None);
    assert!(!cluster.nodes[1].has(&cache.key(&call(n)).expect("it has a key")));
}
