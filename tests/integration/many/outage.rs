//! Batches while the server is away, or goes away.

use std::time::{Duration, Instant};

use super::{SIDES, Values, ask, call, never, squares};
use crate::support::cluster::{Borrowed, clustered};
use crate::support::{Server, connect, current_thread, multi_thread, standalone, until_connected, until_degraded};

const TIMEOUT: Duration = Duration::from_millis(300);

#[test]
fn a_batch_is_served_from_memory_while_the_server_is_dead() {
    for is_async in SIDES {
        let server = Server::start();
        let cache = connect(standalone(server.endpoint()));
        assert_eq!(cache.cached_many(0..100, |id| call(*id), squares), squares(0..100));
        server.kill();
        until_degraded(&cache);
        assert_eq!(ask(is_async, &cache, 0..100, |id| call(*id), never), Ok(squares(0..100)));
        assert_eq!(
            ask(is_async, &cache, 90..110, |id| call(*id), |missing| Ok(squares(missing))),
            Ok(squares(90..110))
        );
        assert_eq!(ask(is_async, &cache, 0..110, |id| call(*id), never), Ok(squares(0..110)));
        server.restart();
        until_connected(&cache);
        assert_eq!(ask(is_async, &cache, 0..5, |id| call(*id), |missing| Ok(squares(missing))), Ok(squares(0..5)));
    }
}

#[test]
fn a_batch_waits_for_a_frozen_server_no_longer_than_a_command_may_take() {
    for is_async in SIDES {
        let server = Server::start();
        // The machine may be so busy that the calls themselves take as long as the timeout of the other tests.
        let timeout = Duration::from_secs(1);
        let cache = connect(standalone(server.endpoint()).command_timeout(timeout));
        assert_eq!(cache.cached_many(0..500, |id| call(*id), squares), squares(0..500));
        server.freeze();
        let begin = Instant::now();
        assert_eq!(ask(is_async, &cache, 0..500, |id| call(*id), never), Ok(squares(0..500)));
        let took = begin.elapsed();
        assert!(took < 2 * timeout, "{took:?}");
        let begin = Instant::now();
        assert_eq!(
            ask(is_async, &cache, 490..700, |id| call(*id), |missing| Ok(squares(missing))),
            Ok(squares(490..700))
        );
        // The read of a batch counts once: the third in a row that isn't answered has the server left alone.
        assert!(begin.elapsed() < 3 * timeout, "{:?}", begin.elapsed());
        let begin = Instant::now();
        assert_eq!(ask(is_async, &cache, 0..700, |id| call(*id), never), Ok(squares(0..700)));
        assert!(begin.elapsed() < timeout, "{:?}", begin.elapsed());
        server.thaw();
        until_connected(&cache);
        assert_eq!(cache.stats().shed, 0);
    }
}

#[test]
fn a_server_that_freezes_while_the_work_runs_costs_a_command_timeout() {
    for is_async in SIDES {
        let server = Server::start();
        let cache = connect(standalone(server.endpoint()).command_timeout(TIMEOUT));
        let begin = Instant::now();
        let values = ask(
            is_async,
            &cache,
            0..500,
            |id| call(*id),
            |missing| {
                server.freeze();
                Ok(squares(missing))
            },
        );
        assert_eq!(values, Ok(squares(0..500)));
        assert!(begin.elapsed() < 4 * TIMEOUT, "{:?}", begin.elapsed());
        assert_eq!(ask(is_async, &cache, 0..500, |id| call(*id), never), Ok(squares(0..500)), "memory has them");
        server.thaw();
        until_connected(&cache);
    }
}

#[test]
fn a_batch_under_an_outage_ends_with_each_value() {
    let server = Server::start();
    let runtime = multi_thread(2);
    let cache = connect(standalone(server.endpoint()).command_timeout(TIMEOUT));
    let batches: Vec<_> = (0..4)
        .map(|number| {
            let cache = cache.clone();
            runtime.spawn(async move {
                for round in 0..60 {
                    let keys = (round * 3 + number)..(round * 3 + number + 40);
                    let values: Values =
                        cache.cached_many_async(keys.clone(), |id| call(*id), async |missing| squares(missing)).await;
                    assert_eq!(values, squares(keys));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(50));
        server.crash_and_restart();
        std::thread::sleep(Duration::from_millis(50));
        server.freeze();
        std::thread::sleep(Duration::from_millis(50));
        server.thaw();
    }
    for batch in batches {
        current_thread().block_on(batch).expect("no batch panics");
    }
}

#[test]
fn a_cluster_serves_a_batch_over_all_its_nodes() {
    let cluster = Borrowed::get();
    let cache = clustered(cluster.endpoint()).build().expect("the builder is right");
    until_connected(&cache);
    for is_async in SIDES {
        let own = |id: &u32| call(*id).arg(is_async);
        assert_eq!(ask(is_async, &cache, 0..1_000, own, |missing| Ok(squares(missing))), Ok(squares(0..1_000)));
        let other = clustered(cluster.endpoint()).build().expect("the builder is right");
        until_connected(&other);
        assert_eq!(ask(is_async, &other, 0..1_000, own, never), Ok(squares(0..1_000)));
        assert_eq!((other.stats().server_hits, other.stats().shed), (1_000, 0));
    }
    assert_eq!((cache.stats().runs, cache.stats().shed), (2, 0));
}
