//! Faults under traffic: whatever happens to the server, calls return the right value, soon, and the server is used again.

mod burst;
mod busy;
mod circuit;
mod flapping;
mod forged;
mod garbage;
mod large;
mod rounds;
mod stale;
mod starved;
mod strangers;
#[cfg(feature = "tls")]
mod tls;
mod unready;
mod words;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheOptions};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::runtime::Runtime;

use crate::support::{DEADLINE, wait_until};

fn call(name: &str) -> CacheOptions {
    CacheOptions::new(name)
}

/// Short beside the heartbeat.
const TIMEOUT: Duration = Duration::from_millis(200);
/// Far more than the few timeouts that a call may cost, far less than waiting for ever.
const BOUND: Duration = Duration::from_secs(6);

/// What a caller says of its answer.
type Verdict = Result<(), String>;

/// Callers that ask one question after another.
#[derive(Clone, Copy)]
struct Callers {
    tasks: usize,
    threads: usize,
    ask_async: fn(CacheHandle, u64) -> BoxFuture<'static, Verdict>,
    ask: fn(CacheHandle, u64) -> Verdict,
}

/// Callers of a small value that's easy to check.
const fn squares(tasks: usize, threads: usize) -> Callers {
    fn is_right(n: u64, value: u64) -> Verdict {
        if value == n * n { Ok(()) } else { Err(format!("{n} squared is {value}")) }
    }
    Callers {
        tasks,
        threads,
        ask_async: |cache, n| {
            async move { is_right(n, cache.cached_async(call("square").arg(n), async || n * n).await) }.boxed()
        },
        ask: |cache, n| is_right(n, cache.cached(call("square").arg(n), || n * n)),
    }
}

/// What the callers have seen so far.
#[derive(Default)]
struct Seen {
    over: AtomicBool,
    calls: AtomicU64,
    slowest: AtomicU64,
    wrong: Mutex<Vec<String>>,
}

impl Seen {
    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn slowest(&self) -> Duration {
        Duration::from_nanos(self.slowest.load(Ordering::SeqCst))
    }

    /// Waits until so many more calls have returned: that they do is what's tested.
    #[track_caller]
    fn wait_for_calls(&self, more: u64) {
        let before = self.calls();
        wait_until("calls return", DEADLINE, || self.calls() >= before + more);
    }

    fn note(&self, begin: Instant, verdict: Verdict) {
        let took = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.slowest.fetch_max(took, Ordering::SeqCst);
        self.calls.fetch_add(1, Ordering::SeqCst);
        if let Err(problem) = verdict {
            self.wrong.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
        }
    }
}

/// So many questions, in an order that brings some of them up at the same time.
fn next_question(last: u64) -> u64 {
    (last + 7) % 101
}

/// Runs `fault` while the callers ask, and checks all that they see: each answer is right, and none took long.
#[track_caller]
fn under_traffic(runtime: &Runtime, cache: &CacheHandle, callers: Callers, fault: impl FnOnce(&Seen)) {
    struct Over<'a>(&'a Seen);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.over.store(true, Ordering::SeqCst);
        }
    }

    let seen = Arc::new(Seen::default());
    let tasks: Vec<_> = (0..callers.tasks as u64)
        .map(|caller| {
            let (cache, seen) = (cache.clone(), Arc::clone(&seen));
            runtime.spawn(async move {
                let mut n = caller;
                while !seen.over.load(Ordering::SeqCst) {
                    n = next_question(n);
                    let begin = Instant::now();
                    seen.note(begin, (callers.ask_async)(cache.clone(), n).await);
                    // Leaves the processor to the server.
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            })
        })
        .collect();
    let threads: Vec<_> = (0..callers.threads as u64)
        .map(|caller| {
            let (cache, seen) = (cache.clone(), Arc::clone(&seen));
            thread::spawn(move || {
                let mut n = caller * 13;
                while !seen.over.load(Ordering::SeqCst) {
                    n = next_question(n);
                    let begin = Instant::now();
                    seen.note(begin, (callers.ask)(cache.clone(), n));
                    thread::sleep(Duration::from_micros(200));
                }
            })
        })
        .collect();
    {
        let over = Over(&seen);
        fault(over.0);
    }
    wait_until("all callers return", DEADLINE, || {
        tasks.iter().all(|task| task.is_finished()) && threads.iter().all(thread::JoinHandle::is_finished)
    });
    for task in tasks {
        runtime.block_on(task).expect("no caller panics");
    }
    for thread in threads {
        thread.join().expect("no caller panics");
    }
    let wrong = seen.wrong.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(wrong.is_empty(), "{} wrong answers: {:?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    assert!(seen.slowest() < BOUND, "the slowest of {} calls took {:?}", seen.calls(), seen.slowest());
}

/// Waits until the server answers calls again.
#[track_caller]
fn until_used(cache: &CacheHandle) {
    let before = cache.stats().server_hits;
    wait_until("the server is used again", DEADLINE, || {
        cache.cached(call("used again"), || 1);
        cache.stats().server_hits > before + 3
    });
}
