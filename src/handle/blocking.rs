//! The sync side: drives the async one on the caller's own thread, wherever that is.

use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use super::flight::{Caller, Flight};

/// Runs `operation` to its end on this thread. Needs no runtime, and may be called inside any.
///
/// Safe only for operations that others drive on: what the server does is driven by the I/O thread or by a multi-thread
/// runtime, and for whom to wait, [`may_wait_for`] is asked.
pub(super) fn drive<F: Future>(operation: F) -> F::Output {
    drive_until(operation, None).unwrap_or_else(|| unreachable!("there is no deadline to pass"))
}

/// The same, given up at the deadline.
pub(super) fn drive_until<F: Future>(operation: F, deadline: Option<Instant>) -> Option<F::Output> {
    let mut operation = pin!(operation);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    // Most operations need no waiting, and then no worker is taken from its runtime.
    if let Poll::Ready(output) = operation.as_mut().poll(&mut cx) {
        return Some(output);
    }
    let mut wait = || {
        loop {
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => thread::park(),
                Some(Duration::ZERO) => return None,
                Some(left) => thread::park_timeout(left),
            }
            if let Poll::Ready(output) = operation.as_mut().poll(&mut cx) {
                return Some(output);
            }
        }
    };
    if place() == Place::MultiThread { hand_off(wait) } else { wait() }
}

/// Whether a sync caller may block until `flight` ends: not where its leader could only go on by the thread that would block.
pub(super) fn may_wait_for(caller: &Caller, flight: &Flight) -> bool {
    let leader = flight.leader();
    if !leader.is_async {
        return true;
    }
    if caller.shares_task_with(&leader) {
        return false;
    }
    if place() == Place::MultiThread {
        // Finds out whether this is a `LocalSet`.
        hand_off(|| ());
    }
    place() != Place::OnlyThread
}

/// What blocking this thread would keep from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing but this thread's own work.
    Free,
    /// Perhaps other tasks of a multi-thread runtime, which go on if that's told.
    MultiThread,
    /// Tasks that can only run here: a current-thread runtime, or a `LocalSet`.
    OnlyThread,
}

fn place() -> Place {
    let Ok(runtime) = Handle::try_current() else { return Place::Free };
    if runtime.runtime_flavor() != RuntimeFlavor::MultiThread {
        return Place::OnlyThread;
    }
    if REFUSED.get() == Some(tokio::task::try_id()) { Place::OnlyThread } else { Place::MultiThread }
}

thread_local! {
    /// The task, or what runs outside all tasks, that belongs to a `LocalSet`; Tokio tells only by refusing `block_in_place`.
    static REFUSED: Cell<Option<Option<tokio::task::Id>>> = const { Cell::new(None) };
}

/// Blocks a worker after its other tasks have been handed to another thread.
///
/// In a `LocalSet` there is no other thread, and Tokio panics; that is caught, once a task, and blocking there is safe: the
/// workers of its runtime have threads of their own.
fn hand_off<R>(block: impl FnOnce() -> R) -> R {
    let mut block = Some(block);
    let entered = catch_unwind(AssertUnwindSafe(|| block_in_place(|| block.take().map(|block| block()))));
    match (entered, block) {
        (Ok(Some(output)), _) => output,
        (Err(panic), None) => resume_unwind(panic),
        (_, Some(block)) => {
            REFUSED.set(Some(tokio::task::try_id()));
            block()
        }
        (Ok(None), None) => unreachable!("`block` was taken by the call that ran it"),
    }
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
