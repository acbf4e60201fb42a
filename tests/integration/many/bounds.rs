//! How much a batch asks for at once, and for how long it waits for other processes.

use std::time::{Duration, Instant};

use super::{SIDES, Values, ask, call, never, squares};
use crate::support::{
    Count, DEADLINE, Mode, Proxy, Server, connect, connected, finishes_within, multi_thread, standalone, wait_until,
};

#[test]
fn ten_thousand_keys_leave_room_for_other_calls() {
    for (is_async, max_in_flight) in SIDES.into_iter().zip([32, 64]) {
        // It takes some 6 s of a core, of which a busy machine has little to give.
        finishes_within(4 * DEADLINE, "a batch of ten thousand keys", move || {
            let server = Server::start();
            let builder = standalone(server.endpoint()).max_in_flight(max_in_flight).memory_max_entries(20_000);
            let cache = connect(builder);
            let (keys, own) = (0..10_000, |id: &u32| call(*id));
            assert_eq!(
                ask(is_async, &cache, keys.clone(), own, |missing| Ok(squares(missing))),
                Ok(squares(keys.clone()))
            );
            assert_eq!(server.keys().len(), 10_000, "each is stored");
            assert_eq!(ask(is_async, &cache, keys.clone(), own, never), Ok(squares(keys.clone())));
            // Where the work fails, each lease is given back.
            let others = 20_000..25_000;
            assert_eq!(ask(is_async, &cache, others.clone(), own, |_| Err("no route")), Err("no route"));
            assert_eq!(ask(is_async, &cache, others, own, |_| Ok(Values::new())), Ok(Values::new()));
            assert_eq!(server.keys().len(), 10_000, "and nothing else");
            let stats = cache.stats();
            assert_eq!((stats.shed, stats.server_timeouts, stats.server_errors), (0, 0, 0), "{stats:?}");
            assert_eq!((stats.runs, stats.misses, stats.server_hits), (3, 20_000, 10_000), "{stats:?}");
        });
    }
}

#[test]
fn a_batch_waits_for_another_process_as_long_as_its_lease_says_unless_it_has_work() {
    let server = Server::start();
    let (cache, other) = (connected(&server), connected(&server));
    for is_async in SIDES {
        let own = |id: &u32| call(*id).arg(is_async).lease(Duration::from_secs(20));
        for has_work in [false, true] {
            let own = |id: &u32| own(id).arg(has_work);
            let begun = Count::default();
            std::thread::scope(|scope| {
                let elsewhere = scope.spawn(|| {
                    other.cached_many(0..5, own, |missing| {
                        begun.add_one();
                        std::thread::sleep(Duration::from_millis(2_500));
                        squares(missing)
                    })
                });
                wait_until("the other process computes", DEADLINE, || begun.read() == 1);
                let begin = Instant::now();
                let keys = if has_work { 0..8 } else { 0..5 };
                let values = ask(is_async, &cache, keys.clone(), own, |missing| {
                    assert!(has_work);
                    assert_eq!(missing, keys.clone().collect::<Vec<_>>());
                    Ok(squares(missing))
                });
                assert_eq!(values, Ok(squares(keys)));
                let took = begin.elapsed();
                let expected = if has_work { 900..2_000 } else { 2_000..10_000 };
                assert!(expected.contains(&took.as_millis()), "{took:?}");
                assert_eq!(elsewhere.join().expect("it doesn't panic"), squares(0..5));
            });
        }
    }
}

#[test]
fn two_processes_that_wait_for_each_others_keys_both_end() {
    let server = Server::start();
    let (one, two) = (connected(&server), connected(&server));
    let runtime = multi_thread(2);
    let own = |id: &u32| call(*id).lease(Duration::from_secs(20));
    let begin = Instant::now();
    for round in 0..5_u32 {
        let own = move |id: &u32| own(id).arg(round);
        let up = one.cached_many_async(0..200, own, async |missing| squares(missing));
        let down = two.cached_many_async((0..200).rev(), own, async |missing| squares(missing));
        let (up, down): (Values, Values) = runtime.block_on(async { futures::join!(up, down) });
        assert_eq!((up, down), (squares(0..200), squares(0..200)));
    }
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[test]
fn values_that_are_handed_out_after_the_hard_timeout_are_stored_if_the_work_ended_before() {
    const KEYS: u32 = 1_000;
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    // 256 at once, so the last ones are stored after four round trips.
    proxy.set(Mode::Delay(Duration::from_millis(350)));
    let options = |id: &u32| call(*id).hard_timeout(Duration::from_secs(1));
    let values = ask(true, &cache, 0..KEYS, options, |missing| Ok(squares(missing))).expect("the work succeeds");
    assert_eq!(values.len(), KEYS as usize);
    assert_eq!(server.keys().len(), KEYS as usize, "{:?}", cache.stats());
}
