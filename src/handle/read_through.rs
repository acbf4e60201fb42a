//! What every cached call does: look, take a turn, look again, run the work, keep its value.

use std::any::Any;
use std::convert::Infallible;
use std::future::{self, Future};
use std::time::{Duration, Instant};

use super::blocking;
use super::caller::Caller;
use super::coalescing::{Join, Leader, Phase, Storable};
use super::engine::Engine;
use crate::backend::lease::{Fill, Lease};
use crate::backend::server::Server;
use crate::backend::tiers::{Read, ResolvedCall, Route};
use crate::codec::ValueCodec;
use crate::error::Error;
use crate::key::CallKey;
use crate::options::CacheOptions;
use crate::telemetry::Once;
use crate::telemetry::metrics::{self, Answer, Timer};
use crate::watchdog;

/// How a call goes on after the lookup that needs no waiting.
enum Lookup<T> {
    Found(T),
    /// Memory has no answer: read the server, or run the work.
    Open(CallKey),
    /// The handle is closed, or the call has no key: its work runs, and nothing is kept.
    Uncached,
}

/// What a call is to the others of its key.
enum Turn<T> {
    /// Another call has brought the value.
    Have(T),
    /// This call looks the value up or computes it, for all callers that come meanwhile.
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

/// How a miss goes on that has waited for another process.
enum Waited<T> {
    Found(T),
    /// It runs its work.
    Run(Fill),
}

/// How long a miss that waits for another process pauses before it looks again: at first, and at most.
const FIRST_LEASE_POLL: Duration = Duration::from_millis(5);
const LONGEST_LEASE_POLL: Duration = Duration::from_millis(200);

/// What a leader's lookup has found.
enum Found<T> {
    Value(T, Source),
    Nothing(Storable),
}

/// Where a leader's value is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Memory,
    Server,
    Work,
}

impl<S: Server> Engine<S> {
    pub(super) fn read_through_blocking<T, E, C>(
        &self,
        options: CacheOptions<C>,
        caller: fn() -> Caller,
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
        let caller = caller();
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
        caller: fn() -> Caller,
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
            Lookup::Open(key) => self.fetch_or_run(&key, &options, caller(), work).await,
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
        if self.inner.tiers.route(&key) == Route::Memory
            && let Some(value) = self.memory_hit(&self.resolve(&key, options), options)
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
        let (leader, start) = match self.take_turn(key, caller).await {
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
            Turn::Lead(leader, start) => (leader, start),
        };
        let call = self.resolve(key, options);
        match leader.run(self.lookup_or_run(&call, options, &leader, start, work)).await {
            Ok((value, source)) => {
                leader.finish(&value, source == Source::Server);
                Ok(value)
            }
            Err((error, storable)) => {
                leader.fail(storable);
                Err(error)
            }
        }
    }

    /// What a leader does. An error of the work comes with whether the server might have been given its value.
    async fn lookup_or_run<T, E, C, Fut>(
        &self,
        call: &ResolvedCall<'_, C>,
        options: &CacheOptions<C>,
        leader: &Leader,
        start: Start,
        work: impl FnOnce() -> Fut,
    ) -> Result<(T, Source), (E, Storable)>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
        Fut: Future<Output = Result<T, E>>,
    {
        let storable = match start {
            Start::Lookup => match self.lookup(call, options, leader).await {
                Found::Value(value, source) => return Ok((value, source)),
                Found::Nothing(storable) => storable,
            },
            Start::Run(storable) => {
                self.answered(options, Answer::Uncached);
                storable
            }
        };
        // Boxed: the futures of all callers would contain it, and a hit doesn't come here.
        Box::pin(self.run_and_store(call, options, leader, storable, work)).await
    }

    /// The work of a miss, with what the fence asks for before it and what is kept of it after.
    async fn run_and_store<T, E, C, Fut>(
        &self,
        call: &ResolvedCall<'_, C>,
        options: &CacheOptions<C>,
        leader: &Leader,
        storable: Storable,
        work: impl FnOnce() -> Fut,
    ) -> Result<(T, Source), (E, Storable)>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
        Fut: Future<Output = Result<T, E>>,
    {
        let tiers = &self.inner.tiers;
        // Before the work begins: what is invalidated from here on is refused by the fence.
        let fill = if storable == Storable::Yes { tiers.begin_fill(call).await } else { Fill::Withheld };
        let waited = match fill {
            Fill::Fenced(lease) if call.lease.is_zero() => Waited::Run(Fill::Fenced(lease)),
            Fill::Fenced(lease) if lease.is_shared => self.wait_for_another(call, leader, lease).await,
            Fill::Fenced(lease) => self.look_again(call, leader, lease).await,
            fill => Waited::Run(fill),
        };
        let mut fill = match waited {
            Waited::Found(value) => return Ok((value, Source::Server)),
            Waited::Run(fill) => fill,
        };
        tiers.counters.runs.add_one();
        let timer = Timer::start();
        let result = work().await;
        timer.worked();
        let value = match result {
            Ok(value) => value,
            Err(error) => {
                tiers.give_up_fill(fill).await;
                return Err((error, storable));
            }
        };
        if tiers.route(call.key) != Route::Server {
            fill = Fill::Withheld;
        }
        match &fill {
            Fill::Withheld => leader.publish(&value, None),
            Fill::Unfenced => leader.publish(&value, Some(call.ttl)),
            Fill::Fenced(_) => leader.offer(&value),
        }
        if let Err(error) = tiers.store(call, leader, &value, fill).await {
            self.log_not_stored(options, &error.into());
        }
        Ok((value, Source::Work))
    }

    /// Waits for the value that another process computes, and for that process's end: the call's `lease` at most.
    async fn wait_for_another<T, C>(&self, call: &ResolvedCall<'_, C>, leader: &Leader, mut lease: Lease) -> Waited<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let (tiers, timer) = (&self.inner.tiers, Timer::start());
        tiers.counters.lease_waits.add_one();
        let deadline = Instant::now() + call.lease;
        let mut delay = FIRST_LEASE_POLL;
        let waited = loop {
            let now = Instant::now();
            let (Route::Server, Some(server)) = (tiers.route(call.key), &tiers.server) else {
                break Waited::Run(Fill::Withheld);
            };
            if now >= deadline {
                // With the same token: the first to end stores its value.
                break Waited::Run(Fill::Fenced(lease));
            }
            // On any executor, and on a sync caller's own thread.
            let _ = watchdog::within(deadline.min(now + delay), future::pending::<()>()).await;
            delay = (2 * delay).min(LONGEST_LEASE_POLL);
            leader.asks();
            match tiers.read_server(server, call, leader).await {
                // The call is counted already, as a miss.
                Read::Hit(value) => break Waited::Found(value),
                Read::Miss => {}
                Read::Foreign | Read::Unavailable => break Waited::Run(Fill::Withheld),
            }
            match tiers.begin_fill(call).await {
                // The holder has failed, or its value was invalidated: this call is the next.
                Fill::Fenced(next) if !next.is_shared => break self.look_again(call, leader, next).await,
                Fill::Fenced(next) => lease = next,
                fill => break Waited::Run(fill),
            }
        };
        timer.waited();
        waited
    }

    /// Looks once more, now that this call holds the lease: between its lookup and the lease, the holder before may have stored a value.
    async fn look_again<T, C>(&self, call: &ResolvedCall<'_, C>, leader: &Leader, lease: Lease) -> Waited<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let (tiers, fill) = (&self.inner.tiers, Fill::Fenced(lease));
        let Some(server) = &tiers.server else { return Waited::Run(fill) };
        leader.asks();
        match tiers.read_server(server, call, leader).await {
            // The call is counted already, as a miss.
            Read::Hit(value) => {
                tiers.give_up_fill(fill).await;
                Waited::Found(value)
            }
            Read::Miss => Waited::Run(fill),
            Read::Foreign | Read::Unavailable => Waited::Run(Fill::Withheld),
        }
    }

    /// Waits until it's this call's turn, or another has brought the value.
    async fn take_turn<T: Clone + Any>(&self, key: &CallKey, caller: Caller) -> Turn<T> {
        // A second flight that this call joins has begun after the call: all that it brings is young enough.
        let mut has_waited = false;
        loop {
            let (flight, joined) = match self.inner.flights.join(key, caller) {
                Join::Lead(leader) => return Turn::Lead(leader, Start::Lookup),
                Join::Wait(flight, joined) => (flight, joined),
            };
            if flight.is_led_here() {
                return Turn::Alone;
            }
            let phase = if caller.is_async {
                flight.ended().await
            } else {
                let Some(patience) = flight.patience_of(&caller, self.inner.patience) else { return Turn::Alone };
                let ended = watchdog::within(Instant::now() + patience, flight.ended());
                let Some(phase) = ended.await else { return Turn::Alone };
                phase
            };
            match phase {
                Phase::Landed(landed) => {
                    if (has_waited || !landed.may_precede(joined))
                        && let Some(value) = landed.value.downcast_ref::<T>()
                    {
                        return Turn::Have(value.clone());
                    }
                    // Too old, or of another type, as which its stored bytes may decode too: one waiter reads them, for all.
                    if !flight.left(Instant::now() + self.inner.patience).await {
                        return Turn::Alone;
                    }
                }
                // No caller waits for a second failure: one of the waiters leads, the others run side by side with it.
                Phase::Failed(storable) => {
                    return match self.inner.flights.join(key, caller) {
                        Join::Lead(leader) => Turn::Lead(leader, Start::Run(storable)),
                        Join::Wait(..) => Turn::Alone,
                    };
                }
                Phase::Abandoned => {}
                // It takes too long.
                Phase::Running => return Turn::Alone,
            }
            has_waited = true;
        }
    }

    /// Reads from the server, or from memory while the server is unavailable.
    async fn lookup<T, C>(&self, call: &ResolvedCall<'_, C>, options: &CacheOptions<C>, leader: &Leader) -> Found<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let tiers = &self.inner.tiers;
        if let (Route::Server, Some(server)) = (tiers.route(call.key), &tiers.server) {
            leader.asks();
            match tiers.read_server(server, call, leader).await {
                Read::Hit(value) => {
                    self.answered(options, Answer::ServerHit);
                    tracing::debug!(target: "cache_house", key = ?call.key, "hit on the server");
                    return Found::Value(value, Source::Server);
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
        match self.memory_or_miss(call, options) {
            Some(value) => Found::Value(value, Source::Memory),
            None => Found::Nothing(Storable::Unavailable),
        }
    }

    /// Reads from memory, the last resort before the work.
    pub(super) fn memory_or_miss<T, C>(&self, call: &ResolvedCall<'_, C>, options: &CacheOptions<C>) -> Option<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let found = self.memory_hit(call, options);
        if found.is_none() {
            let has_memory = self.inner.tiers.memory.is_some();
            self.answered(options, if has_memory { Answer::MemoryMiss } else { Answer::NowhereMiss });
        }
        found
    }

    fn memory_hit<T, C>(&self, call: &ResolvedCall<'_, C>, options: &CacheOptions<C>) -> Option<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let value = self.inner.tiers.read_memory(call)?;
        self.answered(options, Answer::MemoryHit);
        tracing::debug!(target: "cache_house", key = ?call.key, "hit in memory");
        Some(value)
    }

    /// Counts how a call was answered, once a call.
    #[inline]
    pub(super) fn answered<C>(&self, options: &CacheOptions<C>, answer: Answer) {
        let counters = &self.inner.tiers.counters;
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
        self.inner.requests.count(&self.series, options.own_namespace(), answer);
    }

    /// Counts a call whose work runs without any lookup; the timer is for the work.
    fn runs_alone<C>(&self, options: &CacheOptions<C>) -> Timer {
        self.answered(options, Answer::Uncached);
        self.inner.tiers.counters.runs.add_one();
        Timer::start()
    }

    fn warn_unkeyable<C>(&self, options: &CacheOptions<C>, error: &Error) {
        let counters = &self.inner.tiers.counters;
        counters.uncached.add_one();
        if counters.unkeyable_warning.first() {
            tracing::warn!(target: "cache_house", call = %options.name(), %error, "the call runs uncached; logged once");
        }
    }

    fn log_not_stored<C>(&self, options: &CacheOptions<C>, error: &Error) {
        let counters = &self.inner.tiers.counters;
        // What a server refuses may be all right in a moment; these won't.
        let warning = match error {
            _ if error.is_codec() => Some(&counters.encode_warning),
            _ if error.is_too_large() => Some(&counters.too_large_warning),
            _ => None,
        };
        if warning.is_some_and(Once::first) {
            tracing::warn!(target: "cache_house", call = %options.name(), %error, "the value isn't stored; logged once");
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
