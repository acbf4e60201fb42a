//! The watchdog: a thread that keeps deadlines which no task of the program's runtime may miss.
//!
//! An async caller is woken by the I/O, by a sweeper, or by the leader of its flight. Any of these tasks may never be polled again.
//! So one thread a process checks the deadlines of waiting callers. It runs only while a caller waits. A caller pays for it with
//! one atomic flag.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;

use crate::deadline;
use crate::surroundings::atomic::{AtomicBool, Ordering};
use crate::surroundings::{self, Condvar, Mutex, statics};

/// A set of waiting callers, whose deadlines the watchdog checks.
pub(crate) trait Watched: Send + Sync + 'static {
    /// Ends what has waited too long, and says when to look again; `None` while nothing waits.
    fn look(&self, now: Instant) -> Option<Instant>;
}

/// Whether the watchdog checks the owner of this flag.
pub(crate) struct Attention(AtomicBool);

/// How long the thread stays after the last caller has stopped waiting.
const LINGER: Duration = Duration::from_secs(1);

/// How long a set is skipped after a panic in its `look`.
const AFTER_A_PANIC: Duration = Duration::from_secs(1);

statics! {
    static STATE: Mutex<State> = Mutex::new(State { runs: false, added: Vec::new() });
    static ADDED: Condvar = Condvar::new();
}

struct State {
    runs: bool,
    added: Vec<Weak<dyn Watched>>,
}

impl Attention {
    pub(crate) const fn none() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Has the watchdog check the owner, in which a caller waits now.
    #[inline]
    pub(crate) fn ask(&self, owner: impl FnOnce() -> Weak<dyn Watched>) {
        if !self.0.load(Ordering::SeqCst) && !self.0.swap(true, Ordering::SeqCst) {
            add(owner());
        }
    }

    /// No caller waits. `waits` checks that again: a caller that came in between took the owner for watched.
    pub(crate) fn end<T>(&self, waits: impl FnOnce() -> Option<T>) -> Option<T> {
        self.0.store(false, Ordering::SeqCst);
        let waits = waits()?;
        // A caller that came meanwhile has added the owner again.
        (!self.0.swap(true, Ordering::SeqCst)).then_some(waits)
    }
}

#[cold]
fn add(watched: Weak<dyn Watched>) {
    let mut state = STATE.lock();
    state.added.push(watched);
    if !state.runs {
        // Without the thread, callers rely on the tasks that wake them. The next wait tries to start it again.
        state.runs = surroundings::spawn("cache-house-watch", run).is_ok();
        if !state.runs {
            state.added.retain(|watched| watched.strong_count() > 0);
        }
    }
    drop(state);
    ADDED.notify_one();
}

fn run() {
    let mut watched: Vec<(Instant, Weak<dyn Watched>)> = Vec::new();
    loop {
        let now = surroundings::now();
        let mut next = None;
        watched.retain_mut(|(due, watched)| {
            if *due <= now {
                let Some(again) = look(watched, now) else { return false };
                *due = again;
            }
            // Its owner is gone.
            if watched.strong_count() == 0 {
                return false;
            }
            next = Some(next.map_or(*due, |next: Instant| next.min(*due)));
            true
        });
        let mut state = STATE.lock();
        if state.added.is_empty() {
            let until = next.unwrap_or(now + LINGER);
            let timed_out = ADDED.wait_until(&mut state, until).timed_out();
            if timed_out && watched.is_empty() && state.added.is_empty() {
                state.runs = false;
                return;
            }
        }
        let now = surroundings::now();
        watched.extend(state.added.drain(..).map(|added| (now, added)));
    }
}

/// Looks at one, whose waker or value may be the user's code: a panic in that ends no other's looks.
fn look(watched: &Weak<dyn Watched>, now: Instant) -> Option<Instant> {
    let looked = catch_unwind(AssertUnwindSafe(|| watched.upgrade().and_then(|watched| watched.look(now))));
    looked.unwrap_or(Some(now + AFTER_A_PANIC))
}

/// What `what` comes to, if that's by `deadline`. Nothing has to run for the deadline but the watchdog, or for a thread that blocks
/// itself.
pub(crate) async fn within<F: Future>(deadline: Instant, what: F) -> Option<F::Output> {
    let mut what = pin!(what);
    let mut late = pin!(sleep_until(deadline));
    poll_fn(|cx| {
        if let Poll::Ready(output) = what.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if deadline::is_kept_for(cx.waker()) {
            deadline::note(deadline);
            return if surroundings::now() >= deadline { Poll::Ready(None) } else { Poll::Pending };
        }
        late.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// Resolves at `deadline`, on any executor; where no thread can be started, never.
async fn sleep_until(deadline: Instant) {
    struct Sleeper {
        deadline: Instant,
        waker: AtomicWaker,
    }

    impl Watched for Sleeper {
        fn look(&self, now: Instant) -> Option<Instant> {
            if now < self.deadline {
                return Some(self.deadline);
            }
            self.waker.wake();
            None
        }
    }

    let sleeper = Arc::new(Sleeper { deadline, waker: AtomicWaker::new() });
    let mut added = false;
    poll_fn(|cx| {
        sleeper.waker.register(cx.waker());
        if surroundings::now() >= deadline {
            return Poll::Ready(());
        }
        if !added {
            added = true;
            let owner: Arc<dyn Watched> = Arc::clone(&sleeper) as _;
            add(Arc::downgrade(&owner));
        }
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use super::*;

    #[test]
    fn a_sleeper_wakes_in_any_executor() {
        let begin = Instant::now();
        let deadline = begin + Duration::from_millis(30);
        futures::executor::block_on(async {
            futures::future::join(sleep_until(deadline), sleep_until(deadline + Duration::from_millis(10))).await
        });
        assert!(begin.elapsed() >= Duration::from_millis(40));
    }

    struct Panics(AtomicU32);

    impl Watched for Panics {
        fn look(&self, _: Instant) -> Option<Instant> {
            assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "on purpose");
            None
        }
    }

    #[test]
    fn a_panic_of_what_is_looked_at_ends_no_others_looks() {
        let panics: Arc<dyn Watched> = Arc::new(Panics(AtomicU32::new(0)));
        add(Arc::downgrade(&panics));
        futures::executor::block_on(sleep_until(Instant::now() + Duration::from_millis(30)));
        futures::executor::block_on(sleep_until(Instant::now() + Duration::from_millis(30)));
    }

    struct Counts {
        attention: Attention,
        waiting: AtomicU32,
        looks: AtomicU32,
    }

    impl Watched for Counts {
        fn look(&self, now: Instant) -> Option<Instant> {
            self.looks.fetch_add(1, Ordering::SeqCst);
            let waits = || (self.waiting.load(Ordering::SeqCst) > 0).then(|| now + Duration::from_millis(1));
            waits().or_else(|| self.attention.end(waits))
        }
    }

    #[test]
    fn what_waits_is_looked_after_until_nothing_does_and_again() {
        let counts = Arc::new(Counts { attention: Attention::none(), waiting: 1.into(), looks: 0.into() });
        let looks_reach = |number| {
            let deadline = Instant::now() + Duration::from_secs(30);
            while counts.looks.load(Ordering::SeqCst) < number {
                assert!(Instant::now() < deadline);
                thread::sleep(Duration::from_millis(1));
            }
        };
        for round in 1..3 {
            counts.waiting.store(1, Ordering::SeqCst);
            let owner: Arc<dyn Watched> = Arc::clone(&counts) as _;
            counts.attention.ask(|| Arc::downgrade(&owner));
            looks_reach(5 * round);
            counts.waiting.store(0, Ordering::SeqCst);
            let deadline = Instant::now() + Duration::from_secs(30);
            while counts.attention.0.load(Ordering::SeqCst) {
                assert!(Instant::now() < deadline);
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
