//! What the feature `metrics` adds to a hit in memory where the program has a recorder, beside the same without one.
//!
//! `cargo bench --bench metrics --features metrics`. A process keeps its recorder, so each round is a process of its own; they run in
//! turn (A B A B …). `-- count recorder` and `-- count none` only make the calls, for a counter of instructions.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "a bench that can't go on stops")]

mod common;

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use cache_house::{CacheHouse, opts};
use common::{KEYS, ROUNDS, median};
use metrics_exporter_prometheus::PrometheusBuilder;

const CALLS: u64 = 300 * KEYS;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "count") {
        return println!("{}", hits(arguments.get(at + 1).is_some_and(|word| word == "recorder")));
    }
    let mut pairs = Vec::new();
    for round in 0..=ROUNDS {
        let [with, without] = ["recorder", "none"].map(process);
        if round > 0 {
            pairs.push((with, without));
        }
    }
    let with = median(pairs.iter().map(|pair| pair.0));
    let without = median(pairs.iter().map(|pair| pair.1));
    let added = median(pairs.iter().map(|pair| pair.0 - pair.1));
    println!(
        "A memory hit: {with:.0} ns with a recorder, {without:.0} ns without; median of the differences {added:.0} ns"
    );
}

/// Nanoseconds a hit, in a process of its own.
fn process(recorder: &str) -> f64 {
    let output = Command::new(std::env::current_exe().unwrap()).args(["count", recorder]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

/// Nanoseconds a hit.
fn hits(with_recorder: bool) -> f64 {
    if with_recorder {
        let _: metrics_exporter_prometheus::PrometheusHandle = PrometheusBuilder::new().install_recorder().unwrap();
    }
    let cache = CacheHouse::builder().memory().build().unwrap();
    let call = |id: u64| -> String { cache.cached(opts!("get_user", id, "all"), || format!("all of {id}")) };
    (0..KEYS).for_each(|id| drop(call(id)));
    let start = Instant::now();
    for id in 0..CALLS {
        black_box(call(id % KEYS));
    }
    start.elapsed().as_nanos() as f64 / CALLS as f64
}
