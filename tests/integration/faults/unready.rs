//! A server that is loading its data: there, and of no use yet.

use std::thread;

use cache_house::ReasonKind;

use super::busy::reason;
use super::{call, squares, under_traffic, until_used};
use crate::support::{DEADLINE, Server, connect, multi_thread, standalone, wait_until};

/// Loading takes a millisecond for each of so many keys.
const KEYS: usize = 1_500;
const SLOW: [&str; 4] = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"];

fn fill(server: &Server) {
    let script = "for n = 1, tonumber(ARGV[1]) do redis.call('SET', 'bulk:' .. n, string.rep('x', 100)) end";
    server.command(&["EVAL", script, "0", &KEYS.to_string()]);
}

#[test]
fn a_server_that_starts_and_loads_its_data_is_used_once_it_has_them() {
    let server = Server::start_with(&SLOW);
    let runtime = multi_thread(2);
    let cache = connect(standalone(server.endpoint()));
    cache.insert(call("kept"), &1).expect("the server is there");
    cache.insert(call("removed"), &1).expect("the server is there");
    fill(&server);
    under_traffic(&runtime, &cache, squares(6, 2), |seen| {
        seen.wait_for_calls(100);
        server.command(&["SAVE"]);
        server.kill();
        thread::scope(|scope| {
            // Returns when all is loaded.
            let restart = scope.spawn(|| server.restart());
            wait_until("loading is told of", DEADLINE, || reason(&cache) == Some(ReasonKind::NotReady));
            assert!(!restart.is_finished());
            assert!(cache.remove(call("removed")).expect("it's journalled").journalled, "the server isn't ready");
            assert_eq!(cache.get::<i32>(call("removed")), None);
            assert_eq!(cache.get::<i32>(call("kept")), Some(1));
            seen.wait_for_calls(200);
            restart.join().expect("it doesn't panic");
        });
        until_used(&cache);
        assert_eq!(cache.get::<i32>(call("removed")), None);
        assert_eq!(cache.cached(call("kept"), || 2), 1);
    });
    assert!(!server.has(&cache.key(&call("removed")).expect("it has a key")));
}

#[test]
fn a_server_that_loads_its_data_anew_is_an_outage_meanwhile() {
    let server = Server::debuggable(&SLOW);
    let runtime = multi_thread(2);
    let cache = connect(standalone(server.endpoint()));
    fill(&server);
    under_traffic(&runtime, &cache, squares(6, 2), |seen| {
        seen.wait_for_calls(100);
        thread::scope(|scope| {
            let reload = scope.spawn(|| server.command(&["DEBUG", "RELOAD"]));
            wait_until("loading is told of", DEADLINE, || reason(&cache) == Some(ReasonKind::NotReady));
            seen.wait_for_calls(200);
            reload.join().expect("it doesn't panic");
        });
        until_used(&cache);
    });
    assert!(cache.stats().circuit_openings >= 1);
    wait_until("one connection is left", DEADLINE, || server.connections() == 1);
}
