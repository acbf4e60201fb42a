//! Stale values, early renewals, forced refreshes, and what a call says of its value.

mod entries;
mod forced;
mod jitter;
mod outage;
mod renewals;
mod timeouts;
mod windows;

use std::sync::Arc;
use std::time::Duration;

use cache_house::{CacheHandle, CacheHouse, CacheOptions, ManualClock};

use crate::support::cluster::{Borrowed, clustered};
use crate::support::{self, Count, DEADLINE, Server, connect, current_thread, standalone, until_connected, wait_until};

type Outcome = Result<u32, &'static str>;

/// The TTL of a value here, and each of its windows: far longer than any test takes.
const TTL: Duration = Duration::from_secs(600);
/// What is left of the TTL of a value that is fresh, and of one that is in its window.
const FRESH: Duration = Duration::from_secs(900);
const STALE: Duration = Duration::from_secs(300);
/// What is past at once.
const SHORT: Duration = Duration::from_millis(30);

/// A backend to run these tests over.
trait Backend: Sized {
    fn start() -> Self;

    /// A handle that looks for the time on this backend's clock.
    fn cache(&self) -> CacheHandle;

    fn clock(&self) -> &ManualClock;

    /// Stores a value behind the cache's back, with so much left of its TTL. No handle has a copy of it.
    fn set(&self, cache: &CacheHandle, options: &CacheOptions, value: u32, remaining: Duration);

    /// What is left of a key's TTL, where a server says so.
    fn remaining(&self, cache: &CacheHandle, options: &CacheOptions) -> Option<Duration>;

    /// Another handle, where it shares anything.
    fn other(&self) -> Option<CacheHandle>;

    /// The servers, which answer nothing while they're frozen.
    fn servers(&self) -> Vec<&Server>;
}

struct Memory(ManualClock);

impl Backend for Memory {
    fn start() -> Self {
        Self(ManualClock::new())
    }

    fn cache(&self) -> CacheHandle {
        CacheHouse::builder().memory().clock(self.0.clone()).build().expect("the builder is right")
    }

    fn clock(&self) -> &ManualClock {
        &self.0
    }

    fn set(&self, cache: &CacheHandle, options: &CacheOptions, value: u32, remaining: Duration) {
        let plain = options.clone().expire(remaining).stale_if_error(Duration::ZERO).jitter(Duration::ZERO);
        cache.insert(plain.stale_while_revalidate(Duration::ZERO), &value).expect("memory takes it");
    }

    fn remaining(&self, _: &CacheHandle, _: &CacheOptions) -> Option<Duration> {
        None
    }

    fn other(&self) -> Option<CacheHandle> {
        None
    }

    fn servers(&self) -> Vec<&Server> {
        Vec::new()
    }
}

struct Standalone(Server, ManualClock);

impl Backend for Standalone {
    fn start() -> Self {
        Self(Server::start(), ManualClock::new())
    }

    fn cache(&self) -> CacheHandle {
        connect(standalone(self.0.endpoint()).clock(self.1.clone()))
    }

    fn clock(&self) -> &ManualClock {
        &self.1
    }

    fn set(&self, cache: &CacheHandle, options: &CacheOptions, value: u32, remaining: Duration) {
        set_on(&self.0, &cache.key(options).expect("it has a key"), value, remaining);
    }

    fn remaining(&self, cache: &CacheHandle, options: &CacheOptions) -> Option<Duration> {
        let left = self.0.millis_left(&cache.key(options).expect("it has a key"));
        Some(Duration::from_millis(u64::try_from(left).expect("the key has a TTL")))
    }

    fn other(&self) -> Option<CacheHandle> {
        Some(self.cache())
    }

    fn servers(&self) -> Vec<&Server> {
        vec![&self.0]
    }
}

struct Clustered(Borrowed, ManualClock);

impl Backend for Clustered {
    fn start() -> Self {
        Self(Borrowed::get(), ManualClock::new())
    }

    fn cache(&self) -> CacheHandle {
        let cache = clustered(self.0.endpoint()).clock(self.1.clone()).build().expect("the builder is right");
        until_connected(&cache);
        cache
    }

    fn clock(&self) -> &ManualClock {
        &self.1
    }

    fn set(&self, cache: &CacheHandle, options: &CacheOptions, value: u32, remaining: Duration) {
        let key = cache.key(options).expect("it has a key");
        set_on(self.0.owner(&key), &key, value, remaining);
    }

    fn remaining(&self, cache: &CacheHandle, options: &CacheOptions) -> Option<Duration> {
        let key = cache.key(options).expect("it has a key");
        let left = self.0.owner(&key).millis_left(&key);
        Some(Duration::from_millis(u64::try_from(left).expect("the key has a TTL")))
    }

    fn other(&self) -> Option<CacheHandle> {
        Some(self.cache())
    }

    fn servers(&self) -> Vec<&Server> {
        self.0.servers().collect()
    }
}

fn set_on(server: &Server, key: &str, value: u32, remaining: Duration) {
    let reply = server.command(&["SET", key, &value.to_string(), "PX", &remaining.as_millis().to_string()]);
    assert_eq!(reply, support::resp::Reply::Simple("OK".into()));
}

/// Makes a test of each function, over each backend, that fails where it hangs.
macro_rules! over_backends {
    ($($behaviour:ident),+ $(,)?) => {
        $crate::freshness::over_backends!(@ memory: Memory, $($behaviour)+);
        $crate::freshness::over_backends!(@ standalone: Standalone, $($behaviour)+);
        $crate::freshness::over_backends!(@ clustered: Clustered, $($behaviour)+);
    };
    (@ $backend:ident: $fixture:ident, $($behaviour:ident)+) => {
        mod $backend {
            use $crate::freshness::{Backend, $fixture};

            $(
                #[test]
                fn $behaviour() {
                    $crate::support::finishes(stringify!($behaviour), || super::$behaviour(&$fixture::start()));
                }
            )+
        }
    };
}
use over_backends;

/// A call whose value is fresh for [`TTL`].
fn plain(name: &str) -> CacheOptions {
    CacheOptions::new(name).expire(TTL)
}

/// One that is served for as long again while it's renewed.
fn revalidated(name: &str) -> CacheOptions {
    plain(name).stale_while_revalidate(TTL)
}

/// One that is served for as long again where its work fails.
fn if_error(name: &str) -> CacheOptions {
    plain(name).stale_if_error(TTL)
}

/// Sync callers, and async ones.
const SIDES: [bool; 2] = [false, true];

/// Calls `try_cached`, or its async twin.
fn ask(is_async: bool, cache: &CacheHandle, options: CacheOptions, work: impl FnOnce() -> Outcome) -> Outcome {
    match is_async {
        false => cache.try_cached(options, work),
        true => current_thread().block_on(cache.try_cached_async(options, async || work())),
    }
}

fn fails() -> Outcome {
    Err("no route")
}

/// What mustn't run.
fn never() -> Outcome {
    panic!("the work runs")
}

/// What has grown since: runs, stale hits and refreshes.
fn counted(cache: &CacheHandle) -> (u64, u64, u64) {
    let stats = cache.stats();
    (stats.runs, stats.stale_hits, stats.refreshes)
}

/// Where sync work stops until the test lets it go on.
#[derive(Clone, Default)]
struct Gate(Arc<(Count, Count)>);

impl Gate {
    /// Says that the work has begun, and waits.
    fn pass(&self) {
        let (begun, opened) = &*self.0;
        begun.add_one();
        wait_until("the test opens the gate", DEADLINE, || opened.read() > 0);
    }

    fn until_begun(&self) {
        wait_until("the work begins", DEADLINE, || self.0.0.read() > 0);
    }

    fn open(&self) {
        self.0.1.add_one();
    }
}
