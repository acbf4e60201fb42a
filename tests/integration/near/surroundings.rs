//! The near cache of a handle whose runtime is blocked, and how it ends.

use std::thread;
use std::time::{Duration, Instant};

use super::{call, make_near, near, until_near};
use crate::support::{
    DEADLINE, Mode, Proxy, Server, connect, connect_in, connected, multi_thread, standalone, wait_until,
};

#[test]
fn it_goes_on_where_the_io_has_moved() {
    let server = Server::start();
    let runtime = multi_thread(1);
    let builder = standalone(server.endpoint()).near_cache(Duration::from_millis(300));
    let cache = connect_in(&runtime, builder.command_timeout(Duration::from_millis(100)));
    until_near(&cache);
    let other = connected(&server);
    make_near(&cache, &other, 1, 1);
    let (free, blocked) = std::sync::mpsc::channel::<()>();
    runtime.spawn(async move { _ = blocked.recv() });
    other.insert(call(1), &2).expect("the server is there");
    wait_until("it's near by another way", DEADLINE, || {
        let before = cache.stats().near_hits;
        let value = cache.get(call(1));
        cache.stats().near_hits > before && value == Some(2_u32)
    });
    drop(free);
    thread::sleep(Duration::from_millis(500));
    until_near(&cache);
    make_near(&cache, &other, 1, 3);
    // One for each side of the two handles, and the line.
    wait_until("the old connections are gone", DEADLINE, || server.connections() == 3);
}

#[test]
fn it_leaves_no_connection() {
    let server = Server::start();
    for _ in 0..5 {
        let cache = near(&server, Duration::from_millis(300));
        assert_eq!(server.connections(), 2);
        cache.close();
        wait_until("the connections are gone", DEADLINE / 10, || server.connections() == 0);
        std::mem::forget(cache);
        drop(near(&server, Duration::from_millis(300)));
        wait_until("the connections are gone", DEADLINE, || server.connections() == 0);
        let runtime = multi_thread(2);
        let cache = connect_in(&runtime, standalone(server.endpoint()).near_cache(Duration::from_millis(300)));
        until_near(&cache);
        runtime.shutdown_background();
        wait_until("the connections are gone, or others' are there", DEADLINE, || server.connections() <= 2);
        drop(cache);
        wait_until("the connections are gone", DEADLINE, || server.connections() == 0);
    }
}

#[test]
fn answers_over_its_connection_hide_no_dead_one() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let builder = standalone(proxy.endpoint()).near_cache(Duration::from_secs(600));
    let cache = connect(builder.command_timeout(Duration::from_millis(100)));
    until_near(&cache);
    proxy.set(Mode::HoldFrom(b"UNLINK"));
    let begun = Instant::now();
    let mut n = 0;
    while cache.stats().circuit_openings == 0 {
        n += 1;
        cache.get::<u32>(call(n));
        cache.remove(call(n)).expect("an outage is no error");
        assert!(begun.elapsed() < DEADLINE);
    }
    assert!(n <= 4, "opened after {n} removals, {:?}", begun.elapsed());
}
