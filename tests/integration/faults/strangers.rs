//! Old connections are ended on the server, and none but our own.

use std::time::Duration;

use super::{TIMEOUT, call};
use crate::support::resp::Reply;
use crate::support::{DEADLINE, Server, connect, standalone, until_connected, until_degraded, wait_until};

const HANDLES: usize = 12;

#[cfg(unix)]
#[test]
fn after_a_restart_no_connection_over_a_unix_socket_is_taken_for_an_old_one() {
    let server = Server::start_with(&["--unixsocket", "redis.sock"]);
    let endpoint = format!("unix://{}", server.path("redis.sock").display());
    let caches: Vec<_> = (0..HANDLES).map(|_| connect(standalone(&endpoint).command_timeout(DEADLINE))).collect();
    // With the server, all that it was told has gone, and it gives the same numbers anew.
    server.crash_and_restart();
    caches.iter().for_each(until_connected);
    wait_until("each has been noticed", DEADLINE, || caches.iter().all(|cache| cache.stats().circuit_openings > 0));
    caches.iter().for_each(until_connected);
    for cache in &caches {
        assert_eq!(cache.cached(call("f"), || 1), 1);
        assert_eq!(cache.stats().circuit_openings, 1, "{:?}", cache.stats());
    }
    assert_eq!(server.calls("client|kill"), 0);
}

#[test]
fn after_a_freeze_old_connections_are_ended() {
    for over_unix in [false, true] {
        for rule in ["+@all", "-info"] {
            let server = Server::start_with(&["--unixsocket", "redis.sock"]);
            let rules = ["ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", rule];
            assert_eq!(server.command(&rules), Reply::Simple("OK".into()));
            let unix = format!("unix://{}", server.path("redis.sock").display());
            let endpoint = if over_unix { unix } else { server.endpoint() };
            let builder = standalone(endpoint).username("app").password("pw").command_timeout(TIMEOUT);
            let cache = connect(builder.connect_timeout(Duration::from_secs(1)));
            let before = connections_of_app(&server);
            // Until the connection is given up, and not only calls.
            for seconds in [1, 2, 4, 8] {
                server.freeze();
                let _: [_; 3] = std::array::from_fn(|n| cache.contains(call("f").arg(n)));
                until_degraded(&cache);
                std::thread::sleep(Duration::from_secs(seconds));
                server.thaw();
                until_connected(&cache);
                if connections_of_app(&server) != before {
                    break;
                }
            }
            assert_ne!(connections_of_app(&server), before, "it's another connection");
            // Over a Unix socket, a connection is known by the server's run alone.
            let known = !over_unix || rule == "+@all";
            assert_eq!(server.calls("client|kill") > 0, known, "over Unix: {over_unix}, {rule}");
        }
    }
}

fn connections_of_app(server: &Server) -> Vec<String> {
    let list = server.command(&["CLIENT", "LIST"]).text();
    let of_app = list.lines().filter(|line| line.contains(" user=app "));
    of_app.filter_map(|line| line.split(' ').next().map(String::from)).collect()
}
