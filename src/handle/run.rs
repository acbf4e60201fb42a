//! What a leader does whose lookup has found nothing, or nothing that is fresh: it runs the work, and keeps the value.

use std::any::Any;
use std::future::{self, Future};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use super::coalescing::{AsOf, Leader, Storable};
use super::engine::Engine;
use super::entry::{Decisions, Source};
use super::freshness::{Fetched, Old, Verdict, computed};
use super::joint::{JOINT_WAIT, Seat};
use super::read_through::Turn;
use super::want::{Want, Work};
use crate::backend::lease::{Fill, Lease, Stored};
use crate::backend::server::Server;
use crate::backend::tiers::{NotStored, Read, ResolvedCall, Route};
use crate::codec::ValueCodec;
use crate::error::Error;
use crate::key::CallKey;
use crate::options::CacheOptions;
use crate::surroundings;
use crate::telemetry::metrics::{self, Timer};
use crate::telemetry::{Once, spans};
use crate::watchdog;

/// How long a miss that waits for another process pauses before it looks again: at first, and at most.
const FIRST_LEASE_POLL: Duration = Duration::from_millis(5);
const LONGEST_LEASE_POLL: Duration = Duration::from_millis(200);

/// How a miss goes on that has waited for another process.
enum Waited<T> {
    Found(Fetched<T>),
    /// It runs its work.
    Run(Fill),
}

/// What came of a turn.
enum Ran<T> {
    Value(Fetched<T>),
    /// The work has failed, takes too long, or is run by another process: the old value is served.
    Old,
}

impl<S: Server> Engine<S> {
    /// Runs the work of a turn, and keeps its value.
    pub(super) async fn run<T, E, C, Fut>(
        &self,
        key: &CallKey,
        options: &CacheOptions<C>,
        turn: Turn<T>,
        want: &Want<E>,
        work: Work<'_, impl FnOnce(Option<T>) -> Fut>,
    ) -> Result<Fetched<T>, E>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
        Fut: Future<Output = Result<T, E>>,
    {
        let Turn { leader, storable, old } = turn;
        let mut call = self.resolve(key, options);
        if want.forced {
            // Neither what is cached nor what another process computes will do.
            call.lease = Duration::ZERO;
        }
        // The old value is as old as the flight's last step before the work.
        let asked = leader.asked();
        if let Some(old) = &old {
            leader.announce(old);
        }
        if old.is_some() || want.forced {
            self.inner.tiers.counters.refreshes.add_one();
            metrics::refreshed();
        }
        let is_detached = work.is_detached;
        let ran = leader.run(self.run_and_store(&call, options, &leader, storable, old.as_ref(), work)).await;
        match (ran, old) {
            (Ok(Ran::Value(found)), old) => {
                self.inner.retries.forget(key);
                if let Some(old) = old.filter(|_| !is_detached) {
                    self.answered(options, old.missed());
                }
                let as_of = match found.as_of() {
                    // What its fence has confirmed, the waiters have already.
                    AsOf::Now if call.fence && self.inner.tiers.route(key) == Route::Server => AsOf::Work,
                    as_of => as_of,
                };
                leader.finish(&found.value, found.remaining, as_of);
                Ok(found)
            }
            (Ok(Ran::Old), Some(Old { fetched, verdict })) => {
                if !is_detached {
                    self.served(options, key, &fetched, verdict);
                }
                let as_of = match fetched.as_of() {
                    AsOf::Question => AsOf::Asked(asked),
                    as_of => as_of,
                };
                leader.finish(&fetched.value, fetched.remaining, as_of);
                Ok(fetched)
            }
            (Ok(Ran::Old), None) => unreachable!("there is no old value"),
            (Err(error), old) => {
                if let Some(old) = old {
                    // The work says that there is no value any more, so there is none to serve.
                    self.answered(options, old.missed());
                }
                leader.fail(storable, want.shares.as_ref().map(|shares| (shares.share)(&error)));
                Err(error)
            }
        }
    }

    /// The work, with what the fence asks for before it and what is kept of it after.
    async fn run_and_store<T, E, C, Fut>(
        &self,
        call: &ResolvedCall<'_, C>,
        options: &CacheOptions<C>,
        leader: &Leader,
        storable: Storable,
        old: Option<&Old<T>>,
        work: Work<'_, impl FnOnce(Option<T>) -> Fut>,
    ) -> Result<Ran<T>, E>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
        Fut: Future<Output = Result<T, E>>,
    {
        let (tiers, seat) = (&self.inner.tiers, work.decisions.and_then(|decisions| decisions.seat.as_ref()));
        // Before the work begins: what is invalidated from here on is refused by the fence.
        let fill =
            if storable == Storable::Yes { tiers.begin_fill(call, before_work(seat)).await } else { Fill::Withheld };
        let waited = match fill {
            Fill::Fenced(lease) if call.lease.is_zero() => Waited::Run(Fill::Fenced(lease)),
            // Another process renews the value.
            Fill::Fenced(lease) if lease.is_shared && old.is_some_and(|old| old.verdict.is_served()) => {
                return Ok(Ran::Old);
            }
            Fill::Fenced(lease) if lease.is_shared => {
                let soft = old.and(call.freshness.soft_timeout).and_then(|soft| surroundings::now().checked_add(soft));
                // Boxed: the futures of all misses would contain it, beside all that comes after.
                let mut waiting = Box::pin(self.wait_for_another(call, options, leader, old, lease, seat));
                match until(soft, waiting.as_mut()).await {
                    Some(waited) => waited,
                    None if leader.is_gone() => waiting.await,
                    None => {
                        self.inner.retries.note(call.key, call.freshness.retry_after);
                        return Ok(Ran::Old);
                    }
                }
            }
            Fill::Fenced(lease) => self.look_again(call, options, leader, old, lease).await,
            fill => Waited::Run(fill),
        };
        let mut fill = match waited {
            Waited::Found(found) => return Ok(Ran::Value(found)),
            Waited::Run(fill) => fill,
        };
        let old = old.filter(|_| !leader.is_gone());
        if let Some(seat) = seat {
            seat.ready().await;
        }
        // A batch counts and times the one run of all its calls; and a tag's token is no call of the user's.
        let timer = (seat.is_none() && !call.is_token).then(|| {
            tiers.counters.runs.add_one();
            Timer::start()
        });
        let begun = surroundings::now();
        let after = |timeout: Option<Duration>| timeout.and_then(|timeout| begun.checked_add(timeout));
        let soft = after(call.freshness.soft_timeout).filter(|_| !work.is_detached);
        let hard = after(call.freshness.hard_timeout);
        if hard.is_some() {
            leader.gives_way_at(hard);
        }
        let Work { run, decisions, .. } = work;
        leader.begins_work();
        let running = run(old.map(|old| old.fetched.value.clone()));
        let mut running = pin!(spans::of_work(|| options.name(), running));
        let deadline = old.and(soft).or(hard);
        let in_time = |ended: Instant| deadline.is_some_and(|deadline| ended < deadline);
        let ended = match until(deadline, running.as_mut()).await {
            // That of its batch has, and the value is on its way.
            None if seat.and_then(Seat::ended_at).is_some_and(in_time) => Some(running.as_mut().await),
            ended => ended,
        };
        let result = match (ended, old) {
            (Some(result), _) => result,
            (None, Some(_)) => {
                self.give_up(leader, fill).await;
                self.inner.retries.note(call.key, call.freshness.retry_after);
                return Ok(Ran::Old);
            }
            (None, None) => {
                // Others go on: the key is free, here and on the server.
                self.give_up(leader, std::mem::replace(&mut fill, Fill::Withheld)).await;
                leader.give_way();
                running.await
            }
        };
        if let Some(timer) = timer {
            timer.worked();
        }
        let ended_at = seat.and_then(Seat::ended_at).unwrap_or_else(surroundings::now);
        let is_late = hard.is_some_and(|hard| ended_at >= hard);
        if is_late {
            // The lease may be held by another call by now, which shares its token; it ends by its TTL.
            fill = Fill::Withheld;
        }
        let value = match result {
            Ok(value) => value,
            Err(error) => {
                self.give_up(leader, fill).await;
                if old.is_none() || seat.is_some_and(Seat::is_gone) {
                    return Err(error);
                }
                self.inner.retries.note(call.key, call.freshness.retry_after);
                tracing::debug!(target: "cache_house", key = ?call.key, "the work has failed, and an old value is served");
                return Ok(Ran::Old);
            }
        };
        if is_late {
            // It may be older than what others have stored since.
            return Ok(Ran::Value(computed(value)));
        }
        if hard.is_some() {
            // The store has deadlines of its own.
            leader.gives_way_at(None);
        }
        if call.freshness.refresh_early > 0.0 {
            self.inner.work_times.note(self.name_hash(options), begun.elapsed());
        }
        let ttl = self.lifetime(call, options, decisions, &value);
        let route = tiers.route(call.key);
        if route != Route::Server {
            fill = Fill::Withheld;
        }
        match &fill {
            // It isn't to be stored, or the server takes none: it's full, or was unavailable when the work began.
            fill if route == Route::Server && call.fence && (ttl.is_zero() || matches!(fill, Fill::Withheld)) => {
                leader.publish_as_of_work(&value, (!ttl.is_zero()).then_some(ttl));
            }
            _ if ttl.is_zero() => {}
            Fill::Withheld => leader.publish(&value, ttl, false),
            Fill::Unfenced { .. } => leader.publish(&value, ttl, true),
            Fill::Fenced(_) => leader.offer(&value, ttl),
        }
        let is_for_memory = matches!(fill, Fill::Withheld);
        let result = tiers.store(call, leader, &value, ttl, fill).await;
        let in_memory = || tiers.memory.is_some() && !leader.is_invalidated();
        let is_stored = match result {
            Ok(stored) => stored == Stored::Kept && !ttl.is_zero() && (!is_for_memory || in_memory()),
            Err(not_stored) => {
                let is_foreign = matches!(not_stored, NotStored::Foreign);
                let error = not_stored.into();
                self.log_not_stored(options, &error);
                // What the server doesn't take, memory does.
                in_memory() && !is_foreign && !error.is_codec() && !error.is_too_large()
            }
        };
        let remaining = is_stored.then_some(ttl);
        Ok(Ran::Value(Fetched { remaining, ..computed(value) }))
    }

    /// Takes the lease away before another takes over, and not once one has: that one would share it, and lose it.
    async fn give_up(&self, leader: &Leader, fill: Fill) {
        if leader.holds_on() {
            self.inner.tiers.give_up_fill(fill).await;
        }
    }

    /// The TTL of a value that is about to be stored, its stale window included; zero where it isn't to be stored.
    pub(super) fn lifetime<T, C>(
        &self,
        call: &ResolvedCall<'_, C>,
        options: &CacheOptions<C>,
        decisions: Option<&Decisions>,
        value: &T,
    ) -> Duration
    where
        C: ValueCodec<T>,
    {
        if call.ttl.is_zero() || decisions.is_some_and(Decisions::skips_store) {
            return Duration::ZERO;
        }
        let by_value = catch_unwind(AssertUnwindSafe(|| {
            if call.codec.stores(value) { Ok(call.codec.ttl_of(value)) } else { Err(()) }
        }));
        let by_value = match by_value {
            Ok(Ok(ttl)) => ttl,
            Ok(Err(())) => return Duration::ZERO,
            Err(_) => {
                if self.inner.tiers.counters.decision_warning.first() {
                    let call = options.name();
                    tracing::warn!(target: "cache_house", %call, "`expire_by` or `store_if` panicked, so the value isn't stored; logged once");
                }
                return Duration::ZERO;
            }
        };
        let fresh = decisions.and_then(Decisions::expire).or(by_value).unwrap_or(call.ttl);
        if fresh.is_zero() {
            return Duration::ZERO;
        }
        let freshness = &*call.freshness;
        let fresh = if freshness.jitter.is_zero() { fresh } else { freshness.shortened(fresh, rand::random()) };
        fresh.saturating_add(freshness.stale_window())
    }

    /// Waits for the value that another process computes, and for that process's end: the call's `lease` at most, and no longer than its
    /// batch does.
    async fn wait_for_another<T, C>(
        &self,
        call: &ResolvedCall<'_, C>,
        options: &CacheOptions<C>,
        leader: &Leader,
        old: Option<&Old<T>>,
        mut lease: Lease,
        seat: Option<&Seat>,
    ) -> Waited<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let (tiers, timer) = (&self.inner.tiers, Timer::start());
        tiers.counters.lease_waits.add_one();
        let _waiting = seat.map(Seat::waits);
        let deadline = surroundings::now() + call.lease;
        let mut delay = FIRST_LEASE_POLL;
        let waited = loop {
            let now = surroundings::now();
            let (Route::Server, Some(server)) = (tiers.route(call.key), &tiers.server) else {
                break Waited::Run(Fill::Withheld);
            };
            if now >= deadline || seat.is_some_and(Seat::is_pressed) {
                // With the same token: the first to end stores its value.
                break Waited::Run(Fill::Fenced(lease));
            }
            // On any executor, and on a sync caller's own thread.
            let _ = watchdog::within(deadline.min(now + delay), future::pending::<()>()).await;
            delay = (2 * delay).min(LONGEST_LEASE_POLL);
            leader.asks();
            match tiers.read_server(server, call, leader).await {
                // The call is counted already, as a miss.
                Read::Hit(value, remaining) => {
                    let found = Fetched { value, source: Source::Server, remaining };
                    if !self.verdict(call, options, &found).is_stale() {
                        break Waited::Found(found);
                    }
                }
                Read::Miss => leader.note_gone(),
                Read::Undecodable => {}
                Read::Foreign | Read::Unavailable => break Waited::Run(Fill::Withheld),
            }
            match tiers.begin_fill(call, before_work(seat)).await {
                // The holder has failed, or its value was invalidated: this call is the next.
                Fill::Fenced(next) if !next.is_shared => {
                    break self.look_again(call, options, leader, old, next).await;
                }
                Fill::Fenced(next) => lease = next,
                fill => break Waited::Run(fill),
            }
        };
        timer.waited();
        waited
    }

    /// Looks once more, now that this call holds the lease: between its lookup and the lease, the holder before may have stored a value.
    async fn look_again<T, C>(
        &self,
        call: &ResolvedCall<'_, C>,
        options: &CacheOptions<C>,
        leader: &Leader,
        old: Option<&Old<T>>,
        lease: Lease,
    ) -> Waited<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let (tiers, fill) = (&self.inner.tiers, Fill::Fenced(lease));
        let Some(server) = &tiers.server else { return Waited::Run(fill) };
        leader.asks();
        match tiers.read_server(server, call, leader).await {
            // The call is counted already, as a miss.
            Read::Hit(value, remaining) => {
                let found = Fetched { value, source: Source::Server, remaining };
                let is_elected = old.is_some_and(|old| old.elects(&found));
                if is_elected || self.verdict(call, options, &found) != Verdict::Fresh {
                    return Waited::Run(fill);
                }
                tiers.give_up_fill(fill).await;
                Waited::Found(found)
            }
            Read::Miss => {
                leader.note_gone();
                Waited::Run(fill)
            }
            Read::Undecodable => Waited::Run(fill),
            Read::Foreign | Read::Unavailable => {
                // Or the next callers would wait for a value that isn't stored.
                tiers.give_up_fill(fill).await;
                Waited::Run(Fill::Withheld)
            }
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

/// How long the work may yet wait for its batch, once a call has its lease.
fn before_work(seat: Option<&Seat>) -> Duration {
    seat.map_or(Duration::ZERO, |_| JOINT_WAIT)
}

/// What `work` comes to, if that's by `deadline`.
pub(super) async fn until<F: Future>(deadline: Option<Instant>, work: Pin<&mut F>) -> Option<F::Output> {
    match deadline {
        Some(deadline) => watchdog::within(deadline, work).await,
        None => Some(work.await),
    }
}
