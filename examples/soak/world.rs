//! What the cached work reads, and which answers are too old.
//!
//! Each key has a version, which only grows. A member changes it, invalidates the key in its cache, and says so here once the
//! invalidation has returned.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cache_house::{CacheOptions, Source, opts};
use parking_lot::Mutex;

use super::times::Times;

pub(crate) const KEYS: usize = 2_000;
/// Keys share so many namespaces, so that some can be cleared. Every other one is a tag too, if there are tags.
pub(crate) const NAMESPACES: usize = 20;
/// Handles on the same servers, each as a process of its own would have one.
pub(crate) const MEMBERS: usize = 2;

/// For how long tags are known to a process without a near cache.
const TAGS: Duration = Duration::from_secs(1);
/// Changes are remembered for so long; far longer than a call takes.
const REMEMBERED: Duration = Duration::from_secs(20);

/// So many of the answers that were too old are printed.
const REPORTED: u64 = 40;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) near: Option<Duration>,
    pub(crate) has_tags: bool,
    /// A call that takes longer is late.
    pub(crate) bound: Duration,
}

pub(crate) struct World {
    pub(crate) settings: Settings,
    keys: Vec<Key>,
    is_over: AtomicBool,
    /// Odd while confirmed changes may be lost, by a replica that takes over: those of other processes aren't judged then.
    era: AtomicUsize,
    times: Mutex<Times>,
    pub(crate) counts: Counts,
}

#[derive(Default)]
struct Key {
    version: AtomicU64,
    /// Of each member, the version of its last invalidation that has returned, and when that was.
    own: [Mutex<Option<(u64, Instant)>>; MEMBERS],
    /// By any member, once the server has confirmed them.
    confirmed: Mutex<Vec<Confirmed>>,
}

struct Confirmed {
    version: u64,
    era: usize,
    at: Instant,
}

/// What went well and what didn't.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) invalidations: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) hung: AtomicU64,
    /// Answers older than the member's own invalidation.
    pub(crate) stale: AtomicU64,
    /// Answers older than promised of another member's.
    pub(crate) too_old: AtomicU64,
    /// Answers of the server and of the near cache that were compared with other members' invalidations.
    pub(crate) judged: AtomicU64,
    reported: AtomicU64,
    /// Of the near cache's, in microseconds.
    pub(crate) oldest_near: AtomicU64,
}

/// A change of some keys that is being made.
pub(crate) struct Change {
    versions: Vec<(usize, u64)>,
    era: usize,
}

/// A call that is under way.
pub(crate) struct Begun {
    member: usize,
    key: usize,
    own: Option<(u64, Instant)>,
    era: usize,
    at: Instant,
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            keys: (0..KEYS).map(|_| Key::default()).collect(),
            is_over: AtomicBool::new(false),
            era: AtomicUsize::new(0),
            times: Mutex::default(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// From here on confirmed changes may be lost.
    pub(crate) fn may_lose(&self) {
        self.era.fetch_or(1, Ordering::SeqCst);
    }

    /// No change that is made from here on is lost.
    pub(crate) fn loses_nothing(&self) {
        let era = self.era.load(Ordering::SeqCst);
        if era % 2 == 1 {
            self.era.store(era + 1, Ordering::SeqCst);
        }
    }

    pub(crate) fn options(&self, key: usize) -> CacheOptions {
        let options = opts!("version", key).namespace(namespace(key)).expire(Duration::from_secs(20));
        if self.is_tagged(key) { options.tag(namespace(key)) } else { options }
    }

    pub(crate) fn is_tagged(&self, key: usize) -> bool {
        self.settings.has_tags && key % NAMESPACES % 2 == 1
    }

    pub(crate) fn read(&self, key: usize) -> u64 {
        self.keys[key].version.load(Ordering::SeqCst)
    }

    pub(crate) fn change(&self, keys: Vec<usize>) -> Change {
        let era = self.era.load(Ordering::SeqCst);
        let change = |key: usize| (key, self.keys[key].version.fetch_add(1, Ordering::SeqCst) + 1);
        Change { versions: keys.into_iter().map(change).collect(), era }
    }

    /// The member's invalidation of this change has returned.
    pub(crate) fn returned(&self, member: usize, change: &Change) {
        for &(key, version) in &change.versions {
            *self.keys[key].own[member].lock() = Some((version, Instant::now()));
        }
        self.counts.invalidations.fetch_add(1, Ordering::Relaxed);
    }

    /// The servers have it.
    pub(crate) fn confirmed(&self, change: &Change) {
        for &(key, version) in &change.versions {
            let mut confirmed = self.keys[key].confirmed.lock();
            // One that is older than what is remembered stands for all before it.
            let is_recent = |one: &Confirmed| one.at.elapsed() < REMEMBERED;
            let last = confirmed.iter().filter(|one| !is_recent(one)).map(|one| one.version).max();
            confirmed.retain(|one| is_recent(one) || Some(one.version) == last);
            confirmed.push(Confirmed { version, era: change.era, at: Instant::now() });
        }
    }

    pub(crate) fn begin(&self, member: usize, key: usize) -> Begun {
        let era = self.era.load(Ordering::SeqCst);
        Begun { member, key, own: *self.keys[key].own[member].lock(), era, at: Instant::now() }
    }

    /// The call has returned.
    pub(crate) fn judge(&self, begun: &Begun, version: u64, source: Source) {
        if let Some((_, since)) = begun.own.filter(|(own, _)| version < *own) {
            self.counts.stale.fetch_add(1, Ordering::Relaxed);
            self.report(begun, version, source, "its own invalidation", begun.at.duration_since(since));
        }
        let bound = match source {
            Source::Near => self.settings.near.unwrap_or_default(),
            Source::Server => Duration::ZERO,
            // In an outage a copy is as old as it is.
            _ => return,
        };
        let tags = if self.is_tagged(begun.key) { self.settings.near.unwrap_or(TAGS) } else { Duration::ZERO };
        let is_same_era = begun.era.is_multiple_of(2) && begun.era == self.era.load(Ordering::SeqCst);
        if !is_same_era {
            return;
        }
        self.counts.judged.fetch_add(1, Ordering::Relaxed);
        let confirmed = self.keys[begun.key].confirmed.lock();
        let newer = confirmed.iter().filter(|one| one.era == begun.era && one.version > version);
        let Some(age) = newer.filter_map(|one| begun.at.checked_duration_since(one.at)).max() else { return };
        drop(confirmed);
        if source == Source::Near {
            let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
            self.counts.oldest_near.fetch_max(age, Ordering::Relaxed);
        }
        if age > bound.max(tags) {
            self.counts.too_old.fetch_add(1, Ordering::Relaxed);
            self.report(begun, version, source, "another process's", age);
        }
    }

    /// Prints the first of them.
    fn report(&self, begun: &Begun, version: u64, source: Source, whose: &str, age: Duration) {
        if self.counts.reported.fetch_add(1, Ordering::Relaxed) < REPORTED {
            let Begun { member, key, .. } = begun;
            let (member, now) = (member + 1, self.read(*key));
            println!(
                "version {version} of key {key} from {source:?}, {now} by now: handle {member} called {age:.1?} after {whose}"
            );
        }
    }

    pub(crate) fn add(&self, times: &mut Times) {
        self.times.lock().take(times);
    }

    /// Of the calls since it was asked last.
    pub(crate) fn times(&self) -> Times {
        std::mem::take(&mut self.times.lock())
    }
}

/// The key's namespace, and its tag if it has one.
pub(crate) fn namespace(key: usize) -> String {
    format!("ns{}", key % NAMESPACES)
}
