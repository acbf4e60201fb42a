//! Hits on the server by sync callers, beside those of an async task, in one run.
//!
//! `cargo bench --bench sync`. The rows are measured in turn (A B C A B C …), so that all see the same noise.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "a bench that can't go on stops")]

mod common;

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use cache_house::CacheHandle;
use common::{KEYS, ROUND, ROUNDS, RedisServer, User, cached_calls, connected, median, options, throughput, user};
use tokio::runtime::Runtime;

fn main() {
    let (server, runtime) = (RedisServer::start(), Runtime::new().unwrap());
    let cache = runtime.block_on(connected(&server, Duration::from_secs(3600)));
    (0..KEYS).for_each(|id| assert_eq!(cache.cached(options(id), || user(id)), user(id)));

    let mut rounds = Vec::new();
    for round in 0..=ROUNDS {
        let task = runtime.block_on(throughput(1, |task, start| cached_calls(cache.clone(), options, task, start)));
        let row = [task, threads(&cache, 1), threads(&cache, 8)];
        // The first warms up.
        if round > 0 {
            rounds.push(row);
        }
    }
    println!("A hit on the server: calls a second, median of {ROUNDS} rounds in turn");
    for (number, (who, beside)) in
        [("one async task", 0), ("one thread", 0), ("eight threads", 1)].into_iter().enumerate()
    {
        let calls = median(rounds.iter().map(|row| row[number]));
        let ratio = median(rounds.iter().map(|row| row[number] / row[beside]));
        println!("{who:>15} {calls:>10.0}   {ratio:.2} of {}", ["the task", "one thread"][beside]);
    }
    cache.close();
}

/// Calls a second by so many threads.
fn threads(cache: &CacheHandle, count: u64) -> f64 {
    let start = Instant::now();
    let done: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|thread| scope.spawn(move || calls(cache, thread, start))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    done as f64 / start.elapsed().as_secs_f64()
}

fn calls(cache: &CacheHandle, thread: u64, start: Instant) -> u64 {
    let mut done = 0;
    while start.elapsed() < ROUND {
        let found: User = cache.cached(options((thread * 7 + done) % KEYS), || unreachable!("every call is a hit"));
        black_box(found);
        done += 1;
    }
    done
}
