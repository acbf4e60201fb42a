//! What waits for the server: at most so much at once, and each for so long at most.
//!
//! One sweeper ends all that wait too long, so that an operation costs neither a timer nor a task,
//! and may be polled on any executor, or on none.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::sync::Notify;

use crate::deadline;
use crate::watchdog::{Attention, Watched};

pub(crate) struct InFlight {
    slots: Box<[Slot]>,
    free: Mutex<Vec<u32>>,
    timeout: Duration,
    start: Instant,
    /// Set while the sweeper sleeps until there is something to watch.
    asleep: AtomicBool,
    started: Notify,
    /// The watchdog ends what the sweeper doesn't, where the program keeps that from running.
    attention: Attention,
    me: Weak<Self>,
}

#[derive(Default)]
struct Slot {
    /// When to give up, in nanoseconds since the start; [`FREE`], [`OVERDUE`], [`LOST`] or
    /// [`STARVED_OUT`].
    deadline: AtomicU64,
    waker: AtomicWaker,
}

/// By how much a timer may come late on a machine that is merely busy.
const TIMER_SLACK: Duration = Duration::from_millis(20);

/// How long answers that lie in the socket may take to be read, once the program lets its runtime run again; a quarter of
/// the timeout at most.
const GRACE: Duration = Duration::from_millis(50);

/// A timer that comes later than this, or than a tenth of the timeout, was held up by the program itself.
const STARVED: Duration = Duration::from_millis(25);

/// So many operations in flight are contention.
const CONTENDED: usize = 8;

const FREE: u64 = u64::MAX;
const OVERDUE: u64 = 0;
const LOST: u64 = 1;
const STARVED_OUT: u64 = 2;

/// Why an operation was given up on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It wasn't answered in time.
    Overdue,
    /// Nor has the sweeper come: the program keeps the runtime of the I/O from running, which says nothing about the server.
    Starved,
    /// Its connection is over.
    Lost,
}

/// The right to have one operation in flight; given back on drop.
pub(crate) struct Permit<'a> {
    in_flight: &'a InFlight,
    slot: u32,
    contended: bool,
}

/// What one sweep ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Swept {
    pub(crate) overdue: usize,
    /// The sweeper itself came late, so the program has kept this runtime from running: what is overdue says
    /// nothing about the server.
    pub(crate) starved: bool,
}

impl InFlight {
    pub(crate) fn new(capacity: usize, timeout: Duration) -> Arc<Self> {
        let slot = |_| Slot { deadline: AtomicU64::new(FREE), waker: AtomicWaker::new() };
        // `max_in_flight` is at most 2^20.
        let free = (0..capacity as u32).rev().collect();
        Arc::new_cyclic(|me| Self {
            slots: (0..capacity).map(slot).collect(),
            free: Mutex::new(free),
            timeout,
            start: Instant::now(),
            asleep: AtomicBool::new(false),
            started: Notify::new(),
            attention: Attention::none(),
            me: Weak::clone(me),
        })
    }

    /// `None` while as many are in flight as may be.
    pub(crate) fn enter(&self) -> Option<Permit<'_>> {
        let (slot, contended) = {
            let mut free = self.free.lock();
            (free.pop()?, free.len() + CONTENDED < self.slots.len())
        };
        let permit = Permit { in_flight: self, slot, contended };
        permit.slot().deadline.store(self.now() + nanos(self.timeout), Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            self.started.notify_one();
        }
        self.attention.ask(|| Weak::clone(&self.me) as _);
        Some(permit)
    }

    /// Watches the deadlines indefinitely, and reports each sweep that ended something. Runs in the node's supervisor task.
    pub(crate) async fn sweep(&self, mut report: impl FnMut(Swept)) {
        loop {
            let Some(next) = self.next_deadline() else {
                self.sleep_until_started().await;
                continue;
            };
            tokio::time::sleep_until((self.start + Duration::from_nanos(next)).into()).await;
            let mut late = self.now().saturating_sub(next);
            if late > nanos(TIMER_SLACK) {
                // Answers may have come while nothing here ran: they are read first.
                let grace = GRACE.min(self.timeout / 4);
                tokio::time::sleep(grace).await;
                late = self.now().saturating_sub(next + nanos(grace));
            }
            let now = self.now();
            let overdue = self.mark(now, OVERDUE);
            if !overdue.is_empty() {
                // Reported before any caller is woken, so that each sees the circuit as this sweep has left it.
                report(Swept { overdue: overdue.len(), starved: late > nanos(STARVED.max(self.timeout / 10)) });
                self.wake(&overdue);
            }
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let deadlines = self.slots.iter().map(|slot| slot.deadline.load(Ordering::SeqCst));
        deadlines.filter(|&deadline| is_watched(deadline)).min()
    }

    async fn sleep_until_started(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        // One that began in between has seen `asleep` unset, so look once more.
        if self.next_deadline().is_some() {
            self.asleep.store(false, Ordering::SeqCst);
            return;
        }
        self.started.notified().await;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.lock().len() == self.slots.len()
    }

    /// Ends all that is in flight, because its connection is over.
    pub(crate) fn end_all(&self) {
        self.wake(&self.mark(u64::MAX, LOST));
    }

    /// Marks what is due by `now` as ended; their owners have yet to be woken.
    fn mark(&self, now: u64, how: u64) -> Vec<u32> {
        let mut marked = Vec::new();
        for (index, slot) in (0..).zip(&self.slots) {
            let deadline = slot.deadline.load(Ordering::SeqCst);
            // The exchange fails where the operation has just ended.
            let due = is_watched(deadline) && deadline <= now;
            if due && slot.deadline.compare_exchange(deadline, how, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                marked.push(index);
            }
        }
        marked
    }

    fn wake(&self, marked: &[u32]) {
        for &index in marked {
            // An operation that has taken the slot since is woken for nothing, which does no harm.
            self.slots[index as usize].waker.wake();
        }
    }

    fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }
}

impl Watched for InFlight {
    fn look(&self, now: Instant) -> Option<Instant> {
        let patience = patience_with_sweeper(self.timeout);
        let since = nanos(now.saturating_duration_since(self.start)).saturating_sub(nanos(patience));
        self.wake(&self.mark(since, STARVED_OUT));
        let next = || self.next_deadline().map(|next| self.start + Duration::from_nanos(next) + patience);
        next().or_else(|| self.attention.end(next))
    }
}

impl<'a> Permit<'a> {
    /// Whether many others were in flight when it was given.
    pub(crate) fn is_contended(&self) -> bool {
        self.contended
    }

    /// Waits for `operation`, but not for longer than the timeout, counted from when the permit was given.
    pub(crate) fn run<F: Future>(self, operation: F) -> Timed<'a, F> {
        Timed { operation, permit: self }
    }

    fn slot(&self) -> &'a Slot {
        &self.in_flight.slots[self.slot as usize]
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let slot = self.slot();
        slot.deadline.store(FREE, Ordering::SeqCst);
        drop(slot.waker.take());
        self.in_flight.free.lock().push(self.slot);
    }
}

pin_project! {
    /// An operation that is given up on when it's overdue.
    pub(crate) struct Timed<'a, F> {
        #[pin]
        operation: F,
        permit: Permit<'a>,
    }
}

impl<F: Future> Future for Timed<'_, F> {
    type Output = Result<F::Output, Unanswered>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.operation.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        let slot = this.permit.slot();
        slot.waker.register(cx.waker());
        match slot.deadline.load(Ordering::SeqCst) {
            OVERDUE => Poll::Ready(Err(Unanswered::Overdue)),
            LOST => Poll::Ready(Err(Unanswered::Lost)),
            STARVED_OUT => Poll::Ready(Err(Unanswered::Starved)),
            due if deadline::is_kept_for(cx.waker()) && is_watched(due) => {
                let in_flight = this.permit.in_flight;
                let starved = in_flight.start + Duration::from_nanos(due) + patience_with_sweeper(in_flight.timeout);
                if Instant::now() >= starved {
                    return Poll::Ready(Err(Unanswered::Starved));
                }
                deadline::note(starved);
                Poll::Pending
            }
            _ => Poll::Pending,
        }
    }
}

/// By how much the sweeper may be late before a caller gives up by itself: as long as it takes on a machine that is merely busy,
/// and the grace that it gives.
pub(super) fn patience_with_sweeper(timeout: Duration) -> Duration {
    timeout / 4 + 2 * TIMER_SLACK
}

fn is_watched(deadline: u64) -> bool {
    !matches!(deadline, FREE | OVERDUE | LOST | STARVED_OUT)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
