//! Which slots of a new map a failover has moved.

use std::sync::Arc;

use super::connect_to;
use super::server::Server as RealServer;
use crate::backend::invalidations::Unheard;
use crate::backend::redis::layout::{Shard, SlotMap};
use crate::backend::redis::node::Node;
use crate::backend::redis::reply::SlotRange;
use crate::backend::redis::role::Role;
use crate::config::Address;

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
    redis.close().await;
}
