//! Where renewals run: runs of the work that no caller waits for have tasks and threads of their own.
//!
//! There are [`MOST`] at once at most; one more is left for the next caller. They end with the handle: tasks are aborted where they wait,
//! and of a thread nothing is stored once the handle is closed.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::blocking;
use crate::surroundings::{self, Mutex};

/// Renewals at once.
const MOST: usize = 64;

/// The renewals of a handle.
#[derive(Default)]
pub(super) struct Renewals(Mutex<Running>);

#[derive(Default)]
struct Running {
    /// Tasks have a handle, once it's known.
    renewals: HashMap<u64, Option<AbortHandle>>,
    next: u64,
    has_ended: bool,
}

/// The place of one renewal, for as long as it's kept.
pub(super) struct Slot {
    renewals: Arc<Renewals>,
    number: u64,
}

/// Ends the renewals with the last clone of the handle.
pub(super) struct Owner(pub(super) Arc<Renewals>);

impl Renewals {
    pub(super) fn slot(self: &Arc<Self>) -> Option<Slot> {
        let mut running = self.0.lock();
        if running.has_ended || running.renewals.len() >= MOST {
            return None;
        }
        let number = running.next;
        running.next += 1;
        running.renewals.insert(number, None);
        Some(Slot { renewals: Arc::clone(self), number })
    }

    /// Aborts the tasks, and begins no renewal any more.
    pub(super) fn end(&self) {
        let mut running = self.0.lock();
        running.has_ended = true;
        let tasks: Vec<_> = running.renewals.values().flatten().cloned().collect();
        drop(running);
        // What they hold is dropped by their runtimes, or here: it's the user's.
        tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Slot {
    /// Runs `renewal` in a task of this runtime; without one, on a thread.
    pub(super) fn in_task(self, renewal: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let Some(runtime) = surroundings::runtime() else { return self.on_thread(renewal) };
        let (renewals, number) = (Arc::clone(&self.renewals), self.number);
        let task = runtime.spawn(async move {
            let _slot = self;
            renewal.await;
        });
        let mut running = renewals.0.lock();
        let has_ended = running.has_ended;
        if let Some(place) = running.renewals.get_mut(&number) {
            *place = Some(task.abort_handle());
        }
        drop(running);
        if has_ended {
            task.abort();
        }
    }

    /// Runs `renewal` on a thread; where none can be started, not at all.
    pub(super) fn on_thread(self, renewal: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let started = surroundings::spawn("cache-house-renew", move || {
            let _slot = self;
            blocking::block_on(renewal);
        });
        if let Err(error) = started {
            tracing::warn!(target: "cache_house", %error, "no thread can be started to renew a value");
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.renewals.0.lock().renewals.remove(&self.number);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Where a renewal runs.
pub(super) type Start = fn(Slot, Pin<Box<dyn Future<Output = ()> + Send>>);
