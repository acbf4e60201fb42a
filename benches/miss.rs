//! What a stored miss costs with the fence, beside the same miss without it, and beside fred's own `GET` and `SET`, in one run.
//!
//! `cargo bench --bench miss`. Each call has a key of its own, so each runs its work and stores its value. The pairs are measured in
//! turn (A B A B …), so that both see the same noise.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

mod common;

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_house::{CacheHandle, CacheHouse, opts};
use common::{ROUND, ROUNDS, RedisServer, User, connected, fred_client, median, throughput, user};
use fred::prelude::{Client, Expiration, KeysInterface};

/// No two calls have the same.
static KEY: AtomicU64 = AtomicU64::new(0);

#[tokio::main]
async fn main() {
    let server = RedisServer::start();
    let cache = connected(&server, Duration::from_secs(5)).await;
    println!(
        "A stored miss: calls a second, with the fence and without, median of {ROUNDS} pairs; the ratio is of times"
    );
    println!("{:>8} {:>6} {:>12} {:>12} {:>7}", "work", "tasks", "fence", "no fence", "ratio");
    for (work, tasks) in [(0, 1), (0, 64), (5, 1), (5, 64)] {
        let work = Duration::from_millis(work);
        let mut pairs = Vec::new();
        for round in 0..=ROUNDS {
            let with = throughput(tasks, |_, start| misses(cache.clone(), true, work, start)).await;
            let without = throughput(tasks, |_, start| misses(cache.clone(), false, work, start)).await;
            // The first round warms up.
            if round > 0 {
                pairs.push((with, without));
            }
        }
        let with = median(pairs.iter().map(|pair| pair.0));
        let without = median(pairs.iter().map(|pair| pair.1));
        let ratio = median(pairs.iter().map(|pair| pair.1 / pair.0));
        println!("{work:>8.0?} {tasks:>6} {with:>12.0} {without:>12.0} {ratio:>7.2}");
    }
    beside_raw_commands(&cache, &server).await;
    let stats = cache.stats();
    assert_eq!((stats.fenced, stats.failed_writes, stats.server_timeouts), (0, 0, 0), "each value was stored");
    cache.close_async().await;
}

/// Free work: a call beside `GET`, `serde_json` and `SET` by hand. Memory as well, which keeps a copy of each value; and not.
async fn beside_raw_commands(cache: &CacheHandle, server: &RedisServer) {
    let fred = fred_client(server.port).await;
    let builder = CacheHouse::builder().standalone(("127.0.0.1", server.port)).fallback_to_memory(false);
    let bare = builder.build().expect("the builder is right");
    assert!(bare.ready(Duration::from_secs(5)).await.is_connected());
    println!("\nFree work, over raw fred GET, serde_json and SET: calls a second, median of {ROUNDS} rounds in turn");
    println!(
        "{:>6} {:>10} {:>22} {:>22} {:>22} {:>22}",
        "tasks", "raw", "fence", "no fence", "no memory, fence", "neither"
    );
    for tasks in [1, 64] {
        let mut rounds = Vec::new();
        for round in 0..=ROUNDS {
            let raw = throughput(tasks, |_, start| raw_misses(fred.clone(), start)).await;
            let mut row = vec![raw];
            for (handle, fence) in [(cache, true), (cache, false), (&bare, true), (&bare, false)] {
                row.push(throughput(tasks, |_, start| misses(handle.clone(), fence, Duration::ZERO, start)).await);
            }
            if round > 0 {
                rounds.push(row);
            }
        }
        print!("{tasks:>6} {:>10.0}", median(rounds.iter().map(|row| row[0])));
        for column in 1..5 {
            let calls = median(rounds.iter().map(|row| row[column]));
            let ratio = median(rounds.iter().map(|row| row[column] / row[0]));
            print!(" {calls:>14.0} ({ratio:.2})");
        }
        println!();
    }
    bare.close_async().await;
}

async fn raw_misses(client: Client, start: Instant) -> u64 {
    let mut done = 0;
    while start.elapsed() < ROUND {
        let id = KEY.fetch_add(1, Ordering::Relaxed);
        let key = format!("raw:get_user:{id}");
        let found: Option<Bytes> = client.get(&key).await.expect("the server is there");
        assert!(found.is_none(), "no two have the same key");
        let encoded = serde_json::to_vec(&user(id)).expect("it's JSON");
        let expiry = Some(Expiration::PX(3_600_000));
        let _: () = client.set(&key, Bytes::from(encoded), expiry, None, false).await.expect("the server is there");
        done += 1;
    }
    done
}

/// Calls until the round is over; how many.
async fn misses(cache: CacheHandle, fence: bool, work: Duration, start: Instant) -> u64 {
    let mut done = 0;
    while start.elapsed() < ROUND {
        let id = KEY.fetch_add(1, Ordering::Relaxed);
        let call = opts!("get_user", id, "full").fence(fence);
        let value: User = cache.cached_async(call, || async { compute(id, work).await }).await;
        black_box(value);
        done += 1;
    }
    done
}

async fn compute(id: u64, takes: Duration) -> User {
    if !takes.is_zero() {
        tokio::time::sleep(takes).await;
    }
    user(id)
}
