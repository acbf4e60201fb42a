//! How every cached call begins: look, take a turn, look again. What then runs its work is in [`run`](super::run).

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

use super::blocking;
use super::caller::Caller;
use super::coalescing::{Flight, Join, Leader, Phase, Storable, Stores};
use super::engine::Engine;
use super::entry::Source;
use super::freshness::{Fetched, Old, Verdict, computed};
use super::want::{Want, Work};
use crate::backend::server::{Server, ServerError};
use crate::backend::tiers::{Read, ResolvedCall, Route};
use crate::codec::ValueCodec;
use crate::key::CallKey;
use crate::options::CacheOptions;
use crate::surroundings;
use crate::telemetry::metrics::Answer;
use crate::watchdog;

/// How a call goes on after the lookup that needs no waiting.
pub(super) enum Lookup<T> {
    Found(Fetched<T>),
    /// Memory has no answer, or one that is to be renewed: take a turn.
    Open(CallKey, Option<Old<T>>),
    /// The handle is closed, or the call has no key: its work runs, and nothing is kept.
    Uncached,
}

/// What has come of a call before any work.
pub(super) enum Outcome<T, E> {
    Found(Fetched<T>),
    /// This call runs its work for all callers of the key.
    Run(Turn<T>),
    /// This call runs its work for itself, and keeps nothing.
    Alone,
    /// The work of the call that this one waited for has failed for both.
    Failed(E),
}

/// The turn of a call that runs its work for all callers of the key.
pub(super) struct Turn<T> {
    pub(super) leader: Leader,
    pub(super) storable: Storable,
    /// What there is already.
    pub(super) old: Option<Old<T>>,
}

/// What a call is to the others of its key.
enum Place<T, E> {
    /// Another call has brought the value.
    Have(Fetched<T>, Verdict),
    /// This call looks the value up or computes it, for all callers that come meanwhile.
    Leader(Leader, Start),
    /// Another call renews a value, which this one looks up for itself.
    Beside(Arc<Flight>),
    /// This call can't wait for the leader and isn't one: it runs its work, and keeps nothing.
    Alone,
    Failed(E),
}

/// How a leader begins.
enum Start {
    /// With a lookup.
    Lookup,
    /// With its work: the leader before has made the lookup, and its work failed.
    Run(Storable),
    /// With its work, whatever is cached, once these have ended.
    Forced(Stores),
}

/// What a lookup has found.
pub(super) enum Found<T> {
    Value(Fetched<T>),
    Nothing(Storable, Answer),
}

impl<S: Server> Engine<S> {
    pub(super) fn read_through_blocking<T, E, C>(
        &self,
        options: &CacheOptions<C>,
        caller: fn() -> Caller,
        want: Want<E>,
        work: Work<'_, impl FnOnce(Option<T>) -> Result<T, E>>,
    ) -> Result<Fetched<T>, E>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let lookup = self.lookup_memory(options, &want);
        if let Lookup::Found(found) = lookup {
            return Ok(found);
        }
        let caller = caller();
        // The work runs in the same surroundings, whatever the cache has to wait for before.
        blocking::in_place(caller.place(), || match lookup {
            Lookup::Found(found) => Ok(found),
            Lookup::Uncached => {
                let timer = self.runs_alone(options);
                let result = (work.run)(None);
                timer.worked();
                result.map(computed)
            }
            Lookup::Open(key, old) => {
                let Work { run, decisions, is_detached } = work;
                let work = Work { run: |old| async { run(old) }, decisions, is_detached };
                blocking::block_on(self.fetch_or_run(&key, options, caller, old.as_ref(), &want, work))
            }
        })
    }

    pub(super) async fn read_through<T, E, C, Fut>(
        &self,
        options: &CacheOptions<C>,
        caller: fn() -> Caller,
        want: Want<E>,
        work: Work<'_, impl FnOnce(Option<T>) -> Fut>,
    ) -> Result<Fetched<T>, E>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
        Fut: Future<Output = Result<T, E>>,
    {
        match self.lookup_memory(options, &want) {
            Lookup::Found(found) => Ok(found),
            Lookup::Uncached => {
                let timer = self.runs_alone(options);
                let result = (work.run)(None).await;
                timer.worked();
                result.map(computed)
            }
            Lookup::Open(key, old) => self.fetch_or_run(&key, options, caller(), old.as_ref(), &want, work).await,
        }
    }

    /// Looks in memory, where that answers by itself.
    #[inline]
    pub(super) fn lookup_memory<T, E, C>(&self, options: &CacheOptions<C>, want: &Want<E>) -> Lookup<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        if self.is_closed() {
            return Lookup::Uncached;
        }
        let mut key = CallKey::unwritten();
        if let Err(error) = self.write_key(&mut key, options, None) {
            self.warn_unkeyable(options, &error);
            return Lookup::Uncached;
        }
        let tiers = &self.inner.tiers;
        let may_be_near = tiers.near.is_some() || options.is_token();
        if want.forced || !may_be_near && tiers.route(&key) != Route::Memory {
            return Lookup::Open(key, None);
        }
        // Without options of freshness, a value is fresh until it expires. So the common hit resolves nothing more about the call.
        if !self.has_freshness(options) && !options.is_token() {
            let (found, source) = match tiers.find_near(&key) {
                // Beside a server, a value of another codec is decoded from the server's bytes, below.
                Some((entry, _)) if !entry.was_coded_by(options.codec.serde_codec(self.codec(options))) => {
                    (None, Source::Near)
                }
                near @ Some(_) => (near, Source::Near),
                None if may_be_near && tiers.route(&key) != Route::Memory => return Lookup::Open(key, None),
                None => match tiers.find_in_memory(&key) {
                    None => return Lookup::Open(key, None),
                    found => (found, Source::Memory),
                },
            };
            if let Some((entry, now)) = found
                && let Some(value) = entry.value::<T>().cloned()
            {
                let found = Fetched { value, source, remaining: Some(entry.remaining(now)) };
                self.served(options, &key, &found, Verdict::Fresh);
                return Lookup::Found(found);
            }
        }
        let call = self.resolve(&key, options);
        // What is near needs no look at the server's state.
        let (mut read, mut source) = (tiers.read_near(&call), Source::Near);
        if read.is_none() && (!may_be_near || tiers.route(&key) == Route::Memory) {
            (read, source) = (tiers.read_memory(&call), Source::Memory);
        }
        let Some((value, remaining)) = read else { return Lookup::Open(key, None) };
        let found = Fetched { value, source, remaining: Some(remaining) };
        let verdict = self.verdict(&call, options, &found);
        if verdict == Verdict::Fresh || self.waits_to_retry(&call, verdict) {
            self.served(options, &key, &found, verdict);
            return Lookup::Found(found);
        }
        Lookup::Open(key, Some(Old { fetched: found, verdict }))
    }

    /// The value of another call, of the server or of the work.
    async fn fetch_or_run<T, E, C, Fut>(
        &self,
        key: &CallKey,
        options: &CacheOptions<C>,
        caller: Caller,
        old: Option<&Old<T>>,
        want: &Want<E>,
        work: Work<'_, impl FnOnce(Option<T>) -> Fut>,
    ) -> Result<Fetched<T>, E>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
        Fut: Future<Output = Result<T, E>>,
    {
        match self.fetch(key, options, caller, old, want).await {
            Outcome::Found(found) => Ok(found),
            // Boxed: the futures of all callers would contain it, and a hit doesn't come here.
            Outcome::Run(turn) => Box::pin(self.run(key, options, turn, want, work)).await,
            Outcome::Alone => {
                let timer = self.runs_alone(options);
                let result = (work.run)(None).await;
                timer.worked();
                result.map(computed)
            }
            Outcome::Failed(error) => Err(error),
        }
    }

    /// What there is, or a turn to run the work. `old`: what memory has, where it's to be renewed.
    pub(super) async fn fetch<T, E, C>(
        &self,
        key: &CallKey,
        options: &CacheOptions<C>,
        caller: Caller,
        old: Option<&Old<T>>,
        want: &Want<E>,
    ) -> Outcome<T, E>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let call = ResolvedCall { asks_ttl: want.ttl, ..self.resolve(key, options) };
        // A second flight that this call joins has begun after the call: all that it brings is young enough.
        let mut has_waited = false;
        loop {
            match self.take_turn(&call, caller, has_waited, want).await {
                Place::Have(found, verdict) => {
                    self.count_stale(verdict);
                    self.answered(options, Answer::Coalesced);
                    tracing::debug!(target: "cache_house", ?key, "coalesced");
                    return Outcome::Found(found);
                }
                Place::Failed(error) => {
                    self.answered(options, Answer::Coalesced);
                    return Outcome::Failed(error);
                }
                Place::Alone => return Outcome::Alone,
                Place::Beside(flight) => {
                    // Boxed, as what follows: the futures of all callers would contain it.
                    if let Some(found) = Box::pin(self.look_beside(&call, options, caller, old)).await {
                        return Outcome::Found(found);
                    }
                    let is_over = if caller.is_async {
                        flight.over().await
                    } else {
                        let Some(patience) = flight.patience_of(&caller, self.inner.patience) else {
                            return Outcome::Alone;
                        };
                        flight.left(surroundings::now() + patience).await
                    };
                    if !is_over {
                        return Outcome::Alone;
                    }
                    has_waited = true;
                }
                Place::Leader(leader, Start::Lookup) => {
                    let found = leader.run(self.lookup(&call, &leader)).await;
                    return self.after_lookup(&call, options, leader, old, found);
                }
                Place::Leader(leader, Start::Run(storable)) => {
                    self.answered(options, Answer::Uncached);
                    return Outcome::Run(Turn { leader, storable, old: None });
                }
                Place::Leader(leader, Start::Forced(stores)) => {
                    self.answered(options, Answer::Uncached);
                    let storable = leader.run(Box::pin(self.begin_forced(&call, &stores))).await;
                    return Outcome::Run(Turn { leader, storable, old: None });
                }
            }
        }
    }

    /// What becomes of a leader that has looked up the value; `old`: what it has found in memory before, perhaps to renew it early.
    pub(super) fn after_lookup<T, E, C>(
        &self,
        call: &ResolvedCall<'_, C>,
        options: &CacheOptions<C>,
        leader: Leader,
        old: Option<&Old<T>>,
        found: Found<T>,
    ) -> Outcome<T, E>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        match found {
            Found::Value(found) => {
                let verdict = match self.verdict(call, options, &found) {
                    Verdict::Fresh if old.is_some_and(|old| old.elects(&found)) => Verdict::Early,
                    verdict => verdict,
                };
                if verdict == Verdict::Fresh || self.waits_to_retry(call, verdict) {
                    self.served(options, call.key, &found, verdict);
                    leader.finish(&found.value, found.remaining, found.as_of());
                    return Outcome::Found(found);
                }
                let storable = if found.source == Source::Server { Storable::Yes } else { Storable::Unavailable };
                Outcome::Run(Turn { leader, storable, old: Some(Old { fetched: found, verdict }) })
            }
            Found::Nothing(storable, answer) => {
                self.answered(options, answer);
                Outcome::Run(Turn { leader, storable, old: None })
            }
        }
    }

    /// Waits for older stores of the key to end, and has older fills of other processes refused. Whether the value that is computed now
    /// may be stored.
    pub(super) async fn begin_forced<C>(&self, call: &ResolvedCall<'_, C>, stores: &Stores) -> Storable {
        let tiers = &self.inner.tiers;
        let in_order = match self.server_deadline() {
            Some(deadline) => stores.ended(deadline).await,
            None => true,
        };
        let (Route::Server, Some(server), true) = (tiers.route(call.key), &tiers.server, in_order) else {
            return Storable::Unavailable;
        };
        let checked = server.check_type(&call.key.server_key()).await;
        tiers.count_refusal(&checked);
        match checked {
            Ok(()) => Storable::Yes,
            Err(error) if error.is_not_permitted() => Storable::Yes,
            Err(ServerError::WrongType) => Storable::Foreign,
            // Or an older fill would be stored behind this value.
            Err(ServerError::Unavailable(_) | ServerError::Refused { .. }) => Storable::Unavailable,
        }
    }

    /// What a caller is served while another renews the value. It's looked up for each caller anew: another process may have removed it.
    async fn look_beside<T, C>(
        &self,
        call: &ResolvedCall<'_, C>,
        options: &CacheOptions<C>,
        caller: Caller,
        old: Option<&Old<T>>,
    ) -> Option<Fetched<T>>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let tiers = &self.inner.tiers;
        let found = match (tiers.route(call.key), &tiers.server) {
            (Route::Server, Some(server)) => {
                let observer = self.inner.flights.observe(call.key, caller);
                match tiers.read_server(server, call, &observer).await {
                    Read::Hit(value, remaining) => Some(Fetched { value, source: Source::Server, remaining }),
                    Read::Miss | Read::Undecodable | Read::Foreign => None,
                    Read::Unavailable => self.memory_value(call),
                }
            }
            _ => old.map(|old| old.fetched.clone()).or_else(|| self.memory_value(call)),
        }?;
        let verdict = self.verdict(call, options, &found);
        let is_served = verdict.is_served() || self.waits_to_retry(call, verdict);
        is_served.then(|| {
            self.served(options, call.key, &found, verdict);
            found
        })
    }

    /// Waits until it's this call's turn, or another has brought the value.
    async fn take_turn<T, E, C>(
        &self,
        call: &ResolvedCall<'_, C>,
        caller: Caller,
        mut has_waited: bool,
        want: &Want<E>,
    ) -> Place<T, E>
    where
        T: Clone + Any + Send + Sync,
    {
        let (key, flights) = (call.key, &self.inner.flights);
        loop {
            let (flight, joined) = if want.forced {
                match flights.join_forced(key, caller) {
                    (Join::Leader(leader), stores) => return Place::Leader(leader, Start::Forced(stores)),
                    (Join::Wait(flight, joined), _) => (flight, joined),
                }
            } else {
                match flights.join(key, caller) {
                    Join::Leader(leader) => return Place::Leader(leader, Start::Lookup),
                    Join::Wait(flight, joined) => (flight, joined),
                }
            };
            if flight.is_led_here() {
                return Place::Alone;
            }
            let is_late = || flight.falls_back() && self.inner.retries.hold(key);
            if !want.forced && (flight.renews() || is_late()) {
                return Place::Beside(flight);
            }
            let soft = call.freshness.soft_timeout.filter(|_| !want.forced);
            let soft = soft.and_then(|soft| surroundings::now().checked_add(soft));
            let ended = async {
                match soft {
                    // Boxed: the futures of all callers would contain it.
                    Some(soft) => Box::pin(flight.ended_or_late(soft)).await,
                    None => Some(flight.ended().await),
                }
            };
            let ended = if caller.is_async {
                ended.await
            } else {
                let Some(patience) = flight.patience_of(&caller, self.inner.patience) else { return Place::Alone };
                let Some(ended) = watchdog::within(surroundings::now() + patience, ended).await else {
                    return Place::Alone;
                };
                ended
            };
            let Some(phase) = ended else {
                self.inner.retries.note(key, call.freshness.retry_after);
                return Place::Beside(flight);
            };
            match phase {
                Phase::Landed(landed) => {
                    let verdict = Verdict::of(&call.freshness, landed.remaining, || None, || 1.0);
                    if (has_waited || !landed.may_precede(joined))
                        && (landed.is_final || verdict.is_served())
                        && let Some(value) = landed.value.downcast_ref::<T>()
                    {
                        let source = Source::Coalesced;
                        let found = Fetched { value: value.clone(), source, remaining: landed.remaining };
                        return Place::Have(found, verdict);
                    }
                    if !want.forced && flight.renews() {
                        return Place::Beside(flight);
                    }
                    // Too old, or of another type, as which its stored bytes may decode too: one waiter reads them, for all.
                    if !flight.left(surroundings::now() + self.inner.patience).await {
                        return Place::Alone;
                    }
                }
                Phase::Failed(storable, shared) => {
                    let shares = want.shares.as_ref();
                    if let Some(error) = shares.zip(shared).and_then(|(shares, error)| (shares.take)(error)) {
                        return Place::Failed(error);
                    }
                    // No caller waits for a second failure: one of the waiters leads, the others run side by side with it.
                    if want.forced {
                        return match flights.join_forced(key, caller) {
                            (Join::Leader(leader), stores) => Place::Leader(leader, Start::Forced(stores)),
                            (Join::Wait(..), _) => Place::Alone,
                        };
                    }
                    return match flights.join(key, caller) {
                        Join::Leader(leader) => Place::Leader(leader, Start::Run(storable)),
                        Join::Wait(..) => Place::Alone,
                    };
                }
                Phase::Abandoned => {}
                // It takes too long.
                Phase::Running => return Place::Alone,
            }
            has_waited = true;
        }
    }

    /// Reads from the server, or from memory while the server is unavailable.
    pub(super) async fn lookup<T, C>(&self, call: &ResolvedCall<'_, C>, leader: &Leader) -> Found<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let tiers = &self.inner.tiers;
        let (Route::Server, Some(server)) = (tiers.route(call.key), &tiers.server) else {
            return self.found(call, Read::Unavailable);
        };
        leader.asks();
        self.found(call, tiers.read_server(server, call, leader).await)
    }

    /// What a read has found, or memory where the server is unavailable.
    pub(super) fn found<T, C>(&self, call: &ResolvedCall<'_, C>, read: Read<T>) -> Found<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        match read {
            Read::Hit(value, remaining) => Found::Value(Fetched { value, source: Source::Server, remaining }),
            Read::Miss | Read::Undecodable => Found::Nothing(Storable::Yes, Answer::ServerMiss),
            Read::Foreign => Found::Nothing(Storable::Foreign, Answer::ServerMiss),
            Read::Unavailable => {
                self.memory_value(call).map_or(Found::Nothing(Storable::Unavailable, self.memory_miss()), Found::Value)
            }
        }
    }

    fn memory_value<T, C>(&self, call: &ResolvedCall<'_, C>) -> Option<Fetched<T>>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let (value, remaining) = self.inner.tiers.read_memory(call)?;
        Some(Fetched { value, source: Source::Memory, remaining: Some(remaining) })
    }

    fn memory_miss(&self) -> Answer {
        if self.inner.tiers.memory.is_some() { Answer::MemoryMiss } else { Answer::NowhereMiss }
    }

    /// A fresh value from memory, the last resort of a call without work.
    pub(super) fn memory_or_miss<T, C>(&self, call: &ResolvedCall<'_, C>, options: &CacheOptions<C>) -> Option<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let found = self.memory_value(call).filter(|found| !self.verdict(call, options, found).is_stale());
        match &found {
            Some(found) => self.served(options, call.key, found, Verdict::Fresh),
            None => self.answered(options, self.memory_miss()),
        }
        found.map(|found| found.value)
    }

    /// What a value that was found is good for.
    #[inline]
    pub(super) fn verdict<T, C>(
        &self,
        call: &ResolvedCall<'_, C>,
        options: &CacheOptions<C>,
        found: &Fetched<T>,
    ) -> Verdict {
        if !call.freshness.reads_ttl() {
            return Verdict::Fresh;
        }
        let work = || self.inner.work_times.of(self.name_hash(options));
        // Above zero, so that its logarithm is finite.
        Verdict::of(&call.freshness, found.remaining, work, || 1.0 - rand::random::<f64>())
    }

    /// Whether the work has failed so lately that the old value is served without trying again.
    fn waits_to_retry<C>(&self, call: &ResolvedCall<'_, C>, verdict: Verdict) -> bool {
        verdict != Verdict::Fresh && self.inner.retries.hold(call.key)
    }
}
