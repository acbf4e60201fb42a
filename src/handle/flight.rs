//! Flights: the one caller of a key that looks it up or computes it, and those who wait for it.
//!
//! A flight is also the fence of its key. Whoever invalidates the key takes the flight out of the table first, so that
//! nobody joins it any more and nothing that it found is stored.

use std::any::Any;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};

use hashbrown::HashTable;
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use tokio::sync::Notify;

use crate::backend::fallback::Fence;
use crate::backend::memory::Evicted;
use crate::key::{CallKey, KeyPrefix};

/// All flights of a handle, by key.
pub(crate) struct Flights {
    shards: Box<[Mutex<HashTable<Arc<Flight>>>]>,
}

/// A power of two, so that the top bits of a hash choose one.
const SHARDS: usize = 64;

pub(crate) struct Flight {
    key: CallKey,
    leader: Caller,
    state: Mutex<State>,
    /// Told when the flight ends and when a store ends.
    changed: Notify,
}

struct State {
    phase: Phase,
    /// The key was invalidated after the flight began.
    invalidated: bool,
    /// The value is on its way to the server.
    storing: bool,
}

enum Phase {
    Running,
    Landed(Arc<dyn Any + Send + Sync>),
    /// The leader's work returned an error.
    Failed,
    /// The leader was dropped, panicked, or found nothing: a waiter takes over.
    Abandoned,
}

/// Who calls, as far as it decides who may wait for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) is_async: bool,
    pub(crate) task: Option<tokio::task::Id>,
    pub(crate) thread: ThreadId,
}

/// What a caller is to its key's flight.
pub(crate) enum Join<'a> {
    Lead(Lead<'a>),
    Wait(Arc<Flight>),
}

/// What a waiter gets.
pub(crate) enum Outcome {
    Landed(Arc<dyn Any + Send + Sync>),
    Failed,
    Abandoned,
}

/// The leader's hold on a flight; dropped before it ended, it hands over to a waiter.
pub(crate) struct Lead<'a> {
    flights: &'a Flights,
    flight: Arc<Flight>,
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::new(HashTable::new())).collect() }
    }

    /// Leads the flight of `key`, or waits for the one there is.
    pub(crate) fn join(&self, key: &CallKey, caller: Caller) -> Join<'_> {
        let mut shard = self.shard(key).lock();
        if let Some(flight) = shard.find(key.hash(), |flight| flight.is_of(key)) {
            return Join::Wait(Arc::clone(flight));
        }
        let flight = Flight::new(key, caller);
        shard.insert_unique(key.hash(), Arc::clone(&flight), |flight| flight.key.hash());
        Join::Lead(Lead { flights: self, flight })
    }

    /// Leads the flight of `key` for a value that comes from outside: what was under way is invalidated. Returns the stores
    /// to wait for, too.
    pub(crate) fn take_over(&self, key: &CallKey, caller: Caller) -> (Lead<'_>, Option<Arc<Flight>>) {
        let flight = Flight::new(key, caller);
        let mut shard = self.shard(key).lock();
        let before = remove(&mut shard, key);
        shard.insert_unique(key.hash(), Arc::clone(&flight), |flight| flight.key.hash());
        drop(shard);
        (Lead { flights: self, flight }, before.filter(|before| before.invalidate()))
    }

    /// Sees to it that nothing which is under way for `key` is stored or joined. Returns the store to wait for, if one is on its
    /// way to the server.
    pub(crate) fn invalidate(&self, key: &CallKey) -> Option<Arc<Flight>> {
        let flight = remove(&mut self.shard(key).lock(), key);
        flight.filter(|flight| flight.invalidate())
    }

    /// The same for all keys that `prefix` names.
    pub(crate) fn invalidate_matching(&self, prefix: &KeyPrefix) -> Vec<Arc<Flight>> {
        let mut out = Vec::new();
        for shard in &self.shards {
            out.extend(shard.lock().extract_if(|flight| prefix.matches_key(&flight.key)));
        }
        out.retain(|flight| flight.invalidate());
        out
    }

    fn shard(&self, key: &CallKey) -> &Mutex<HashTable<Arc<Flight>>> {
        &self.shards[(key.hash() >> 48) as usize % SHARDS]
    }
}

fn remove(shard: &mut HashTable<Arc<Flight>>, key: &CallKey) -> Option<Arc<Flight>> {
    let entry = shard.find_entry(key.hash(), |flight| flight.is_of(key)).ok()?;
    Some(entry.remove().0)
}

impl Flight {
    fn new(key: &CallKey, leader: Caller) -> Arc<Self> {
        let state = State { phase: Phase::Running, invalidated: false, storing: false };
        Arc::new(Self { key: key.clone(), leader, state: Mutex::new(state), changed: Notify::new() })
    }

    fn is_of(&self, key: &CallKey) -> bool {
        self.key.as_bytes() == key.as_bytes()
    }

    pub(crate) fn leader(&self) -> Caller {
        self.leader
    }

    /// Whether the code that asks runs inside this flight's work, and so would wait for itself.
    pub(crate) fn is_led_here(self: &Arc<Self>) -> bool {
        LED.with_borrow(|led| led.contains(&(Arc::as_ptr(self) as usize)))
    }

    /// How the flight ends.
    pub(crate) async fn ended(&self) -> Outcome {
        loop {
            let changed = self.changed.notified();
            match &self.state.lock().phase {
                Phase::Running => {}
                Phase::Landed(value) => return Outcome::Landed(Arc::clone(value)),
                Phase::Failed => return Outcome::Failed,
                Phase::Abandoned => return Outcome::Abandoned,
            }
            changed.await;
        }
    }

    /// Waits until nothing is on its way to the server; bounded by the deadline of that operation.
    pub(crate) async fn stored(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.state.lock().storing {
                return;
            }
            changed.await;
        }
    }

    /// Whether a store has to be waited for.
    fn invalidate(&self) -> bool {
        let mut state = self.state.lock();
        state.invalidated = true;
        state.storing
    }

    fn end(&self, phase: Phase) {
        self.state.lock().phase = phase;
        self.changed.notify_waiters();
    }
}

impl Lead<'_> {
    /// Gives those who wait already the value before it's stored; they needn't wait for that.
    pub(crate) fn publish<T: Clone + Any + Send + Sync>(&self, value: &T) {
        // The table's hold and this one; whoever else holds the flight waits for it.
        if Arc::strong_count(&self.flight) > 2 {
            self.flight.end(Phase::Landed(Arc::new(value.clone())));
        }
    }

    /// The flight has its value.
    pub(crate) fn finish<T: Clone + Any + Send + Sync>(self, value: &T) {
        self.leave();
        // Nobody can join any more, so a single hold means that nobody waits.
        if Arc::strong_count(&self.flight) > 1 && self.is_running() {
            self.flight.end(Phase::Landed(Arc::new(value.clone())));
        }
    }

    /// The leader's work returned an error.
    pub(crate) fn fail(self) {
        self.leave();
        self.flight.end(Phase::Failed);
    }

    /// Runs the leader's own work, so that a call of the same key in it is known for what it is.
    pub(crate) fn run<F: Future>(&self, work: F) -> Led<F> {
        Led { work, flight: Arc::as_ptr(&self.flight) as usize }
    }

    fn is_running(&self) -> bool {
        matches!(self.flight.state.lock().phase, Phase::Running)
    }

    fn leave(&self) {
        let key = &self.flight.key;
        let mut shard = self.flights.shard(key).lock();
        // An invalidation may have taken it out, and another may lead the key's next flight.
        if let Ok(entry) = shard.find_entry(key.hash(), |flight| Arc::ptr_eq(flight, &self.flight)) {
            entry.remove();
        }
    }
}

impl Fence for Lead<'_> {
    fn commit(&self, keep: impl FnOnce() -> Evicted) {
        let state = self.flight.state.lock();
        let evicted = if state.invalidated { Evicted::default() } else { keep() };
        drop(state);
        drop(evicted);
    }

    fn begin_store(&self) -> Option<impl Send> {
        let mut state = self.flight.state.lock();
        if state.invalidated {
            return None;
        }
        state.storing = true;
        Some(Storing(Arc::clone(&self.flight)))
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.leave();
        if Arc::strong_count(&self.flight) > 1 && self.is_running() {
            self.flight.end(Phase::Abandoned);
        }
    }
}

/// A store on its way to the server.
struct Storing(Arc<Flight>);

impl Drop for Storing {
    fn drop(&mut self) {
        self.0.state.lock().storing = false;
        self.0.changed.notify_waiters();
    }
}

impl Caller {
    pub(crate) fn new(is_async: bool) -> Self {
        Self { is_async, task: tokio::task::try_id(), thread: thread::current().id() }
    }

    /// Whether the two run in one task, so that one can't go on while the other blocks.
    pub(crate) fn shares_task_with(&self, other: &Self) -> bool {
        self.task == other.task && (self.task.is_some() || self.thread == other.thread)
    }
}

thread_local! {
    /// The addresses of the flights whose work this thread is running now, outermost first; never followed.
    static LED: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

pin_project! {
    /// A leader's work, which knows while it runs whose work it is.
    pub(crate) struct Led<F> {
        #[pin]
        work: F,
        flight: usize,
    }
}

impl<F: Future> Future for Led<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        struct Leave;

        impl Drop for Leave {
            fn drop(&mut self) {
                LED.with_borrow_mut(Vec::pop);
            }
        }

        let this = self.project();
        LED.with_borrow_mut(|led| led.push(*this.flight));
        let _leave = Leave;
        this.work.poll(cx)
    }
}

#[cfg(test)]
mod tests;
