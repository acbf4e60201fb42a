//! The sync side: drives the async one on the caller's own thread, wherever that is.
//!
//! A blocked thread keeps its deadlines by its own clock, see [`deadline`]: no task of any runtime has to run for it to go on.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{block_in_place, yield_now};

use super::caller::Caller;
use super::coalescing::{Flight, Outcome};
use crate::deadline;

/// How long a parked thread takes no look at what it waits for, should nothing wake it and no deadline be noted.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// How long a sync caller waits for another's work: two whose works wait for each other end that way.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Runs `operation` to its end on this thread. Needs no runtime, and may be called inside any.
pub(super) fn drive<F: Future>(operation: F) -> F::Output {
    drive_until(operation, None).unwrap_or_else(|| unreachable!("there is no deadline to pass"))
}

/// The same, given up at the deadline.
pub(super) fn drive_until<F: Future>(operation: F, deadline: Option<Instant>) -> Option<F::Output> {
    let mut operation = pin!(operation);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    // Most operations need no waiting, and then no worker is taken from its runtime.
    let (polled, mut until) = deadline::observe(|| operation.as_mut().poll(&mut cx));
    if let Poll::Ready(output) = polled {
        return Some(output);
    }
    in_place(|| {
        loop {
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return None;
            }
            let nap = now + LONGEST_NAP;
            let wake = deadline.into_iter().chain(until).fold(nap, Instant::min);
            thread::park_timeout(wake.saturating_duration_since(now));
            let (polled, next) = deadline::observe(|| operation.as_mut().poll(&mut cx));
            if let Poll::Ready(output) = polled {
                return Some(output);
            }
            until = next;
        }
    })
}

/// Runs `block`, which may block this thread. A worker's other tasks are handed to another thread before.
pub(super) fn in_place<R>(block: impl FnOnce() -> R) -> R {
    // Tokio refuses it by a panic anywhere else inside a runtime.
    if place() == Place::Worker { block_in_place(block) } else { block() }
}

/// How long a sync caller may wait for the leader of `flight`; `None` where that could only go on by the thread that would
/// block. `patience` is for workers: what they block may be what the leader waits for.
pub(super) fn may_wait_for(caller: &Caller, flight: &Flight, patience: Duration) -> Option<Duration> {
    let leader = flight.leader();
    let is_here = flight.pulse().was_here();
    if !leader.is_async {
        // On the same thread it's further up this very stack.
        let longest = if place() == Place::Free { LONGEST_WAIT } else { patience };
        return (!is_here).then_some(longest);
    }
    if caller.shares_task_with(&leader) {
        return None;
    }
    match place() {
        // A task of another runtime may wait for this one, and that of a `LocalSet` ran here too.
        Place::Worker => Some(patience),
        Place::CurrentThread => None,
        Place::Free => (!is_here).then_some(LONGEST_WAIT),
    }
}

/// How `flight` ends, for a sync caller that waits for `patience` at most; `None` if it hasn't ended then.
pub(super) async fn ended(flight: &Flight, patience: Duration) -> Option<Outcome> {
    let deadline = Instant::now() + patience;
    let mut ended = pin!(flight.ended());
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = ended.as_mut().poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        if Instant::now() >= deadline {
            return Poll::Ready(None);
        }
        deadline::note(deadline);
        Poll::Pending
    })
    .await
}

/// What blocking this thread would keep from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing but this thread's own work: also in `spawn_blocking`, and in the root of a multi-thread runtime.
    Free,
    /// Other tasks of a multi-thread runtime, which can be handed to another thread.
    Worker,
    /// Other tasks of a current-thread runtime, which can only run here.
    CurrentThread,
}

fn place() -> Place {
    let Ok(runtime) = Handle::try_current() else { return Place::Free };
    let is_scheduler = is_scheduler();
    match runtime.runtime_flavor() {
        RuntimeFlavor::MultiThread => {
            let task = tokio::task::try_id();
            if is_scheduler {
                ON_WORKER.set(task);
            }
            // A worker that has handed its tasks over schedules nothing until this one ends.
            let is_worker = is_scheduler || task.is_some() && task == ON_WORKER.get();
            if is_worker { Place::Worker } else { Place::Free }
        }
        _ if is_scheduler => Place::CurrentThread,
        _ => Place::Free,
    }
}

thread_local! {
    /// The task that this thread was seen to run as a worker.
    static ON_WORKER: Cell<Option<tokio::task::Id>> = const { Cell::new(None) };
}

/// Whether a scheduler of Tokio's runs its tasks on this thread now.
///
/// [`yield_now`] hands its waker to the scheduler of the thread that polls it, and wakes it at once where there is none: in
/// `spawn_blocking`, on a thread that has only entered a runtime, and in the root or a `LocalSet` of a multi-thread runtime. Those are the
/// places where Tokio refuses `block_in_place` or has no use for it.
fn is_scheduler() -> bool {
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.wake_by_ref();
        }

        fn wake_by_ref(self: &Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    // It's ready only when polled again.
    let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
    !woken.0.load(Ordering::Relaxed)
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
