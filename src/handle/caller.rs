//! The caller of a call: its task, its thread and what blocking it would block, which decide whether it may wait for another.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use pin_project_lite::pin_project;
use tokio::runtime::RuntimeFlavor;
use tokio::task::yield_now;

use crate::surroundings;
use crate::surroundings::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::surroundings::{statics, thread_local};

/// A caller, as it was when it called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) is_async: bool,
    task: Option<tokio::task::Id>,
    thread: ThreadNumber,
    place: Place,
}

/// How long a sync caller waits for another's work: two whose works wait for each other end that way.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A number that no other thread of the process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ThreadNumber(u64);

/// Whether and where a leader goes on.
pub(crate) struct Pulse {
    /// The thread on which it was polled last.
    thread: AtomicU64,
    polls: AtomicU64,
    /// The value of `polls` when the watchdog last woke it; [`NEVER`] before.
    woken_at: AtomicU64,
    /// It's being polled now.
    runs: AtomicBool,
    /// Has it polled again.
    waker: AtomicWaker,
    /// The pulse of the batch that it belongs to, which goes on for all of its leaders.
    batch: OnceLock<Arc<Pulse>>,
}

/// The pulse of a batch: of all that its leaders do, and of the work that they share.
pub(crate) struct BatchPulse(Arc<Pulse>);

const NEVER: u64 = u64::MAX;

thread_local! {
    static THREAD: Cell<u64> = const { Cell::new(0) };
    /// The addresses of the leaders that this thread is running now, outermost first; never followed.
    static LED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    /// The task that this thread was seen to run as a worker.
    static ON_WORKER: Cell<Option<tokio::task::Id>> = const { Cell::new(None) };
}

impl Caller {
    /// An async caller, which blocks nothing while it waits.
    pub(crate) fn asynchronous() -> Self {
        let (task, thread) = (tokio::task::try_id(), ThreadNumber::current());
        Self { is_async: true, task, thread, place: Place::Free }
    }

    /// A sync caller on this thread.
    pub(crate) fn blocking() -> Self {
        Self { is_async: false, place: Place::of_this_thread(), ..Self::asynchronous() }
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// How long this sync caller may wait for `leader`; `None` where that could only go on by the thread that would block.
    /// `on_worker` is for workers of a runtime: what they block may be what the leader waits for.
    pub(crate) fn patience_for(&self, leader: &Self, pulse: &Pulse, on_worker: Duration) -> Option<Duration> {
        let shares_task = self.task.is_some() && self.task == leader.task;
        let was_here = pulse.live().thread.load(Ordering::Relaxed) == self.thread.0;
        if !leader.is_async {
            // On the same thread it's further up this very stack.
            let patience = if self.place == Place::Free { LONGEST_WAIT } else { on_worker };
            return (!was_here).then_some(patience);
        }
        match self.place {
            _ if shares_task => None,
            // Another thread goes on with the other tasks of this one.
            Place::Worker => Some(on_worker),
            Place::CurrentThread => None,
            Place::Free => (!was_here).then_some(LONGEST_WAIT),
        }
    }
}

/// What blocking this thread would keep from running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing but this thread's own work: also in `spawn_blocking`, and in the root of a multi-thread runtime.
    Free,
    /// Other tasks of a multi-thread runtime, which can be handed to another thread.
    Worker,
    /// Other tasks of a current-thread runtime, which can only run here.
    CurrentThread,
}

impl Place {
    pub(crate) fn of_this_thread() -> Self {
        let Some(runtime) = surroundings::runtime() else { return Self::Free };
        let is_scheduler = is_scheduler();
        match runtime.runtime_flavor() {
            RuntimeFlavor::MultiThread => {
                let task = tokio::task::try_id();
                if is_scheduler {
                    ON_WORKER.with(|worker| worker.set(task));
                }
                // A worker that has handed its tasks over schedules nothing until this one ends.
                let is_worker = is_scheduler || task.is_some() && task == ON_WORKER.with(Cell::get);
                if is_worker { Self::Worker } else { Self::Free }
            }
            _ if is_scheduler => Self::CurrentThread,
            _ => Self::Free,
        }
    }
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

impl ThreadNumber {
    fn current() -> Self {
        statics! {
            static NEXT: AtomicU64 = AtomicU64::new(1);
        }
        THREAD.with(|thread| {
            if thread.get() == 0 {
                thread.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            Self(thread.get())
        })
    }
}

impl Pulse {
    pub(crate) fn new(leader: Caller) -> Self {
        Self {
            thread: AtomicU64::new(leader.thread.0),
            polls: AtomicU64::new(0),
            woken_at: AtomicU64::new(NEVER),
            runs: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            batch: OnceLock::new(),
        }
    }

    /// The leader goes on whenever its batch does, and the batch's work is its own.
    pub(super) fn belongs_to(&self, batch: &BatchPulse) {
        // A leader has one batch at most.
        let _ = self.batch.set(Arc::clone(&batch.0));
    }

    /// The pulse that shows whether the leader goes on.
    fn live(&self) -> &Self {
        self.batch.get().map_or(self, |batch| batch)
    }

    /// Whether the code that asks runs inside the leader, and so would wait for itself.
    pub(crate) fn is_here(&self) -> bool {
        // Not so while the thread's own values are being dropped: then nothing runs inside a leader any more.
        let is_led = |led: &RefCell<Vec<usize>>| {
            let (led, batch) = (led.borrow(), self.batch.get());
            led.contains(&self.address()) || batch.is_some_and(|batch| led.contains(&batch.address()))
        };
        LED.try_with(is_led).unwrap_or(false)
    }

    /// Whether the leader hasn't been polled since it was [woken](Self::wake), and isn't being polled.
    pub(super) fn is_stuck(&self) -> bool {
        let live = self.live();
        !live.runs.load(Ordering::Relaxed)
            && live.woken_at.load(Ordering::Relaxed) == live.polls.load(Ordering::Relaxed)
    }

    /// Has the leader polled again.
    pub(super) fn wake(&self) {
        let live = self.live();
        live.woken_at.store(live.polls.load(Ordering::Relaxed), Ordering::Relaxed);
        live.waker.wake();
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

impl BatchPulse {
    pub(super) fn new(caller: Caller) -> Self {
        Self(Arc::new(Pulse::new(caller)))
    }
}

impl Deref for BatchPulse {
    type Target = Pulse;

    fn deref(&self) -> &Pulse {
        &self.0
    }
}

impl Drop for BatchPulse {
    fn drop(&mut self) {
        // Flights whose stores are under way keep the pulse yet.
        self.0.stop();
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
        struct Leave<'a>(&'a Pulse);

        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.runs.store(false, Ordering::Relaxed);
                let _ = LED.try_with(|led| led.borrow_mut().pop());
            }
        }

        let this = self.project();
        let pulse = *this.pulse;
        pulse.thread.store(ThreadNumber::current().0, Ordering::Relaxed);
        pulse.polls.fetch_add(1, Ordering::Relaxed);
        let _ = LED.try_with(|led| led.borrow_mut().push(pulse.address()));
        pulse.runs.store(true, Ordering::Relaxed);
        let _leave = Leave(pulse);
        let polled = this.whole.poll(cx);
        if polled.is_pending() {
            pulse.waker.register(cx.waker());
        }
        polled
    }
}
