//! Who calls: what decides whether one caller may wait for another.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use pin_project_lite::pin_project;

/// A caller, as it was when it called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) is_async: bool,
    pub(crate) task: Option<tokio::task::Id>,
    thread: ThreadNumber,
}

/// A number that no other thread of the process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ThreadNumber(u64);

/// Whether and where a leader goes on.
pub(crate) struct Pulse {
    /// The thread on which it was polled last.
    thread: AtomicU64,
    polls: AtomicU64,
    /// How often it had been when it was asked to go on; [`NEVER`] before.
    asked: AtomicU64,
    /// Has it polled again.
    waker: AtomicWaker,
}

const NEVER: u64 = u64::MAX;

thread_local! {
    static THREAD: Cell<u64> = const { Cell::new(0) };
    /// The addresses of the leaders that this thread is running now, outermost first; never followed.
    static LED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

impl Caller {
    pub(crate) fn new(is_async: bool) -> Self {
        Self { is_async, task: tokio::task::try_id(), thread: ThreadNumber::current() }
    }

    /// Whether both are in one task, so that the one can't go on while the other blocks.
    pub(crate) fn shares_task_with(&self, other: &Self) -> bool {
        self.task.is_some() && self.task == other.task
    }
}

impl ThreadNumber {
    fn current() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        if THREAD.get() == 0 {
            THREAD.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        Self(THREAD.get())
    }
}

impl Pulse {
    pub(crate) fn new(leader: Caller) -> Self {
        Self {
            thread: AtomicU64::new(leader.thread.0),
            polls: AtomicU64::new(0),
            asked: AtomicU64::new(NEVER),
            waker: AtomicWaker::new(),
        }
    }

    /// Whether this very thread ran the leader last.
    pub(crate) fn was_here(&self) -> bool {
        self.thread.load(Ordering::Relaxed) == ThreadNumber::current().0
    }

    /// Whether the code that asks runs inside the leader, and so would wait for itself.
    pub(crate) fn is_here(&self) -> bool {
        // Not so while the thread's own values are being dropped: then nothing runs inside a leader any more.
        LED.try_with(|led| led.borrow().contains(&self.address())).unwrap_or(false)
    }

    /// Whether the leader hasn't been polled since it was [asked](Self::ask) to go on.
    pub(super) fn is_stuck(&self) -> bool {
        self.asked.load(Ordering::Relaxed) == self.polls.load(Ordering::Relaxed)
    }

    /// Has the leader polled again.
    pub(super) fn ask(&self) {
        self.asked.store(self.polls.load(Ordering::Relaxed), Ordering::Relaxed);
        self.waker.wake();
    }

    pub(super) fn run<F: Future>(&self, whole: F) -> Led<'_, F> {
        Led { whole, pulse: self }
    }

    /// The leader has ended.
    pub(super) fn stop(&self) {
        drop(self.waker.take());
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

pin_project! {
    /// All that a leader does, with its pulse.
    pub(crate) struct Led<'a, F> {
        #[pin]
        whole: F,
        pulse: &'a Pulse,
    }
}

impl<F: Future> Future for Led<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        struct Leave;

        impl Drop for Leave {
            fn drop(&mut self) {
                let _ = LED.try_with(|led| led.borrow_mut().pop());
            }
        }

        let this = self.project();
        let pulse = *this.pulse;
        pulse.thread.store(ThreadNumber::current().0, Ordering::Relaxed);
        pulse.polls.fetch_add(1, Ordering::Relaxed);
        let _ = LED.try_with(|led| led.borrow_mut().push(pulse.address()));
        let _leave = Leave;
        let polled = this.whole.poll(cx);
        if polled.is_pending() {
            pulse.waker.register(cx.waker());
        }
        polled
    }
}
