//! The sync side: polls the async one on the caller's own thread, wherever that is.
//!
//! A blocked thread keeps its deadlines by its own clock, see [`deadline`]: no task of any runtime has to run for it to go on.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::task::block_in_place;

use super::caller::Place;
use crate::deadline;
use crate::surroundings::{self, Parker};

/// How long a parked thread takes no look at what it waits for, should nothing wake it and no deadline be noted.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// Runs `operation` to its end on this thread. Needs no runtime, and may be called inside any.
pub(super) fn block_on<F: Future>(operation: F) -> F::Output {
    block_on_until(operation, None).unwrap_or_else(|| unreachable!("there is no deadline to pass"))
}

/// The same as [`block_on`], given up at the deadline.
pub(super) fn block_on_until<F: Future>(operation: F, deadline: Option<Instant>) -> Option<F::Output> {
    let mut operation = pin!(operation);
    let waker = Waker::from(Arc::new(Unpark(Parker::of_this_thread())));
    let mut cx = Context::from_waker(&waker);
    // Most operations need no waiting, and then no worker is taken from its runtime.
    let (polled, mut until) = deadline::observe(&waker, || operation.as_mut().poll(&mut cx));
    if let Poll::Ready(output) = polled {
        return Some(output);
    }
    in_place(Place::of_this_thread(), || {
        loop {
            let now = surroundings::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return None;
            }
            let nap = now + LONGEST_NAP;
            let wake = deadline.into_iter().chain(until).fold(nap, Instant::min);
            surroundings::park_until(wake);
            let (polled, next) = deadline::observe(&waker, || operation.as_mut().poll(&mut cx));
            if let Poll::Ready(output) = polled {
                return Some(output);
            }
            until = next;
        }
    })
}

/// Runs `block`, which may block this thread. A worker's other tasks are handed to another thread before.
pub(super) fn in_place<R>(place: Place, block: impl FnOnce() -> R) -> R {
    // Tokio refuses it by a panic anywhere else inside a runtime.
    if place == Place::Worker { block_in_place(block) } else { block() }
}

struct Unpark(Parker);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
