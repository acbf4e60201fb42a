//! Users who may do little, and passwords.

use std::time::Duration;

use cache_house::{CacheHouse, Health, ReasonKind};

use super::{call, shards, warm};
use crate::support::resp::Reply;
use crate::support::{Cluster, DEADLINE, Server, wait_until};

const LITTLE: [&str; 8] = ["+get", "+set", "+unlink", "+pttl", "+strlen", "+exists", "+scan", "~cachehouse:*"];

fn allow(server: &Server, more: &[&str]) {
    let rules = [&["ACL", "SETUSER", "app", "reset", "on", ">pw"], &LITTLE[..], more].concat();
    assert_eq!(server.command(&rules), Reply::Simple("OK".into()));
}

fn login(endpoint: String) -> cache_house::CacheHandle {
    let builder = CacheHouse::builder().autodetect(endpoint).username("app").password("pw");
    builder.command_timeout(Duration::from_secs(5)).build().expect("the builder is right")
}

#[test]
fn a_user_with_few_permissions_finds_either_kind_of_server() {
    let server = Server::start();
    allow(&server, &[]);
    let cache = login(server.endpoint());
    crate::support::until_connected(&cache);
    warm(&cache, &[1, 2]);
    assert_eq!(cache.clear_namespace("main").expect("it may scan").entries, 2);
    warm(&cache, &[1, 2]);
    // It may not touch the key that is all of the prefix, which isn't there.
    assert_eq!(cache.clear_keys("cachehouse").expect("it may touch all below").entries, 2);

    let cluster = Cluster::of(3, 0, &[]);
    for node in &cluster.nodes {
        allow(node, &["+cluster|slots", "+asking"]);
    }
    let cache = login(cluster.endpoint());
    crate::support::until_connected(&cache);
    assert_eq!(shards(&cache), Some((3, 3)));
    warm(&cache, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(cache.clear_keys("cachehouse").expect("it may scan").entries, 6);
}

#[test]
fn a_missing_permission_for_cluster_slots_is_reported() {
    let cluster = Cluster::of(3, 0, &[]);
    cluster.nodes.iter().for_each(|node| allow(node, &[]));
    let cache = login(cluster.endpoint());
    wait_until("it's told", DEADLINE, || match cache.health() {
        Health::Degraded { reason, .. } => {
            reason.kind() == ReasonKind::Permission && reason.to_string().contains("cluster|slots")
        }
        _ => false,
    });
    assert_eq!(cache.cached(call(2), || 4), 4);
    // Without a restart of anything.
    cluster.nodes.iter().for_each(|node| allow(node, &["+cluster|slots"]));
    crate::support::until_connected(&cache);
}

#[test]
fn a_password_opens_all_nodes() {
    let cluster = Cluster::of(3, 0, &["--requirepass", "s3cret", "--masterauth", "s3cret"]);
    let open = CacheHouse::builder().cluster(cluster.endpoint()).password("s3cret").build().expect("it's right");
    crate::support::until_connected(&open);
    assert_eq!(shards(&open), Some((3, 3)));
    warm(&open, &(0..20).collect::<Vec<_>>());
    let wrong = CacheHouse::builder().cluster(cluster.endpoint()).password("wr0ng").build().expect("it's right");
    wait_until("it's refused", DEADLINE, || match wrong.health() {
        Health::Degraded { reason, .. } => reason.kind() == ReasonKind::Authentication,
        _ => false,
    });
    assert!(!format!("{:?} {}", wrong.health(), wrong.health()).contains("wr0ng"));
}

#[test]
fn what_a_user_lacks_can_be_asked_for() {
    let server = Server::start();
    allow(&server, &["-pttl", "-unlink"]);
    let cache = login(server.endpoint());
    // It may not even serve.
    wait_until("it's told", DEADLINE, || matches!(cache.health(), Health::Degraded { .. }));
    let mut reports = Vec::new();
    wait_until("the connection is asked over", DEADLINE, || {
        reports = cache.inspect();
        !reports.is_empty()
    });
    let [report] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!(report.endpoint, server.endpoint());
    assert_eq!(report.version, None, "it may not ask for it");
    assert_eq!(
        report.missing,
        ["unlink", "pttl", "evalsha", "eval", "pexpire", "client|info", "info", "client|kill", "mget"]
    );
    assert!(report.round_trip.is_some_and(|time| time < Duration::from_secs(5)));
    allow(&server, &["+@all"]);
    crate::support::until_connected(&cache);
    let reports = cache.inspect();
    assert!(reports[0].missing.is_empty(), "{reports:?}");
    assert!(reports[0].version.as_deref().is_some_and(|version| version.starts_with("Redis ")), "{reports:?}");
    cache.close();
    assert_eq!(cache.inspect(), []);

    let cluster = Cluster::of(3, 0, &[]);
    for node in &cluster.nodes {
        allow(node, &["+cluster|slots", "+client", "+info"]);
    }
    let cache = login(cluster.endpoint());
    crate::support::until_connected(&cache);
    let reports = cache.inspect();
    assert_eq!(reports.len(), 3);
    assert!(
        reports.iter().all(|report| report.missing == ["evalsha", "eval", "pexpire", "cluster|nodes", "asking"]),
        "{reports:?}"
    );
    warm(&cache, &[1, 2, 3]);
}
