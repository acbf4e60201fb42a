//! The near cache's connection leads where calls go, and to no replica: a replica reports changes once it hears of them.

use std::thread;
use std::time::Duration;

use super::{call, make_near, until_near};
use crate::support::resp::Reply;
use crate::support::{DEADLINE, Proxy, Server, connect, connected, standalone, wait_until};

const BOUND: Duration = Duration::from_millis(300);

fn replicate(server: &Server, of: &str, port: &str) {
    assert_eq!(server.command(&["REPLICAOF", of, port]), Reply::Simple("OK".into()));
}

fn follow(replica: &Server, primary: &Server) {
    replicate(replica, "127.0.0.1", &primary.port().to_string());
    wait_until("it's a replica", DEADLINE, || {
        replica.command(&["INFO", "replication"]).text().contains("master_link_status:up")
    });
}

/// Ends the connections over which `server` reports changes.
pub(super) fn end_lines(server: &Server) {
    for line in server.command(&["CLIENT", "LIST"]).text().lines().filter(|line| line.contains(" flags=t ")) {
        let id = line.split(' ').find_map(|field| field.strip_prefix("id=")).expect("each has a number");
        server.command(&["CLIENT", "KILL", "ID", id]);
    }
}

#[test]
fn it_leaves_a_demoted_server_with_the_calls() {
    let (old, new) = (Server::start(), Server::start());
    let proxy = Proxy::of(&old);
    let cache = connect(standalone(proxy.endpoint()).near_cache(BOUND));
    until_near(&cache);
    make_near(&cache, &connected(&old), 1, 1);
    let other = connected(&new);
    other.insert(call(1), &2).expect("the server is there");
    replicate(&old, "127.0.0.1", "1");
    proxy.lead_to(&new);
    assert!(cache.remove(call(7)).expect("it's journalled").journalled, "it's read-only");
    wait_until("calls go to the successor", DEADLINE, || {
        cache.stats().journal_length == 0 && cache.health().is_connected()
    });
    let inserted = cache.insert(call(8), &8).expect("the successor takes it");
    assert!(!inserted.journalled);
    thread::sleep(2 * BOUND);
    assert_eq!(cache.get(call(1)), Some(2), "the successor has it");
    assert_eq!(cache.get(call(8)), Some(8), "what it has just stored");
    assert_eq!(cache.remove(call(1)).expect("the successor takes it").entries, 1);
    assert_eq!(cache.get::<u32>(call(1)), None, "what it has just removed");
}

#[test]
fn what_a_demoted_server_takes_over_is_noticed_within_the_bound() {
    let (old, new) = (Server::start(), Server::start());
    let cache = connect(standalone(old.endpoint()).near_cache(BOUND));
    until_near(&cache);
    make_near(&cache, &connected(&old), 1, 1);
    follow(&new, &old);
    replicate(&new, "NO", "ONE");
    connected(&new).insert(call(1), &2).expect("the server is there");
    // What it has written since, the other doesn't know: it takes over all that the other has.
    old.set("since", "1");
    follow(&old, &new);
    let key = cache.key(&call(1)).expect("it has a key");
    assert_eq!(old.get(&key).expect("it's there"), b"2");
    thread::sleep(2 * BOUND);
    assert_eq!(cache.get(call(1)), Some(2), "the server has it");
}

#[test]
fn it_leads_to_no_replica() {
    let (primary, replica) = (Server::start(), Server::start());
    follow(&replica, &primary);
    // Stands for a name with both addresses.
    let proxy = Proxy::of(&primary);
    let cache = connect(standalone(proxy.endpoint()).near_cache(BOUND));
    until_near(&cache);
    let other = connected(&primary);
    make_near(&cache, &other, 1, 1);
    proxy.lead_to(&replica);
    end_lines(&primary);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(cache.get(call(1)), Some(1));
    replicate(&replica, "127.0.0.1", "1");
    other.insert(call(1), &2).expect("the server is there");
    thread::sleep(2 * BOUND);
    assert_eq!(cache.get(call(1)), Some(2), "the primary has it");
}
