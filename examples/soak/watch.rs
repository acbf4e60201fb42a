//! What this process holds, and a row of the table.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_house::{CacheHandle, Stats};
use tokio::runtime::Handle;

use super::faults::Faults;
use super::world::World;

/// What this process holds. Zero where the system doesn't tell, which is all but Linux.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) resident_kib: u64,
    pub(crate) threads: usize,
    /// Open files, connections among them.
    pub(crate) files: usize,
    /// Tasks of the runtime.
    pub(crate) tasks: usize,
}

impl Held {
    pub(crate) fn now(runtime: &Handle) -> Self {
        Self {
            resident_kib: resident_kib(),
            threads: count(Path::new("/proc/self/task")),
            files: count(Path::new("/proc/self/fd")),
            tasks: runtime.metrics().num_alive_tasks(),
        }
    }

    /// Whether threads, files and tasks are no more than before.
    pub(crate) fn is_within(&self, before: &Self) -> bool {
        self.threads <= before.threads && self.files <= before.files && self.tasks <= before.tasks
    }
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Of all members.
pub(crate) fn stats(caches: &[CacheHandle], of: fn(&Stats) -> u64) -> u64 {
    caches.iter().map(|cache| of(&cache.stats())).sum()
}

/// Prints a row for what happened since the last one.
pub(crate) struct Table {
    last: [u64; 8],
}

impl Table {
    pub(crate) fn begin() -> Self {
        println!(
            "\n{:>6} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>5} {:>4} {:>7} {:>6} {:>7} {:>5} {:>7} {:>5} {:>5}",
            "time",
            "calls",
            "near",
            "server",
            "memory",
            "computed",
            "p50",
            "p99.9",
            "slowest",
            "late",
            "old",
            "invalid",
            "faults",
            "journal",
            "MiB",
            "threads",
            "tasks",
            "files",
        );
        Self { last: [0; 8] }
    }

    pub(crate) fn row(&mut self, time: Duration, world: &World, caches: &[CacheHandle], faults: &Faults, held: &Held) {
        let times = world.times();
        let counts = &world.counts;
        let old = counts.stale.load(Ordering::Relaxed) + counts.too_old.load(Ordering::Relaxed);
        let totals = [
            stats(caches, |stats| stats.near_hits),
            stats(caches, |stats| stats.server_hits),
            stats(caches, |stats| stats.memory_hits),
            stats(caches, |stats| stats.runs),
            counts.late.load(Ordering::Relaxed),
            old,
            counts.invalidations.load(Ordering::Relaxed),
            faults.all(),
        ];
        let mut since = totals;
        since.iter_mut().zip(self.last).for_each(|(total, before)| *total -= before);
        self.last = totals;
        let [near, server, memory, computed, late, old, invalidations, faults] = since;
        println!(
            "{:>6} {:>9} {near:>9} {server:>9} {memory:>9} {computed:>8} {:>8} {:>8} {:>8} {late:>5} {old:>4} {invalidations:>7} \
             {faults:>6} {:>7} {:>5} {:>7} {:>5} {:>5}",
            format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60),
            times.calls,
            short(times.at(0.5)),
            short(times.at(0.999)),
            short(times.slowest),
            stats(caches, |stats| stats.journal_length),
            held.resident_kib / 1024,
            held.threads,
            held.tasks,
            held.files,
        );
    }
}

/// Milliseconds, or microseconds.
pub(crate) fn short(time: Duration) -> String {
    match time.as_millis() {
        0..10 => format!("{:.0} us", time.as_secs_f64() * 1e6),
        _ => format!("{} ms", time.as_millis()),
    }
}
