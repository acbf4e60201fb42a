//! Clusters: what moves, dies and comes back in them, over real ones.

mod autodetection;
mod clearing;
mod failover;
mod late_confirmations;
mod maps;
mod migration;
mod permissions;
mod redirects;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheOptions, Health, Topology};

use crate::support::{Cluster, DEADLINE, Server, wait_until};

fn call(n: u64) -> CacheOptions {
    CacheOptions::new("square").arg(n)
}

/// What the handle says of its shards.
fn shards(cache: &CacheHandle) -> Option<(usize, usize)> {
    match cache.health() {
        Health::Connected { topology: Topology::Cluster { served, shards } } => Some((served, shards)),
        _ => None,
    }
}

#[track_caller]
fn until_served(cache: &CacheHandle, served: usize, of: usize) {
    wait_until(&format!("{served} of {of} shards are served"), DEADLINE, || shards(cache) == Some((served, of)));
}

/// Questions whose keys one node has.
fn questions_of(cluster: &Cluster, cache: &CacheHandle, node: &Server, count: usize) -> Vec<u64> {
    let is_there = |n: &u64| cluster.owner(&cache.key(&call(*n)).expect("it has a key")).port() == node.port();
    (0..).filter(is_there).take(count).collect()
}

/// Threads that ask one question after another until they are stopped, each for a value that is cached.
struct Callers {
    seen: Arc<Seen>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    over: AtomicBool,
    calls: AtomicU64,
    /// How often the work ran, by question.
    runs: Mutex<HashMap<u64, u64>>,
    slowest: AtomicU64,
    wrong: AtomicU64,
}

impl Callers {
    fn of(cache: &CacheHandle, questions: &[u64], threads: usize) -> Self {
        let seen = Arc::new(Seen::default());
        let ask = |thread: usize| {
            let (cache, questions, seen) = (cache.clone(), questions.to_vec(), Arc::clone(&seen));
            thread::spawn(move || {
                let mut next = thread * 7;
                while !seen.over.load(Ordering::SeqCst) {
                    let n = questions[next % questions.len()];
                    next += 1;
                    let begin = Instant::now();
                    let value = cache.cached(call(n), || {
                        *seen.runs.lock().unwrap_or_else(PoisonError::into_inner).entry(n).or_default() += 1;
                        n * n
                    });
                    let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    seen.slowest.fetch_max(nanos, Ordering::SeqCst);
                    seen.wrong.fetch_add(u64::from(value != n * n), Ordering::SeqCst);
                    seen.calls.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_micros(200));
                }
            })
        };
        Self { threads: (0..threads).map(ask).collect(), seen }
    }

    fn calls(&self) -> u64 {
        self.seen.calls.load(Ordering::SeqCst)
    }

    #[track_caller]
    fn wait_for_calls(&self, more: u64) {
        let before = self.calls();
        wait_until("calls return", DEADLINE, || self.calls() >= before + more);
    }

    /// How often the work ran, and the slowest call; all answers were right.
    #[track_caller]
    fn stop(self) -> (u64, Duration) {
        self.seen.over.store(true, Ordering::SeqCst);
        wait_until("all callers return", DEADLINE, || self.threads.iter().all(JoinHandle::is_finished));
        for thread in self.threads {
            thread.join().expect("no caller panics");
        }
        assert_eq!(self.seen.wrong.load(Ordering::SeqCst), 0, "wrong answers");
        let runs = self.seen.runs.lock().unwrap_or_else(PoisonError::into_inner).values().sum();
        (runs, Duration::from_nanos(self.seen.slowest.load(Ordering::SeqCst)))
    }
}

/// Computes what isn't cached yet, so that all of it is.
fn warm(cache: &CacheHandle, questions: &[u64]) {
    for &n in questions {
        assert_eq!(cache.cached(call(n), || n * n), n * n);
    }
}
