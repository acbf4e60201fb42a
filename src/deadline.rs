//! Deadlines that a blocked thread keeps by itself.
//!
//! A sync caller polls an async operation on its own thread and parks in between. The tasks that would wake it at a deadline may
//! not get to run: their runtime's workers may be blocked, by sync callers above all. So whatever waits notes here until when,
//! and the caller parks no longer than that.

use std::cell::Cell;
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
    Blocking { until: Option<Instant> },
}

/// Also where a poll panics.
struct Restore(Polling);

impl Drop for Restore {
    fn drop(&mut self) {
        POLLING.with(|polling| polling.set(self.0));
    }
}

/// Polls on behalf of a thread that parks afterwards; returns the earliest deadline that was noted meanwhile.
pub(crate) fn observe<R>(poll: impl FnOnce() -> R) -> (R, Option<Instant>) {
    let _restore = begin(Polling::Blocking { until: None });
    let output = poll();
    let until = match polling() {
        Polling::Blocking { until } => until,
        Polling::Async => None,
    };
    (output, until)
}

/// Polls on behalf of a thread that parks, what polls its own parts only once they are woken: so no deadline is noted for the thread, and
/// the watchdog wakes them.
pub(crate) fn unobserved<R>(poll: impl FnOnce() -> R) -> R {
    let _restore = begin(Polling::Async);
    poll()
}

fn begin(how: Polling) -> Restore {
    Restore(POLLING.with(|polling| polling.replace(how)))
}

fn polling() -> Polling {
    POLLING.with(Cell::get)
}

/// Whether the thread that polls keeps its deadlines itself.
pub(crate) fn is_blocking() -> bool {
    matches!(polling(), Polling::Blocking { .. })
}

/// Has the thread that polls do so again at `deadline`, if it keeps its deadlines itself.
pub(crate) fn note(deadline: Instant) {
    if let Polling::Blocking { until } = polling() {
        let until = Some(until.map_or(deadline, |until| until.min(deadline)));
        POLLING.with(|polling| polling.set(Polling::Blocking { until }));
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
        assert!(!is_blocking());
        let ((), until) = observe(|| {
            assert!(is_blocking());
            note(now + Duration::from_secs(2));
            let ((), inner) = observe(|| note(now + Duration::from_secs(1)));
            assert_eq!(inner, Some(now + Duration::from_secs(1)));
            note(now + Duration::from_secs(3));
        });
        assert_eq!(until, Some(now + Duration::from_secs(2)));
        assert_eq!(observe(|| ()).1, None);
        let ((), until) = observe(|| {
            unobserved(|| {
                assert!(!is_blocking());
                note(now);
            });
            assert!(is_blocking());
        });
        assert_eq!(until, None);
        let panics = std::panic::catch_unwind(|| observe(|| panic!("the user's own")));
        assert!(panics.is_err() && !is_blocking());
    }
}
