//! What is at the endpoint is found out, each time anew.

use std::time::Duration;

use cache_house::{CacheHandle, CacheHouse, Health, ReasonKind, Reconnect, Topology};

use super::{call, shards, until_served, warm};
use crate::support::cluster::clustered;
use crate::support::resp::Reply;
use crate::support::{Cluster, DEADLINE, Mode, Proxy, Server, standalone, until_connected, wait_until};

fn autodetect(endpoint: impl AsRef<str>) -> CacheHandle {
    let quick = Reconnect::default().min_delay(Duration::from_millis(10)).max_delay(Duration::from_millis(50));
    let builder = CacheHouse::builder().autodetect(endpoint.as_ref()).reconnect(quick);
    builder.command_timeout(Duration::from_secs(5)).build().expect("the builder is right")
}

fn is_standalone(cache: &CacheHandle) -> bool {
    cache.health() == Health::Connected { topology: Topology::Standalone }
}

#[track_caller]
fn until_refused_as(cache: &CacheHandle, words: &str) {
    wait_until("it's told that another kind of server was found", DEADLINE, || match cache.health() {
        Health::Degraded { reason, .. } => {
            reason.kind() == ReasonKind::WrongTopology && reason.to_string().contains(words)
        }
        _ => false,
    });
}

#[test]
fn a_standalone_server_is_found() {
    let server = Server::start();
    let cache = autodetect(server.endpoint());
    until_connected(&cache);
    assert!(is_standalone(&cache), "{}", cache.health());
    warm(&cache, &[7]);
    assert!(server.has(&cache.key(&call(7)).expect("it has a key")));
}

#[test]
fn a_cluster_is_found_from_any_of_its_nodes() {
    let cluster = Cluster::of(3, 0, &[]);
    for node in &cluster.nodes {
        let cache = autodetect(node.endpoint());
        until_connected(&cache);
        assert_eq!(shards(&cache), Some((3, 3)), "{}", cache.health());
        assert_eq!(cache.health().to_string(), "connected to a cluster, 3 of 3 shards served");
        let questions: Vec<_> = (0..30).collect();
        warm(&cache, &questions);
        for n in questions {
            assert!(cluster.has(&cache.key(&call(n)).expect("it has a key")), "{n}");
        }
    }
}

#[test]
fn while_nothing_answers_memory_serves_and_what_appears_is_used() {
    let server = Server::absent();
    let cache = autodetect(server.endpoint());
    assert_eq!(cache.cached(call(2), || 4), 4);
    assert_eq!(cache.cached(call(2), || 5), 4);
    assert!(!cache.health().is_connected());
    server.restart();
    until_connected(&cache);
    assert!(is_standalone(&cache));
}

#[test]
fn a_server_may_be_replaced_by_a_cluster_at_its_address_and_back() {
    let cluster = Cluster::of(3, 0, &[]);
    let node = &cluster.nodes[0];
    node.kill();
    let server = Server::at(node.port());
    server.restart();
    let cache = autodetect(server.endpoint());
    until_connected(&cache);
    assert!(is_standalone(&cache));
    warm(&cache, &[1, 2, 3]);
    for _ in 0..2 {
        server.kill();
        node.restart();
        until_served(&cache, 3, 3);
        warm(&cache, &[4, 5, 6]);
        assert!(!cache.remove(call(1)).expect("the cluster is there").journalled);

        cluster.nodes.iter().for_each(Server::kill);
        wait_until("it's noticed", DEADLINE, || !cache.health().is_connected());
        // Invalidated while neither is there: the journal outlives what it was written for.
        assert!(cache.remove(call(2)).expect("it's journalled").journalled, "no server is there");
        assert!(cache.clear_namespace("other").expect("it's journalled").journalled, "no server is there");
        server.restart();
        wait_until("the standalone server is used", DEADLINE, || is_standalone(&cache));
        wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
        assert_eq!(cache.get::<u64>(call(2)), None);
        warm(&cache, &[7, 8, 9]);
        cluster.nodes[1..].iter().for_each(Server::restart);
    }
    cache.close();
    // The server learns that a connection is closed from its own event loop, which answers this question first now and then.
    wait_until("no connection is left", DEADLINE, || server.connections() == 0);
}

#[test]
fn the_wrong_kind_of_server_is_named() {
    let cluster = Cluster::of(3, 0, &[]);
    let server = Server::start();
    let one = standalone(cluster.endpoint()).build().expect("the builder is right");
    until_refused_as(&one, "configure `cluster` or `autodetect`");
    let numbered = standalone(cluster.endpoint()).database(3).build().expect("the builder is right");
    until_refused_as(&numbered, "has no database 3");
    let many = clustered(server.endpoint()).build().expect("the builder is right");
    until_refused_as(&many, "configure `standalone` or `autodetect`");
    for cache in [one, numbered, many] {
        assert_eq!(cache.cached(call(2), || 4), 4);
        assert_eq!(cache.cached(call(2), || 5), 4, "memory serves");
    }
}

#[test]
fn one_live_seed_is_enough() {
    let cluster = Cluster::of(3, 0, &[]);
    let dead = Server::absent();
    for cache in [
        clustered(dead.endpoint()).node(cluster.nodes[1].endpoint()).build(),
        CacheHouse::builder().autodetect(dead.endpoint()).node(cluster.nodes[2].endpoint()).build(),
    ] {
        let cache = cache.expect("the builder is right");
        until_connected(&cache);
        assert_eq!(shards(&cache), Some((3, 3)));
    }
}

#[test]
fn a_server_whose_greeting_lacks_its_mode_is_asked_by_other_commands() {
    let server = Server::start();
    let cluster = Cluster::of(3, 0, &[]);
    let may = |rules: &[&str]| {
        for node in cluster.nodes.iter().chain([&server]) {
            let user = ["ACL", "SETUSER", "app", "reset", "on", ">pw", "~*", "+@all", "-info", "-cluster|info"];
            assert_eq!(node.command(&[&user[..], rules].concat()), Reply::Simple("OK".into()));
        }
    };
    let over = |node: &Server| {
        let proxy = Proxy::of(node);
        proxy.set(Mode::Anonymous);
        let builder = CacheHouse::builder().autodetect(proxy.endpoint()).username("app").password("pw");
        let cache = builder.command_timeout(Duration::from_secs(5)).build().expect("the builder is right");
        until_connected(&cache);
        (cache.health(), proxy)
    };
    for rules in [["+info", "-cluster|info"], ["-info", "+cluster|info"]] {
        may(&rules);
        assert_eq!(over(&server).0, Health::Connected { topology: Topology::Standalone }, "{rules:?}");
        let whole = Health::Connected { topology: Topology::Cluster { shards: 3, served: 3 } };
        assert_eq!(over(&cluster.nodes[0]).0, whole, "{rules:?}");
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_cluster_over_tls_is_found_by_the_ports_that_it_tells_over_tls() {
    let file = |name: &str| format!("{}/tests/integration/faults/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let (certificate, key, authority) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &authority];
    let rest = ["--tls-port", "auto", "--tls-auth-clients", "no", "--cluster-announce-hostname", "localhost"];
    // A server 7.0 knows the TLS ports of the others only where the nodes talk over TLS themselves.
    let names = ["--cluster-preferred-endpoint-type", "hostname", "--tls-cluster", "yes"];
    let cluster = Cluster::of(3, 0, &[&files[..], &rest, &names].concat());
    let port = cluster.nodes[1].argument("--tls-port").expect("it was given");
    let quick = Reconnect::default().max_delay(Duration::from_millis(50));
    let builder = CacheHouse::builder().autodetect(format!("rediss://localhost:{port}")).reconnect(quick);
    let cache = builder.tls(cache_house::Tls::default().ca_file(&authority)).build().expect("the builder is right");
    until_connected(&cache);
    assert_eq!(shards(&cache), Some((3, 3)));
    let questions: Vec<_> = (0..30).collect();
    warm(&cache, &questions);
    assert_eq!(cluster.keys().len(), 30);
    // Each of them is connected to over TLS.
    cluster.nodes[0].kill();
    until_served(&cache, 2, 3);
    cluster.nodes[0].restart();
    until_served(&cache, 3, 3);
}
