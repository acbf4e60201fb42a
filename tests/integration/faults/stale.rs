//! Invalidations in the middle of all faults: what was invalidated never comes back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheOptions};
use rand::Rng;

use super::{BOUND, TIMEOUT};
use crate::support::{
    DEADLINE, Mode, Proxy, Server, connect, multi_thread, standalone, until_connected, until_degraded, wait_until,
};

const KEYS: usize = 60;
const NAMESPACES: usize = 4;
/// Faults of each kind.
const ROUNDS: usize = 2;

/// What the cached work reads: a version for each key, which only grows.
struct World {
    versions: Vec<AtomicU64>,
    /// The least version that may still be seen: raised when an invalidation has returned.
    least: Vec<AtomicU64>,
    /// Writers of one key take turns: of two at once nobody could say which came last.
    writers: Vec<tokio::sync::Mutex<()>>,
    over: AtomicBool,
    stale: Mutex<Vec<String>>,
    reads: AtomicU64,
    invalidations: AtomicU64,
    slowest: AtomicU64,
}

impl World {
    fn new() -> Self {
        let counters = || (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        Self {
            versions: counters(),
            least: counters(),
            writers: (0..KEYS).map(|_| tokio::sync::Mutex::new(())).collect(),
            over: AtomicBool::new(false),
            stale: Mutex::new(Vec::new()),
            reads: AtomicU64::new(0),
            invalidations: AtomicU64::new(0),
            slowest: AtomicU64::new(0),
        }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    fn version(&self, key: usize) -> u64 {
        self.versions[key].load(Ordering::SeqCst)
    }

    fn least(&self, key: usize) -> u64 {
        self.least[key].load(Ordering::SeqCst)
    }

    fn next(&self, key: usize) -> u64 {
        self.versions[key].fetch_add(1, Ordering::SeqCst) + 1
    }

    fn saw(&self, how: &str, key: usize, version: u64, least: u64) {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if version < least {
            let problem = format!("{how} of key {key}: version {version} after {least}");
            self.stale.lock().expect("nobody panics with it").push(problem);
        }
    }

    fn invalidated(&self, key: usize, version: u64) {
        self.least[key].fetch_max(version, Ordering::SeqCst);
        self.invalidations.fetch_add(1, Ordering::SeqCst);
    }

    fn took(&self, begin: Instant) {
        let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.slowest.fetch_max(nanos, Ordering::SeqCst);
    }
}

fn namespace(key: usize) -> String {
    format!("ns{}", key % NAMESPACES)
}

fn options(key: usize) -> CacheOptions {
    CacheOptions::new("version").arg(key).namespace(namespace(key))
}

fn any_key() -> usize {
    rand::thread_rng().gen_range(0..KEYS)
}

async fn read(cache: &CacheHandle, world: &World) {
    let key = any_key();
    let least = world.least(key);
    let begin = Instant::now();
    if rand::thread_rng().gen_bool(0.2) {
        if let Some(version) = cache.get_async(options(key)).await {
            world.saw("get_async", key, version, least);
        }
    } else {
        let version = cache.cached_async(options(key), async || world.version(key)).await;
        world.saw("cached_async", key, version, least);
    }
    world.took(begin);
    tokio::time::sleep(Duration::from_micros(300)).await;
}

fn read_blocking(cache: &CacheHandle, world: &World) {
    let key = any_key();
    let least = world.least(key);
    let begin = Instant::now();
    if rand::thread_rng().gen_bool(0.2) {
        if let Some(version) = cache.get(options(key)) {
            world.saw("get", key, version, least);
        }
    } else {
        let version = cache.cached(options(key), || world.version(key));
        world.saw("cached", key, version, least);
    }
    world.took(begin);
    thread::sleep(Duration::from_micros(300));
}

/// An outage is no error here: nothing stale comes back all the same.
async fn invalidate(cache: &CacheHandle, world: &World) {
    let key = any_key();
    let choice = rand::thread_rng().gen_range(0..20);
    match choice {
        0 => {
            let keys: Vec<_> = (0..KEYS).filter(|other| other % NAMESPACES == key % NAMESPACES).collect();
            let mut turns = Vec::new();
            for &key in &keys {
                turns.push(world.writers[key].lock().await);
            }
            let versions: Vec<_> = keys.iter().map(|&key| world.next(key)).collect();
            let _ = cache.clear_namespace_async(namespace(key)).await;
            keys.into_iter().zip(versions).for_each(|(key, version)| world.invalidated(key, version));
        }
        1..10 => {
            let _turn = world.writers[key].lock().await;
            let version = world.next(key);
            let _ = cache.insert_async(options(key), &version).await;
            world.invalidated(key, version);
        }
        _ => {
            let _turn = world.writers[key].lock().await;
            let version = world.next(key);
            let _ = cache.remove_async(options(key)).await;
            world.invalidated(key, version);
        }
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn invalidate_blocking(cache: &CacheHandle, world: &World) {
    let key = any_key();
    let turn = world.writers[key].blocking_lock();
    let version = world.next(key);
    if rand::thread_rng().gen_bool(0.5) {
        let _ = cache.insert(options(key), &version);
    } else {
        let _ = cache.remove(options(key));
    }
    world.invalidated(key, version);
    drop(turn);
    thread::sleep(Duration::from_millis(1));
}

/// What breaks, what mends it.
type Fault = (&'static str, fn(&Server, &Proxy), fn(&Server, &Proxy));

const FAULTS: [Fault; 5] = [
    ("killed", |server, _| server.kill(), |server, _| server.restart()),
    ("frozen", |server, _| server.freeze(), |server, _| server.thaw()),
    ("swallowed", |_, proxy| proxy.set(Mode::Blackhole), |_, proxy| proxy.set(Mode::Pass)),
    ("held up", |_, proxy| proxy.set(Mode::HoldStanding), |_, proxy| proxy.set(Mode::Pass)),
    ("cut", |_, proxy| proxy.set(Mode::Refuse), |_, proxy| proxy.set(Mode::Pass)),
];

#[test]
fn nothing_stale_is_read_after_an_invalidation_whatever_happens_meanwhile() {
    // What it holds outlives its crashes, so that old values could come back.
    let server = Server::start_with(&["--appendonly", "yes"]);
    let proxy = Proxy::of(&server);
    let runtime = multi_thread(2);
    let world = Arc::new(World::new());
    let builder = standalone(proxy.endpoint()).command_timeout(TIMEOUT / 2).connect_timeout(TIMEOUT * 2);
    let cache = connect(builder);

    let mut tasks = Vec::new();
    let mut threads = Vec::new();
    for caller in 0..8 {
        let (cache, world) = (cache.clone(), Arc::clone(&world));
        tasks.push(runtime.spawn(async move {
            while world.goes_on() {
                if caller < 5 { read(&cache, &world).await } else { invalidate(&cache, &world).await }
            }
        }));
    }
    for caller in 0..4 {
        let (cache, world) = (cache.clone(), Arc::clone(&world));
        threads.push(thread::spawn(move || {
            while world.goes_on() {
                if caller < 3 { read_blocking(&cache, &world) } else { invalidate_blocking(&cache, &world) }
            }
        }));
    }

    let more = |counter: &AtomicU64, count: u64| {
        let before = counter.load(Ordering::SeqCst);
        wait_until("calls return", DEADLINE, || counter.load(Ordering::SeqCst) >= before + count);
    };
    for _ in 0..ROUNDS {
        for (what, breaks, mends) in FAULTS {
            until_connected(&cache);
            let hits = cache.stats().server_hits;
            wait_until(&format!("the server is used before it's {what}"), DEADLINE, || {
                cache.stats().server_hits > hits + 50
            });
            breaks(&server, &proxy);
            // Those who write while it isn't noticed yet, and those who do afterwards.
            if what != "held up" {
                until_degraded(&cache);
            }
            more(&world.invalidations, 20);
            more(&world.reads, 100);
            mends(&server, &proxy);
            until_connected(&cache);
            server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        }
    }
    world.over.store(true, Ordering::SeqCst);
    wait_until("all callers return", DEADLINE, || {
        tasks.iter().all(|task| task.is_finished()) && threads.iter().all(thread::JoinHandle::is_finished)
    });
    wait_until("the journal is empty", DEADLINE, || cache.health().is_connected() && cache.stats().journal_length == 0);
    for key in 0..KEYS {
        if let Some(version) = cache.get(options(key)) {
            world.saw("the last get", key, version, world.least(key));
        }
    }
    let stale = world.stale.lock().expect("nobody panics with it");
    assert!(stale.is_empty(), "{} stale reads: {:?}", stale.len(), &stale[..stale.len().min(5)]);
    let slowest = Duration::from_nanos(world.slowest.load(Ordering::SeqCst));
    assert!(slowest < BOUND, "{slowest:?}");
    let server_has: Vec<_> = (0..KEYS)
        .filter_map(|key| {
            let text = server.get(&cache.key(&options(key)).expect("it has a key"))?;
            let version: u64 = String::from_utf8(text).ok()?.parse().ok()?;
            (version < world.least(key)).then_some((key, version))
        })
        .collect();
    assert!(server_has.is_empty(), "the server still has what was invalidated: {server_has:?}");
}
