//! Batches: each key is a call of its own, with its own flight, lease and store, and the work runs once for all that is missing.

mod call;
mod progress;
mod together;

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hash};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hashbrown::HashTable;

use self::call::{Asking, Call, Led, Outcomes};
use self::progress::{End, Given, NoValue, Progress};
use super::blocking;
use super::caller::{BatchPulse, Caller};
use super::coalescing::{Join, Leader, Stores};
use super::engine::Engine;
use super::entry::Decisions;
use super::joint::{JOINT_WAIT, Joint};
use super::read_through::{Lookup, Outcome, Turn};
use super::run::until;
use super::want::{Want, Work};
use crate::backend::server::Server;
use crate::codec::ValueCodec;
use crate::options::CacheOptions;
use crate::surroundings::{self, oneshot};
use crate::telemetry::metrics::{Answer, Timer};

/// How the calls of a batch have joined the flights of their keys, by their places.
#[derive(Default)]
struct Joined {
    led: VecDeque<Led>,
    /// Another call leads, and what it has asked the server for may be older than this batch. So the batch reads the keys itself.
    beside: Vec<usize>,
    /// What others bring is waited for.
    awaited: VecDeque<usize>,
}

/// How many commands of a batch read several keys each at once.
const MOST_READS: usize = 4;

/// The keys of a batch, as far as memory could answer them.
struct Batch<'a, T, C> {
    /// By the places of the keys.
    found: Vec<Option<T>>,
    /// The others, in the order given.
    asked: Vec<Asked>,
    calls: Vec<Call<'a, T, C>>,
    joint: Arc<Joint>,
}

/// A key that memory has no value for.
struct Asked {
    /// Of the key.
    place: usize,
    /// Which call it is; `None` where the work runs for it and nothing is kept: it has no cache key, or the handle is closed.
    call: Option<usize>,
    /// A key before it is the same call.
    is_twin: bool,
}

/// What goes on in a batch before its work.
enum Event<T> {
    LookedUp(usize, Outcome<T, NoValue>),
    LookedUpTogether(Result<Outcomes<T>, Vec<Asking>>),
    Ended(usize, Given<T>),
    /// A call has got ready for the work, or begins or ends to wait for another process.
    Moved,
}

impl<S: Server> Engine<S> {
    pub(super) async fn many<K, T, E, C, Fut>(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: impl Fn(&K) -> CacheOptions<C>,
        work: impl FnOnce(Vec<K>) -> Fut,
    ) -> Result<HashMap<K, T>, E>
    where
        K: Eq + Hash + Clone,
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
        Fut: Future<Output = Result<HashMap<K, T>, E>>,
    {
        let (keys, mut options) = with_options(keys, options);
        self.begin_all(&mut options, Caller::asynchronous).await;
        let found = {
            let batch = self.lookup_all(&keys, &options);
            if batch.asked.is_empty() {
                batch.found
            } else {
                let caller = Caller::asynchronous();
                let pulse = BatchPulse::new(caller);
                // Boxed, so that the future of the call is small.
                Box::pin(pulse.run(self.finish(&keys, batch, caller, &pulse, work))).await?
            }
        };
        Ok(by_key(keys, found))
    }

    pub(super) fn many_blocking<K, T, E, C>(
        &self,
        keys: impl IntoIterator<Item = K>,
        options: impl Fn(&K) -> CacheOptions<C>,
        work: impl FnOnce(Vec<K>) -> Result<HashMap<K, T>, E>,
    ) -> Result<HashMap<K, T>, E>
    where
        K: Eq + Hash + Clone,
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let (keys, mut options) = with_options(keys, options);
        blocking::block_on(self.begin_all(&mut options, Caller::blocking));
        let found = {
            let batch = self.lookup_all(&keys, &options);
            if batch.asked.is_empty() {
                batch.found
            } else {
                let caller = Caller::blocking();
                let pulse = BatchPulse::new(caller);
                // The work runs in the same surroundings, whatever the cache has to wait for before.
                blocking::in_place(caller.place(), || {
                    let work = |keys| async { work(keys) };
                    blocking::block_on(pulse.run(self.finish(&keys, batch, caller, &pulse, work)))
                })?
            }
        };
        Ok(by_key(keys, found))
    }

    /// Looks all keys up in memory, where that answers by itself.
    fn lookup_all<'a, K, T, C>(&self, keys: &[K], options: &'a [CacheOptions<C>]) -> Batch<'a, T, C>
    where
        K: Eq + Hash,
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let (joint, count) = (Arc::default(), keys.len());
        let tiers = &self.inner.tiers;
        // Looked into once for all.
        let all_ask = !self.is_closed() && tiers.near.is_none() && tiers.all_go_to_server();
        let hasher = foldhash::quality::RandomState::default();
        let (mut found, mut asked) = ((0..count).map(|_| None).collect::<Vec<_>>(), Vec::with_capacity(count));
        let mut calls = Vec::<Call<'a, T, C>>::with_capacity(count);
        let mut places = HashTable::<usize>::with_capacity(count);
        let mut calls_at = HashTable::<usize>::with_capacity(count);
        for (place, (key, options)) in keys.iter().zip(options).enumerate() {
            let hash = hasher.hash_one(key);
            if places.find(hash, |&before| keys[before] == *key).is_some() {
                continue;
            }
            places.insert_unique(hash, place, |&before| hasher.hash_one(&keys[before]));
            let want = Want::of(options);
            let lookup = match all_ask.then(|| self.call_key(options)) {
                Some(Ok(call_key)) => Lookup::Open(call_key, None),
                _ => self.lookup_memory(options, &want),
            };
            let (call, is_twin) = match lookup {
                Lookup::Found(fetched) => {
                    found[place] = Some(fetched.value);
                    continue;
                }
                Lookup::Uncached => {
                    self.answered(options, Answer::Uncached);
                    (None, false)
                }
                Lookup::Open(call_key, old) => {
                    let is_same = |&at: &usize| calls[at].key.as_bytes() == call_key.as_bytes();
                    match calls_at.find(call_key.hash(), is_same) {
                        Some(&call) => {
                            calls[call].has_twins = true;
                            (Some(call), true)
                        }
                        None => {
                            let (call, hash) = (calls.len(), call_key.hash());
                            let (old, decisions) = (old.map(Box::new), Decisions::joint(&joint));
                            calls.push(Call { key: call_key, options, old, want, decisions, has_twins: false });
                            calls_at.insert_unique(hash, call, |&at| calls[at].key.hash());
                            (Some(call), false)
                        }
                    }
                }
            };
            asked.push(Asked { place, call, is_twin });
        }
        Batch { found, asked, calls, joint }
    }

    /// Looks up what memory doesn't have, runs the work for what is missing, and stores what that gives.
    async fn finish<K, T, E, C, Fut>(
        &self,
        keys: &[K],
        batch: Batch<'_, T, C>,
        caller: Caller,
        pulse: &BatchPulse,
        work: impl FnOnce(Vec<K>) -> Fut,
    ) -> Result<Vec<Option<T>>, E>
    where
        K: Eq + Hash + Clone,
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
        Fut: Future<Output = Result<HashMap<K, T>, E>>,
    {
        let Batch { mut found, asked, calls, joint } = batch;
        let is_uncached = asked.iter().any(|asked| asked.call.is_none());
        let (mut runs, mut progress) = self.prepare(&calls, &joint, caller, pulse, is_uncached).await;
        let lacks = |asked: &&Asked| asked.call.is_none_or(|at| !asked.is_twin && progress.lacks(at));
        let missing: Vec<&Asked> = asked.iter().filter(lacks).collect();
        let (mut values, mut failed) = (HashMap::new(), None);
        if !missing.is_empty() {
            // Before the work begins, so that each flight knows which of its waiters have come before.
            joint.begin();
            progress.follow(&mut runs, || joint.at_work() == joint.ready()).await;
            self.inner.tiers.counters.runs.add_one();
            let timer = Timer::start();
            let running = work(missing.iter().map(|asked| keys[asked.place].clone()).collect());
            let is_needed = is_uncached || progress.is_alone;
            // Without a result, all calls have ended: with old values, which are served because the work takes too long.
            if let Some(result) = progress.beside(&mut runs, running, is_needed).await {
                timer.worked();
                joint.ends(surroundings::now());
                match result {
                    Ok(computed) => values = computed,
                    Err(error) => failed = Some(error),
                }
                let mut gifts = VecDeque::new();
                for Asked { place, call, .. } in missing {
                    if let &Some(at) = call {
                        gifts.push_back((at, values.remove(&keys[*place])));
                    }
                }
                let has_none = |at: usize| calls[at].seat().note_gone();
                progress.give(has_none, gifts, &mut runs, self.inner.at_once, failed.is_some()).await;
            }
        }
        for &Asked { place, call, .. } in &asked {
            let value = match call {
                Some(at) => progress.value(at, calls[at].has_twins),
                None => values.remove(&keys[place]),
            };
            if value.is_none()
                && let Some(error) = failed
            {
                return Err(error);
            }
            found[place] = value;
        }
        Ok(found)
    }

    /// Looks all calls up, and gets those ready for the work that need it.
    async fn prepare<T, C>(
        &self,
        calls: &[Call<'_, T, C>],
        joint: &Joint,
        caller: Caller,
        pulse: &BatchPulse,
        is_uncached: bool,
    ) -> (FuturesUnordered<impl Future<Output = (usize, Given<T>)>>, Progress<T>)
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let mut progress = Progress::new(calls.len());
        let mut joined = self.join_all(calls, caller, pulse);
        let (mut pieces, mut turns) = (self.take_together(calls, &mut joined, caller), VecDeque::new());
        let (mut reads, mut lookups) = (FuturesUnordered::new(), FuturesUnordered::new());
        let (mut waits, mut runs) = (FuturesUnordered::new(), FuturesUnordered::new());
        // When it waits no longer for what others compute.
        let (mut press_at, mut is_pressed) = (None, false);
        loop {
            let at_once = self.inner.at_once;
            while reads.len() < MOST_READS
                && let Some(piece) = pieces.pop_front()
            {
                reads.push(self.look_up_together(calls, piece));
            }
            let mut preparing = runs.len() - joint.ready() - joint.waiting();
            while lookups.len() + preparing < at_once
                && let Some((at, turn)) = turns.pop_front()
            {
                let (give, given) = oneshot::channel();
                progress.gifts[at] = Some(give);
                runs.push(async move { (at, self.take_part(&calls[at], turn, given).await) });
                preparing += 1;
            }
            while lookups.len() + preparing < at_once
                && let Some(Led { at, leader, stores }) = joined.led.pop_front()
            {
                lookups.push(async move { (at, self.look_up(&calls[at], leader, stores).await) });
            }
            while waits.len() < at_once
                && let Some(at) = joined.awaited.pop_front()
            {
                let Call { key, options, old, want, .. } = &calls[at];
                waits.push(async move { (at, self.fetch(key, options, caller, old.as_deref(), want).await) });
            }
            let is_busy = !reads.is_empty() || !lookups.is_empty() || preparing > 0;
            if !is_busy && waits.is_empty() && runs.len() == joint.ready() {
                return (runs, progress);
            }
            let has_work = is_uncached || progress.is_alone || joint.ready() > 0;
            if has_work && !is_busy && press_at.is_none() {
                press_at = Some(surroundings::now() + JOINT_WAIT);
            }
            let moved = (joint.ready(), joint.waiting());
            let event = pin!(poll_fn(|cx| {
                if let Poll::Ready(Some(outcomes)) = reads.poll_next_unpin(cx) {
                    return Poll::Ready(Event::LookedUpTogether(outcomes));
                }
                if let Poll::Ready(Some((at, outcome))) = lookups.poll_next_unpin(cx) {
                    return Poll::Ready(Event::LookedUp(at, outcome));
                }
                if let Poll::Ready(Some((at, outcome))) = waits.poll_next_unpin(cx) {
                    return Poll::Ready(Event::LookedUp(at, outcome));
                }
                if let Poll::Ready(Some((at, given))) = runs.poll_next_unpin(cx) {
                    return Poll::Ready(Event::Ended(at, given));
                }
                if (joint.ready(), joint.waiting()) == moved { Poll::Pending } else { Poll::Ready(Event::Moved) }
            }));
            let mut note = |at: usize, outcome| match outcome {
                Outcome::Found(found) => progress.ends[at] = Some(End::Value(found.value)),
                Outcome::Run(turn) => {
                    turn.leader.belongs_to(pulse);
                    turns.push_back((at, turn));
                }
                Outcome::Alone | Outcome::Failed(NoValue) => self.run_alone(&calls[at], at, &mut progress),
            };
            match until(press_at.filter(|_| !is_pressed), event).await {
                Some(Event::LookedUpTogether(Ok(outcomes))) => {
                    for (at, outcome) in outcomes {
                        match outcome {
                            Some(outcome) => note(at, outcome),
                            None => joined.awaited.push_back(at),
                        }
                    }
                }
                Some(Event::LookedUpTogether(Err(piece))) => joined.hand_back(piece),
                Some(Event::LookedUp(at, outcome)) => note(at, outcome),
                Some(Event::Ended(at, given)) => progress.ends[at] = Some(given.into()),
                Some(Event::Moved) => {}
                None => {
                    is_pressed = true;
                    joint.press();
                    joined.awaited.clear();
                    waits.clear();
                    for (at, call) in calls.iter().enumerate() {
                        if progress.ends[at].is_none() && progress.gifts[at].is_none() {
                            self.run_alone(call, at, &mut progress);
                        }
                    }
                }
            }
        }
    }

    /// The work is to run for a call whose value isn't kept.
    fn run_alone<T, C>(&self, call: &Call<'_, T, C>, at: usize, progress: &mut Progress<T>) {
        self.answered(call.options, Answer::Uncached);
        progress.ends[at] = Some(End::Alone);
        progress.is_alone = true;
    }

    /// Joins the flights of all calls.
    fn join_all<T, C>(&self, calls: &[Call<'_, T, C>], caller: Caller, pulse: &BatchPulse) -> Joined {
        let flights = &self.inner.flights;
        let places = |is_forced| (0..calls.len()).filter(move |&at| calls[at].want.forced == is_forced);
        let joined = flights.join_all(places(false).map(|at| &calls[at].key), caller, pulse);
        let joined = places(false).zip(joined.map(|join| (join, None)));
        let forced = places(true).map(|at| {
            let (join, stores) = flights.join_forced(&calls[at].key, caller);
            if let Join::Leader(leader) = &join {
                leader.belongs_to(pulse);
            }
            (at, (join, Some(stores)))
        });
        let mut all = Joined { led: VecDeque::with_capacity(calls.len()), ..Joined::default() };
        for (at, (join, stores)) in joined.chain(forced) {
            match join {
                Join::Leader(leader) => all.led.push_back(Led { at, leader, stores }),
                Join::Wait(flight, joined) if stores.is_none() && flight.is_asking(joined) => all.beside.push(at),
                Join::Wait(..) => all.awaited.push_back(at),
            }
        }
        all
    }

    /// What a call finds that leads its flight.
    async fn look_up<T, C>(&self, call: &Call<'_, T, C>, leader: Leader, stores: Option<Stores>) -> Outcome<T, NoValue>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let resolved = self.resolve(&call.key, call.options);
        if let Some(stores) = stores {
            self.answered(call.options, Answer::Uncached);
            let storable = leader.run(self.begin_forced(&resolved, &stores)).await;
            return Outcome::Run(Turn { leader, storable, old: None });
        }
        let found = leader.run(self.lookup(&resolved, &leader)).await;
        self.after_lookup(&resolved, call.options, leader, call.old.as_deref(), found)
    }

    /// Runs the turn of a call, whose work is to wait for what it's given.
    async fn take_part<T, C>(
        &self,
        call: &Call<'_, T, C>,
        turn: Turn<T>,
        given: oneshot::Receiver<Given<T>>,
    ) -> Given<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let work = |_| {
            call.seat().works();
            // The batch gives each of its calls something, or ends with all of them.
            async { given.await.unwrap_or(Err(NoValue)) }
        };
        let work = Work::deciding(work, &call.decisions);
        self.run(&call.key, call.options, turn, &call.want, work).await.map(|found| found.value)
    }
}

/// The values that there are, by their keys.
fn by_key<K: Eq + Hash, T>(keys: Vec<K>, found: Vec<Option<T>>) -> HashMap<K, T> {
    let mut values = HashMap::with_capacity(keys.len());
    for (key, value) in keys.into_iter().zip(found) {
        if let Some(value) = value {
            values.insert(key, value);
        }
    }
    values
}

/// The keys, and the options of their calls.
fn with_options<K, C>(
    keys: impl IntoIterator<Item = K>,
    options: impl Fn(&K) -> CacheOptions<C>,
) -> (Vec<K>, Vec<CacheOptions<C>>) {
    let keys: Vec<K> = keys.into_iter().collect();
    let options = keys.iter().map(options).collect();
    (keys, options)
}
