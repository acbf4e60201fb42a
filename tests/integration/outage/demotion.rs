//! A primary that becomes a replica keeps its connections, and refuses all writes from then on.

use std::thread;
use std::time::{Duration, Instant};

use cache_house::Reconnect;

use super::call;
use crate::support::resp::Reply;
use crate::support::{DEADLINE, Mode, Proxy, Server, connect, standalone, until_connected, until_degraded, wait_until};

fn replicate(server: &Server, of: &[&str; 2]) {
    assert_eq!(server.command(&["REPLICAOF", of[0], of[1]]), Reply::Simple("OK".into()));
}

#[test]
fn a_demoted_server_is_left_for_the_one_that_its_name_leads_to() {
    let (old, new) = (Server::start(), Server::start());
    // Stands for the name.
    let proxy = Proxy::of(&old);
    let cache = connect(standalone(proxy.endpoint()));
    let key = cache.key(&call("removed")).expect("it has a key");
    new.set(&key, "1");
    replicate(&old, &["127.0.0.1", &new.port().to_string()]);
    wait_until("it's a replica", DEADLINE, || old.has(&key));
    assert!(cache.remove(call("removed")).expect("it's journalled").journalled, "it's read-only");
    assert_eq!(cache.stats().journal_length, 1);
    // As long as the name leads there, it's read from.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(300) {
        assert_eq!(cache.get::<i32>(call("none")), None);
        assert_eq!(cache.stats().circuit_openings, 0);
    }
    proxy.lead_to(&new);
    wait_until("the removal has reached the new primary", DEADLINE, || !new.has(&key));
    until_connected(&cache);
    wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    assert_eq!(cache.cached(call("f"), || 1), 1);
    assert!(new.has(&cache.key(&call("f")).expect("it has a key")));
    wait_until("the old connection is gone", DEADLINE, || proxy.connections() == 1);
}

#[test]
fn a_server_that_is_read_only_for_good_is_read_from_and_asked_now_and_then() {
    const LONGEST: Duration = Duration::from_millis(400);
    let server = Server::start();
    let writer = connect(standalone(server.endpoint()));
    (0..20).for_each(|n| _ = writer.insert(call("f").arg(n), &n).expect("it's stored"));
    drop(writer);
    replicate(&server, &["127.0.0.1", "1"]);
    let reconnect = Reconnect::default().min_delay(Duration::from_millis(20)).max_delay(LONGEST);
    let cache = connect(standalone(server.endpoint()).reconnect(reconnect).fallback_to_memory(false));
    let connections = || {
        let stats = server.command(&["INFO", "stats"]).text();
        let count = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        count.expect("the server counts").trim().parse::<u32>().expect("it's a number")
    };
    let (before, asked, begin) = (connections(), server.calls("unlink"), Instant::now());
    let mut n = 0;
    while begin.elapsed() < LONGEST * 10 {
        n += 1;
        assert_eq!(cache.get(call("f").arg(n % 20)), Some(n % 20));
        assert_eq!(cache.cached(call("missing").arg(n), || n), n);
        thread::sleep(Duration::from_millis(1));
    }
    // Each delay is shortened by half at most, and the first few are short.
    let (more, asked) = (connections() - before - 1, server.calls("unlink") - asked);
    assert!((2..40).contains(&more), "{more} connections");
    assert!(asked < 100, "asked {asked} times, while {n} writes were refused");
    let stats = cache.stats();
    assert_eq!((stats.circuit_openings, stats.failed_writes), (0, n as u64), "{stats:?}");
    // Promoted, it's written to as well.
    server.command(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(cache.cached(call("f2"), || 1), 1);
    assert!(server.has(&cache.key(&call("f2")).expect("it has a key")));
    assert_eq!(cache.stats().circuit_openings, 0);
}

#[test]
fn clearings_are_not_confirmed_by_a_replica_without_its_data() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    proxy.set(Mode::Refuse);
    until_degraded(&cache);
    for namespace in ["one", "two"] {
        assert!(cache.clear_namespace(namespace).expect("it's journalled").journalled);
    }
    // It hasn't reached its primary yet, so it's empty.
    replicate(&server, &["127.0.0.1", "1"]);
    let walked = server.calls("scan");
    proxy.set(Mode::Pass);
    wait_until("it has been walked twice", DEADLINE, || server.calls("scan") >= walked + 4);
    assert_eq!(cache.stats().journal_length, 2);
    server.command(&["REPLICAOF", "NO", "ONE"]);
    wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
}
