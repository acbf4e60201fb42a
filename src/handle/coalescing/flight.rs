//! One flight: the lookup or run of a key, as its leader, its waiters and invalidations of the key see it.

use std::any::Any;
use std::mem;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::super::caller::{Caller, Pulse};
use crate::backend::journal::{Hold, Journal};
use crate::backend::memory::Evicted;
use crate::key::CallKey;
use crate::surroundings::atomic::{AtomicU32, Ordering};
use crate::surroundings::{Mutex, Notify};
use crate::watchdog;

pub(crate) struct Flight {
    pub(super) key: CallKey,
    pub(super) leader: Caller,
    pub(super) pulse: Pulse,
    /// How often the watchdog has looked at it.
    pub(super) looks: AtomicU32,
    /// How many steps it has taken that a value may be as old as: commands on the key's value (reads and its store), and its work.
    pub(super) steps: AtomicU32,
    /// Which of the steps is its work.
    pub(super) work: AtomicU32,
    pub(super) state: Mutex<State>,
    /// Notified when the flight ends and when its store ends.
    pub(super) changed: Notify,
}

pub(super) struct State {
    pub(super) phase: Phase,
    /// Callers that have joined.
    pub(super) waiters: usize,
    /// It takes too long: its waiters run their own work.
    pub(super) overdue: bool,
    /// From when on the value that it has landed with isn't handed on any more.
    pub(super) handed_on_until: Option<Instant>,
    /// The key was invalidated after the flight began.
    pub(super) invalidated: bool,
    /// Another caller leads the key although this flight goes on: what that reads may be older than what this one stores.
    pub(super) superseded: bool,
    /// The insert that has taken the key over.
    pub(super) replaced_by: Option<Weak<Flight>>,
    /// The leader has ended: the next caller leads another flight.
    pub(super) left: bool,
    /// The value is on its way to the server.
    pub(super) storing: bool,
    /// An invalidation has ended before the store did: until that ends, the journal blocks the key.
    pub(super) overtaken: Option<Hold>,
    /// What the waiters get once the server has taken it.
    pub(super) offered: Option<Landed>,
    /// Its leader renews a value that callers may be served meanwhile: they read it themselves.
    pub(super) renews: bool,
    /// Its leader has a value to fall back on, which waiters with a soft timeout are served after that.
    pub(super) falls_back: bool,
    /// The server has said, after its leader had found a value, that there is none.
    pub(super) is_gone: bool,
    /// Its leader runs its work whatever is cached.
    pub(super) is_forced: bool,
    /// When its work has taken so long that the next caller leads another flight.
    pub(super) gives_way_at: Option<Instant>,
}

/// How far a flight has come.
#[derive(Clone)]
pub(crate) enum Phase {
    Running,
    Landed(Landed),
    /// The leader's work returned an error, which its waiters share where it's given.
    Failed(Storable, Option<Arc<dyn Any + Send + Sync>>),
    /// The leader was dropped, panicked, or found nothing: a waiter takes over.
    Abandoned,
}

/// The value of a flight.
#[derive(Clone)]
pub(crate) struct Landed {
    pub(crate) value: Arc<dyn Any + Send + Sync>,
    /// What remains of its TTL.
    pub(crate) remaining: Option<Duration>,
    /// Nothing better comes of this flight: no new value is on its way.
    pub(crate) is_final: bool,
    /// Which of the flight's steps the value is as old as. `None`: the server has no newer word.
    pub(super) step: Option<u32>,
}

/// How many steps a flight had taken when a caller joined it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined(pub(super) u32);

/// Whether the server may be given a value that is computed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Storable {
    Yes,
    /// The server is unavailable.
    Unavailable,
    /// The key holds another type, so another program owns it.
    Foreign,
}

/// Stores that an invalidation waits for.
#[derive(Default)]
pub(crate) struct Stores(pub(super) Vec<Arc<Flight>>);

impl Flight {
    pub(super) fn new(key: &CallKey, leader: Caller) -> Arc<Self> {
        let state = State {
            phase: Phase::Running,
            waiters: 0,
            overdue: false,
            handed_on_until: None,
            invalidated: false,
            superseded: false,
            replaced_by: None,
            left: false,
            storing: false,
            overtaken: None,
            offered: None,
            renews: false,
            falls_back: false,
            is_gone: false,
            is_forced: false,
            gives_way_at: None,
        };
        let pulse = Pulse::new(leader);
        Arc::new(Self {
            key: key.clone(),
            leader,
            pulse,
            looks: AtomicU32::new(0),
            steps: AtomicU32::new(0),
            work: AtomicU32::new(0),
            state: Mutex::new(state),
            changed: Notify::new(),
        })
    }

    pub(super) fn is_of(&self, key: &CallKey) -> bool {
        self.key.as_bytes() == key.as_bytes()
    }

    /// Whether callers wait for what its leader does.
    pub(super) fn is_waited_for(&self) -> bool {
        let state = self.state.lock();
        state.waiters > 0 && (matches!(state.phase, Phase::Running) || state.renews && !state.left)
    }

    /// Whether the code that asks runs inside this flight's leader, and so would wait for itself.
    pub(crate) fn is_led_here(&self) -> bool {
        self.pulse.is_here()
    }

    /// Whether it has asked the server for the value, and hasn't come to its work: what it brings may be older than a caller that has
    /// joined now, who would have to ask again.
    pub(crate) fn is_asking(&self, joined: Joined) -> bool {
        joined.0 > 0 && self.work.load(Ordering::SeqCst) == 0
    }

    /// How long a sync caller may wait for it, see [`Caller::patience_for`].
    pub(crate) fn patience_of(&self, caller: &Caller, on_worker: Duration) -> Option<Duration> {
        caller.patience_for(&self.leader, &self.pulse, on_worker)
    }

    /// The phase in which the flight ends; [`Phase::Running`] where that takes too long.
    pub(crate) async fn ended(&self) -> Phase {
        loop {
            let changed = self.changed.notified();
            let (phase, overdue) = {
                let state = self.state.lock();
                (state.phase.clone(), state.overdue)
            };
            if overdue || !matches!(phase, Phase::Running) {
                return phase;
            }
            changed.await;
        }
    }

    /// The same; `None` where it hasn't ended by `soft`, and there is a value to fall back on.
    pub(crate) async fn ended_or_late(&self, soft: Instant) -> Option<Phase> {
        let ended = watchdog::within(soft, self.ended()).await;
        if ended.is_some() || self.falls_back() { ended } else { Some(self.ended().await) }
    }

    /// Whether callers may be served the value that its leader renews.
    pub(crate) fn renews(&self) -> bool {
        self.state.lock().renews
    }

    /// Whether there is a value that callers may be served where the work takes too long for them.
    pub(crate) fn falls_back(&self) -> bool {
        self.state.lock().falls_back
    }

    /// Waits until the leader has ended; whether that didn't take too long.
    pub(crate) async fn over(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.state.lock();
                if state.left || state.overdue {
                    return state.left;
                }
            }
            changed.await;
        }
    }

    /// Waits until nothing is on its way to the server.
    pub(super) async fn stored(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.state.lock().storing {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the leader has ended, its store included, but not past `deadline`. Whether it has.
    pub(crate) async fn left(&self, deadline: Instant) -> bool {
        let left = async {
            loop {
                let changed = self.changed.notified();
                if self.state.lock().left {
                    return;
                }
                changed.await;
            }
        };
        watchdog::within(deadline, left).await.is_some()
    }

    /// Nothing of it is stored or waited for any more; the caller has taken it out of the table, and holds no lock.
    pub(super) fn makes_way(&self) {
        let surplus = {
            let mut state = self.state.lock();
            state.invalidated = true;
            state.left = true;
            if matches!(state.phase, Phase::Running) {
                state.phase = Phase::Abandoned;
            }
            state.offered.take()
        };
        drop(surplus);
        self.changed.notify_waiters();
    }

    /// The server hasn't taken the value that the waiters were offered, so it's as old as the work: another process may have invalidated
    /// it before some of them came. The caller notifies them.
    pub(super) fn age_offer(&self) {
        let mut state = self.state.lock();
        let mut offered = state.offered.take();
        if matches!(state.phase, Phase::Running)
            && let Some(landed) = offered.take()
        {
            state.phase = Phase::Landed(Landed { step: Some(self.work.load(Ordering::SeqCst)), ..landed });
        }
        drop(state);
        drop(offered);
    }

    pub(super) fn end(&self, phase: Phase) {
        self.end_with(phase, |_| ());
    }

    /// Changes more of its state at the same time. The phase before may have a value, whose drop is the user's code.
    pub(super) fn end_with(&self, phase: Phase, change: impl FnOnce(&mut State)) {
        let before = {
            let mut state = self.state.lock();
            change(&mut state);
            mem::replace(&mut state.phase, phase)
        };
        self.changed.notify_waiters();
        drop(before);
    }

    /// Runs `keep` unless the key has been invalidated since the flight began.
    pub(super) fn commit(&self, keep: impl FnOnce() -> Evicted) {
        let state = self.state.lock();
        let evicted = if state.invalidated { Evicted::default() } else { keep() };
        drop(state);
        drop(evicted);
    }
}

impl Landed {
    /// Whether the value may be older than the call that joined then: another process may have invalidated it between the step and the
    /// call, while the answer was on its way or the work ran.
    pub(crate) fn may_precede(&self, joined: Joined) -> bool {
        self.step.is_some_and(|step| step <= joined.0)
    }
}

impl Stores {
    /// Of flights that were invalidated, those that have a store under way.
    pub(super) fn of(mut flights: Vec<Arc<Flight>>) -> Self {
        flights.retain(|flight| flight.state.lock().storing);
        Self(flights)
    }

    /// Waits until all have ended, which the I/O side sees to, but not past `deadline`. Whether all have.
    pub(crate) async fn ended(&self, deadline: Instant) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let all = async {
            for flight in &self.0 {
                flight.stored().await;
            }
        };
        watchdog::within(deadline, all).await.is_some()
    }

    /// The invalidation ends before those that are still under way: their keys are blocked until they end, and have to go then.
    pub(crate) fn overtake(&self, journal: &Arc<Journal>) {
        for flight in &self.0 {
            let mut state = flight.state.lock();
            if state.storing && state.overtaken.is_none() {
                state.overtaken = Some(journal.hold(&flight.key));
            }
        }
    }
}
