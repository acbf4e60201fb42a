//! What a cluster costs, beside fred's own clustered client, in one run.
//!
//! `cargo bench --bench cluster`. It starts three primaries of its own. First hits, measured in turn; then the clearing of half of
//! 200,000 keys, with hits meanwhile; then what the other shards' callers notice when a primary dies.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "a bench that can't go on stops")]

mod common;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, CacheOptions, Health, Topology, opts};
use common::{KEYS, RedisServer, User, beside_raw, median, options, raw_calls, user};
use fred::prelude::{Client, ClientLike, Config, Expiration, Key, KeysInterface, ServerConfig};
use fred::types::scan::Scanner;
use futures::{StreamExt, TryStreamExt};
use tokio::runtime::Runtime;

const PRIMARIES: usize = 3;

fn main() {
    let runtime = Runtime::new().unwrap();
    let cluster = Cluster::start();
    runtime.block_on(async {
        let cache = cluster.connect().await;
        let fred = cluster.fred().await;
        hits(&cache, &fred).await;
        clearing(&cache, &fred).await;
        cache.close_async().await;
        one_dead(&cluster).await;
    });
}

async fn hits(cache: &CacheHandle, fred: &Client) {
    let mut keys = Vec::new();
    for id in 0..KEYS {
        assert_eq!(cache.cached_async(options(id), || async { user(id) }).await, user(id));
        keys.push(cache.key(&options(id)).unwrap());
    }
    let keys: Arc<[String]> = keys.into();
    println!("Hit in a cluster of {PRIMARIES}: calls a second, cache-house over fred's clustered GET and serde_json");
    beside_raw(&[1, 64, 512], cache, options, |task, start| raw_calls(fred.clone(), Arc::clone(&keys), task, start))
        .await;
    assert_eq!(cache.stats().runs, KEYS, "each measured call was a hit");
}

/// Half of 200,000 keys, by us and by fred's grouped scan and unlink, in turn.
async fn clearing(cache: &CacheHandle, fred: &Client) {
    const EACH: u64 = 100_000;
    fill(fred, "stays", EACH).await;
    let (mut pairs, mut slowest, mut p999) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    for _ in 0..3 {
        fill(fred, "goes", EACH).await;
        let over = Arc::new(AtomicBool::new(false));
        let foreground = tokio::spawn(hit_until(cache.clone(), Arc::clone(&over)));
        let start = Instant::now();
        assert_eq!(cache.clear_namespace_async("goes").await.unwrap().entries, EACH);
        let ours = start.elapsed();
        over.store(true, Ordering::SeqCst);
        let times = foreground.await.unwrap();
        slowest = slowest.max(times[times.len() - 1]);
        p999 = p999.max(times[times.len() * 999 / 1000]);
        fill(fred, "goes", EACH).await;
        let start = Instant::now();
        assert_eq!(grouped(fred, "cachehouse:goes:*").await, EACH);
        pairs.push((ours, start.elapsed()));
    }
    let ratio = median(pairs.iter().map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64()));
    println!(
        "Clearing {EACH} of {} keys: {pairs:.0?}, ratio {ratio:.2}; hits meanwhile: p99.9 {p999:.1?}, slowest {slowest:.1?}",
        2 * EACH
    );
}

async fn fill(fred: &Client, namespace: &str, count: u64) {
    let sets = (0..count).map(|n| {
        let expire = Some(Expiration::EX(3600));
        async move { fred.set::<(), _, _>(format!("cachehouse:{namespace}:{n:040}"), n, expire, None, false).await }
    });
    futures::stream::iter(sets).buffer_unordered(500).try_collect::<Vec<_>>().await.unwrap();
}

/// What fred offers: pages of all nodes, their keys grouped by slot.
async fn grouped(fred: &Client, pattern: &str) -> u64 {
    let mut removed = 0;
    let mut pages = fred.scan_cluster(pattern, Some(1000), None);
    while let Some(mut page) = pages.try_next().await.unwrap() {
        let mut by_slot: BTreeMap<u16, Vec<Key>> = BTreeMap::new();
        for key in page.take_results().unwrap_or_default() {
            by_slot.entry(key.cluster_hash()).or_default().push(key);
        }
        page.next();
        let unlinks = by_slot.into_values().map(|keys| fred.unlink::<u64, _>(keys));
        removed += futures::future::try_join_all(unlinks).await.unwrap().into_iter().sum::<u64>();
    }
    removed
}

/// The times of hits until it's over, the longest last.
async fn hit_until(cache: CacheHandle, over: Arc<AtomicBool>) -> Vec<Duration> {
    let mut times = Vec::new();
    while !over.load(Ordering::SeqCst) {
        for id in 0..64 {
            let start = Instant::now();
            let found: User = cache.cached_async(options(id), || async { unreachable!("every call is a hit") }).await;
            black_box(found);
            times.push(start.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    times.sort();
    times
}

/// Times of hits on the shards that live, before and after another dies.
async fn one_dead(cluster: &Cluster) {
    let cache = cluster.connect().await;
    let call = |n: u64| -> CacheOptions { opts!("other", n).expire(Duration::from_secs(3600)) };
    let mut others = Vec::new();
    for n in 0..200 {
        let slot = fred::util::redis_keyslot(cache.key(&call(n)).unwrap().as_bytes());
        if usize::from(slot) * PRIMARIES / 16_384 != 0 {
            cache.cached_async(call(n), || async { user(n) }).await;
            others.push(n);
        }
    }
    let hits = async || {
        let mut times = Vec::new();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            for &n in &others {
                let start = Instant::now();
                let found: User = cache.cached_async(call(n), || async { unreachable!("its shard lives") }).await;
                black_box(found);
                times.push(start.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.sort();
        (times[times.len() * 99 / 100], times[times.len() - 1])
    };
    let before = hits().await;
    cluster.nodes[0].signal("-KILL");
    let after = hits().await;
    println!(
        "Hits of living shards, p99 and slowest: {before:.1?} before another dies, {after:.1?} in the three seconds after"
    );
    println!("{}", cache.health());
}

struct Cluster {
    nodes: Vec<RedisServer>,
}

impl Cluster {
    fn start() -> Self {
        let folder = std::env::temp_dir();
        let node = |number: usize| {
            let config = folder.join(format!("cache-house-bench-{}-{number}.conf", std::process::id()));
            let config = config.to_str().unwrap();
            let rest = ["--cluster-require-full-coverage", "no", "--cluster-node-timeout", "2000"];
            RedisServer::start_with(
                &[&["--cluster-enabled", "yes", "--cluster-config-file", config], &rest[..]].concat(),
            )
        };
        let cluster = Self { nodes: (0..PRIMARIES).map(node).collect() };
        let nodes = cluster.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let create = Command::new("redis-cli").args(["--cluster", "create", "--cluster-yes"]).args(nodes).output();
        let create = create.expect("redis-cli is installed (apt-get install redis-tools)");
        assert!(create.status.success(), "{}", String::from_utf8_lossy(&create.stdout));
        for number in 0..PRIMARIES {
            let _ =
                std::fs::remove_file(folder.join(format!("cache-house-bench-{}-{number}.conf", std::process::id())));
        }
        cluster
    }

    async fn connect(&self) -> CacheHandle {
        let builder = CacheHouse::builder().cluster(("127.0.0.1", self.nodes[1].port));
        let cache = builder.command_timeout(Duration::from_secs(2)).build().unwrap();
        let whole = Health::Connected { topology: Topology::Cluster { shards: PRIMARIES, served: PRIMARIES } };
        while cache.ready(Duration::from_secs(5)).await != whole {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        cache
    }

    async fn fred(&self) -> Client {
        let server = ServerConfig::new_clustered(vec![("127.0.0.1", self.nodes[1].port)]);
        let client = Client::new(Config { server, ..Config::default() }, None, None, None);
        client.init().await.unwrap();
        client
    }
}
