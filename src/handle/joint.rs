//! What the calls of a batch have in common: they begin their work together, and it's one run.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::surroundings::Notify;
use crate::surroundings::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How long a batch that has work to do waits for values which others compute. Two batches may wait for each other. And where the other
/// fails, the work, which can't run a second time, has to run for its keys too.
pub(super) const JOINT_WAIT: Duration = Duration::from_secs(1);

/// How far the calls of a batch are. They run in the batch's own future, which sees each change once it has polled them.
#[derive(Debug, Default)]
pub(super) struct Joint {
    /// Calls that have all they need before the work, leases above all.
    ready: AtomicUsize,
    /// Calls that wait for another process to compute their value.
    waiting: AtomicUsize,
    /// Calls whose work has begun.
    at_work: AtomicUsize,
    has_begun: AtomicBool,
    begins: Notify,
    /// When the work ended. Its values are handed out after that, some at a time.
    ended: OnceLock<Instant>,
    /// The batch waits for nothing more that others compute.
    is_pressed: AtomicBool,
}

/// One call's place in its batch.
#[derive(Debug)]
pub(super) struct Seat {
    joint: Arc<Joint>,
    /// The work has found that there is no value.
    is_gone: AtomicBool,
}

/// Says that a call waits for another process, for as long as it's kept.
pub(super) struct Waiting<'a>(&'a Joint);

impl Joint {
    pub(super) fn ready(&self) -> usize {
        self.ready.load(Ordering::Relaxed)
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn at_work(&self) -> usize {
        self.at_work.load(Ordering::Relaxed)
    }

    /// The work is about to run: calls that are ready begin theirs.
    pub(super) fn begin(&self) {
        self.has_begun.store(true, Ordering::SeqCst);
        self.begins.notify_waiters();
    }

    /// The work has ended.
    pub(super) fn ends(&self, at: Instant) {
        let _ = self.ended.set(at);
    }

    /// Has calls that wait for other processes run their work.
    pub(super) fn press(&self) {
        self.is_pressed.store(true, Ordering::Relaxed);
    }
}

impl Seat {
    pub(super) fn new(joint: &Arc<Joint>) -> Self {
        Self { joint: Arc::clone(joint), is_gone: AtomicBool::new(false) }
    }

    /// The call has all that it needs before its work; waits for the others.
    pub(super) async fn ready(&self) {
        self.joint.ready.fetch_add(1, Ordering::Relaxed);
        loop {
            let begins = self.joint.begins.notified();
            if self.joint.has_begun.load(Ordering::SeqCst) {
                return;
            }
            begins.await;
        }
    }

    /// The call's work has begun.
    pub(super) fn works(&self) {
        self.joint.at_work.fetch_add(1, Ordering::Relaxed);
    }

    /// When the work of the batch ended, if it has.
    pub(super) fn ended_at(&self) -> Option<Instant> {
        self.joint.ended.get().copied()
    }

    /// There is no value, so an old one isn't served either.
    pub(super) fn note_gone(&self) {
        self.is_gone.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    /// Says that the call waits for another process.
    pub(super) fn waits(&self) -> Waiting<'_> {
        self.joint.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.joint)
    }

    pub(super) fn is_pressed(&self) -> bool {
        self.joint.is_pressed.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
