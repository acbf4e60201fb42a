//! What a hit costs, beside the thing it's built on, in one run.
//!
//! `cargo bench --bench hit`. First the pairs, measured in turn (A B A B …) so that both see the same noise; then criterion's
//! figures for the parts.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "a bench that can't go on stops")]

mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, opts};
use common::{KEYS, ROUNDS, RedisServer, User, beside_raw, connected, fred_client, median, options, raw_calls, user};
use criterion::Criterion;
use tokio::runtime::Runtime;

fn main() {
    let runtime = Runtime::new().unwrap();
    let server = RedisServer::start();
    redis_pairs(&runtime, &server);
    outage_pairs(&runtime, &server);
    standing_costs(&runtime, &server);
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    parts(&mut criterion, &runtime);
    criterion.final_summary();
}

fn redis_pairs(runtime: &Runtime, server: &RedisServer) {
    runtime.block_on(async {
        let cache = connected(server, Duration::from_secs(3600)).await;
        let fred = fred_client(server.port).await;
        let mut keys = Vec::new();
        for id in 0..KEYS {
            assert_eq!(cache.cached_async(options(id), || async { user(id) }).await, user(id));
            keys.push(cache.key(&options(id)).unwrap());
        }
        let keys: Arc<[String]> = keys.into();
        println!("Redis hit: calls a second, cache-house over raw fred GET and serde_json, median of {ROUNDS} pairs");
        let raw = |task, start| raw_calls(fred.clone(), Arc::clone(&keys), task, start);
        beside_raw(&[1, 64, 512], &cache, options, raw).await;
        assert_eq!(cache.stats().runs, KEYS, "each measured call was a hit");
        cache.close_async().await;
    });
}

/// A memory hit while the circuit is open, beside the same hit where there is no server.
fn outage_pairs(runtime: &Runtime, server: &RedisServer) {
    let degraded = runtime.block_on(async {
        let cache = CacheHouse::builder().standalone(("127.0.0.1", server.port)).build().unwrap();
        assert!(cache.ready(Duration::from_secs(5)).await.is_connected());
        cache
    });
    let memory = CacheHouse::builder().memory().build().unwrap();
    server.signal("-STOP");
    for cache in [&degraded, &memory] {
        (0..KEYS).for_each(|id| drop(cache.cached(options(id), || user(id))));
    }
    assert!(!degraded.health().is_connected(), "three timeouts have opened the circuit");
    let nanos = |cache: &CacheHandle| {
        let start = Instant::now();
        for id in 0..100 * KEYS {
            let hit = cache.cached(options(id % KEYS), || -> User { unreachable!("every call is a hit") });
            black_box(hit);
        }
        start.elapsed().as_nanos() as f64 / (100 * KEYS) as f64
    };
    let pairs: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (nanos(&degraded), nanos(&memory))).collect();
    let one = median(pairs.iter().map(|pair| pair.0));
    let other = median(pairs.iter().map(|pair| pair.1));
    let ratio = median(pairs.iter().map(|pair| pair.0 / pair.1));
    println!("Memory hit: {one:.0} ns with the circuit open, {other:.0} ns without a server, ratio {ratio:.2}");
    server.signal("-CONT");
    degraded.close();
}

/// What a handle costs that does nothing, and an entry that's kept.
fn standing_costs(runtime: &Runtime, server: &RedisServer) {
    let cache = runtime.block_on(async {
        let cache = CacheHouse::builder().standalone(("127.0.0.1", server.port)).build().unwrap();
        assert!(cache.ready(Duration::from_secs(5)).await.is_connected());
        cache
    });
    let (before, idle) = (cpu_ticks(), Duration::from_secs(3));
    std::thread::sleep(idle);
    let ticks = cpu_ticks() - before;
    println!("An idle handle: {ticks} ticks of 10 ms of CPU in {idle:?}");
    cache.close();

    const ENTRIES: u64 = 100_000;
    let big = CacheHouse::builder().memory().memory_max_entries(2 * ENTRIES).memory_max_bytes(1 << 30).build().unwrap();
    let before = resident_kib();
    (0..ENTRIES).for_each(|id| drop(big.cached(options(id), || user(id))));
    let (stats, kib) = (big.stats(), resident_kib() - before);
    assert_eq!(stats.memory_entries, ENTRIES);
    println!("An entry in memory: {} bytes resident, key and value included", kib * 1024 / ENTRIES);
    // Of a number, next to nothing is the value.
    let small =
        CacheHouse::builder().memory().memory_max_entries(2 * ENTRIES).memory_max_bytes(1 << 30).build().unwrap();
    let before = resident_kib();
    (0..ENTRIES).for_each(|id| _ = small.cached(options(id), || id));
    let kib = resident_kib() - before;
    assert_eq!(small.stats().memory_entries, ENTRIES);
    println!("The same of a `u64`: {} bytes", kib * 1024 / ENTRIES);
    let before = resident_kib();
    let values: Vec<Box<User>> = (0..ENTRIES).map(|id| Box::new(user(id))).collect();
    println!("Such a value alone: {} bytes", (resident_kib() - before) * 1024 / ENTRIES);
    black_box(values);
}

fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn parts(criterion: &mut Criterion, runtime: &Runtime) {
    let cache = CacheHouse::builder().memory().build().unwrap();
    let bare = quick_cache::sync::Cache::<u64, Arc<User>>::new(10_000);
    for id in 0..KEYS {
        cache.cached(options(id), || user(id));
        bare.insert(id, Arc::new(user(id)));
    }
    let mut id = 0;
    let mut next = move || {
        id = (id + 1) % KEYS;
        id
    };
    let mut group = criterion.benchmark_group("memory");
    group.bench_function("bare quick_cache lookup", |b| b.iter(|| black_box(bare.get(&next()))));
    group.bench_function("clone of the value", |b| {
        let one = user(1);
        b.iter(|| black_box(one.clone()));
    });
    group.bench_function("hit, sync", |b| {
        b.iter(|| black_box(cache.cached(options(next()), || -> User { unreachable!("every call is a hit") })));
    });
    group.bench_function("hit, async", |b| {
        b.iter_custom(|iterations| {
            runtime.block_on(async {
                let start = Instant::now();
                for _ in 0..iterations {
                    let work = || async { unreachable!("every call is a hit") };
                    let found: User = cache.cached_async(options(next()), work).await;
                    black_box(found);
                }
                start.elapsed()
            })
        });
    });
    group.bench_function("miss, with a value that isn't kept", |b| {
        b.iter(|| black_box(cache.cached(opts!("miss", next()).expire(Duration::ZERO), || 1_u64)));
    });
    group.bench_function("miss and fill", |b| {
        let mut fresh = 0_u64;
        b.iter(|| {
            fresh += 1;
            black_box(cache.cached(opts!("fill", fresh), || 1_u64))
        });
    });
    group.finish();
    let mut group = criterion.benchmark_group("key");
    group.bench_function("options of two arguments", |b| b.iter(|| black_box(options(next()))));
    group.bench_function("the server's key", |b| b.iter(|| black_box(cache.key(&options(next())).unwrap())));
    group.finish();
    let mut group = criterion.benchmark_group("tracing");
    // What a hit does once. Nobody subscribes here.
    group.bench_function("an event that is off", |b| {
        b.iter(|| tracing::debug!(target: "cache_house", key = ?black_box(1_u64), "hit in memory"));
    });
    group.finish();
}
