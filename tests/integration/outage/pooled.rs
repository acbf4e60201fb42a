//! Several connections to one server, of which one is held up.

use std::time::Duration;

use cache_house::CacheHandle;

use super::call;
use crate::support::cluster::clustered;
use crate::support::{Cluster, DEADLINE, Mode, Proxy, Server, standalone, until_connected, wait_until};

const TIMEOUT: Duration = Duration::from_millis(200);
const HELD: Mode = Mode::HoldFrom(b"stale");
/// In each, chance decides which connection a batch would go by if all of it went by one.
const ROUNDS: u32 = 10;

#[test]
fn a_write_that_is_held_up_on_one_connection_is_not_overtaken_by_a_removal_on_another() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = standalone(proxy.endpoint()).pool_size(2).command_timeout(TIMEOUT).build();
    assert_not_overtaken(&cache.expect("the builder is right"), &server, &proxy);
}

#[test]
fn a_write_that_is_held_up_on_one_connection_to_a_node_is_not_overtaken_by_a_removal_on_another() {
    let cluster = Cluster::of(1, 0, &[]);
    let node = &cluster.nodes[0];
    let proxy = Proxy::of(node);
    node.command(&["CONFIG", "SET", "cluster-announce-port", &proxy.port().to_string()]);
    let cache = clustered(proxy.endpoint()).pool_size(2).command_timeout(TIMEOUT).build();
    assert_not_overtaken(&cache.expect("the builder is right"), node, &proxy);
}

fn assert_not_overtaken(cache: &CacheHandle, server: &Server, proxy: &Proxy) {
    let mut n = 0;
    for round in 0..ROUNDS {
        proxy.set(HELD);
        // A busy machine may keep the question from being answered in time; then nothing is sent.
        wait_until("a write is held up", DEADLINE, || {
            until_connected(cache);
            n += 1;
            cache.cached(call("f").arg(n), || "stale".to_owned());
            proxy.holds()
        });
        let key = cache.key(&call("f").arg(n)).expect("it has a key");
        // The other connection too, so that the circuit stays open while keys of both are removed.
        proxy.set(Mode::HoldStanding);
        wait_until("the server is given up", DEADLINE, || {
            cache.contains(call("f").arg(n));
            !cache.health().is_connected()
        });
        assert!(cache.remove(call("f").arg(n)).expect("it's journalled").journalled, "the server is away");
        for other in 0..30 {
            assert!(cache.remove(call("g").arg(other)).expect("it's journalled").journalled, "the server is away");
        }
        let timeouts = cache.stats().server_timeouts;
        proxy.set(HELD);
        wait_until("the journal is replayed, or waits for the connection that is held up", DEADLINE, || {
            assert_eq!(cache.get::<String>(call("f").arg(n)), None, "round {round}");
            let stats = cache.stats();
            stats.journal_length == 0 || stats.server_timeouts > timeouts
        });
        proxy.set(Mode::Pass);
        wait_until("nothing waits any more", DEADLINE, || {
            !proxy.holds() && cache.health().is_connected() && cache.stats().journal_length == 0
        });
        // Behind whatever was held up, on each of the connections.
        for other in 0..30 {
            wait_until("the question is answered", DEADLINE, || {
                let before = cache.stats();
                cache.contains(call("g").arg(other));
                cache.stats().server_timeouts == before.server_timeouts && cache.health().is_connected()
            });
        }
        assert!(!server.has(&key), "round {round}: what was removed is back");
    }
}
