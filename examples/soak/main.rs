//! Mixed traffic for a while, over servers of its own that are killed, frozen, restarted and cut off meanwhile.
//!
//! ```sh
//! cargo run --release --example soak                                       # one server, for a minute
//! cargo run --release --example soak -- --seconds 600 --cluster 1 --near-cache 300 --lease 200 --tags
//! ```
//!
//! `--cluster` takes the number of replicas of each of three primaries, `--near-cache` and `--lease` milliseconds. With `--tags`
//! half of the calls have one. Two handles share the servers, as two processes do.
//!
//! Prints a row a minute, or six of a shorter run. Ends with 1 if
//!
//! - an answer was older than an invalidation that had ended in its own process, or than promised of the other's,
//! - a call hung, or a server wasn't used again after a fault,
//! - the journal isn't empty, or memory, threads, tasks or open files have grown in the end.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod faults;
#[path = "../../tests/integration/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod support;
mod times;
mod traffic;
mod watch;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, NearCache};
use faults::{Faults, Servers};
use rand::Rng;
use tokio::runtime::{Handle, Runtime};
use watch::{Held, Table, short, stats};
use world::{KEYS, MEMBERS, Settings, World};

const USAGE: &str =
    "usage: soak [--seconds N] [--cluster REPLICAS] [--near-cache MILLISECONDS] [--lease MILLISECONDS] [--tags]";

/// What one operation on a server may cost a call.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(250);
/// How long it may take in the end until all is as it was before.
const REST: Duration = Duration::from_secs(40);

struct Arguments {
    seconds: u64,
    replicas: Option<usize>,
    near: Option<Duration>,
    lease: Option<Duration>,
    has_tags: bool,
}

fn main() -> ExitCode {
    match Arguments::read().and_then(|arguments| run(&arguments)) {
        Ok(failures) if failures.is_empty() => ExitCode::SUCCESS,
        Ok(failures) => {
            failures.iter().for_each(|failure| eprintln!("soak: {failure}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn read() -> Result<Self, String> {
        let mut read = Self { seconds: 60, replicas: None, near: None, lease: None, has_tags: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            if name == "--tags" {
                read.has_tags = true;
                continue;
            }
            let value = arguments.next().ok_or(USAGE)?;
            let number: u64 = value.parse().map_err(|_| format!("{name} {value}: not a whole number"))?;
            match name.as_str() {
                "--seconds" => read.seconds = number.max(1),
                "--cluster" => read.replicas = Some(number as usize),
                "--near-cache" => read.near = Some(Duration::from_millis(number)),
                "--lease" => read.lease = Some(Duration::from_millis(number)),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(read)
    }

    /// The handle of one member.
    fn connect(&self, runtime: &Runtime, servers: &Servers) -> Result<CacheHandle, String> {
        let mut endpoints = servers.all().iter().map(support::Server::endpoint);
        let mut builder = CacheHouse::builder().autodetect(endpoints.next().unwrap_or_default());
        for endpoint in endpoints {
            builder = builder.node(endpoint);
        }
        // Few, so that memory is full soon.
        builder = builder.command_timeout(COMMAND_TIMEOUT).memory_max_entries(KEYS as u64 * 3 / 4);
        if let Some(near) = self.near {
            builder = builder.near_cache(near);
        }
        if let Some(lease) = self.lease {
            builder = builder.lease(lease);
        }
        let cache = runtime.block_on(async { builder.build() }).map_err(|error| error.to_string())?;
        support::wait_until("the servers are used", support::DEADLINE, || is_whole(&cache));
        Ok(cache)
    }
}

/// What wasn't as it should be.
fn run(arguments: &Arguments) -> Result<Vec<String>, String> {
    let servers = Servers::start(arguments.replicas);
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    let members: Result<Vec<_>, _> = (0..MEMBERS).map(|_| arguments.connect(&runtime, &servers)).collect();
    let members = members?;
    // The tokens of its tags, the value, the lease and the store: each may wait for a server that is frozen.
    let operations = if arguments.has_tags { 4 } else { 3 };
    let bound = COMMAND_TIMEOUT * operations + arguments.lease.unwrap_or_default() + traffic::SLOWEST_WORK;
    let world = Arc::new(World::new(Settings { near: arguments.near, has_tags: arguments.has_tags, bound }));
    println!(
        "{MEMBERS} handles, {KEYS} keys, {} s, {}, near cache {}, lease {}, {}; a call is late after {bound:?}",
        arguments.seconds,
        match arguments.replicas {
            None => "one server".to_owned(),
            Some(replicas) => format!("a cluster of 3 primaries with {replicas} replicas each"),
        },
        arguments.near.map_or("off".to_owned(), |near| format!("{near:?}")),
        arguments.lease.map_or("off".to_owned(), |lease| format!("{lease:?}")),
        if arguments.has_tags { "tags" } else { "no tags" },
    );

    let traffic: Vec<_> = members
        .iter()
        .enumerate()
        .flat_map(|(number, cache)| traffic::begin(runtime.handle(), cache, &world, number))
        .collect();
    let watched = Watched::watch(arguments.seconds, runtime.handle(), &servers, &members, &world);
    world.end();
    for one in traffic {
        runtime.block_on(one).map_err(|error| format!("a caller has panicked: {error}"))?;
    }
    let failures = watched.judge(runtime.handle(), &members, &world);
    members.iter().for_each(CacheHandle::close);
    Ok(failures)
}

/// What was seen while there was traffic.
struct Watched {
    faults: Faults,
    /// Once all callers have called for a while.
    begin: Held,
    middle: Held,
}

impl Watched {
    fn watch(seconds: u64, runtime: &Handle, servers: &Servers, members: &[CacheHandle], world: &World) -> Self {
        let (time, mut table) = (Duration::from_secs(seconds), Table::begin());
        let a_row = Duration::from_secs(60).min(time / 6);
        let begun = Instant::now();
        thread::sleep(Duration::from_secs(1).min(time / 10));
        let begin = Held::now(runtime);
        let mut watched = Self { faults: Faults::default(), begin, middle: Held::default() };
        let mut next = a_row;
        while begun.elapsed() < time {
            thread::sleep(Duration::from_millis(rand::thread_rng().gen_range(300..1_200)));
            watched.faults.disturb(servers, members, world);
            let (held, passed) = (Held::now(runtime), begun.elapsed());
            if watched.middle == Held::default() && passed >= time / 2 {
                watched.middle = held;
            }
            if passed >= next {
                table.row(passed, world, members, &watched.faults, &held);
                next += a_row;
            }
        }
        watched
    }

    /// Prints what it all came to; what isn't as promised.
    fn judge(&self, runtime: &Handle, members: &[CacheHandle], world: &World) -> Vec<String> {
        // The traffic's own tasks and threads have ended.
        let before = Held {
            tasks: self.begin.tasks - MEMBERS * traffic::TASKS,
            threads: self.begin.threads.saturating_sub(MEMBERS * traffic::SYNC_CALLERS),
            ..self.begin
        };
        let rests = || {
            let is_idle = members.iter().all(|cache| cache.stats().journal_length == 0 && is_whole(cache));
            is_idle && Held::now(runtime).is_within(&before)
        };
        let ended = Instant::now();
        while !rests() && ended.elapsed() < REST {
            thread::sleep(Duration::from_millis(20));
        }
        let end = Held::now(runtime);
        let journal = stats(members, |stats| stats.journal_length);
        let count = |of: &std::sync::atomic::AtomicU64| of.load(Ordering::Relaxed);
        let counts = &world.counts;
        let faults = &self.faults;
        let held = |of: fn(&Held) -> u64| format!("{}, {}, {}", of(&self.begin), of(&self.middle), of(&end));
        let rows = [
            ("runs of the work", stats(members, |stats| stats.runs).to_string()),
            ("coalesced", stats(members, |stats| stats.coalesced).to_string()),
            ("waits for a lease", stats(members, |stats| stats.lease_waits).to_string()),
            ("refused fills", stats(members, |stats| stats.fenced).to_string()),
            ("invalidations", count(&counts.invalidations).to_string()),
            ("older than its own", count(&counts.stale).to_string()),
            ("judged by another's", count(&counts.judged).to_string()),
            ("older than promised", count(&counts.too_old).to_string()),
            ("oldest near answer", short(Duration::from_micros(count(&counts.oldest_near)))),
            ("late calls", count(&counts.late).to_string()),
            ("hung calls", count(&counts.hung).to_string()),
            ("killed and restarted", faults.kills.to_string()),
            ("frozen and thawed", faults.freezes.to_string()),
            ("connections cut", faults.cuts.to_string()),
            ("failovers", faults.failovers.to_string()),
            ("lost recoveries", faults.lost.to_string()),
            ("slowest recovery", short(faults.slowest_recovery)),
            ("circuit openings", stats(members, |stats| stats.circuit_openings).to_string()),
            ("timeouts", stats(members, |stats| stats.server_timeouts).to_string()),
            ("journal left", journal.to_string()),
            ("KiB: begin, middle, end", held(|held| held.resident_kib)),
            ("threads", held(|held| held.threads as u64)),
            ("tasks", held(|held| held.tasks as u64)),
            ("open files", held(|held| held.files as u64)),
            ("at rest after", short(ended.elapsed())),
        ];
        println!();
        for (name, value) in rows {
            println!("{name:>24}  {value}");
        }
        let mut failures = Vec::new();
        let mut fail = |failed: bool, what: &str| {
            if failed {
                failures.push(what.to_owned());
            }
        };
        fail(count(&counts.stale) > 0, "answers were older than an invalidation of their own process");
        fail(count(&counts.too_old) > 0, "answers were older than promised of other processes' invalidations");
        fail(count(&counts.hung) > 0, "calls hung");
        fail(faults.lost > 0, "servers weren't used again");
        fail(journal > 0, "the journal isn't empty");
        fail(!members.iter().all(is_whole), "not all servers, or not all near caches, are used in the end");
        fail(!end.is_within(&before), "threads, tasks or open files are left");
        // A quarter more is what allocators keep; what leaks grows with the time.
        let most = self.middle.resident_kib * 5 / 4 + 16 * 1024;
        fail(end.resident_kib > most, "memory has grown since the middle");
        failures
    }
}

/// Whether all servers are used, and the near cache is there if there is to be one.
fn is_whole(cache: &CacheHandle) -> bool {
    faults::is_served(&cache.health()) && matches!(cache.near_cache(), NearCache::Off | NearCache::On)
}
