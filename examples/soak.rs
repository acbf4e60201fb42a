//! Mixed traffic for a while, over a server of its own that is killed, frozen, restarted and cut off meanwhile.
//!
//! `cargo run --release --example soak -- --seconds 60`. Prints what the calls saw, and ends with 1 if one of them saw a value that
//! had been invalidated before it began, hung, or if the server wasn't used again after a fault.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

#[path = "../tests/integration/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod support;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, CacheOptions, opts};
use rand::Rng;
use support::Server;

const KEYS: usize = 2_000;
/// Keys share so many namespaces, so that some can be cleared.
const NAMESPACES: usize = 20;
const CALLERS: usize = 32;
/// A call that takes longer counts as hung.
const HUNG: Duration = Duration::from_secs(10);
/// A server that isn't used again for so long after a fault counts as lost.
const LOST: Duration = Duration::from_secs(10);

/// What the cached work reads: each key has a version, which only grows.
struct World {
    versions: Vec<AtomicU64>,
    /// The versions from before which every value has been invalidated: set once the invalidation has returned.
    invalidated: Vec<AtomicU64>,
    over: AtomicBool,
    stale: AtomicU64,
    hung: AtomicU64,
    invalidations: AtomicU64,
}

#[derive(Default)]
struct Faults {
    kills: u64,
    freezes: u64,
    cuts: u64,
    recoveries: u64,
    lost: u64,
    slowest_recovery: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    let seconds = seconds_to_run()?;
    let server = Arc::new(Server::start());
    let runtime = tokio::runtime::Runtime::new()?;
    let cache = runtime.block_on(async { CacheHouse::builder().standalone(server.endpoint()).build() })?;
    cache.ready_blocking(Duration::from_secs(5));
    println!("{CALLERS} callers, {KEYS} keys, {seconds} s, over {}", server.endpoint());

    let versions = || (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let world = Arc::new(World {
        versions: versions(),
        invalidated: versions(),
        over: AtomicBool::new(false),
        stale: AtomicU64::new(0),
        hung: AtomicU64::new(0),
        invalidations: AtomicU64::new(0),
    });
    let callers: Vec<_> = (0..CALLERS).map(|_| runtime.spawn(call(cache.clone(), Arc::clone(&world)))).collect();
    let invalidator = runtime.spawn(invalidate(cache.clone(), Arc::clone(&world)));

    let begin = Instant::now();
    let mut resident_warm = 0;
    let mut faults = Faults::default();
    while begin.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(rand::rng().random_range(300..1200)));
        disturb(&server, &cache, &mut faults);
        if resident_warm == 0 && begin.elapsed() > Duration::from_secs(seconds / 4) {
            resident_warm = resident_kib();
        }
    }
    world.over.store(true, Ordering::SeqCst);
    let mut times = Times::default();
    for caller in callers {
        times.merge(&runtime.block_on(caller)?);
    }
    runtime.block_on(invalidator)?;
    let growth = resident_kib().saturating_sub(resident_warm);
    report(&cache, &world, &faults, &times, growth);
    cache.close();
    let failed = world.stale.load(Ordering::SeqCst) + world.hung.load(Ordering::SeqCst) + faults.lost;
    if failed > 0 { Err("the promise was broken".into()) } else { Ok(()) }
}

/// How long calls took, in a fixed space: 16 steps for each doubling, so within 6%.
struct Times {
    steps: Vec<u64>,
    calls: u64,
    worst: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { steps: vec![0; 64 * 16], calls: 0, worst: Duration::ZERO }
    }
}

impl Times {
    fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(16);
        let doubling = nanos.ilog2();
        self.steps[(doubling * 16) as usize + (nanos >> (doubling - 4)) as usize % 16] += 1;
        self.calls += 1;
        self.worst = self.worst.max(time);
    }

    fn merge(&mut self, other: &Self) {
        self.steps.iter_mut().zip(&other.steps).for_each(|(step, more)| *step += more);
        self.calls += other.calls;
        self.worst = self.worst.max(other.worst);
    }

    /// The time that this share of the calls didn't exceed.
    fn at(&self, share: f64) -> Duration {
        let mut left = (self.calls as f64 * share) as u64;
        let reaches = |calls: &u64| {
            let within = *calls > left;
            left = left.saturating_sub(*calls);
            within
        };
        let step = self.steps.iter().position(reaches).unwrap_or(0) as u64;
        Duration::from_nanos((16 + step % 16 + 1) << (step / 16).saturating_sub(4))
    }
}

fn seconds_to_run() -> Result<u64, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(60),
        ["--seconds", seconds] => {
            Ok(seconds.parse().map_err(|_| format!("--seconds {seconds}: not a whole number"))?)
        }
        _ => Err("usage: soak [--seconds N]".into()),
    }
}

fn options(key: usize) -> CacheOptions {
    opts!("version", key).namespace(format!("ns{}", key % NAMESPACES)).expire(Duration::from_secs(20))
}

/// Calls until it's over; the time each took.
async fn call(cache: CacheHandle, world: Arc<World>) -> Times {
    let mut times = Times::default();
    while !world.over.load(Ordering::Relaxed) {
        let key = rand::rng().random_range(0..KEYS);
        let least = world.invalidated[key].load(Ordering::SeqCst);
        let begin = Instant::now();
        let work = || async { world.versions[key].load(Ordering::SeqCst) };
        match tokio::time::timeout(HUNG, cache.cached_async(options(key), work)).await {
            Ok(version) if version < least => _ = world.stale.fetch_add(1, Ordering::Relaxed),
            Ok(_) => {}
            Err(_) => _ = world.hung.fetch_add(1, Ordering::Relaxed),
        }
        times.add(begin.elapsed());
        if times.calls % 64 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    times
}

/// Changes what the work reads, and says so to the cache: mostly a key, now and then a namespace.
async fn invalidate(cache: CacheHandle, world: Arc<World>) {
    while !world.over.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let key = rand::rng().random_range(0..KEYS);
        let whole_namespace = rand::rng().random_bool(0.01);
        let keys: Vec<usize> = match whole_namespace {
            true => (0..KEYS).filter(|other| other % NAMESPACES == key % NAMESPACES).collect(),
            false => vec![key],
        };
        let versions: Vec<u64> =
            keys.iter().map(|&key| world.versions[key].fetch_add(1, Ordering::SeqCst) + 1).collect();
        // An outage is no error here: the promise is that nothing stale comes back all the same.
        let _ = match whole_namespace {
            true => cache.clear_namespace_async(format!("ns{}", key % NAMESPACES)).await,
            false => cache.remove_async(options(key)).await,
        };
        for (key, version) in keys.into_iter().zip(versions) {
            world.invalidated[key].fetch_max(version, Ordering::SeqCst);
        }
        world.invalidations.fetch_add(1, Ordering::Relaxed);
    }
}

/// One fault, and the wait for the server to be used again.
fn disturb(server: &Server, cache: &CacheHandle, faults: &mut Faults) {
    let pause = Duration::from_millis(rand::rng().random_range(10..1500));
    match rand::rng().random_range(0..3) {
        0 => {
            server.kill();
            std::thread::sleep(pause);
            server.restart();
            faults.kills += 1;
        }
        1 => {
            server.freeze();
            std::thread::sleep(pause);
            server.thaw();
            faults.freezes += 1;
        }
        _ => {
            server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
            faults.cuts += 1;
        }
    }
    let back = Instant::now();
    // A fault may not have been noticed yet.
    std::thread::sleep(Duration::from_millis(20));
    while !cache.health().is_connected() {
        if back.elapsed() > LOST {
            faults.lost += 1;
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    faults.recoveries += 1;
    faults.slowest_recovery = faults.slowest_recovery.max(back.elapsed());
}

fn report(cache: &CacheHandle, world: &World, faults: &Faults, times: &Times, growth: u64) {
    let stats = cache.stats();
    let rows = [
        ("calls", times.calls.to_string()),
        ("median a call", format!("{:?}", times.at(0.5))),
        ("p99.9 a call", format!("{:?}", times.at(0.999))),
        ("worst call", format!("{:?}", times.worst)),
        ("work runs", stats.runs.to_string()),
        ("hits on the server", stats.server_hits.to_string()),
        ("hits in memory", stats.memory_hits.to_string()),
        ("coalesced", stats.coalesced.to_string()),
        ("invalidations", world.invalidations.load(Ordering::Relaxed).to_string()),
        ("stale reads after one", world.stale.load(Ordering::Relaxed).to_string()),
        ("hung calls", world.hung.load(Ordering::Relaxed).to_string()),
        ("killed and restarted", faults.kills.to_string()),
        ("frozen and thawed", faults.freezes.to_string()),
        ("connections cut", faults.cuts.to_string()),
        ("recoveries", faults.recoveries.to_string()),
        ("lost recoveries", faults.lost.to_string()),
        ("slowest recovery", format!("{:?}", faults.slowest_recovery)),
        ("circuit openings", stats.circuit_openings.to_string()),
        ("timeouts", stats.server_timeouts.to_string()),
        ("journal left", stats.journal_length.to_string()),
        ("growth since a quarter", format!("{growth} KiB")),
    ];
    for (name, value) in rows {
        println!("{name:>24}  {value}");
    }
}

/// Resident memory of this process; 0 where it can't be read.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
