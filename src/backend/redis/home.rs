//! Where the I/O runs: a runtime of the program's, or a thread of the handle's own.
//!
//! A runtime of the program's costs the least, and depends on the program: once all its workers are blocked, no I/O runs. Sync callers
//! notice that by their own clocks, and the next one has the I/O go on on a thread of its own.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::Inner;
use super::connection::Identity;
use super::discovery::Discovery;
use super::layout::Layout;
use super::node_health::Parts;
use super::stage::Stage;
use crate::config::Address;
use crate::health::{Reason, ReasonKind};

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
}

impl Inner {
    /// Has the I/O go on on a thread of its own, if the program keeps it from running where it is.
    #[inline]
    pub(super) fn leave_starved_runtime(self: &Arc<Self>) {
        if self.context.starvation.is_chronic() {
            self.move_to_a_thread();
        }
    }

    #[cold]
    fn move_to_a_thread(self: &Arc<Self>) {
        let generation = {
            let mut place = self.home.place.lock();
            self.context.starvation.relieve();
            if place.has_thread || self.stage() != Stage::Running {
                return;
            }
            place.generation += 1;
            place.has_thread = true;
            place.generation
        };
        tracing::warn!(
            target: "cache_house",
            "the program blocks the workers of the runtime that the cache's I/O runs in; the I/O moves to a thread of its own"
        );
        let nodes = self.layout.swap(Arc::new(Layout::Unknown)).nodes();
        self.node_health.expect(Parts::Unknown);
        for node in &nodes {
            node.advance(Stage::Closing);
            if let Some(pool) = node.standing() {
                // Nothing more is sent on it, whenever its tasks run again.
                pool.abort();
                let identities = pool.identities();
                self.home.place.lock().left.entry(node.address.clone()).or_default().extend(identities);
            }
            node.end_in_flight();
        }
        // What the former discovery task has found isn't taken over from here on.
        self.home.moved.notify_waiters();
        if let Err(error) = Discovery::start_anew(Arc::clone(self), generation) {
            // No task is left that could answer a `close`.
            self.advance(Stage::Closed);
            let problem = format!("no thread could be started to connect on: {error}");
            self.node_health.nothing_found(Reason::new(ReasonKind::Unreachable, problem));
        }
    }
}
