//! A member: a process whose callers call and invalidate, and tell the source of it.

use std::collections::VecDeque;
use std::io::{Write, stderr};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use cache_house::{Applied, CacheHandle, CacheHouse, Error, Health, Reconnect, Topology};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::link::{Change, Link, Reply, Said};
use super::{KEYS, MEMBER, NAMESPACES, Settings, call, namespace};

/// Between two looks for the signs of an outage that a call has met.
const LOOK: Duration = Duration::from_millis(2);
/// So often it's looked. Counted rather than timed: this process may be frozen meanwhile, and is to run before it's judged.
const LOOKS: u32 = 100;
/// The same where memory has answered a call, which it does in an outage alone.
const LOOKS_AFTER_MEMORY: u32 = 2_000;
/// So many looks back there has to be no sign either. A call shares the lookup of another, which may have met an outage just before and
/// found a copy in memory: that answers both.
const LOOKS_BACK: usize = 500;

/// Runs the member that the variable [`MEMBER`] describes, until its source says that it's over; nothing without the variable.
pub(crate) fn run() {
    let Ok(member) = std::env::var(MEMBER) else { return };
    let words: Vec<_> = member.split(' ').collect();
    let source: SocketAddr = words[0].parse().expect("an address");
    let [process, start] = [1, 2].map(|word| words[word].parse::<usize>().expect("a number"));
    let Reply::Settings(settings) = Link::to(source).ask(&Said::Hello { process }) else { panic!("no settings") };

    let quick = Reconnect::default().min_delay(Duration::from_millis(10)).max_delay(Duration::from_millis(50));
    let builder = CacheHouse::builder().autodetect(&settings.endpoint).key_prefix(&settings.key_prefix);
    let mut builder = builder.fence(settings.fence).command_timeout(settings.command_timeout).reconnect(quick);
    if let Some(lease) = settings.lease {
        builder = builder.lease(lease);
    }
    let cache = builder.build().expect("the builder is right");
    cache.ready_blocking(Duration::from_secs(10));
    let runtime = Runtime::new().expect("a runtime can be made");
    let past = Past::of(&cache);

    thread::scope(|scope| {
        for number in 0..settings.callers {
            let seed = settings.seed.wrapping_add(((start * settings.callers + number) as u64) << 32);
            let mut caller = Caller {
                link: Link::to(source),
                cache: cache.clone(),
                health: cache.watch_health(),
                past: &past,
                runtime: &runtime,
                settings: &settings,
                rng: StdRng::seed_from_u64(seed),
                is_async: number % 2 == 0,
                journalled: Vec::new(),
                fenced: None,
            };
            scope.spawn(move || {
                caller.link.ask(&Said::Hello { process });
                if number == 0 {
                    caller.fenced = Some(0);
                }
                while caller.act() {}
            });
        }
    });
    cache.close();
}

struct Caller<'a> {
    link: Link,
    cache: CacheHandle,
    health: watch::Receiver<Health>,
    past: &'a Past,
    runtime: &'a Runtime,
    settings: &'a Settings,
    rng: StdRng,
    is_async: bool,
    /// Changes that the journal has, not the server.
    journalled: Vec<u64>,
    /// How many refused fills the source knows of, if this caller tells it.
    fenced: Option<u64>,
}

/// What shows that the server wasn't there all the while: memory may have answered.
#[derive(Clone, Copy, Default, PartialEq)]
struct Trouble {
    journal_length: u64,
    failures: u64,
}

impl Trouble {
    fn of(cache: &CacheHandle) -> Self {
        let stats = cache.stats();
        let failures = [stats.server_errors, stats.server_timeouts, stats.shed, stats.circuit_openings];
        Self { journal_length: stats.journal_length, failures: failures.iter().sum() }
    }
}

/// The last looks, the oldest in front.
struct Past(Arc<Mutex<VecDeque<Trouble>>>);

impl Past {
    /// Looks until it's dropped.
    fn of(cache: &CacheHandle) -> Self {
        let looks = Arc::new(Mutex::new(VecDeque::from([Trouble::of(cache)])));
        let (kept, cache) = (Arc::downgrade(&looks), cache.clone());
        thread::spawn(move || {
            while let Some(looks) = kept.upgrade() {
                let mut looks = looks.lock().unwrap_or_else(PoisonError::into_inner);
                looks.push_back(Trouble::of(&cache));
                if looks.len() > LOOKS_BACK {
                    looks.pop_front();
                }
                drop(looks);
                thread::sleep(LOOK);
            }
        });
        Self(looks)
    }

    fn oldest(&self) -> Trouble {
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.front().copied().unwrap_or_default()
    }
}

impl Caller<'_> {
    /// Calls, or changes something; whether it goes on.
    fn act(&mut self) -> bool {
        let goes_on = if self.rng.gen_bool(0.9) { self.call() } else { self.change() };
        if !self.journalled.is_empty() && self.cache.stats().journal_length == 0 {
            for change in self.journalled.drain(..) {
                self.link.tell(&Said::Confirmed { change });
            }
        }
        let fenced = self.cache.stats().fenced;
        if self.fenced.is_some_and(|told| told != fenced) {
            self.link.tell(&Said::Fenced { count: fenced });
            self.fenced = Some(fenced);
        }
        goes_on
    }

    fn call(&mut self) -> bool {
        let key = self.rng.gen_range(0..KEYS);
        let Reply::Go { floor } = self.link.ask(&Said::Begin { key }) else { return false };
        let (before, memory_hits) = (self.past.oldest(), self.cache.stats().memory_hits);
        let was_served = is_served(&self.health.borrow_and_update());
        let (answered, version) = self.ask_cache(key);
        assert_eq!(answered, key, "the value of another key");
        let mut is_judged = self.was_served_since(was_served, &before);
        if is_judged && version < floor {
            // Health and counters show a moment later that there is an outage.
            let from_memory = self.cache.stats().memory_hits != memory_hits;
            let looks = if from_memory { LOOKS_AFTER_MEMORY } else { LOOKS };
            is_judged = (0..looks).all(|_| {
                thread::sleep(LOOK);
                self.was_served_since(was_served, &before)
            });
            if is_judged {
                let stats = self.cache.stats();
                let _ = writeln!(stderr(), "an old answer without an outage, from memory: {from_memory}; {stats:?}");
            }
        }
        self.link.tell(&if is_judged { Said::Answer { version } } else { Said::NotJudged });
        true
    }

    fn was_served_since(&self, was_served: bool, before: &Trouble) -> bool {
        let has_changed = self.health.has_changed().unwrap_or(true);
        was_served && !has_changed && before.journal_length == 0 && Trouble::of(&self.cache) == *before
    }

    fn ask_cache(&mut self, key: usize) -> (usize, u64) {
        // Most works are quick; the slow ones end behind invalidations.
        let slow = self.rng.gen_bool(0.3);
        let pause = if slow { self.settings.slowest.mul_f64(self.rng.gen_range(0.0..1.0)) } else { Duration::ZERO };
        let link = &mut self.link;
        let mut read = || {
            let Reply::Version(version) = link.ask(&Said::Read) else { panic!("no version") };
            (key, version)
        };
        if self.is_async {
            let work = || async move {
                let value = read();
                tokio::time::sleep(pause).await;
                value
            };
            self.runtime.block_on(self.cache.cached_async(call(key), work))
        } else {
            self.cache.cached(call(key), || {
                let value = read();
                thread::sleep(pause);
                value
            })
        }
    }

    fn change(&mut self) -> bool {
        let key = self.rng.gen_range(0..KEYS);
        let wanted = match self.rng.gen_range(0..100) {
            0..60 => Change::Remove(key),
            60..95 => Change::Insert(key),
            95..99 => Change::ClearNamespace(key % NAMESPACES),
            _ => Change::ClearKeys,
        };
        let (change, version) = match self.link.ask(&Said::Change(wanted)) {
            Reply::Changed { change, version } => (change, version),
            Reply::Busy => return true,
            _ => return false,
        };
        let applied = self.invalidate(wanted, version).expect("an outage is no error, and nothing else is wrong");
        if applied.journalled {
            self.link.tell(&Said::Journalled);
            self.journalled.push(change);
        } else {
            self.link.tell(&Said::Confirmed { change });
        }
        true
    }

    fn invalidate(&self, change: Change, version: u64) -> Result<Applied, Error> {
        let (cache, prefix) = (&self.cache, &self.settings.key_prefix);
        match change {
            Change::Remove(key) if self.is_async => self.runtime.block_on(cache.remove_async(call(key))),
            Change::Remove(key) => cache.remove(call(key)),
            Change::Insert(key) if self.is_async => {
                self.runtime.block_on(cache.insert_async(call(key), &(key, version)))
            }
            Change::Insert(key) => cache.insert(call(key), &(key, version)),
            Change::ClearNamespace(number) => cache.clear_namespace(namespace(number)),
            Change::ClearKeys => cache.clear_keys(prefix),
        }
    }
}

/// Whether the server serves, and all shards of a cluster.
fn is_served(health: &Health) -> bool {
    match health {
        Health::Connected { topology: Topology::Cluster { shards, served } } => served == shards,
        health => health.is_connected(),
    }
}
