//! Failovers: which slots of a new map they have moved, and what is confirmed or read around them.

use std::sync::Arc;

use super::server::Server as RealServer;
use super::{connect, connect_to, quick};
use crate::backend::invalidation::Invalidation;
use crate::backend::invalidations::Unheard;
use crate::backend::redis::Redis;
use crate::backend::redis::layout::{Layout, Shard, SlotMap};
use crate::backend::redis::node::Node;
use crate::backend::redis::reply::SlotRange;
use crate::backend::redis::role::Role;
use crate::backend::server::{ServerError, Unavailable};
use crate::backend::slots::{SLOTS, SlotSet};
use crate::config::{Address, CacheHouseBuilder};
use crate::key::ServerKey;

fn node(port: u16) -> Address {
    Address::Tcp { host: "127.0.0.1".into(), port }
}

fn range(first: u16, last: u16, primary: u16) -> SlotRange {
    SlotRange { first, last, primary: node(primary), replicas: Vec::new() }
}

#[tokio::test]
async fn slots_of_a_node_that_was_no_primary_are_failed_over_even_if_the_last_map_does_not_name_it() {
    let server = RealServer::start();
    let redis = connect_to(&server, Arc::new(Unheard)).await;
    let ranges = [range(0, 99, 1), range(100, 199, 2)];
    let shard = |port| {
        let primary = Node::new(node(port), Role::Primary, "probe".into(), &redis.inner.context);
        Shard { primary: Arc::new(primary), replicas: Vec::new() }
    };
    let map = SlotMap::new(vec![shard(1), shard(2)], &ranges);
    // The second shard has a new primary, and some slots of the first have moved to it.
    let slots = map.failed_over(&[range(0, 49, 1), range(50, 99, 2), range(100, 199, 3)]);
    assert!((100..200).all(|slot| slots.contains(slot)));
    assert!((0..100).all(|slot| !slots.contains(slot)));
    // A redirect has named the new primary, and nothing else is known of it yet.
    let map = SlotMap::new(vec![shard(1), shard(2), shard(3)], &ranges);
    map.moved(150, &node(3));
    let slots = map.failed_over(&[range(0, 99, 1), range(100, 199, 3)]);
    assert!((100..200).all(|slot| slots.contains(slot)), "also those that no redirect was about");
    assert!((0..100).all(|slot| !slots.contains(slot)));
    redis.close().await;
}

/// Of a cluster whose one primary has all slots, as far as the handle knows.
async fn clustered(server: &RealServer) -> Redis {
    let redis = connect_to(server, Arc::new(Unheard)).await;
    take_for_a_cluster(&redis);
    redis
}

fn take_for_a_cluster(redis: &Redis) {
    let primary = Node::new(node(1), Role::Primary, "probe".into(), &redis.inner.context);
    let shards = vec![Shard { primary: Arc::new(primary), replicas: Vec::new() }];
    redis.inner.layout.store(Arc::new(Layout::Cluster(SlotMap::new(shards, &[range(0, SLOTS - 1, 1)]))));
}

fn removed(key: &str) -> Invalidation<ServerKey> {
    Invalidation::Key(ServerKey::from(key.to_owned()))
}

#[tokio::test]
async fn what_is_confirmed_around_a_failover_is_journalled_again_and_nothing_else() {
    let server = RealServer::start();
    let redis = clustered(&server).await;
    let (inner, journal) = (&redis.inner, &redis.inner.context.journal);
    // The standalone server behind it would confirm what is journalled.
    server.freeze();
    let quiet = inner.failovers.epoch();
    inner.confirmed(removed("p:quiet"), quiet);
    assert_eq!(journal.len(), 0);
    // Before it, as if confirmed a moment ago; while it's handled; and behind it, by a primary that was asked before.
    let during = inner.fail_over(&SlotSet::all(), || {
        let during = inner.failovers.epoch();
        inner.confirmed(removed("p:during"), during);
        during
    });
    inner.confirmed(removed("p:overlapping"), during);
    inner.confirmed(removed("p:behind"), quiet);
    assert_eq!(journal.len(), 4);
    inner.confirmed(removed("p:after"), inner.failovers.epoch());
    assert_eq!(journal.len(), 4);
    server.thaw();
    redis.close().await;
}

#[tokio::test]
async fn a_read_around_a_failover_returns_nothing_that_was_invalidated_lately() {
    let server = RealServer::start();
    let redis = clustered(&server).await;
    let inner = &redis.inner;
    let [gone, kept] = ["p:gone", "p:kept"].map(|key| ServerKey::from(key.to_owned()));
    inner.confirmed(Invalidation::Key(gone.clone()), inner.failovers.epoch());
    let before = inner.failovers.epoch();
    assert_eq!(inner.judged(&gone, before, Ok(1)), Ok(1));
    inner.fail_over(&SlotSet::all(), || ());
    assert_eq!(inner.judged(&gone, before, Ok(1)), Err(ServerError::Unavailable(Unavailable::NotReady)));
    assert_eq!(inner.judged(&kept, before, Ok(1)), Ok(1));
    assert_eq!(inner.judged(&gone, inner.failovers.epoch(), Ok(1)), Ok(1));
    redis.close().await;
}

#[tokio::test]
async fn a_read_of_what_the_journal_names_is_not_begun() {
    let server = RealServer::start();
    let redis = clustered(&server).await;
    server.freeze();
    let inner = &redis.inner;
    let [gone, kept] = ["p:gone", "p:kept"].map(|key| ServerKey::from(key.to_owned()));
    inner.context.journal.add_server_key(gone.clone());
    assert_eq!(inner.begin_read(&gone), Err(ServerError::Unavailable(Unavailable::NotReady)));
    assert_eq!(inner.begin_read(&kept), Ok(inner.failovers.epoch()));
    server.thaw();
    redis.close().await;
}

/// The map that follows has none before it, so it shows no failover.
#[tokio::test(flavor = "multi_thread")]
async fn a_map_that_is_forgotten_when_the_io_moves_repeats_what_was_invalidated() {
    let server = RealServer::start();
    // It has to find out what the server is. While that is frozen, no layout follows the forgotten one.
    let builder = CacheHouseBuilder::new().autodetect(server.endpoint()).reconnect(quick());
    let redis = connect(builder.into_config().expect("it's right").topology, Arc::new(Unheard)).await;
    server.freeze();
    take_for_a_cluster(&redis);
    let (inner, journal) = (&redis.inner, &redis.inner.context.journal);
    let before = inner.failovers.epoch();
    inner.confirmed(removed("p:before"), before);
    assert_eq!(journal.len(), 0);
    // The program keeps the I/O from running, again and again.
    while !inner.context.starvation.is_chronic() {
        inner.context.starvation.note();
    }
    inner.leave_starved_runtime();
    assert_eq!(journal.len(), 1);
    // Also what a primary of the forgotten map confirms only now.
    inner.confirmed(removed("p:late"), before);
    assert_eq!(journal.len(), 2);
    server.thaw();
    redis.close().await;
}
