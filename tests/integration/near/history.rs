//! No answer of a near cache is older than its bound, whatever happens to the server and to the way there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, Source};

use super::{call, until_near};
use crate::support::cluster::{Cluster, clustered};
use crate::support::resp::{Connection, Reply};
use crate::support::{DEADLINE, Mode, Proxy, Server, connect, multi_thread, standalone, until_connected, wait_until};

const BOUND: Duration = Duration::from_millis(300);
const KEYS: usize = 40;
/// How long each fault lasts, and how long all is well between two: shorter and longer than the bound.
const LENGTHS: [Duration; 2] = [Duration::from_millis(120), Duration::from_millis(900)];
/// What the work of a reader returns, which is never stored.
const NOTHING: u64 = u64::MAX;

/// When each version of each key was known to be the server's: all older ones are old from then on.
struct World {
    known: Vec<Mutex<Vec<Instant>>>,
    over: AtomicBool,
    near: AtomicU64,
    from_server: AtomicU64,
    /// Near answers that were old, and by how many microseconds the oldest was.
    old: AtomicU64,
    oldest: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl World {
    fn new() -> Self {
        Self {
            known: (0..KEYS).map(|_| Mutex::default()).collect(),
            over: AtomicBool::new(false),
            near: AtomicU64::new(0),
            from_server: AtomicU64::new(0),
            old: AtomicU64::new(0),
            oldest: AtomicU64::new(0),
            wrong: Mutex::default(),
        }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::SeqCst)
    }

    /// Sets the keys in turn, each to one more than before, by `set`, which says whether the server has confirmed it.
    fn write(&self, mut set: impl FnMut(usize, u64) -> bool) {
        for step in 0.. {
            if !self.goes_on() {
                return;
            }
            let key = step * 7 % KEYS;
            let version = self.known[key].lock().expect("nobody panics with it").len();
            // A version that isn't confirmed may be there or not. It's set again until it is.
            if set(key, version as u64) {
                self.known[key].lock().expect("nobody panics with it").push(Instant::now());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Reads one key: a reader of several would soon wait for one that isn't near.
    async fn read(&self, cache: CacheHandle, key: usize) {
        while self.goes_on() {
            let begun = Instant::now();
            let entry = cache
                .entry_async(call(key), |cx| async move {
                    cx.skip_store();
                    NOTHING
                })
                .await;
            self.check(key, *entry.value(), entry.source(), begun);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn check(&self, key: usize, version: u64, source: Source, begun: Instant) {
        let bound = match source {
            Source::Near => BOUND,
            Source::Server | Source::Coalesced => Duration::ZERO,
            // In an outage copies are as old as they are.
            _ => return,
        };
        if version == NOTHING {
            return;
        }
        let count = if source == Source::Near { &self.near } else { &self.from_server };
        count.fetch_add(1, Ordering::Relaxed);
        let next = usize::try_from(version + 1).expect("it's a version");
        let replaced = self.known[key].lock().expect("nobody panics with it").get(next).copied();
        let Some(age) = replaced.and_then(|replaced| begun.checked_duration_since(replaced)) else { return };
        if source == Source::Near {
            self.old.fetch_add(1, Ordering::Relaxed);
            self.oldest.fetch_max(u64::try_from(age.as_micros()).expect("it's short"), Ordering::Relaxed);
        }
        if age > bound {
            let problem = format!("version {version} of key {key} from {source:?}, {age:?} after the next");
            self.wrong.lock().expect("nobody panics with it").push(problem);
        }
    }

    /// Nothing was too old, and the test has seen what it's about.
    fn verdict(&self) {
        let wrong = self.wrong.lock().expect("nobody panics with it");
        let (near, old) = (self.near.load(Ordering::Relaxed), self.old.load(Ordering::Relaxed));
        let oldest = Duration::from_micros(self.oldest.load(Ordering::Relaxed));
        let seen = format!("{near} near hits, {old} of them old, the oldest by {oldest:?}");
        assert!(wrong.is_empty(), "{seen}; {} answers: {:?}", wrong.len(), wrong.iter().take(5).collect::<Vec<_>>());
        assert!(near > 500, "{seen}");
    }
}

/// Reads and writes while `faults` runs.
fn run(cache: &CacheHandle, mut set: impl FnMut(usize, u64) -> bool + Send, faults: impl FnOnce()) {
    let (world, runtime) = (Arc::new(World::new()), multi_thread(2));
    for key in 0..KEYS {
        assert!(set(key, 0), "the server is there");
        world.known[key].lock().expect("nobody panics with it").push(Instant::now());
    }
    thread::scope(|scope| {
        scope.spawn(|| world.write(set));
        let readers: Vec<_> = (0..KEYS)
            .map(|key| {
                let (world, cache) = (Arc::clone(&world), cache.clone());
                runtime.spawn(async move { world.read(cache, key).await })
            })
            .collect();
        faults();
        world.over.store(true, Ordering::SeqCst);
        for reader in readers {
            runtime.block_on(reader).expect("no reader panics");
        }
    });
    world.verdict();
}

/// Sets versions over a connection of its own.
fn writer(server: &Server, keys: Vec<String>) -> impl FnMut(usize, u64) -> bool + Send + use<> {
    let (port, mut connection) = (server.port(), None);
    move |key, version| {
        if connection.is_none() {
            connection = Connection::open(port).ok();
        }
        let Some(open) = &mut connection else { return false };
        let reply = open.command(&["SET", &keys[key], &version.to_string(), "PX", "600000"]);
        if reply.is_err() {
            connection = None;
        }
        matches!(reply, Ok(Reply::Simple(_)))
    }
}

fn keys(cache: &CacheHandle) -> Vec<String> {
    (0..KEYS).map(|key| cache.key(&call(key)).expect("it has a key")).collect()
}

#[test]
fn nothing_is_older_than_the_bound_whatever_happens_to_the_way() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    // Longer than a fault lasts, so that no read that is late ends the connection: the beats alone bound what is served.
    let cache = connect(standalone(proxy.endpoint()).near_cache(BOUND).command_timeout(Duration::from_secs(2)));
    until_near(&cache);
    run(&cache, writer(&server, keys(&cache)), || {
        for mode in [
            Mode::Blackhole,
            Mode::SwallowReplies,
            Mode::HoldStanding,
            Mode::Delay(Duration::from_millis(40)),
            Mode::Delay(Duration::from_millis(200)),
            Mode::Refuse,
        ] {
            for length in LENGTHS {
                proxy.set(mode);
                thread::sleep(length);
                proxy.set(Mode::Pass);
                thread::sleep(length);
            }
        }
    });
}

#[test]
fn nothing_is_older_than_the_bound_whatever_happens_to_the_server() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).near_cache(BOUND).command_timeout(Duration::from_millis(250)));
    until_near(&cache);
    run(&cache, writer(&server, keys(&cache)), || {
        for length in LENGTHS {
            server.freeze();
            thread::sleep(length);
            server.thaw();
            thread::sleep(length);
            for command in [
                &["CLIENT", "KILL", "TYPE", "normal"][..],
                &["FLUSHALL"],
                &["SWAPDB", "0", "1"],
                &["CONFIG", "SET", "tracking-table-max-keys", "20"],
                &["DEBUG", "SLEEP", "0.2"],
                &["CLIENT", "PAUSE", "200", "ALL"],
            ] {
                server.command(command);
                thread::sleep(length);
            }
            server.kill();
            thread::sleep(length);
            server.restart();
            thread::sleep(length);
        }
    });
}

#[test]
fn nothing_is_older_than_the_bound_while_slots_move() {
    let cluster = Cluster::start();
    cluster.without_failover();
    let cache = clustered(cluster.endpoint()).near_cache(BOUND).build().expect("the builder is right");
    until_connected(&cache);
    until_near(&cache);
    let (other, keys) = (near_to_none(&cluster), keys(&cache));
    run(&cache, by_another_process(&other), || {
        for key in keys.iter().take(12) {
            let slot = cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", key]).integer();
            let slot = usize::try_from(slot).expect("a slot is no negative number");
            let from = cluster.owner_of_slot(slot);
            let to = cluster.nodes.iter().find(|node| node.port() != from.port()).expect("there are three");
            cluster.begin_move(slot, from, to);
            thread::sleep(Duration::from_millis(50));
            while cluster.move_keys(slot, from, to, 10) {}
            thread::sleep(Duration::from_millis(50));
            cluster.end_move(slot, to);
            thread::sleep(Duration::from_millis(100));
        }
    });
}

#[test]
fn nothing_is_older_than_the_bound_while_a_shard_fails_over() {
    let cluster = Cluster::of(3, 1, &[]);
    cluster.until_settled();
    let cache = clustered(cluster.endpoint()).near_cache(BOUND).build().expect("the builder is right");
    until_connected(&cache);
    until_near(&cache);
    let other = near_to_none(&cluster);
    run(&cache, by_another_process(&other), || {
        thread::sleep(Duration::from_millis(500));
        let key = cache.key(&call(1)).expect("it has a key");
        let before = cluster.owner(&key);
        before.kill();
        wait_until("a replica has taken over", DEADLINE, || cluster.owner(&key).port() != before.port());
        thread::sleep(Duration::from_secs(1));
    });
}

/// Another process's handle.
fn near_to_none(cluster: &Cluster) -> CacheHandle {
    let other = clustered(cluster.endpoint()).build().expect("the builder is right");
    until_connected(&other);
    other
}

fn by_another_process(other: &CacheHandle) -> impl FnMut(usize, u64) -> bool + Send + use<> {
    let other = other.clone();
    move |key, version| other.insert(call(key), &version).is_ok_and(|applied| !applied.journalled)
}
