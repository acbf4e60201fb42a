use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::*;

const TIMEOUT: Duration = Duration::from_millis(50);

/// Starts a sweeper, and counts what it tells.
fn swept(in_flight: &Arc<InFlight>) -> Arc<AtomicUsize> {
    let told = Arc::new(AtomicUsize::new(0));
    let (in_flight, counter) = (Arc::clone(in_flight), Arc::clone(&told));
    tokio::spawn(async move { in_flight.sweep(|swept| _ = counter.fetch_add(swept.overdue, Ordering::SeqCst)).await });
    told
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
    let in_flight = Arc::new(InFlight::new(1, TIMEOUT));
    let told = swept(&in_flight);
    for number in 0..100 {
        let permit = in_flight.enter().expect("the one before is done");
        assert_eq!(permit.run(ready(number)).await, Ok(number));
    }
    assert_eq!(told.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_not_answered_ends_once_it_is_overdue_and_not_before() {
    let in_flight = Arc::new(InFlight::new(64, TIMEOUT));
    let told = swept(&in_flight);
    // Also when the sweeper has gone to sleep in between.
    for round in 1..=3 {
        let start = Instant::now();
        let waiting: Vec<_> =
            (0..64).filter_map(|_| in_flight.enter()).map(|permit| permit.run(pending::<()>())).collect();
        for waiting in waiting {
            assert_eq!(waiting.await, Err(Unanswered::Overdue));
        }
        assert!(start.elapsed() >= TIMEOUT);
        assert_eq!(told.load(Ordering::SeqCst), 64 * round);
        tokio::time::sleep(TIMEOUT * 2).await;
    }
}

#[test]
fn an_operation_may_be_polled_without_any_runtime() {
    let in_flight = Arc::new(InFlight::new(1, TIMEOUT));
    let sweeper = Arc::clone(&in_flight);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(sweeper.sweep(|_| ()));
    });
    let permit = in_flight.enter().expect("nothing is in flight");
    assert_eq!(futures::executor::block_on(permit.run(pending::<()>())), Err(Unanswered::Overdue));
}

#[tokio::test]
async fn a_sweep_that_comes_late_itself_says_so() {
    let in_flight = Arc::new(InFlight::new(4, TIMEOUT));
    let starved = Arc::new(Mutex::new(None));
    let (sweeper, seen) = (Arc::clone(&in_flight), Arc::clone(&starved));
    tokio::spawn(async move { sweeper.sweep(|swept| *seen.lock() = Some(swept.starved)).await });
    let waiting = in_flight.enter().expect("nothing is in flight").run(pending::<()>());
    tokio::task::yield_now().await;
    // The program's own code blocks the one thread that this runtime has.
    std::thread::sleep(TIMEOUT * 4);
    assert_eq!(waiting.await, Err(Unanswered::Overdue));
    assert_eq!(*starved.lock(), Some(true));
}
