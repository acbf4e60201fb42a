//! Slots that move, and nodes that come and go.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use cache_house::KeyContext;

use super::{Callers, call, shards, until_served, warm};
use crate::support::cluster::{clustered, connected_to};
use crate::support::fake::{Answer, Fake, healthy};
use crate::support::{Cluster, DEADLINE, Mode, Proxy, Server, current_thread, wait_until};

/// The slot of all keys of [`one_slot`].
fn of_one_slot(cache: &cache_house::CacheHandle, cluster: &Cluster) -> usize {
    let key = cache.key(&call(0)).expect("it has a key");
    usize::try_from(cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", &key]).integer()).expect("it's a slot")
}

/// A handle whose key builder gives all keys one hash tag.
fn one_slot(cluster: &Cluster) -> cache_house::CacheHandle {
    let tagged = |cx: &KeyContext<'_>| cx.scoped(&format!("{{moving}}:{}", cx.args()[0]));
    let builder = clustered(cluster.endpoint()).key_builder(tagged);
    // Whatever is computed again is seen: memory can't stand in.
    let cache = builder.fallback_to_memory(false).build().expect("the builder is right");
    crate::support::until_connected(&cache);
    cache
}

#[test]
fn a_slot_that_moves_under_traffic_loses_no_call_and_no_value() {
    let mut cluster = Cluster::of(3, 0, &[]);
    let added = cluster.add_node();
    cluster.without_failover();
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

/// What two nodes share that answer for a cluster: the one that stays, and the one whose slots all go to it.
#[derive(Default)]
struct Handover {
    ports: OnceLock<[String; 2]>,
    is_over: AtomicBool,
    /// Reads that the leaving node has received.
    received: AtomicU32,
    may_answer: AtomicBool,
}

impl Handover {
    /// The reply to CLUSTER SLOTS.
    fn map(&self) -> String {
        let [stays, leaves] = self.ports.get().expect("the nodes are there");
        let range = |first, last, port| format!("*3\r\n:{first}\r\n:{last}\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n");
        match self.is_over.load(Ordering::SeqCst) {
            false => format!("*2\r\n{}{}", range(0, 8_191, stays), range(8_192, 16_383, leaves)),
            true => format!("*1\r\n{}", range(0, 16_383, stays)),
        }
    }

    /// Answers reads of the handle's keys as `read` does, which have a hash tag.
    fn node(self: &Arc<Self>, read: impl Fn(&Self) -> String + Send + Sync + 'static) -> Fake {
        let shared = Arc::clone(self);
        Fake::answering(move |words| {
            let reply = match words[0].to_ascii_uppercase().as_str() {
                "GET" if words[1].contains('{') => read(&shared),
                "HELLO" => "%1\r\n$4\r\nmode\r\n$7\r\ncluster\r\n".to_owned(),
                "CLUSTER" if words[1] == "SLOTS" => shared.map(),
                _ => return healthy(words),
            };
            Answer::Reply(reply.into_bytes())
        })
    }

    fn leaving(self: &Arc<Self>) -> Fake {
        self.node(|shared| {
            shared.received.fetch_add(1, Ordering::SeqCst);
            wait_until("it may answer", DEADLINE, || shared.may_answer.load(Ordering::SeqCst));
            "$1\r\n7\r\n".to_owned()
        })
    }

    fn staying(self: &Arc<Self>) -> Fake {
        // A redirect to itself has the map read again.
        self.node(|shared| format!("-MOVED 5649 127.0.0.1:{}\r\n", shared.ports.get().expect("the nodes are there")[0]))
    }
}

#[test]
fn a_node_that_leaves_the_cluster_may_answer_what_it_was_asked_before() {
    let handover = Arc::new(Handover::default());
    let (stays, leaves) = (handover.staying(), handover.leaving());
    let port = |node: &Fake| node.endpoint().rsplit_once(':').expect("a port").1.to_owned();
    handover.ports.set([port(&stays), port(&leaves)]).expect("it's set once");
    // The slot of {1} is 9842, that of {2} 5649.
    let tagged = |cx: &KeyContext<'_>| cx.scoped(&format!("{{{}}}", cx.args()[0]));
    let builder = clustered(stays.endpoint()).key_builder(tagged).command_timeout(DEADLINE);
    let cache = builder.fallback_to_memory(false).build().expect("the builder is right");
    until_served(&cache, 2, 2);
    let value = thread::scope(|scope| {
        let value = scope.spawn(|| cache.cached(call(1), || 0));
        wait_until("the node has the read", DEADLINE, || handover.received.load(Ordering::SeqCst) == 1);
        handover.is_over.store(true, Ordering::SeqCst);
        assert_eq!(cache.cached(call(2), || 5), 5);
        until_served(&cache, 1, 1);
        handover.may_answer.store(true, Ordering::SeqCst);
        value.join().expect("it doesn't panic")
    });
    assert_eq!(value, 7, "the work ran: {:?}", cache.stats());
}

/// The node that has the slot, and another.
fn owner_and_another(cluster: &Cluster, slot: usize) -> (&Server, &Server) {
    let from = cluster.owner_of_slot(slot);
    (from, cluster.nodes.iter().find(|node| node.port() != from.port()).expect("there are three"))
}

#[test]
fn writes_and_removals_follow_their_slot() {
    let cluster = Cluster::of(3, 0, &[]);
    let cache = one_slot(&cluster);
    let slot = of_one_slot(&cache, &cluster);
    let (from, to) = owner_and_another(&cluster, slot);
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
    let builder = clustered(proxies[2].endpoint()).command_timeout(Duration::from_secs(15));
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
    thread::scope(|scope| {
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
        current_thread().block_on(async {
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

#[test]
fn an_invalidation_leaves_no_second_copy_where_its_slot_is_moving() {
    let cluster = Cluster::of(3, 0, &[]);
    let cache = one_slot(&cluster);
    let slot = of_one_slot(&cache, &cluster);
    let (from, to) = owner_and_another(&cluster, slot);
    cluster.without_failover();
    warm(&cache, &[1, 2, 3]);
    cluster.begin_move(slot, from, to);
    for n in [1, 2, 3] {
        // The lease is taken where the slot is moving, and the value is stored there; the old one hasn't moved yet.
        assert_eq!(cache.refresh(call(n), || 70 + n), 70 + n);
    }
    assert_eq!((from.keys().len(), to.keys().len()), (3, 3));
    assert!(!cache.remove(call(1)).expect("both sides are there").journalled);
    assert_eq!(cache.get::<u64>(call(1)), None);
    assert!(!cache.insert(call(2), &8_u64).expect("both sides are there").journalled);
    assert_eq!((from.keys().len(), to.keys().len()), (2, 1));
    // Three timeouts, and nothing of the removal is sent before the replay of the journal.
    from.freeze();
    thread::scope(|scope| {
        for n in 4..7 {
            let cache = &cache;
            scope.spawn(move || cache.get::<u64>(call(n)));
        }
    });
    until_served(&cache, 2, 3);
    assert!(cache.remove(call(3)).expect("it's journalled").journalled);
    from.thaw();
    wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    assert_eq!((from.keys().len(), to.keys().len()), (1, 0));
    cluster.until_settled();
    until_served(&cache, 3, 3);
    while cluster.move_keys(slot, from, to, 10) {}
    cluster.end_move(slot, to);
    assert_eq!((cache.get::<u64>(call(1)), cache.get(call(2))), (None, Some(8_u64)));
}
