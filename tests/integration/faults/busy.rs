//! A server that is alive and occupied: asleep, in a script without end, full of clients, or ending connections.

use std::thread;
use std::time::Duration;

use cache_house::{CacheHandle, Health, ReasonKind};

use super::{TIMEOUT, call, squares, under_traffic, until_used};
use crate::support::resp::{Connection, Reply};
use crate::support::{
    DEADLINE, Server, connect, multi_thread, standalone, until_connected, until_degraded, wait_until,
};

pub(super) fn reason(cache: &CacheHandle) -> Option<ReasonKind> {
    match cache.health() {
        Health::Degraded { reason, .. } => Some(reason.kind()),
        _ => None,
    }
}

#[test]
fn a_server_that_sleeps_costs_a_few_timeouts_and_is_used_when_it_wakes() {
    let server = Server::debuggable(&[]);
    let runtime = multi_thread(2);
    let cache = connect(standalone(server.endpoint()).command_timeout(TIMEOUT));
    under_traffic(&runtime, &cache, squares(6, 2), |seen| {
        for _ in 0..2 {
            seen.wait_for_calls(200);
            thread::scope(|scope| {
                let asleep = scope.spawn(|| server.command(&["DEBUG", "SLEEP", "1"]));
                until_degraded(&cache);
                seen.wait_for_calls(200);
                assert_eq!(asleep.join().expect("it doesn't panic"), Reply::Simple("OK".into()));
            });
            until_used(&cache);
        }
    });
    assert!(cache.stats().circuit_openings >= 2);
    wait_until("one connection is left", DEADLINE, || server.connections() == 1);
}

#[test]
fn connections_that_the_server_ends_under_traffic_change_no_value() {
    const ENDS: u64 = 10;
    let server = Server::start();
    let runtime = multi_thread(2);
    for pool in [1, 3] {
        // Nothing of this is to wait for a timeout.
        let cache = connect(standalone(server.endpoint()).command_timeout(DEADLINE * 2).pool_size(pool));
        under_traffic(&runtime, &cache, squares(6, 2), |seen| {
            for end in 1..=ENDS {
                let before = cache.stats().server_hits;
                wait_until("the server is in use", DEADLINE, || cache.stats().server_hits > before + 20);
                let ended = server.command(&["CLIENT", "KILL", "TYPE", "normal"]).integer();
                assert_eq!(ended, i64::try_from(pool).expect("it's small"));
                wait_until("the end is noticed", DEADLINE, || cache.stats().circuit_openings == end);
                until_connected(&cache);
            }
            seen.wait_for_calls(100);
        });
        let stats = cache.stats();
        assert_eq!((stats.circuit_openings, stats.server_timeouts), (ENDS, 0), "{stats:?}");
        assert_eq!(server.connections(), pool);
        drop(cache);
        wait_until("its connections are gone", DEADLINE, || server.connections() == 0);
    }
}

#[test]
fn a_server_in_a_script_without_end_is_an_outage_until_the_script_is_ended() {
    let server = Server::start_with(&["--lua-time-limit", "20"]);
    let runtime = multi_thread(2);
    let cache = connect(standalone(server.endpoint()));
    let key = cache.key(&call("removed")).expect("it has a key");
    cache.insert(call("removed"), &1).expect("the server is there");
    under_traffic(&runtime, &cache, squares(6, 2), |seen| {
        for _ in 0..2 {
            seen.wait_for_calls(100);
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut connection = server.connect().expect("the server is there");
                    // Ends with an error, which is what's asked for.
                    let _ = connection.command(&["EVAL", "while true do end", "0"]);
                });
                wait_until("the script is told of", DEADLINE, || reason(&cache) == Some(ReasonKind::NotReady));
                assert!(cache.remove(call("removed")).expect("it's journalled").journalled, "the server is busy");
                assert_eq!(cache.get::<i32>(call("removed")), None);
                seen.wait_for_calls(200);
                assert_eq!(server.command(&["SCRIPT", "KILL"]), Reply::Simple("OK".into()));
            });
            until_used(&cache);
            wait_until("the removal is made up for", DEADLINE, || cache.stats().journal_length == 0);
            assert!(!server.has(&key));
            assert_eq!(cache.get::<i32>(call("removed")), None);
        }
    });
    wait_until("one connection is left", DEADLINE, || server.connections() == 1);
}

#[test]
fn a_server_without_room_for_another_client_is_used_when_there_is_room() {
    let server = Server::start_with(&["--maxclients", "12"]);
    let runtime = multi_thread(2);
    let standing = connect(standalone(server.endpoint()));
    let others = fill(&server);
    // Who is in, stays in.
    assert_eq!(standing.cached(call("f"), || 1), 1);
    assert_eq!(standing.cached(call("f"), || 2), 1);
    assert_eq!(standing.stats().server_hits, 1);

    let turned_away = standalone(server.endpoint()).build().expect("the builder is right");
    under_traffic(&runtime, &turned_away, squares(4, 2), |seen| {
        wait_until("being turned away is told", DEADLINE, || reason(&turned_away) == Some(ReasonKind::NotReady));
        seen.wait_for_calls(200);
        let stats = turned_away.stats();
        assert_eq!((stats.server_hits, stats.server_timeouts, stats.circuit_openings), (0, 0, 0), "{stats:?}");
        drop(others);
        until_connected(&turned_away);
        until_used(&turned_away);
    });
}

/// Takes all the room that is left; it's free again when what's returned is dropped.
fn fill(server: &Server) -> Vec<Connection> {
    let mut others = Vec::new();
    wait_until("there is no room", Duration::from_secs(10), || match Connection::open(server.port()) {
        Ok(mut connection) => match connection.command(&["PING"]) {
            Ok(Reply::Simple(_)) => {
                others.push(connection);
                false
            }
            _ => true,
        },
        Err(_) => true,
    });
    others
}
