//! What the attribute `cached` adds to a hit in memory, beside the same call by hand, in one run.
//!
//! `cargo bench --bench macros`. First the instructions a hit takes, where there is `valgrind`; then the pairs, measured in turn (A B B A
//! …) so that both see the same noise; then criterion's figures. `-- count attribute` and `-- count by-hand` only make the calls.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "a bench that can't go on stops")]

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, cached, opts};
use criterion::Criterion;
use tokio::runtime::Runtime;

#[cached(handle = cache, skip(cache), name = "get_user", expire = "1h")]
fn attribute(cache: &CacheHandle, id: u64, fields: &str) -> String {
    work(id, fields)
}

#[inline(never)]
fn by_hand(cache: &CacheHandle, id: u64, fields: &str) -> String {
    cache.cached(opts!("get_user", id, fields).expire(Duration::from_secs(3600)), || work(id, fields))
}

#[cached(handle = cache, skip(cache), name = "get_user", expire = "1h")]
async fn attribute_async(cache: &CacheHandle, id: u64, fields: &str) -> String {
    work(id, fields)
}

async fn by_hand_async(cache: &CacheHandle, id: u64, fields: &str) -> String {
    let options = opts!("get_user", id, fields).expire(Duration::from_secs(3600));
    cache.cached_async(options, || async { work(id, fields) }).await
}

fn work(id: u64, fields: &str) -> String {
    format!("{fields} of {id}")
}

const KEYS: u64 = 1024;
const CALLS: u64 = 100 * KEYS;
const ROUNDS: usize = 25;

fn main() {
    let cache = CacheHouse::builder().memory().build().unwrap();
    let runtime = Runtime::new().unwrap();
    for id in 0..KEYS {
        // One entry serves all: the key is the same.
        assert_eq!(attribute(&cache, id, "all"), by_hand(&cache, id, "all"));
    }
    assert_eq!(cache.stats().runs, KEYS);
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "count") {
        let calls = arguments.get(at + 2).map_or(CALLS, |calls| calls.parse().unwrap());
        return match arguments.get(at + 1).map(String::as_str) {
            Some("attribute") => (0..calls).for_each(|id| drop(black_box(attribute(&cache, id % KEYS, "all")))),
            Some("by-hand") => (0..calls).for_each(|id| drop(black_box(by_hand(&cache, id % KEYS, "all")))),
            Some("attribute-async") => runtime.block_on(async {
                for id in 0..calls {
                    black_box(attribute_async(&cache, id % KEYS, "all").await);
                }
            }),
            Some("by-hand-async") => runtime.block_on(async {
                for id in 0..calls {
                    black_box(by_hand_async(&cache, id % KEYS, "all").await);
                }
            }),
            _ => panic!("count attribute, by-hand, attribute-async or by-hand-async"),
        };
    }
    for what in ["attribute", "by-hand", "attribute-async", "by-hand-async"] {
        match instructions(what) {
            Some(instructions) => println!("{what:>15}: {instructions:.0} instructions a hit"),
            None => println!("{what:>15}: no instructions are counted without valgrind"),
        }
    }
    println!("A memory hit, median of {ROUNDS} pairs of {CALLS} calls");
    println!("{:>6} {:>12} {:>10} {:>7}", "", "attribute", "by hand", "ratio");
    pairs("sync", || sync(|id| attribute(&cache, id, "all")), || sync(|id| by_hand(&cache, id, "all")));
    pairs(
        "async",
        || runtime.block_on(asynchronous(async |id| attribute_async(&cache, id, "all").await)),
        || runtime.block_on(asynchronous(async |id| by_hand_async(&cache, id, "all").await)),
    );
    assert_eq!(cache.stats().runs, KEYS, "each measured call was a hit");

    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group("memory hit");
    group.bench_function("attribute", |b| b.iter(|| black_box(attribute(&cache, black_box(7), "all"))));
    group.bench_function("by hand", |b| b.iter(|| black_box(by_hand(&cache, black_box(7), "all"))));
    group.finish();
    criterion.final_summary();
}

/// Instructions of a hit, counted by `valgrind`, which no other program on the machine can blur: those of so many hits, without those
/// that come before them.
fn instructions(what: &str) -> Option<f64> {
    let count = |calls: u64| {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe().ok()?);
        let output = command.args(["count", what, &calls.to_string()]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<f64>().ok())
    };
    Some((count(CALLS)? - count(0)?) / CALLS as f64)
}

/// Nanoseconds a call.
fn sync(call: impl Fn(u64) -> String) -> f64 {
    let start = Instant::now();
    for id in 0..CALLS {
        black_box(call(id % KEYS));
    }
    start.elapsed().as_nanos() as f64 / CALLS as f64
}

async fn asynchronous(call: impl AsyncFn(u64) -> String) -> f64 {
    let start = Instant::now();
    for id in 0..CALLS {
        black_box(call(id % KEYS).await);
    }
    start.elapsed().as_nanos() as f64 / CALLS as f64
}

fn pairs(what: &str, attribute: impl Fn() -> f64, by_hand: impl Fn() -> f64) {
    let mut pairs: Vec<(f64, f64)> = Vec::new();
    for round in 0..=ROUNDS {
        let pair = if round % 2 == 0 {
            let one = attribute();
            (one, by_hand())
        } else {
            let other = by_hand();
            (attribute(), other)
        };
        if round > 0 {
            pairs.push(pair);
        }
    }
    let ours = median(pairs.iter().map(|pair| pair.0));
    let other = median(pairs.iter().map(|pair| pair.1));
    let ratio = median(pairs.iter().map(|pair| pair.0 / pair.1));
    println!("{what:>6} {ours:>9.0} ns {other:>7.0} ns {ratio:>7.3}");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
