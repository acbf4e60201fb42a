//! Shards that die, and come back elsewhere, or not.

use std::time::{Duration, Instant};

use super::{Callers, call, questions_of, shards, until_served, warm};
use crate::support::cluster::{NODE_TIMEOUT, clustered, connected_to};
use crate::support::resp::{Connection, Reply};
use crate::support::{Cluster, DEADLINE, Server, wait_until};

const TIMEOUT: Duration = Duration::from_millis(250);
/// Far more than the few timeouts that a call may cost, far less than a failover takes to be given up on.
const BOUND: Duration = Duration::from_secs(5);

fn connect(cluster: &Cluster) -> cache_house::CacheHandle {
    // The timeout is for what freezes; a busy machine shouldn't be taken for it.
    let cache = clustered(cluster.endpoint()).command_timeout(TIMEOUT * 4).build().expect("the builder is right");
    crate::support::until_connected(&cache);
    assert_eq!(shards(&cache), Some((3, 3)));
    cache
}

#[test]
fn a_primary_that_is_killed_is_replaced_and_the_other_shards_do_not_notice() {
    let cluster = Cluster::start();
    let cache = connect(&cluster);
    let victim = &cluster.nodes[1];
    let others: Vec<_> =
        [0, 2].into_iter().flat_map(|node| questions_of(&cluster, &cache, &cluster.nodes[node], 20)).collect();
    let its_own = questions_of(&cluster, &cache, victim, 20);
    warm(&cache, &others);
    warm(&cache, &its_own);
    let (healthy, hit) = (Callers::of(&cache, &others, 2), Callers::of(&cache, &its_own, 2));
    healthy.wait_for_calls(200);
    hit.wait_for_calls(200);

    victim.kill();
    until_served(&cache, 2, 3);
    healthy.wait_for_calls(100);
    hit.wait_for_calls(100);
    let before = cache.stats();
    until_served(&cache, 3, 3);
    let promoted = &cluster.nodes[4];
    // The cache may have read the map from another node than the one that is asked here, which learns it by gossip.
    let has_the_slots = || cluster.owner_of_slot(cluster.share(1).0).port() == promoted.port();
    wait_until("all nodes know the promoted replica", DEADLINE, has_the_slots);
    hit.wait_for_calls(100);
    let (runs, slowest) = healthy.stop();
    assert_eq!(runs, 0, "what other shards hold is computed again");
    assert!(slowest < BOUND, "{slowest:?}");
    let (runs, slowest) = hit.stop();
    // Memory has it while the shard is away, its replica afterwards.
    assert_eq!(runs, 0, "{before:?} {:?}", cache.stats());
    assert!(slowest < BOUND, "{slowest:?}");
    let key = cache.key(&call(its_own[0])).expect("it has a key");
    cache.remove(call(its_own[0])).expect("the promoted replica is there");
    warm(&cache, &its_own[..1]);
    assert!(promoted.has(&key));
}

#[test]
fn a_shard_without_a_replica_is_an_outage_for_its_own_keys_only() {
    let cluster = Cluster::of(3, 0, &[]);
    let cache = connect(&cluster);
    let victim = &cluster.nodes[2];
    let others = questions_of(&cluster, &cache, &cluster.nodes[0], 20);
    let its_own = questions_of(&cluster, &cache, victim, 21);
    warm(&cache, &others);
    warm(&cache, &its_own[..20]);
    victim.kill();
    until_served(&cache, 2, 3);
    // Longer than it takes the others to agree that it's dead.
    let begin = Instant::now();
    let healthy = Callers::of(&cache, &others, 2);
    let hits = cache.stats().server_hits;
    while begin.elapsed() < NODE_TIMEOUT * 3 {
        for &n in &its_own[..20] {
            assert_eq!(cache.cached(call(n), || -> u64 { panic!("memory has it") }), n * n);
        }
    }
    assert!(cache.stats().server_hits > hits + 100, "the others are served by their servers");
    // Invalidated meanwhile: of the shard that is away, and of one that isn't.
    let applied = cache.remove(call(its_own[0])).expect("it's journalled");
    assert!(applied.journalled, "its shard is away");
    assert_eq!(cache.remove(call(others[0])).expect("its shard is there").entries, 1);
    warm(&cache, &others[..1]);
    assert_eq!(cache.stats().journal_length, 1);
    assert_eq!(cache.get::<u64>(call(its_own[0])), None);
    assert_eq!(shards(&cache), Some((2, 3)));
    let (_, slowest) = healthy.stop();
    assert!(slowest < BOUND, "{slowest:?}");

    victim.restart();
    until_served(&cache, 3, 3);
    wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    // It has come back empty: there is no persistence.
    warm(&cache, &its_own);
    assert!(victim.has(&cache.key(&call(its_own[20])).expect("it has a key")));
}

#[test]
fn a_frozen_primary_costs_its_own_callers_a_few_timeouts_and_the_others_nothing() {
    let cluster = Cluster::start();
    let cache = clustered(cluster.endpoint()).command_timeout(TIMEOUT).build().expect("the builder is right");
    crate::support::until_connected(&cache);
    let victim = &cluster.nodes[0];
    let others = questions_of(&cluster, &cache, &cluster.nodes[2], 20);
    let its_own = questions_of(&cluster, &cache, victim, 20);
    warm(&cache, &others);
    warm(&cache, &its_own);
    let (healthy, hit) = (Callers::of(&cache, &others, 2), Callers::of(&cache, &its_own, 2));
    healthy.wait_for_calls(200);
    victim.freeze();
    hit.wait_for_calls(500);
    wait_until("its replica is promoted", DEADLINE, || {
        cluster.nodes[3].command(&["INFO", "replication"]).text().contains("role:master")
    });
    until_served(&cache, 3, 3);
    healthy.wait_for_calls(100);
    // The old primary comes back, and becomes a replica.
    victim.thaw();
    hit.wait_for_calls(500);
    healthy.wait_for_calls(500);
    for callers in [healthy, hit] {
        let (runs, slowest) = callers.stop();
        assert_eq!(runs, 0);
        assert!(slowest < BOUND, "{slowest:?}");
    }
    until_served(&cache, 3, 3);
}

#[test]
fn a_manual_failover_loses_no_call_and_no_value() {
    let cluster = Cluster::start();
    let cache = connect(&cluster);
    let questions: Vec<_> = (0..60).collect();
    warm(&cache, &questions);
    let callers = Callers::of(&cache, &questions, 4);
    for round in 0..2 {
        callers.wait_for_calls(200);
        let (first, second) = (&cluster.nodes[0], &cluster.nodes[3]);
        let (primary, replica) = if round == 0 { (first, second) } else { (second, first) };
        replica.command(&["CLUSTER", "FAILOVER"]);
        wait_until("the replica is the primary", DEADLINE, || {
            cluster.owner_of_slot(0).port() == replica.port()
                && primary.command(&["INFO", "replication"]).text().contains("master_link_status:up")
        });
        callers.wait_for_calls(200);
        cluster.until_settled();
        until_served(&cache, 3, 3);
    }
    let (runs, slowest) = callers.stop();
    assert_eq!(runs, 0, "{:?}", cache.stats());
    assert!(slowest < BOUND, "{slowest:?}");
}

#[test]
fn all_nodes_may_go_and_come_back() {
    let cluster = Cluster::of(3, 0, &[]);
    let cache = connect(&cluster);
    let questions: Vec<_> = (0..30).collect();
    warm(&cache, &questions);
    let callers = Callers::of(&cache, &questions, 4);
    for _ in 0..2 {
        cluster.nodes.iter().for_each(Server::kill);
        wait_until("all are given up", DEADLINE, || !cache.health().is_connected());
        callers.wait_for_calls(300);
        cluster.nodes.iter().for_each(Server::restart);
        until_served(&cache, 3, 3);
        callers.wait_for_calls(300);
    }
    let (_, slowest) = callers.stop();
    assert!(slowest < BOUND, "{slowest:?}");
    cache.close();
    for node in &cluster.nodes {
        wait_until("no connection is left", DEADLINE, || node.connections() == 0);
    }
}

#[test]
fn replicas_are_read_from_where_that_is_wanted() {
    let cluster = Cluster::start();
    let builder = clustered(cluster.endpoint()).read_from_replicas(true).fallback_to_memory(false);
    let cache = builder.build().expect("the builder is right");
    crate::support::until_connected(&cache);
    let questions = questions_of(&cluster, &cache, &cluster.nodes[0], 10);
    warm(&cache, &questions);
    let replica = &cluster.nodes[3];
    wait_until("the replica has all of it", DEADLINE, || {
        questions.iter().all(|n| replica.keys().contains(&cache.key(&call(*n)).expect("it has a key")))
    });
    let reads = |node: &Server| node.calls("get");
    let before = (reads(&cluster.nodes[0]), reads(replica));
    wait_until("both are read from", DEADLINE, || {
        for &n in &questions {
            assert_eq!(cache.cached(call(n), || -> u64 { panic!("it's cached") }), n * n);
        }
        reads(&cluster.nodes[0]) >= before.0 + 20 && reads(replica) >= before.1 + 20
    });
    // What the replica doesn't have yet, its primary has.
    replica.freeze();
    let late = questions_of(&cluster, &cache, &cluster.nodes[0], 30);
    replica.thaw();
    warm(&cache, &late);
    for _ in 0..5 {
        for &n in &late {
            assert_eq!(cache.cached(call(n), || -> u64 { panic!("its primary has it") }), n * n);
        }
    }
}

#[test]
fn invalidations_of_a_shard_that_fails_over_are_carried_out_on_its_heir() {
    let cluster = Cluster::start();
    let cache = connected_to(&cluster);
    let victim = &cluster.nodes[0];
    let its_own = questions_of(&cluster, &cache, victim, 20);
    warm(&cache, &its_own);
    let successor = &cluster.nodes[3];
    wait_until("the replica has all of it", DEADLINE, || successor.keys().len() >= 20);
    victim.kill();
    until_served(&cache, 2, 3);
    for &n in &its_own[..10] {
        assert!(cache.remove(call(n)).expect("it's journalled").journalled, "it's away");
    }
    assert!(cache.clear_namespace("other").expect("it's journalled").journalled, "a shard is away");
    until_served(&cache, 3, 3);
    wait_until("the journal is empty", DEADLINE, || {
        its_own[..10].iter().for_each(|&n| assert_eq!(cache.get::<u64>(call(n)), None));
        cache.stats().journal_length == 0
    });
    for (index, &n) in its_own.iter().enumerate() {
        assert_eq!(successor.has(&cache.key(&call(n)).expect("it has a key")), index >= 10);
        assert_eq!(cache.get::<u64>(call(n)), (index >= 10).then_some(n * n));
    }
}

/// Cuts the replicas of a primary off: they go on to answer, and learn no more.
fn cut_off_replicas(primary: &Server) {
    // Those who are logged in stay so.
    primary.command(&["CONFIG", "SET", "requirepass", "changed"]);
    let mut connection = Connection::open(primary.port()).expect("the primary is there");
    connection.command(&["AUTH", "changed"]).expect("that's the password");
    connection.command(&["CLIENT", "KILL", "TYPE", "replica"]).expect("it may");
}

#[test]
fn what_was_invalidated_is_not_read_from_a_replica_that_does_not_know_it() {
    let cluster = Cluster::start();
    let builder = clustered(cluster.endpoint()).read_from_replicas(true).fallback_to_memory(false);
    let cache = builder.build().expect("the builder is right");
    crate::support::until_connected(&cache);
    let questions = questions_of(&cluster, &cache, &cluster.nodes[0], 40);
    let replica = &cluster.nodes[3];
    warm(&cache, &questions);
    wait_until("the replica has all of it", DEADLINE, || replica.keys().len() >= questions.len());
    // A replica that has followed nothing yet isn't in the map; it's found with the next map.
    wait_until("the replica is read from", DEADLINE, || {
        questions.iter().for_each(|&n| assert_eq!(cache.get(call(n)), Some(n * n)));
        replica.calls("get") > 40
    });
    let reads = replica.calls("get");
    cut_off_replicas(&cluster.nodes[0]);
    let removed = &questions[..10];
    for &n in removed {
        assert_eq!(cache.remove(call(n)).expect("the primary is there").entries, 1);
    }
    cache.insert(call(questions[10]), &1_u64).expect("the primary is there");
    for _ in 0..20 {
        for &n in removed {
            assert_eq!(cache.get::<u64>(call(n)), None, "its replica still has it");
        }
        assert_eq!(cache.get::<u64>(call(questions[10])), Some(1));
        questions[11..].iter().for_each(|&n| assert_eq!(cache.get(call(n)), Some(n * n)));
    }
    cache.clear_namespace("main").expect("the primaries are there");
    for &n in &questions {
        assert_eq!(cache.get::<u64>(call(n)), None);
    }
    assert!(removed.iter().all(|&n| replica.keys().contains(&cache.key(&call(n)).expect("it has a key"))));
    assert!(replica.calls("get") > reads, "it's read from all the same");
}

#[test]
fn what_a_primary_confirmed_just_before_it_died_does_not_come_back_with_its_heir() {
    let cluster = Cluster::start();
    let cache = connect(&cluster);
    let its_own = warm_shard(&cluster, &cache);
    let (victim, successor) = (&cluster.nodes[0], &cluster.nodes[3]);
    cut_off_replicas(victim);
    for &n in &its_own[..10] {
        assert_eq!(cache.remove(call(n)).expect("the primary is there").entries, 1);
    }
    for &n in &its_own[10..20] {
        cache.insert(call(n), &1_u64).expect("the primary is there");
    }
    victim.kill();
    until_served(&cache, 2, 3);
    // Of the values that were replaced, memory has the new ones; it's asked what the successor says.
    until_served(&cache, 3, 3);
    wait_until("the journal is empty", DEADLINE, || {
        for &n in &its_own[..10] {
            assert_eq!(cache.get::<u64>(call(n)), None, "{n} was removed");
        }
        for &n in &its_own[10..20] {
            assert_ne!(cache.get(call(n)), Some(n * n), "{n} was replaced");
        }
        cache.stats().journal_length == 0
    });
    let has = |n: &u64| successor.has(&cache.key(&call(*n)).expect("it has a key"));
    assert!(!its_own[..20].iter().any(has));
    assert!(its_own[20..].iter().all(has), "what wasn't touched stays");
}

/// Questions whose values the first primary has, and its replica.
fn warm_shard(cluster: &Cluster, cache: &cache_house::CacheHandle) -> Vec<u64> {
    let its_own = questions_of(cluster, cache, &cluster.nodes[0], 30);
    warm(cache, &its_own);
    wait_until("the replica has all of it", DEADLINE, || cluster.nodes[3].keys().len() >= its_own.len());
    its_own
}

#[test]
fn what_the_journal_removed_just_before_a_failover_does_not_come_back() {
    let cluster = Cluster::start();
    cluster.without_failover();
    // A user that may still connect once replicas can't.
    for node in cluster.servers() {
        node.command(&["ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all"]);
    }
    let builder = clustered(cluster.endpoint()).command_timeout(TIMEOUT * 4).username("app").password("secret");
    let cache = builder.build().expect("the builder is right");
    until_served(&cache, 3, 3);
    let its_own = warm_shard(&cluster, &cache);
    let (victim, replica) = (&cluster.nodes[0], &cluster.nodes[3]);
    // By `KEYS`: a replica redirects commands about one key.
    let replicas_keys = || replica.keys();
    let in_namespace = |n: u64| call(n).namespace("cleared");
    let key_of = |options| cache.key(&options).expect("it has a key");
    let its_cleared = (0..).find(|&n| cluster.owner(&key_of(in_namespace(n))).port() == victim.port());
    let its_cleared = in_namespace(its_cleared.expect("the shard has slots"));
    // Not by `insert`, which is repeated itself.
    assert_eq!(cache.cached(its_cleared.clone(), || 1_u64), 1);
    let cleared = key_of(its_cleared);
    wait_until("the replica has it", DEADLINE, || replicas_keys().contains(&cleared));
    cut_off_replicas(victim);
    victim.freeze();
    until_served(&cache, 2, 3);
    for &n in &its_own[..10] {
        assert!(cache.remove(call(n)).expect("it's journalled").journalled, "it's away");
    }
    assert!(cache.clear_namespace("cleared").expect("it's journalled").journalled, "a part of it is away");
    victim.thaw();
    wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    let key = |n: u64| key_of(call(n));
    let before = replicas_keys();
    assert!(its_own.iter().all(|&n| before.contains(&key(n))) && before.contains(&cleared), "nothing was replicated");
    assert_eq!(replica.command(&["CLUSTER", "FAILOVER", "TAKEOVER"]), Reply::Simple("OK".into()));
    wait_until("the new primary has removed it too", DEADLINE, || {
        // The refusal of the old primary tells of the new one.
        cache.get::<u64>(call(its_own[20]));
        let now = replicas_keys();
        !its_own[..10].iter().any(|&n| now.contains(&key(n))) && !now.contains(&cleared)
    });
    let after = replicas_keys();
    assert!(its_own[10..].iter().all(|&n| after.contains(&key(n))), "what wasn't touched stays");
}

#[test]
fn a_frozen_seed_blocks_no_handle_that_knows_other_nodes() {
    // All nodes refuse all calls until the successor is there, so that only standing connections can report it.
    let cluster = Cluster::of(3, 1, &["--cluster-require-full-coverage", "yes"]);
    let builder = clustered(cluster.endpoint()).connect_timeout(Duration::from_secs(300)).command_timeout(TIMEOUT);
    let cache = builder.build().expect("the builder is right");
    crate::support::until_connected(&cache);
    let questions: Vec<_> = (0..30).collect();
    warm(&cache, &questions);
    let callers = Callers::of(&cache, &questions, 2);
    cluster.nodes[0].freeze();
    wait_until("it's noticed", DEADLINE, || shards(&cache) != Some((3, 3)));
    until_served(&cache, 3, 3);
    callers.wait_for_calls(100);
    let (runs, slowest) = callers.stop();
    assert_eq!(runs, 0);
    assert!(slowest < BOUND, "{slowest:?}");
}

#[test]
fn unassigned_slots_are_no_outage_of_the_others() {
    let cluster = Cluster::of(3, 0, &[]);
    // Of each node's slots so many are left that a key which might be in any is hardly in one of them.
    let left: Vec<_> = (0..3).map(|node| (cluster.share(node).0, cluster.share(node).0 + 400)).collect();
    for (own, (_, last)) in (0..3).map(|number| cluster.share(number)).zip(&left) {
        let range = ["CLUSTER", "DELSLOTSRANGE", &(last + 1).to_string(), &own.1.to_string()];
        for node in &cluster.nodes {
            assert_eq!(node.command(&range), Reply::Simple("OK".into()));
        }
    }
    let cache = connect(&cluster);
    let is_left = |n: &u64| {
        let key = cache.key(&call(*n)).expect("it has a key");
        let slot = cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", &key]).integer() as usize;
        left.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    };
    let questions: Vec<_> = (0..).filter(is_left).take(60).collect();
    warm(&cache, &questions);
    assert!(cache.stats().runs >= 60);
    for &n in &questions {
        assert!(cluster.has(&cache.key(&call(n)).expect("it has a key")));
    }
    assert_eq!(cache.clear_namespace("main").expect("all that have slots are there").entries, 60);
    assert_eq!(shards(&cache), Some((3, 3)));
}
