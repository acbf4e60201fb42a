//! Request coalescing (single-flight): one caller of a key looks it up or computes it, and the others wait for its value.
//!
//! A flight is also the fence of its key. An invalidation takes the flight out of the table first, so that no caller joins it any more,
//! and nothing that it found is stored.

mod flight;
#[cfg(cache_house_model)]
mod idle;
pub(super) mod together;
mod watched;

use std::any::Any;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hashbrown::HashTable;

pub(crate) use self::flight::{Flight, Joined, Landed, Phase, Storable, Stores};
use super::caller::{Caller, Led};
use crate::backend::invalidation::Invalidation;
use crate::backend::journal::Journal;
use crate::backend::lease::Stored;
use crate::backend::memory::Evicted;
use crate::backend::server::{ServerError, UnderWay};
use crate::backend::tiers::Fence;
use crate::key::{CallKey, Kind, Kinds};
use crate::surroundings::atomic::Ordering;
use crate::surroundings::{self, Mutex, SHARDS};
use crate::watchdog::Attention;

/// All flights of a handle, by key.
pub(crate) struct Flights {
    shards: Box<[Mutex<Shard>]>,
    /// Which kinds of keys there have been.
    kinds: Kinds,
    /// The watchdog makes sure that leaders that are waited for get to run.
    attention: Attention,
    /// One batch at a time joins the flights of its keys.
    batches: Mutex<()>,
    me: Weak<Self>,
}

#[derive(Default)]
struct Shard {
    /// The flight of a key that callers join.
    current: HashTable<Arc<Flight>>,
    /// What callers don't join and invalidations have to know of: stores that are under way, and reads by callers without work. A key
    /// may have several.
    apart: HashTable<Arc<Flight>>,
    /// Flights that were invalidated while callers waited for them. The watchdog looks after them until they end.
    behind: Vec<Arc<Flight>>,
}

/// How long a value is handed on by a flight whose leader isn't polled again after it has published it.
const HANDED_ON: Duration = Duration::from_secs(1);

/// What a caller is to its key's flight.
pub(crate) enum Join {
    Leader(Leader),
    Wait(Arc<Flight>, Joined),
}

/// How old a flight's value may be: another process may have invalidated it since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AsOf {
    /// As old as the flight's last question to the server, whose answer it is.
    Question,
    /// As old as this question of the flight.
    Asked(u32),
    /// As old as the flight's work, which no fence has confirmed.
    Work,
    /// The server has no newer word.
    Now,
}

/// The leader's hold on a flight; dropped before it ended, it hands over to a waiter.
pub(crate) struct Leader {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    /// Its value replaces another, which has to go where the store isn't confirmed.
    replaces: Option<Arc<Journal>>,
    /// Callers don't join any more.
    left: bool,
}

/// A read that callers don't wait for, or a leader whose store may have ended. What it brings is kept unless the key is invalidated
/// meanwhile.
pub(crate) struct Observer {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
}

impl Flights {
    pub(crate) fn new() -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let (kinds, attention) = (Kinds::default(), Attention::none());
        let batches = Mutex::new(());
        Arc::new_cyclic(|me| Self { shards, kinds, attention, batches, me: Weak::clone(me) })
    }

    /// Leads the flight of `key`, or waits for the one there is.
    pub(crate) fn join(self: &Arc<Self>, key: &CallKey, caller: Caller) -> Join {
        loop {
            match self.try_join(key, caller) {
                Ok(join) => return join,
                Err(overdue) => overdue.makes_way(),
            }
        }
    }

    /// The same; `Err` is a flight whose work takes too long. It's out of the table, and has to [make way](Flight::makes_way).
    fn try_join(self: &Arc<Self>, key: &CallKey, caller: Caller) -> Result<Join, Arc<Flight>> {
        self.kinds.note(key.kind());
        let mut shard = self.shard(key).lock();
        if let Some(flight) = shard.current.find(key.hash(), |flight| flight.is_of(key)).cloned() {
            // Under the lock of the shard, so that a leader that has left it knows of all its waiters.
            let mut state = flight.state.lock();
            let is_over = |until: Option<Instant>| until.is_some_and(|until| until <= surroundings::now());
            let gives_way = is_over(state.gives_way_at);
            if !gives_way && !is_over(state.handed_on_until) {
                state.waiters += 1;
                drop((state, shard));
                self.attention.ask(|| Weak::clone(&self.me) as _);
                let joined = Joined(flight.steps.load(Ordering::SeqCst));
                return Ok(Join::Wait(flight, joined));
            }
            // Its leader isn't polled any more, or its work takes too long. A store of it that is under way is known of in the other table.
            // No other may begin: an invalidation wouldn't find it from here on.
            state.invalidated |= gives_way || !state.storing;
            state.superseded = true;
            drop(state);
            remove(&mut shard.current, &flight);
            if gives_way {
                return Err(flight);
            }
        }
        let flight = Flight::new(key, caller);
        shard.current.insert_unique(key.hash(), Arc::clone(&flight), hash);
        drop(shard);
        Ok(Join::Leader(Leader { flights: Arc::clone(self), flight, replaces: None, left: false }))
    }

    /// Leads a flight of `key` whose work runs whatever is cached, or waits for the one there is. What else was under way isn't kept: it's
    /// older. Returns the stores to wait for, too.
    pub(crate) fn join_forced(self: &Arc<Self>, key: &CallKey, caller: Caller) -> (Join, Stores) {
        let flight = Flight::new(key, caller);
        let mut shard = self.shard(key).lock();
        let current = shard.current.find(key.hash(), |flight| flight.is_of(key)).cloned();
        if let Some(current) = current {
            let mut state = current.state.lock();
            if state.is_forced && matches!(state.phase, Phase::Running) {
                state.waiters += 1;
                drop((state, shard));
                self.attention.ask(|| Weak::clone(&self.me) as _);
                // Its work has begun, or is about to.
                let joined = Joined(current.steps.load(Ordering::SeqCst));
                return (Join::Wait(current, joined), Stores::default());
            }
        }
        {
            let mut state = flight.state.lock();
            (state.renews, state.is_forced) = (true, true);
        }
        let mut before = shard.take(key);
        shard.current.insert_unique(key.hash(), Arc::clone(&flight), hash);
        drop(shard);
        before.extend(self.take_twins(key));
        let leader = Leader { flights: Arc::clone(self), flight, replaces: None, left: false };
        (Join::Leader(leader), Stores::of(before))
    }

    /// A read beside the flight of `key`. Where there is one, the read keeps nothing: it may be older than what the flight brings.
    pub(crate) fn observe(self: &Arc<Self>, key: &CallKey, caller: Caller) -> Observer {
        self.kinds.note(key.kind());
        let flight = Flight::new(key, caller);
        let mut shard = self.shard(key).lock();
        let is_led = shard.current.find(key.hash(), |flight| flight.is_of(key)).is_some();
        flight.state.lock().invalidated = is_led;
        shard.apart.insert_unique(key.hash(), Arc::clone(&flight), hash);
        drop(shard);
        Observer { flights: Arc::clone(self), flight }
    }

    /// Leads the flight of `key` for a value that comes from outside and replaces another: what was under way is invalidated. Returns
    /// the stores to wait for, too. A store that the server doesn't confirm is written to the journal.
    pub(crate) fn take_over(
        self: &Arc<Self>,
        key: &CallKey,
        caller: Caller,
        journal: &Arc<Journal>,
    ) -> (Leader, Stores) {
        let flight = Flight::new(key, caller);
        let mut shard = self.shard(key).lock();
        let mut before = shard.take(key);
        shard.current.insert_unique(key.hash(), Arc::clone(&flight), hash);
        drop(shard);
        before.extend(self.take_twins(key));
        for overtaken in &before {
            overtaken.state.lock().replaced_by = Some(Arc::downgrade(&flight));
        }
        let replaces = Some(Arc::clone(journal));
        (Leader { flights: Arc::clone(self), flight, replaces, left: false }, Stores::of(before))
    }

    /// Keeps what is under way for these keys from being stored or joined. Returns the stores that are on their way to the server.
    pub(crate) fn invalidate(&self, invalidation: &Invalidation) -> Stores {
        match invalidation {
            Invalidation::Key(key) => self.invalidate_key(key),
            Invalidation::Matching(prefix) => self.invalidate_where(|key| key.matches(prefix)),
        }
    }

    /// The same for all keys.
    pub(crate) fn invalidate_all(&self) -> Stores {
        self.invalidate_where(|_| true)
    }

    fn invalidate_key(&self, key: &CallKey) -> Stores {
        let mut before = self.shard(key).lock().take(key);
        before.extend(self.take_twins(key));
        Stores::of(before)
    }

    fn invalidate_where(&self, matches: impl Fn(&CallKey) -> bool) -> Stores {
        Stores::of(self.take_where(matches))
    }

    /// All that is under way for other calls which are given the same key on the server: a key builder may return the default key of
    /// another call.
    fn take_twins(&self, key: &CallKey) -> Vec<Arc<Flight>> {
        let kind = key.kind();
        self.kinds.note(kind);
        if !self.kinds.may_have_twins(kind) {
            return Vec::new();
        }
        let server_key = key.server_key();
        self.take_where(|other| {
            !matches!(other.kind(), Kind::Custom) && other.kind() != kind && other.server_key() == server_key
        })
    }

    fn take_where(&self, matches: impl Fn(&CallKey) -> bool) -> Vec<Arc<Flight>> {
        let mut taken = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            let from = taken.len();
            taken.extend(shard.apart.iter().filter(|flight| matches(&flight.key)).cloned());
            let current = taken.len();
            taken.extend(shard.current.extract_if(|flight| matches(&flight.key)));
            shard.leave_behind(&taken[current..]);
            invalidate(&taken[from..]);
        }
        taken
    }

    fn shard(&self, key: &CallKey) -> &Mutex<Shard> {
        &self.shards[(key.hash() >> 48) as usize % SHARDS]
    }
}

impl Shard {
    /// All that is under way for `key`, which no caller joins from here on.
    fn take(&mut self, key: &CallKey) -> Vec<Arc<Flight>> {
        let mut taken = Vec::new();
        if let Ok(entry) = self.current.find_entry(key.hash(), |flight| flight.is_of(key)) {
            taken.push(entry.remove().0);
            self.leave_behind(&taken);
        }
        taken.extend(self.apart.iter_hash(key.hash()).filter(|flight| flight.is_of(key)).cloned());
        invalidate(&taken);
        taken
    }

    /// Has the watchdog look after those of these flights that callers wait for.
    fn leave_behind(&mut self, current: &[Arc<Flight>]) {
        self.behind.extend(current.iter().filter(|flight| flight.is_waited_for()).cloned());
    }

    /// Those that were left behind, and that no caller waits for any more.
    fn take_ended(&mut self) -> Vec<Arc<Flight>> {
        self.behind.extract_if(.., |flight| !flight.is_waited_for()).collect()
    }

    fn is_waited_for(&self) -> bool {
        self.current.iter().chain(&self.behind).any(|flight| flight.is_waited_for())
    }
}

/// Marks flights under the lock of the shard that they leave: another invalidation of their key doesn't find them any more, so nothing
/// of them may be stored from then on.
fn invalidate(flights: &[Arc<Flight>]) {
    for flight in flights {
        flight.state.lock().invalidated = true;
    }
}

fn hash(flight: &Arc<Flight>) -> u64 {
    flight.key.hash()
}

fn remove(table: &mut HashTable<Arc<Flight>>, flight: &Arc<Flight>) {
    if let Ok(entry) = table.find_entry(flight.key.hash(), |other| Arc::ptr_eq(other, flight)) {
        entry.remove();
    }
}

impl Leader {
    /// Gives the waiters the value, which lives for `ttl`, before it's stored; they needn't wait for that. `hands_on`: later callers get
    /// it too.
    pub(crate) fn publish<T: Clone + Any + Send + Sync>(&self, value: &T, ttl: Duration, hands_on: bool) {
        let remaining = Some(ttl);
        let landed = |step| Phase::Landed(Landed { value: Arc::new(value.clone()), remaining, step, is_final: true });
        if hands_on {
            // The store or the leader's end takes the flight out; should neither come, the value isn't handed on without an end.
            let until = surroundings::now() + ttl.min(HANDED_ON);
            // As old as the store that follows.
            let phase = landed(Some(self.flight.steps.load(Ordering::SeqCst) + 1));
            self.flight.end_with(phase, |state| state.handed_on_until = Some(until));
        } else if self.flight.state.lock().waiters > 0 {
            self.flight.end(landed(None));
        }
    }

    /// Gives the waiters the value once the server has taken it, or is unavailable. One that its fence refuses is as old as the
    /// work: waiters that came after that began take turns again, because the invalidation that refuses it may have come before them.
    pub(crate) fn offer<T: Clone + Any + Send + Sync>(&self, value: &T, ttl: Duration) {
        let offered = Landed { value: Arc::new(value.clone()), remaining: Some(ttl), step: None, is_final: true };
        self.flight.state.lock().offered = Some(offered);
    }

    /// Gives the value to the waiters that joined before the work began: no fence shows whether another process has invalidated it since.
    /// The others take turns again.
    pub(crate) fn publish_as_of_work<T: Clone + Any + Send + Sync>(&self, value: &T, remaining: Option<Duration>) {
        if self.flight.state.lock().waiters > 0 {
            // Those that come later wait for the leader's end, which may not come.
            let until = surroundings::now() + HANDED_ON;
            let phase = self.landed(value, remaining, AsOf::Work, true);
            self.flight.end_with(phase, |state| state.handed_on_until = Some(until));
        }
    }

    /// The flight is about to run its work.
    pub(crate) fn begins_work(&self) {
        let step = self.flight.steps.fetch_add(1, Ordering::SeqCst) + 1;
        self.flight.work.store(step, Ordering::SeqCst);
    }

    /// The flight is about to ask the server for the value: the answer may be older than callers that join from here on.
    pub(crate) fn asks(&self) {
        self.flight.steps.fetch_add(1, Ordering::SeqCst);
    }

    /// The flight's last step.
    pub(crate) fn asked(&self) -> u32 {
        self.flight.steps.load(Ordering::SeqCst)
    }

    /// The flight has its value, with what remains of its TTL.
    pub(crate) fn finish<T>(mut self, value: &T, remaining: Option<Duration>, as_of: AsOf)
    where
        T: Clone + Any + Send + Sync,
    {
        if self.leave() {
            self.flight.end(self.landed(value, remaining, as_of, true));
        }
    }

    /// The leader renews this value, which callers are served meanwhile: those that wait get it, and those that come read it themselves.
    pub(crate) fn renews<T>(&self, value: &T, remaining: Option<Duration>, as_of: AsOf)
    where
        T: Clone + Any + Send + Sync,
    {
        let phase = self.landed(value, remaining, as_of, false);
        self.flight.end_with(phase, |state| state.renews = true);
    }

    /// The leader has a value that it may fall back on, and callers too.
    pub(crate) fn falls_back(&self) {
        self.flight.state.lock().falls_back = true;
    }

    /// The server has no value any more: what the leader has found before has been removed, and isn't served.
    pub(crate) fn note_gone(&self) {
        let mut state = self.flight.state.lock();
        (state.is_gone, state.falls_back) = (true, false);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.flight.state.lock().is_gone
    }

    fn landed<T>(&self, value: &T, remaining: Option<Duration>, as_of: AsOf, is_final: bool) -> Phase
    where
        T: Clone + Any + Send + Sync,
    {
        let step = match as_of {
            AsOf::Question => Some(self.asked()),
            AsOf::Asked(step) => Some(step),
            AsOf::Work => Some(self.flight.work.load(Ordering::SeqCst)),
            AsOf::Now => None,
        };
        Phase::Landed(Landed { value: Arc::new(value.clone()), remaining, step, is_final })
    }

    /// From then on the next caller leads another flight, and nothing of this one is stored; `None`: never.
    pub(crate) fn gives_way_at(&self, at: Option<Instant>) {
        self.flight.state.lock().gives_way_at = at;
    }

    /// The work takes too long: the same, now.
    pub(crate) fn give_way(&self) {
        remove(&mut self.flights.shard(&self.flight.key).lock().current, &self.flight);
        self.flight.makes_way();
    }

    /// Waits until the insert has ended that has taken the key over, but not past `deadline`. Whether it has; `None` where none took it over.
    pub(crate) async fn replaced(&self, deadline: Instant) -> Option<bool> {
        let replaced_by = self.flight.state.lock().replaced_by.clone()?;
        let Some(flight) = replaced_by.upgrade() else { return Some(true) };
        // Only flights with waiters say when they have ended.
        flight.state.lock().waiters += 1;
        Some(flight.left(deadline).await)
    }

    /// Whether another caller leads the key although this one goes on: that may have read what this one replaces. An insert that has taken
    /// the key over since answers for that itself.
    pub(crate) fn is_superseded(&self) -> bool {
        let state = self.flight.state.lock();
        state.superseded && state.replaced_by.is_none()
    }

    /// Whether the key was invalidated after the flight began: nothing of it is kept.
    pub(crate) fn is_invalidated(&self) -> bool {
        self.flight.state.lock().invalidated
    }

    /// Keeps others from taking over because the work takes too long; `false` where one has, or the key was invalidated.
    pub(crate) fn holds_on(&self) -> bool {
        let mut state = self.flight.state.lock();
        state.gives_way_at = None;
        !state.invalidated
    }

    /// The leader's work returned an error, which the waiters share where it's given.
    pub(crate) fn fail(mut self, storable: Storable, shared: Option<Arc<dyn Any + Send + Sync>>) {
        self.leave();
        self.flight.end(Phase::Failed(storable, shared));
    }

    /// Runs all that the leader does, so that a call of the same key in it is known for what it is.
    pub(crate) fn run<F: Future>(&self, whole: F) -> Led<'_, F> {
        self.flight.pulse.run(whole)
    }

    /// Callers don't join from here on. Whether one waits.
    fn leave(&mut self) -> bool {
        self.left = true;
        // An invalidation may have taken it out, and another may lead the key's next flight.
        remove(&mut self.flights.shard(&self.flight.key).lock().current, &self.flight);
        let mut state = self.flight.state.lock();
        state.left = true;
        let has_waiters = state.waiters > 0;
        let is_running = matches!(state.phase, Phase::Running);
        drop(state);
        if has_waiters && !is_running {
            // Some may wait for just that.
            self.flight.changed.notify_waiters();
        }
        has_waiters && is_running
    }
}

impl Fence for Leader {
    type Storing = Storing;
    type Watch = Observer;

    fn commit(&self, keep: impl FnOnce() -> Evicted) {
        self.flight.commit(keep);
    }

    fn begin_store(&self) -> Option<Storing> {
        let key = &self.flight.key;
        let mut shard = self.flights.shard(key).lock();
        let mut state = self.flight.state.lock();
        if state.invalidated {
            drop((state, shard));
            self.flight.age_offer();
            self.flight.changed.notify_waiters();
            return None;
        }
        state.storing = true;
        self.asks();
        // The leader may leave, or be dropped, before its store ends.
        shard.apart.insert_unique(key.hash(), Arc::clone(&self.flight), hash);
        drop((state, shard));
        let replaces = self.replaces.clone();
        Some(Storing { flights: Arc::clone(&self.flights), flight: Arc::clone(&self.flight), replaces })
    }

    fn watch(&self) -> Observer {
        let key = &self.flight.key;
        self.flights.shard(key).lock().apart.insert_unique(key.hash(), Arc::clone(&self.flight), hash);
        Observer { flights: Arc::clone(&self.flights), flight: Arc::clone(&self.flight) }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if !self.left && self.leave() {
            self.flight.end(Phase::Abandoned);
        }
        self.flight.pulse.stop();
    }
}

impl Fence for Observer {
    type Storing = Storing;
    type Watch = ();

    fn commit(&self, keep: impl FnOnce() -> Evicted) {
        self.flight.commit(keep);
    }

    /// It has nothing to store.
    fn begin_store(&self) -> Option<Storing> {
        None
    }

    /// It's found anyway, until it's dropped.
    fn watch(&self) {}
}

impl Drop for Observer {
    fn drop(&mut self) {
        remove(&mut self.flights.shard(&self.flight.key).lock().apart, &self.flight);
    }
}

/// A store on its way to the server, held by whatever sends it.
pub(crate) struct Storing {
    flights: Arc<Flights>,
    flight: Arc<Flight>,
    /// Where the value that this one replaces is journalled, unless the server confirms the store.
    replaces: Option<Arc<Journal>>,
}

impl UnderWay for Storing {
    fn end(&mut self, stored: &Result<Stored, ServerError>) {
        match stored {
            Ok(Stored::Kept) => self.replaces = None,
            // A full server refuses the fill before it looks for the lease.
            Ok(Stored::Refused) | Err(ServerError::Refused { .. }) => self.flight.age_offer(),
            Err(ServerError::WrongType) => {
                // Another program's value is there: it mustn't be removed.
                self.replaces = None;
                self.flight.age_offer();
            }
            Err(ServerError::Unavailable(_)) => {}
        }
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        let key = &self.flight.key;
        if let Some(journal) = &self.replaces {
            // Before the flight ends: from then on, calls read from the server what the journal doesn't block.
            journal.add_server_key(key.server_key());
        }
        {
            let mut shard = self.flights.shard(key).lock();
            remove(&mut shard.apart, &self.flight);
            // Later callers find the value where it's stored, also if the leader isn't polled any more.
            remove(&mut shard.current, &self.flight);
        }
        let (overtaken, surplus) = {
            let mut state = self.flight.state.lock();
            state.storing = false;
            // It's out of the table.
            state.left = true;
            let mut offered = state.offered.take();
            if matches!(state.phase, Phase::Running)
                && let Some(landed) = offered.take()
            {
                let step = Some(self.flight.steps.load(Ordering::SeqCst));
                state.phase = Phase::Landed(Landed { step, ..landed });
            }
            (state.overtaken.take(), offered)
        };
        drop((overtaken, surplus));
        self.flight.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
