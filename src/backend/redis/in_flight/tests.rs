use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;

use super::*;

const TIMEOUT: Duration = Duration::from_millis(50);

/// Starts a sweeper, and counts what it reports.
fn swept(in_flight: &Arc<InFlight>) -> Arc<AtomicUsize> {
    let reported = Arc::new(AtomicUsize::new(0));
    let (in_flight, counter) = (Arc::clone(in_flight), Arc::clone(&reported));
    tokio::spawn(async move { in_flight.sweep(|swept| _ = counter.fetch_add(swept.overdue, Ordering::SeqCst)).await });
    reported
}

#[tokio::test]
async fn no_more_are_in_flight_than_may_be() {
    let in_flight = InFlight::new(2, TIMEOUT);
    let one = in_flight.enter();
    let two = in_flight.enter();
    assert!(one.is_some() && two.is_some() && in_flight.enter().is_none());
    drop(one);
    assert!(in_flight.enter().is_some());
}

#[tokio::test]
async fn what_is_answered_is_passed_on_and_frees_its_place() {
    let in_flight = InFlight::new(1, TIMEOUT);
    let reported = swept(&in_flight);
    for number in 0..100 {
        let permit = in_flight.enter().expect("the one before is done");
        assert_eq!(permit.run(ready(number)).await, Ok(number));
    }
    assert_eq!(reported.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_not_answered_ends_once_it_is_overdue_and_not_before() {
    let in_flight = InFlight::new(64, TIMEOUT);
    let reported = swept(&in_flight);
    // Also when the sweeper has gone to sleep in between.
    for round in 1..=3 {
        let start = Instant::now();
        let waiting: Vec<_> =
            (0..64).filter_map(|_| in_flight.enter()).map(|permit| permit.run(pending::<()>())).collect();
        for waiting in waiting {
            assert_eq!(waiting.await, Err(Unanswered::Overdue));
        }
        assert!(start.elapsed() >= TIMEOUT);
        assert_eq!(reported.load(Ordering::SeqCst), 64 * round);
        tokio::time::sleep(TIMEOUT * 2).await;
    }
}

#[test]
fn an_operation_may_be_polled_without_any_runtime() {
    let in_flight = InFlight::new(1, TIMEOUT);
    let sweeper = Arc::clone(&in_flight);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(sweeper.sweep(|_| ()));
    });
    let permit = in_flight.enter().expect("nothing is in flight");
    assert_eq!(futures::executor::block_on(permit.run(pending::<()>())), Err(Unanswered::Overdue));
}

/// What a sweeper reported of one operation, and how that ended, in a runtime that the program blocks for so long.
async fn blocked(timeout: Duration, block: Duration) -> (Option<bool>, Result<(), Unanswered>) {
    let in_flight = InFlight::new(4, timeout);
    let starved = Arc::new(Mutex::new(None));
    let (sweeper, seen) = (Arc::clone(&in_flight), Arc::clone(&starved));
    tokio::spawn(async move { sweeper.sweep(|swept| *seen.lock() = Some(swept.starved)).await });
    let waiting = in_flight.enter().expect("nothing is in flight").run(pending::<()>());
    tokio::task::yield_now().await;
    // The program's own code blocks the one thread that this runtime has.
    std::thread::sleep(block);
    let ended = waiting.await;
    let reported = *starved.lock();
    (reported, ended)
}

#[tokio::test]
async fn a_sweep_that_comes_late_itself_says_so() {
    let timeout = TIMEOUT * 40;
    let late = timeout / 10 * 11 + GRACE;
    assert!(late + GRACE < timeout + patience_with_sweeper(timeout));
    assert_eq!(blocked(timeout, late).await, (Some(true), Err(Unanswered::Overdue)));
}

#[tokio::test]
async fn what_no_sweep_ends_in_time_the_watchdog_does() {
    assert_eq!(blocked(TIMEOUT, TIMEOUT * 10).await, (None, Err(Unanswered::Starved)));
}

#[test]
fn a_thread_that_blocks_ends_by_its_own_clock() {
    let in_flight = InFlight::new(1, TIMEOUT);
    // As if there were no watchdog.
    in_flight.attention.ask(|| Weak::<InFlight>::new() as _);
    let begin = Instant::now();
    let mut waiting = std::pin::pin!(in_flight.enter().expect("nothing is in flight").run(pending::<()>()));
    let mut cx = Context::from_waker(Waker::noop());
    let mut poll = || deadline::observe(Waker::noop(), || waiting.as_mut().poll(&mut cx));
    let (ended, due) = poll();
    let due = due.expect("it says until when to wait");
    assert!(ended.is_pending() && due >= begin + TIMEOUT);
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
    assert_eq!(poll().0, Poll::Ready(Err(Unanswered::Starved)));
}
