//! What every cached call does: look, take a turn, look again, run the work, keep its value.

use std::any::Any;
use std::convert::Infallible;
use std::future::Future;

use super::CacheHandle;
use super::blocking;
use super::flight::{Caller, Join, Lead, Outcome};
use crate::backend::fallback::{Read, Request, Route};
use crate::codec::ValueCodec;
use crate::error::Error;
use crate::key::CallKey;
use crate::options::CacheOptions;
use crate::telemetry::metrics::{self, Answer, Timer};

/// How a call goes on after its first look.
enum Looked<T> {
    Found(T),
    /// Not to be found without waiting.
    Go(CallKey),
    /// The handle is closed, or the call has no key: its work runs, and nothing is kept.
    Uncached,
}

/// What a call is to the others of its key.
enum Turn<'a, T> {
    /// Another call has brought the value.
    Have(T),
    /// This call looks the value up or computes it, for all who come meanwhile.
    Lead(Lead<'a>),
    /// This call can't wait for the leader and isn't one: it runs its work, and keeps nothing.
    Alone,
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
        match self.look(&options) {
            Looked::Found(value) => Ok(value),
            Looked::Uncached => {
                let timer = self.runs_alone(&options);
                let result = work();
                timer.worked();
                result
            }
            Looked::Go(key) => {
                let caller = Caller::new(false);
                blocking::drive(self.go(&key, &options, caller, || async { work() }))
            }
        }
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
        match self.look(&options) {
            Looked::Found(value) => Ok(value),
            Looked::Uncached => {
                let timer = self.runs_alone(&options);
                let result = work().await;
                timer.worked();
                result
            }
            Looked::Go(key) => self.go(&key, &options, Caller::new(true), work).await,
        }
    }

    /// What can be answered at once.
    #[inline]
    fn look<T, C>(&self, options: &CacheOptions<C>) -> Looked<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        if self.is_closed() {
            return Looked::Uncached;
        }
        let key = match self.call_key(options) {
            Ok(key) => key,
            Err(error) => {
                self.warn_unkeyable(options, &error);
                return Looked::Uncached;
            }
        };
        if self.core.tiers.route(&key) == Route::Memory
            && let Some(value) = self.found_in_memory(&self.request(&key, options), options)
        {
            return Looked::Found(value);
        }
        Looked::Go(key)
    }

    async fn go<T, E, C, Fut>(
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
        let (lead, look_again) = match self.take_turn(key, caller).await {
            (Turn::Have(value), _) => {
                self.answered(options, Answer::Coalesced);
                tracing::debug!(target: "cache_house", ?key, "coalesced");
                return Ok(value);
            }
            (Turn::Alone, _) => {
                let timer = self.runs_alone(options);
                let result = work().await;
                timer.worked();
                return result;
            }
            (Turn::Lead(lead), look_again) => (lead, look_again),
        };
        let request = self.request(key, options);
        // Whether the server may be given the value.
        let mut to_server = self.core.tiers.route(key) == Route::Server;
        if look_again {
            let (found, storable) = self.look_up(&request, options, &lead).await;
            if let Some(value) = found {
                lead.finish(&value);
                return Ok(value);
            }
            to_server = storable;
        } else {
            self.answered(options, Answer::Uncached);
        }
        self.core.tiers.counters.runs.add_one();
        let timer = Timer::start();
        let result = lead.run(work()).await;
        timer.worked();
        let value = match result {
            Ok(value) => value,
            Err(error) => {
                lead.fail();
                return Err(error);
            }
        };
        lead.publish(&value);
        if let Err(error) = self.core.tiers.store(&request, &lead, &value, to_server).await {
            self.tell_not_stored(options, &error);
        }
        lead.finish(&value);
        Ok(value)
    }

    /// Waits until it's this call's turn, or another has brought the value. The flag says whether the value may be there already.
    async fn take_turn<T: Clone + Any>(&self, key: &CallKey, caller: Caller) -> (Turn<'_, T>, bool) {
        loop {
            let flight = match self.core.flights.join(key, caller) {
                Join::Lead(lead) => return (Turn::Lead(lead), true),
                Join::Wait(flight) => flight,
            };
            let may_wait = caller.is_async || blocking::may_wait_for(&caller, &flight);
            if flight.is_led_here() || !may_wait {
                return (Turn::Alone, false);
            }
            match flight.ended().await {
                Outcome::Landed(value) => {
                    let value = value.downcast_ref::<T>().cloned();
                    let Some(value) = value else { return (Turn::Alone, false) };
                    return (Turn::Have(value), false);
                }
                // Nobody waits for a second failure: one of those who waited leads, the others run side by side with it.
                Outcome::Failed => {
                    return match self.core.flights.join(key, caller) {
                        Join::Lead(lead) => (Turn::Lead(lead), false),
                        Join::Wait(_) => (Turn::Alone, false),
                    };
                }
                Outcome::Abandoned => {}
            }
        }
    }

    /// The value from whoever is asked now, and whether the server may be given one if there is none.
    async fn look_up<T, C>(
        &self,
        request: &Request<'_, C>,
        options: &CacheOptions<C>,
        lead: &Lead<'_>,
    ) -> (Option<T>, bool)
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
                    return (Some(value), true);
                }
                read @ (Read::Miss | Read::Foreign) => {
                    self.answered(options, Answer::ServerMiss);
                    return (None, matches!(read, Read::Miss));
                }
                Read::Unavailable => {}
            }
        }
        (self.ask_memory(request, options), false)
    }

    /// What memory has, which is the last to be asked.
    pub(super) fn ask_memory<T, C>(&self, request: &Request<'_, C>, options: &CacheOptions<C>) -> Option<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let found = self.found_in_memory(request, options);
        if found.is_none() {
            let has_memory = self.core.tiers.memory.is_some();
            self.answered(options, if has_memory { Answer::MemoryMiss } else { Answer::NowhereMiss });
        }
        found
    }

    fn found_in_memory<T, C>(&self, request: &Request<'_, C>, options: &CacheOptions<C>) -> Option<T>
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
        let (mut life, mut inherited) = (defaults.expire, &defaults.codec);
        if !defaults.namespaces.is_empty()
            && let Some(own) = defaults.namespaces.get(options.own_namespace().unwrap_or(self.scope.namespace()))
        {
            life = own.expire.unwrap_or(life);
            inherited = own.codec.as_ref().unwrap_or(inherited);
        }
        Request { key, codec: &options.codec, inherited, life: options.expiry().unwrap_or(life) }
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
        let first = self.core.tiers.counters.encode_warning.first();
        if first && (error.is_codec() || error.is_too_large()) {
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
