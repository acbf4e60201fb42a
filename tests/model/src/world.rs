//! What a scenario consists of: a process over a server, threads that call it, and what must hold whatever the order.
//!
//! The truth is a number that only grows: each invalidation is made for a new one, and what the work returns is the number at that time. So a
//! call that begins after an invalidation has ended is served no lower number.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use shuttle::rand::{Rng, thread_rng};

use super::schedules::rest;
use super::server::{Data, Link, remove};
use crate::backend::measured::Measured;
use crate::backend::memory::{Memory, MemoryLimits};
use crate::backend::tiers::Tiers;
use crate::clock::{Clock, ManualClock};
use crate::config::Namespaces;
use crate::handle::caller::Caller;
use crate::handle::engine::{Defaults, Engine, Inner};
use crate::handle::freshness::infallible;
use crate::handle::want::{Want, Work};
use crate::health::{Health, HealthReporter};
use crate::key::{CallKey, Scope, ServerKey};
use crate::options::CacheOptions;
use crate::policy::Overrides;
use crate::surroundings::{self, Parker, pass, passed, step};

/// How long a call may take at most. Two looks of the watchdog find a leader that isn't polled any more, and each of two waiters in a row
/// may become one.
const LONGEST_CALL: Duration = Duration::from_secs(7);

/// When a schedule has hung: later than any deadline in the engine.
const LONGEST: Duration = Duration::from_secs(600);

/// What all calls are for.
const NAME: &str = "f";

const FOREIGN: (&[u8], &[u8]) = (b"other:program:key", b"its value");

/// Clones are the same world.
#[derive(Clone)]
pub(super) struct World(Arc<State>);

struct State {
    truth: AtomicU32,
    /// The number of the last invalidation that has ended: no call that begins now is served less.
    floor: AtomicU32,
    /// The same of those that this process has made: its memory holds no less in the end.
    own_floor: AtomicU32,
    runs: AtomicU32,
    /// Callers that haven't returned, and are polled yet.
    live: AtomicU32,
    is_over: AtomicBool,
    stopped: Mutex<Vec<Parker>>,
    /// How many threads have ended, or their futures aren't polled any more; who waits for that.
    left: AtomicU32,
    awaiting: Mutex<Vec<Parker>>,
    data: Data,
    link: Link,
    engine: Engine<Link>,
    key: CallKey,
    /// Commands may be late or lost.
    has_faults: bool,
    /// Fills are fenced against other processes.
    is_fenced: AtomicBool,
    /// Memory holds nothing that another process has invalidated either.
    has_fresh_memory: AtomicBool,
}

/// What becomes of an async caller, beside the end of its call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fate {
    Lives,
    /// Its future isn't polled after so many polls.
    StopsAfter(u32),
    /// Its future is dropped after so many polls.
    DroppedAfter(u32),
}

impl Fate {
    /// Any, with as many polls as a call takes.
    pub(super) fn any() -> Self {
        match thread_rng().gen_range(0..3) {
            0 => Self::Lives,
            1 => Self::stops(),
            _ => Self::DroppedAfter(thread_rng().gen_range(1..7)),
        }
    }

    pub(super) fn stops() -> Self {
        Self::StopsAfter(thread_rng().gen_range(1..7))
    }
}

impl World {
    /// A process over a server of which so many commands are lost or late.
    pub(super) fn new(losses: u32, delays: u32) -> Self {
        crate::watchdog::make_statics();
        // It has the static that numbers threads made.
        let _ = Caller::asynchronous();
        let data = Data::default();
        data.lock().insert(ServerKey::from_static(FOREIGN.0), Bytes::from_static(FOREIGN.1));
        let link = Link::to(&data, losses, delays);
        let clock = Clock::from(ManualClock::new());
        let tiers = Tiers {
            memory: Some(Memory::new(MemoryLimits { max_entries: 8, max_bytes: 1 << 20 }, clock.clone())),
            server: Some(Measured::new(link.clone())),
            journal: Arc::default(),
            counters: Arc::default(),
            max_value_bytes: 1 << 20,
            fallback_max_age: None,
            near: None,
            weighers: crate::codec::Weighers::default(),
            sealing: crate::codec::Sealing::default(),
        };
        let defaults = Defaults::new(Overrides::defaults(), Namespaces::default());
        let health = Arc::new(HealthReporter::new(Health::Connecting, ""));
        let inner = Inner::new(tiers, health, defaults, None, Duration::from_secs(1), clock);
        let engine = Engine::new(inner, Scope::new("p", "n").expect("both parts are given"));
        let key = engine.call_key(&CacheOptions::new(NAME)).expect("it has a key");
        let world = Self(Arc::new(State {
            truth: 1.into(),
            floor: 0.into(),
            own_floor: 0.into(),
            runs: 0.into(),
            live: 0.into(),
            is_over: false.into(),
            stopped: Mutex::default(),
            left: 0.into(),
            awaiting: Mutex::default(),
            data,
            link,
            engine,
            key,
            has_faults: losses + delays > 0,
            is_fenced: true.into(),
            has_fresh_memory: false.into(),
        }));
        let supervised = world.clone();
        let supervise = move || {
            let State { link, engine, .. } = &*supervised.0;
            supervised.drive(Fate::Lives, link.supervise(&engine.inner.tiers.journal));
        };
        surroundings::spawn("supervisor", supervise).expect("a thread is spawned");
        world
    }

    /// Has stores be those commands that are lost.
    pub(super) fn loses_stores(&self) {
        self.0.link.loses_stores();
    }

    /// Has the server hold the truth of now.
    pub(super) fn fill(&self) {
        let value = Bytes::from(self.0.truth.load(Ordering::Relaxed).to_string());
        self.0.data.lock().insert(self.0.key.server_key(), value);
    }

    /// In half of the schedules, fills aren't fenced against other processes. So the fence within this one stands alone.
    pub(super) fn may_be_unfenced(&self) {
        self.0.is_fenced.store(thread_rng().gen_ratio(1, 2), Ordering::Relaxed);
    }

    /// The same in all of them.
    pub(super) fn is_unfenced(&self) {
        self.0.is_fenced.store(false, Ordering::Relaxed);
    }

    fn options(&self) -> CacheOptions {
        CacheOptions::new(NAME).fence(self.0.is_fenced.load(Ordering::Relaxed))
    }

    /// A thread that calls the process in some way; all are waited for.
    pub(super) fn thread(&self, name: &'static str, run: impl FnOnce(&Self) + Send + 'static) {
        self.0.live.fetch_add(1, Ordering::Relaxed);
        let world = self.clone();
        let run = move || {
            run(&world);
            world.leave();
        };
        surroundings::spawn(name, run).expect("a thread is spawned");
    }

    fn leave(&self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
        self.0.left.fetch_add(1, Ordering::Relaxed);
        let awaiting = std::mem::take(&mut *self.0.awaiting.lock());
        for one in awaiting {
            one.unpark();
        }
    }

    /// Waits until so many threads have ended, or their futures aren't polled any more.
    pub(super) fn until_left(&self, count: u32) {
        while self.0.left.load(Ordering::Relaxed) < count {
            self.0.awaiting.lock().push(Parker::of_this_thread());
            surroundings::park();
        }
    }

    /// A caller of the key with this fate, whose work takes a poll and doesn't fail.
    pub(super) fn caller(&self, fate: Fate) {
        self.thread("caller", move |world| world.call(fate));
    }

    /// The same on this thread.
    pub(super) fn call(&self, fate: Fate) {
        self.call_with(fate, async |world: &Self| world.work());
    }

    /// A caller whose work panics.
    pub(super) fn panicking_caller(&self) {
        self.thread("caller", |world| {
            world.call_with(Fate::Lives, async |world: &Self| {
                world.work();
                // Without a message, of which there would be thousands.
                resume_unwind(Box::new("on purpose"))
            });
        });
    }

    /// A caller whose key another process removes while its work runs.
    pub(super) fn overtaken_caller(&self) {
        self.0.has_fresh_memory.store(true, Ordering::Relaxed);
        self.thread("caller", |world| {
            world.call_with(Fate::Lives, async |world: &Self| {
                let value = world.work();
                world.remove_elsewhere();
                value
            });
        });
    }

    fn call_with(&self, fate: Fate, work: impl AsyncFnOnce(&Self) -> u32) {
        let since = self.begin();
        let options = self.options();
        let work = Work::plain(|_| async {
            pause().await;
            Ok(work(self).await)
        });
        let call = self.0.engine.read_through(&options, Caller::asynchronous, Want::VALUE, work);
        if let Some(found) = self.drive(fate, call) {
            self.returns(since, infallible(found).value);
        }
    }

    /// A sync caller.
    pub(super) fn sync_caller(&self) {
        self.thread("sync caller", |world| {
            let since = world.begin();
            let work = Work::plain(|_| {
                step();
                Ok(world.work())
            });
            let found = world.0.engine.read_through_blocking(&world.options(), Caller::blocking, Want::VALUE, work);
            world.returns(since, infallible(found).value);
        });
    }

    /// What has no work.
    pub(super) fn getter(&self, fate: Fate) {
        self.thread("getter", move |world| world.get(fate));
    }

    pub(super) fn get(&self, fate: Fate) {
        let since = self.begin();
        let options = self.options();
        let found: Option<Option<u32>> = self.drive(fate, self.0.engine.get(&options, Caller::asynchronous()));
        if let Some(Some(found)) = found {
            self.returns(since, found);
        }
    }

    /// Removes the key or clears its namespace, for a new truth.
    pub(super) fn remover(&self, fate: Fate) {
        self.thread("remover", move |world| world.remove(fate));
    }

    pub(super) fn remove(&self, fate: Fate) {
        let truth = self.changes();
        let begun = passed();
        let options = self.options();
        let engine = &self.0.engine;
        let removed = match thread_rng().gen_ratio(1, 4) {
            true => self.drive(fate, engine.clear_namespace("n")),
            false => self.drive(fate, engine.remove(&options)),
        };
        let Some(removed) = removed else { return };
        let removed = removed.expect("no removal is refused");
        self.invalidated(truth);
        let took = passed() - begun;
        if !self.0.has_faults {
            assert!(!removed.journalled && took.is_zero(), "a removal waited {took:?} beside a prompt server");
        }
        assert!(took <= LONGEST_CALL, "a removal took {took:?}");
    }

    /// Inserts a new truth.
    pub(super) fn insert(&self, fate: Fate) {
        let truth = self.changes();
        let begun = passed();
        let options = self.options();
        let insert = self.0.engine.insert(&options, &truth, Caller::asynchronous());
        let Some(inserted) = self.drive(fate, insert) else { return };
        inserted.expect("no insert is refused");
        self.invalidated(truth);
        let took = passed() - begun;
        assert!(took <= LONGEST_CALL, "an insert took {took:?}");
    }

    /// Another process removes the key, for a new truth.
    pub(super) fn remove_elsewhere(&self) {
        let truth = self.0.truth.fetch_add(1, Ordering::Relaxed) + 1;
        step();
        remove(&mut self.0.data.lock(), &self.0.key.server_key());
        step();
        self.0.floor.fetch_max(truth, Ordering::Relaxed);
    }

    fn changes(&self) -> u32 {
        let truth = self.0.truth.fetch_add(1, Ordering::Relaxed) + 1;
        step();
        truth
    }

    fn invalidated(&self, truth: u32) {
        self.0.floor.fetch_max(truth, Ordering::Relaxed);
        self.0.own_floor.fetch_max(truth, Ordering::Relaxed);
    }

    fn work(&self) -> u32 {
        self.0.runs.fetch_add(1, Ordering::Relaxed);
        self.0.truth.load(Ordering::Relaxed)
    }

    fn begin(&self) -> (u32, Duration) {
        step();
        (self.0.floor.load(Ordering::Relaxed), passed())
    }

    fn returns(&self, (floor, begun): (u32, Duration), value: u32) {
        assert!(value >= floor, "a call was served {value}, and began after invalidation {floor} had ended");
        let took = passed() - begun;
        assert!(took <= LONGEST_CALL, "a call took {took:?}");
    }

    /// Polls on this thread whenever it's woken, until it ends or its fate has come.
    fn drive<F: Future>(&self, fate: Fate, future: F) -> Option<F::Output> {
        let mut future = Box::pin(future);
        let waker = Waker::from(Arc::new(Unpark(Parker::of_this_thread())));
        let mut cx = Context::from_waker(&waker);
        for polls in 1.. {
            match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx))) {
                Ok(Poll::Ready(output)) => return Some(output),
                Ok(Poll::Pending) => {}
                Err(panic) if panic.is::<&str>() && *panic.downcast_ref().unwrap_or(&"") == "on purpose" => {
                    return None;
                }
                Err(panic) => resume_unwind(panic),
            }
            match fate {
                Fate::StopsAfter(after) if after == polls => {
                    // Nobody waits for this thread any more, and its future stays as it is.
                    self.leave();
                    while !self.0.is_over.load(Ordering::Relaxed) {
                        self.0.stopped.lock().push(Parker::of_this_thread());
                        surroundings::park();
                    }
                    self.0.live.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                Fate::DroppedAfter(after) if after == polls => return None,
                _ => surroundings::park(),
            }
        }
        None
    }

    /// Has all threads run to their ends, whatever time that takes, and checks what must hold then.
    pub(super) fn runs_to_rest(&self) {
        self.rests(|| self.0.live.load(Ordering::Relaxed) == 0);
        if !self.0.has_faults {
            // Nothing depends on those that were never polled again.
            self.assert_server_is_new();
        }
        // Those that were never polled again are dropped now.
        self.0.is_over.store(true, Ordering::Relaxed);
        for stopped in std::mem::take(&mut *self.0.stopped.lock()) {
            stopped.unpark();
        }
        self.rests(|| false);
        let State { engine, .. } = &*self.0;
        assert_eq!(engine.inner.flights.counts(), [0; 3], "flights are left: joined, apart, behind");
        assert_eq!(engine.inner.tiers.journal.len(), 0, "the server is there, and the journal isn't empty");
        let foreign = self.0.data.lock().get(FOREIGN.0).cloned();
        assert_eq!(foreign.as_deref(), Some(FOREIGN.1), "another program's key was touched");
        let (floor, own_floor) = (self.0.floor.load(Ordering::Relaxed), self.0.own_floor.load(Ordering::Relaxed));
        self.assert_server_is_new();
        let copy = engine.inner.tiers.memory.as_ref().and_then(|memory| memory.find(&self.0.key));
        let copy =
            copy.and_then(|copy| copy.value::<u32>().copied().or_else(|| copy.bytes().map(|bytes| number(bytes))));
        let least = if self.0.has_fresh_memory.load(Ordering::Relaxed) { floor } else { own_floor };
        assert!(copy.is_none_or(|value| value >= least), "memory is left with {copy:?} after {least}");
        self.0.link.end();
        self.rests(|| false);
    }

    fn assert_server_is_new(&self) {
        let floor = self.0.floor.load(Ordering::Relaxed);
        let on_server = self.0.data.lock().get(&*self.0.key.server_key()).map(|bytes| number(bytes));
        assert!(on_server.is_none_or(|value| value >= floor), "the server is left with {on_server:?} after {floor}");
    }

    pub(super) fn runs(&self) -> u32 {
        self.0.runs.load(Ordering::Relaxed)
    }

    /// Lets time pass whenever all threads wait, until none sleeps or it's enough.
    fn rests(&self, is_enough: impl Fn() -> bool) {
        loop {
            let is_quiet = rest();
            if is_quiet && is_enough() {
                return;
            }
            let passes = pass();
            let live = self.0.live.load(Ordering::Relaxed);
            assert!(passed() < LONGEST, "a hang: {live} threads haven't ended");
            if is_quiet && !passes {
                assert_eq!(live, 0, "a hang: so many threads wait, and nothing will wake them");
                return;
            }
        }
    }
}

struct Unpark(Parker);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn number(bytes: &[u8]) -> u32 {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).expect("it's a number")
}

/// Pending once.
async fn pause() {
    let mut is_over = false;
    let mut pause = pin!(std::future::poll_fn(|cx| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
    pause.as_mut().await;
}
