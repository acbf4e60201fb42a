//! How soon a server is used again that comes back.

use std::thread;
use std::time::{Duration, Instant};

use cache_house::Reconnect;

use super::call;
use crate::support::{DEADLINE, Server, standalone, until_connected, until_degraded, wait_until};

/// By its end, delays at rest are a second and more.
const OUTAGE: Duration = Duration::from_secs(2);

#[test]
fn calls_have_a_server_that_is_back_used_sooner_than_a_handle_at_rest_does() {
    let server = Server::start();
    let cache = || standalone(server.endpoint()).reconnect(Reconnect::default()).build().expect("it's right");
    let (busy, idle) = (cache(), cache());
    let (mut under_traffic, mut at_rest) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..3 {
        for cache in [&busy, &idle] {
            until_connected(cache);
        }
        server.kill();
        for cache in [&busy, &idle] {
            until_degraded(cache);
        }
        let begin = Instant::now();
        while begin.elapsed() < OUTAGE {
            assert_eq!(busy.cached(call("f"), || 1), 1);
            thread::sleep(Duration::from_millis(5));
        }
        server.restart();
        let back = Instant::now();
        wait_until("calls have had it connected to", DEADLINE, || {
            busy.cached(call("f"), || 1);
            busy.health().is_connected()
        });
        under_traffic += back.elapsed();
        until_connected(&idle);
        at_rest += back.elapsed();
    }
    // About 0.1 s of three rounds beside 2 s.
    assert!(under_traffic < at_rest / 2, "{under_traffic:?} beside {at_rest:?} at rest");
}
