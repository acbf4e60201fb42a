//! What every cached call does: look, take a turn, look again, run the work, keep its value.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;
use std::time::Instant;

use super::CacheHandle;
use super::blocking;
use super::caller::Caller;
use super::coalescing::{Join, Leader, Phase, Storable};
use crate::backend::fallback::{Read, Request, Route};
use crate::codec::ValueCodec;
use crate::error::Error;
use crate::key::CallKey;
use crate::options::CacheOptions;
use crate::policy::Policy;
use crate::telemetry::Once;
use crate::telemetry::metrics::{self, Answer, Timer};
use crate::watchdog;

/// How a call goes on after the lookup that needs no waiting.
enum Lookup<T> {
    Found(T),
    /// The server has to be asked, or the work run.
    Open(CallKey),
    /// The handle is closed, or the call has no key: its work runs, and nothing is kept.
    Uncached,
}

/// What a call is to the others of its key.
enum Turn<T> {
    /// Another call has brought the value.
    Have(T),
    /// This call looks the value up or computes it, for all who come meanwhile.
    Lead(Leader, Start),
    /// This call can't wait for the leader and isn't one: it runs its work, and keeps nothing.
    Alone,
}

/// How a leader begins.
enum Start {
    /// With a lookup.
    Lookup,
    /// With its work: the leader before has made the lookup, and its work failed.
    Run(Storable),
}

/// What a leader's lookup has found.
enum Found<T> {
    Value(T),
    Nothing(Storable),
}

impl CacheHandle {
    pub(super) fn read_through_blocking<T, E, C>(
        &self,
        options: CacheOptions<C>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let lookup = self.lookup_memory(&options);
        if let Lookup::Found(value) = lookup {
            return Ok(value);
        }
        let caller = Caller::blocking();
        // The work runs in the same surroundings, whatever the cache has to wait for before.
        blocking::in_place(caller.place(), || match lookup {
            Lookup::Found(value) => Ok(value),
            Lookup::Uncached => {
                let timer = self.runs_alone(&options);
                let result = work();
                timer.worked();
                result
            }
            Lookup::Open(key) => blocking::block_on(self.fetch_or_run(&key, &options, caller, || async { work() })),
        })
    }

    pub(super) async fn read_through<T, E, C, Fut>(
        &self,
        options: CacheOptions<C>,
        work: impl FnOnce() -> Fut,
    ) -> Result<T, E>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
        Fut: Future<Output = Result<T, E>>,
    {
        match self.lookup_memory(&options) {
            Lookup::Found(value) => Ok(value),
            Lookup::Uncached => {
                let timer = self.runs_alone(&options);
                let result = work().await;
                timer.worked();
                result
            }
            Lookup::Open(key) => self.fetch_or_run(&key, &options, Caller::asynchronous(), work).await,
        }
    }

    /// Looks in memory, where that answers by itself.
    #[inline]
    fn lookup_memory<T, C>(&self, options: &CacheOptions<C>) -> Lookup<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        if self.is_closed() {
            return Lookup::Uncached;
        }
        let key = match self.call_key(options) {
            Ok(key) => key,
            Err(error) => {
                self.warn_unkeyable(options, &error);
                return Lookup::Uncached;
            }
        };
        if self.core.tiers.route(&key) == Route::Memory
            && let Some(value) = self.memory_hit(&self.request(&key, options), options)
        {
            return Lookup::Found(value);
        }
        Lookup::Open(key)
    }

    /// The value of another call, of the server or of the work.
    async fn fetch_or_run<T, E, C, Fut>(
        &self,
        key: &CallKey,
        options: &CacheOptions<C>,
        caller: Caller,
        work: impl FnOnce() -> Fut,
    ) -> Result<T, E>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
        Fut: Future<Output = Result<T, E>>,
    {
        let (lead, start) = match self.take_turn(key, caller).await {
            Turn::Have(value) => {
                self.answered(options, Answer::Coalesced);
                tracing::debug!(target: "cache_house", ?key, "coalesced");
                return Ok(value);
            }
            Turn::Alone => {
                let timer = self.runs_alone(options);
                let result = work().await;
                timer.worked();
                return result;
            }
            Turn::Lead(lead, start) => (lead, start),
        };
        let request = self.request(key, options);
        match lead.run(self.lookup_or_run(&request, options, &lead, start, work)).await {
            Ok(value) => {
                lead.finish(&value);
                Ok(value)
            }
            Err((error, storable)) => {
                lead.fail(storable);
                Err(error)
            }
        }
    }

    /// What a leader does. An error of the work comes with whether the server might have been given its value.
    async fn lookup_or_run<T, E, C, Fut>(
        &self,
        request: &Request<'_, C>,
        options: &CacheOptions<C>,
        lead: &Leader,
        start: Start,
        work: impl FnOnce() -> Fut,
    ) -> Result<T, (E, Storable)>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
        Fut: Future<Output = Result<T, E>>,
    {
        let storable = match start {
            Start::Lookup => match self.lookup(request, options, lead).await {
                Found::Value(value) => return Ok(value),
                Found::Nothing(storable) => storable,
            },
            Start::Run(storable) => {
                self.answered(options, Answer::Uncached);
                storable
            }
        };
        self.core.tiers.counters.runs.add_one();
        let timer = Timer::start();
        let result = work().await;
        timer.worked();
        let value = result.map_err(|error| (error, storable))?;
        let to_server = storable == Storable::Yes && self.core.tiers.route(request.key) == Route::Server;
        lead.publish(&value, to_server.then_some(request.life));
        if let Err(error) = self.core.tiers.store(request, lead, &value, to_server).await {
            self.tell_not_stored(options, &error);
        }
        Ok(value)
    }

    /// Waits until it's this call's turn, or another has brought the value.
    async fn take_turn<T: Clone + Any>(&self, key: &CallKey, caller: Caller) -> Turn<T> {
        loop {
            let flight = match self.core.flights.join(key, caller) {
                Join::Lead(lead) => return Turn::Lead(lead, Start::Lookup),
                Join::Wait(flight) => flight,
            };
            if flight.is_led_here() {
                return Turn::Alone;
            }
            let phase = if caller.is_async {
                flight.ended().await
            } else {
                let Some(patience) = flight.patience_of(&caller, self.core.patience) else { return Turn::Alone };
                let ended = watchdog::within(Instant::now() + patience, flight.ended());
                let Some(phase) = ended.await else { return Turn::Alone };
                phase
            };
            match phase {
                Phase::Landed(value) => {
                    if let Some(value) = value.downcast_ref::<T>() {
                        return Turn::Have(value.clone());
                    }
                    // Of another type. What is stored of it may be read as this one too, by one for all who wait.
                    if !flight.left(Instant::now() + self.core.patience).await {
                        return Turn::Alone;
                    }
                }
                // Nobody waits for a second failure: one of those who waited leads, the others run side by side with it.
                Phase::Failed(storable) => {
                    return match self.core.flights.join(key, caller) {
                        Join::Lead(lead) => Turn::Lead(lead, Start::Run(storable)),
                        Join::Wait(_) => Turn::Alone,
                    };
                }
                Phase::Abandoned => {}
                // It takes too long.
                Phase::Running => return Turn::Alone,
            }
        }
    }

    /// Asks the server, or memory where the server can't be asked.
    async fn lookup<T, C>(&self, request: &Request<'_, C>, options: &CacheOptions<C>, lead: &Leader) -> Found<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let tiers = &self.core.tiers;
        if let (Route::Server, Some(server)) = (tiers.route(request.key), &tiers.server) {
            match tiers.read_server(server, request, lead).await {
                Read::Hit(value) => {
                    self.answered(options, Answer::ServerHit);
                    tracing::debug!(target: "cache_house", key = ?request.key, "hit on the server");
                    return Found::Value(value);
                }
                Read::Miss => {
                    self.answered(options, Answer::ServerMiss);
                    return Found::Nothing(Storable::Yes);
                }
                Read::Foreign => {
                    self.answered(options, Answer::ServerMiss);
                    return Found::Nothing(Storable::Foreign);
                }
                Read::Unavailable => {}
            }
        }
        self.memory_or_miss(request, options).map_or(Found::Nothing(Storable::Unavailable), Found::Value)
    }

    /// What memory has, which is the last to be asked.
    pub(super) fn memory_or_miss<T, C>(&self, request: &Request<'_, C>, options: &CacheOptions<C>) -> Option<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let found = self.memory_hit(request, options);
        if found.is_none() {
            let has_memory = self.core.tiers.memory.is_some();
            self.answered(options, if has_memory { Answer::MemoryMiss } else { Answer::NowhereMiss });
        }
        found
    }

    fn memory_hit<T, C>(&self, request: &Request<'_, C>, options: &CacheOptions<C>) -> Option<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let value = self.core.tiers.read_memory(request)?;
        self.answered(options, Answer::MemoryHit);
        tracing::debug!(target: "cache_house", key = ?request.key, "hit in memory");
        Some(value)
    }

    pub(super) fn request<'a, C>(&'a self, key: &'a CallKey, options: &'a CacheOptions<C>) -> Request<'a, C> {
        let defaults = &self.core.defaults;
        let namespace = match defaults.namespaces.is_empty() {
            true => None,
            false => defaults.namespaces.get(options.own_namespace().unwrap_or(self.scope.namespace())),
        };
        let policy = Policy::merged(&defaults.overrides, namespace.map(|options| &options.0), &options.overrides);
        Request { key, codec: &options.codec, inherited: policy.codec, life: policy.expire }
    }

    /// Tells how a call was answered; each call is told of once.
    #[inline]
    pub(super) fn answered<C>(&self, options: &CacheOptions<C>, answer: Answer) {
        let counters = &self.core.tiers.counters;
        match answer {
            Answer::MemoryHit => counters.memory_hits.add_one(),
            Answer::ServerHit => counters.server_hits.add_one(),
            Answer::MemoryMiss | Answer::ServerMiss | Answer::NowhereMiss => counters.misses.add_one(),
            Answer::Coalesced => {
                counters.coalesced.add_one();
                metrics::coalesced();
            }
            Answer::Uncached => {}
        }
        self.core.requests.count(&self.series, options.own_namespace(), answer);
    }

    /// The work runs and nobody is asked; the timer is for the work.
    fn runs_alone<C>(&self, options: &CacheOptions<C>) -> Timer {
        self.answered(options, Answer::Uncached);
        self.core.tiers.counters.runs.add_one();
        Timer::start()
    }

    fn warn_unkeyable<C>(&self, options: &CacheOptions<C>, error: &Error) {
        let counters = &self.core.tiers.counters;
        counters.uncached.add_one();
        if counters.unkeyable_warning.first() {
            tracing::warn!(target: "cache_house", call = %options.name(), %error, "the call runs uncached; told once");
        }
    }

    fn tell_not_stored<C>(&self, options: &CacheOptions<C>, error: &Error) {
        let counters = &self.core.tiers.counters;
        // What a server refuses may be all right in a moment; these won't.
        let warning = match error {
            _ if error.is_codec() => Some(&counters.encode_warning),
            _ if error.is_too_large() => Some(&counters.too_large_warning),
            _ => None,
        };
        if warning.is_some_and(Once::first) {
            tracing::warn!(target: "cache_house", call = %options.name(), %error, "the value isn't stored; told once");
        } else {
            tracing::debug!(target: "cache_house", call = %options.name(), %error, "the value isn't stored");
        }
    }
}

/// The value of work that can't fail.
pub(super) fn infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
        Err(never) => match never {},
    }
}
