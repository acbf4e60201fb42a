//! Where the I/O runs: a runtime of the program's, or a thread of the handle's own.
//!
//! A runtime of the program's costs the least, and depends on the program: once all its workers are blocked, no I/O runs. Sync callers
//! notice that by their own clocks, and the next one moves the I/O to a thread of its own.

use std::collections::HashMap;
use std::future::Future;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::connection::Identity;
use crate::config::Address;

#[derive(Default)]
pub(super) struct Home {
    place: Mutex<Place>,
    /// Notified when the I/O moves.
    moved: Notify,
}

#[derive(Default)]
struct Place {
    handle: Option<Handle>,
    /// Which discovery task is the one that counts.
    generation: u64,
    has_thread: bool,
    /// Connections that a former place has left, which the server may still read from.
    left: HashMap<Address, Vec<Identity>>,
}

impl Home {
    /// The discovery task of this generation runs here, in the runtime that the caller is in. Whether it's the one that counts.
    pub(super) fn settle(&self, generation: u64, has_thread: bool) -> bool {
        let mut place = self.place.lock();
        if place.generation != generation {
            return false;
        }
        place.handle = Some(Handle::current());
        place.has_thread = has_thread;
        true
    }

    /// Runs `step` unless another discovery task counts than that of `generation`. Whether it has run.
    pub(super) fn while_at(&self, generation: u64, step: impl FnOnce()) -> bool {
        let place = self.place.lock();
        if place.generation == generation {
            step();
        }
        place.generation == generation
    }

    pub(super) fn generation(&self) -> u64 {
        self.place.lock().generation
    }

    /// Waits until another discovery task counts than that of `generation`.
    pub(super) async fn left(&self, generation: u64) {
        loop {
            let moved = self.moved.notified();
            if self.generation() != generation {
                return;
            }
            moved.await;
        }
    }

    /// Connections to `address` that a former place has left.
    pub(super) fn left_at(&self, address: &Address) -> Vec<Identity> {
        self.place.lock().left.remove(address).unwrap_or_default()
    }

    /// Runs `task` to its end where the I/O runs. Where that is gone, the task is dropped.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.place.lock().handle.clone();
        if let Some(handle) = handle {
            handle.spawn(task);
        }
    }

    /// Gives the runtime up for a thread of our own; the new generation. `None` if the I/O has a thread already, or `may_move` says no.
    pub(super) fn begin_move(&self, may_move: impl FnOnce() -> bool) -> Option<u64> {
        let mut place = self.place.lock();
        if !may_move() || place.has_thread {
            return None;
        }
        place.generation += 1;
        place.has_thread = true;
        Some(place.generation)
    }

    /// Notes connections to `address` that the former place leaves.
    pub(super) fn leave_behind(&self, address: &Address, identities: Vec<Identity>) {
        self.place.lock().left.entry(address.clone()).or_default().extend(identities);
    }

    /// Wakes the former discovery task: what it has found isn't adopted from here on.
    pub(super) fn end_move(&self) {
        self.moved.notify_waiters();
    }
}
