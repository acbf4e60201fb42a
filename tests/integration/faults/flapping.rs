//! A server that comes and goes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::Reconnect;

use super::call;
use crate::support::fake::{Answer, Fake, healthy};
use crate::support::{DEADLINE, logs, standalone, until_connected, wait_until};

/// Long beside the delays between connections.
const WHILE: Duration = Duration::from_secs(4);

/// Hangs up on each client as soon as that has found it in order, until it's told to stay.
fn fickle() -> (Fake, Arc<AtomicBool>) {
    let stays = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stays);
    let server = Fake::answering(move |words| match healthy(words) {
        Answer::Reply(reply) if words[0] == "UNLINK" && !told.load(Ordering::SeqCst) => Answer::Last(reply),
        answer => answer,
    });
    (server, stays)
}

#[test]
fn a_server_that_hangs_up_at_once_is_left_alone_ever_longer() {
    let (server, stays) = fickle();
    let reconnect = Reconnect::default().min_delay(Duration::from_millis(5)).max_delay(WHILE / 8);
    let cache = standalone(server.endpoint()).reconnect(reconnect).build().expect("it's right");
    let begin = Instant::now();
    while begin.elapsed() < WHILE {
        assert_eq!(cache.cached(call("f"), || 1), 1);
        thread::sleep(Duration::from_millis(5));
    }
    // 5 ms, 10, 20, … half a second, shortened by half at most: about 18, and 140 if each began anew.
    let connections = server.accepted();
    assert!((5..50).contains(&connections), "{connections} connections");
    assert!(cache.stats().circuit_openings > 1, "it did serve meanwhile");
    stays.store(true, Ordering::SeqCst);
    until_connected(&cache);
}

#[test]
fn log_lines_of_a_server_that_comes_and_goes_are_bounded_and_end_with_how_it_is() {
    logs::capture();
    let (server, stays) = fickle();
    let cache = standalone(server.endpoint()).build().expect("it's right");
    let lines = || logs::containing(&server.endpoint());
    wait_until("it has come and gone", DEADLINE, || cache.stats().circuit_openings >= 50);
    let told = lines();
    assert!((2..20).contains(&told.len()), "{} lines: {told:?}", told.len());
    stays.store(true, Ordering::SeqCst);
    until_connected(&cache);
    wait_until("the last line tells how it is", DEADLINE, || {
        lines().last().is_some_and(|line| line.text.contains("connected to a standalone server"))
    });
    let told = lines();
    assert!(told.iter().any(|line| line.text.contains("held_back=")), "{told:?}");
    assert!(told.len() < 25, "{} lines: {told:?}", told.len());
}
