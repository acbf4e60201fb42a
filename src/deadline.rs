//! Deadlines that a blocked thread keeps by itself.
//!
//! A sync caller polls an async operation on its own thread and parks in between. The tasks that would wake it at a deadline may
//! not get to run: their runtime's workers may be blocked, by sync callers above all. So whatever waits notes here until when,
//! and the caller parks no longer than that.

use std::cell::Cell;
use std::ptr;
use std::task::Waker;
use std::time::Instant;

use crate::surroundings::thread_local;

thread_local! {
    static POLLING: Cell<Polling> = const { Cell::new(Polling::Async) };
}

#[derive(Clone, Copy)]
enum Polling {
    /// Whoever polls is woken by others.
    Async,
    /// A thread that parks between its polls, until the earliest deadline noted at the latest.
    Blocking { woken_by: Identity, until: Option<Instant> },
}

/// Which waker it is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity {
    data: usize,
    vtable: usize,
}

impl Identity {
    fn of(waker: &Waker) -> Self {
        Self { data: waker.data().addr(), vtable: ptr::from_ref(waker.vtable()).addr() }
    }
}

/// Also where a poll panics.
struct Restore(Polling);

impl Drop for Restore {
    fn drop(&mut self) {
        POLLING.with(|polling| polling.set(self.0));
    }
}

/// Polls, with this waker, on behalf of a thread that parks afterwards; returns the earliest deadline that was noted meanwhile.
pub(crate) fn observe<R>(waker: &Waker, poll: impl FnOnce() -> R) -> (R, Option<Instant>) {
    let _restore = begin(Polling::Blocking { woken_by: Identity::of(waker), until: None });
    let output = poll();
    let until = match polling() {
        Polling::Blocking { until, .. } => until,
        Polling::Async => None,
    };
    (output, until)
}

fn begin(how: Polling) -> Restore {
    Restore(POLLING.with(|polling| polling.replace(how)))
}

fn polling() -> Polling {
    POLLING.with(Cell::get)
}

/// Whether the thread that polls keeps the deadlines of what is polled with this waker. It doesn't where something in between polls its
/// parts only once their own wakers are woken (`FuturesUnordered`), or where the work of a sync call runs an executor.
pub(crate) fn is_kept_for(waker: &Waker) -> bool {
    matches!(polling(), Polling::Blocking { woken_by, .. } if woken_by == Identity::of(waker))
}

/// Has the thread that polls do so again at `deadline`, if it keeps its deadlines itself.
pub(crate) fn note(deadline: Instant) {
    if let Polling::Blocking { woken_by, until } = polling() {
        let until = Some(until.map_or(deadline, |until| until.min(deadline)));
        POLLING.with(|polling| polling.set(Polling::Blocking { woken_by, until }));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earliest_deadline_counts_and_none_outlives_its_poll() {
        let now = Instant::now();
        note(now);
        let waker = Waker::noop();
        assert!(!is_kept_for(waker));
        let ((), until) = observe(waker, || {
            assert!(is_kept_for(waker));
            note(now + Duration::from_secs(2));
            let ((), inner) = observe(waker, || note(now + Duration::from_secs(1)));
            assert_eq!(inner, Some(now + Duration::from_secs(1)));
            note(now + Duration::from_secs(3));
        });
        assert_eq!(until, Some(now + Duration::from_secs(2)));
        assert_eq!(observe(waker, || ()).1, None);
        let panics = std::panic::catch_unwind(|| observe(Waker::noop(), || panic!("the user's own")));
        assert!(panics.is_err() && !is_kept_for(waker));
    }

    #[test]
    fn a_thread_keeps_no_deadline_of_what_another_waker_wakes() {
        struct Other;
        impl std::task::Wake for Other {
            fn wake(self: std::sync::Arc<Self>) {}
        }
        let [own, other] = [(); 2].map(|()| Waker::from(std::sync::Arc::new(Other)));
        observe(&own, || assert!(is_kept_for(&own) && is_kept_for(&own.clone()) && !is_kept_for(&other)));
    }
}
