//! Outages in a row: the last is survived as the first, and nothing is left of them.

#[cfg(target_os = "linux")]
use std::fs;
use std::time::{Duration, Instant};

use cache_house::Reconnect;

use super::{squares, under_traffic};
use crate::support::{
    DEADLINE, Server, alone, connect, multi_thread, standalone, until_connected, until_degraded, wait_until,
};

const ROUNDS: usize = 50;
const LONGEST_DELAY: Duration = Duration::from_millis(100);
/// What is promised, from the server's return on.
const PROMISED: Duration = LONGEST_DELAY.saturating_add(Duration::from_millis(500));
/// For a machine that runs other things.
const NOISE: Duration = Duration::from_secs(4);

#[test]
fn fifty_crashes_under_32_callers_change_no_value_and_leave_nothing_behind() {
    alone("faults::rounds::fifty_crashes_under_32_callers_change_no_value_and_leave_nothing_behind", || {
        let server = Server::start();
        let runtime = multi_thread(2);
        let delays = Reconnect::default().min_delay(Duration::from_millis(10)).max_delay(LONGEST_DELAY);
        let cache = {
            let _inside = runtime.enter();
            // Nothing of this is to wait for a timeout.
            connect(standalone(server.endpoint()).reconnect(delays).command_timeout(DEADLINE * 2))
        };
        let tasks = || runtime.metrics().num_alive_tasks();
        let before = (tasks(), threads());
        let mut recoveries = Vec::new();
        under_traffic(&runtime, &cache, squares(24, 8), |seen| {
            for _ in 0..ROUNDS {
                let hits = cache.stats().server_hits;
                wait_until("the server is in use", DEADLINE, || cache.stats().server_hits > hits + 20);
                server.kill();
                until_degraded(&cache);
                seen.wait_for_calls(64);
                server.restart();
                let back = Instant::now();
                until_connected(&cache);
                recoveries.push(back.elapsed());
            }
        });
        let stats = cache.stats();
        assert_eq!((stats.circuit_openings, stats.server_timeouts), (ROUNDS as u64, 0), "{stats:?}");
        recoveries.sort();
        assert!(recoveries[ROUNDS - 1] < PROMISED + NOISE, "the server was used again only after {recoveries:?}");
        assert!(recoveries[ROUNDS / 2] < PROMISED, "the server was used again only after {recoveries:?}");
        wait_until("one connection is left", DEADLINE, || server.connections() == 1);
        wait_until("tasks and threads are as many as before", DEADLINE, || (tasks(), threads()) <= before);
        drop(cache);
        wait_until("the connection is gone", DEADLINE, || server.connections() == 0);
        wait_until("the tasks are gone", DEADLINE, || tasks() == 0);
    });
}

#[cfg(target_os = "linux")]
fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("Linux has it").count()
}

#[cfg(not(target_os = "linux"))]
fn threads() -> usize {
    0
}
