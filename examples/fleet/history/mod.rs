//! A history of calls and invalidations by several processes, and the check of every answer in it.
//!
//! This process is the *source* of what the cached work reads: each key has a version, which only grows. The *members*
//! are processes of their own, each with a handle. They call, and they change keys: the source makes a new version, and
//! the member invalidates the key in the cache. Once the invalidation has returned and is confirmed, the member tells the
//! source. From then on the version is the key's *floor*: a call that begins later and gets an older version has got
//! what promise 21 rules out.
//!
//! Shared by the example `fleet` and the integration tests, which name [`member::run`] as what their members run.

pub(crate) mod faults;
pub(crate) mod link;
pub(crate) mod member;
pub(crate) mod source;
pub(crate) mod tally;

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cache_house::CacheOptions;
use serde::{Deserialize, Serialize};

use crate::support::{DEADLINE, Process, Server};
use faults::{Fault, Faults};
use source::Source;
use tally::Outcome;

/// Few, so that calls and invalidations of one key meet.
pub(crate) const KEYS: usize = 48;
/// Keys share so many namespaces, so that some can be cleared.
pub(crate) const NAMESPACES: usize = 6;

/// The variable that tells a member where its source is, which member it is, and how many have been started before it.
pub(crate) const MEMBER: &str = "CACHE_HOUSE_FLEET_MEMBER";

/// What the members do, as the source tells them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// Of a server, or of a cluster's node.
    pub(crate) endpoint: String,
    pub(crate) key_prefix: String,
    /// Threads of each member that call and invalidate.
    pub(crate) callers: usize,
    pub(crate) fence: bool,
    pub(crate) lease: Option<Duration>,
    /// How long the work takes at most, after it has read the version.
    pub(crate) slowest: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            key_prefix: "fleet".into(),
            callers: 8,
            fence: true,
            lease: None,
            slowest: Duration::from_millis(20),
            command_timeout: Duration::from_millis(500),
            seed: 1,
        }
    }
}

/// The call of a key.
pub(crate) fn call(key: usize) -> CacheOptions {
    CacheOptions::new("version").arg(key).namespace(namespace(key % NAMESPACES)).expire(Duration::from_secs(20))
}

pub(crate) fn namespace(number: usize) -> String {
    format!("ns{number}")
}

/// A history to be.
pub(crate) struct History<'a> {
    pub(crate) settings: Settings,
    /// How many members there are.
    pub(crate) processes: usize,
    /// The address of this process, as members reach it.
    pub(crate) host: Ipv4Addr,
    /// Starts this program as the member of this number, so that it calls [`member::run`].
    pub(crate) member: &'a dyn Fn(usize) -> Command,
    /// What the endpoint leads to, if it's the caller's own: to be cut off and frozen.
    pub(crate) servers: &'a [Server],
    /// What goes wrong, in turn.
    pub(crate) faults: &'a [Fault],
}

impl History<'_> {
    /// Runs for `time`, or until `enough` says so.
    pub(crate) fn run(&self, time: Duration, enough: impl Fn(&Outcome) -> bool) -> Outcome {
        let ports: Vec<u16> = self.servers.iter().map(Server::port).collect();
        let source = Source::start(self.host, self.settings.clone(), self.processes, ports);
        let mut members: Vec<_> = (0..self.processes).map(|number| self.start(&source, number, number)).collect();
        let mut started = members.len();
        let mut faults = Faults::new(self.faults, self.settings.seed);
        let now = |faults: &Faults<'_>| Outcome { faults: faults.counts, ..source.outcome() };
        let begin = Instant::now();
        while begin.elapsed() < time && !enough(&now(&faults)) {
            std::thread::sleep(Duration::from_millis(10));
            if let Some(killed) = faults.disturb(&mut members, self.servers) {
                members[killed] = self.start(&source, killed, started);
                started += 1;
            }
        }
        source.end();
        let failures: Vec<_> =
            members.iter_mut().enumerate().filter_map(|(number, member)| failure(number, member)).collect();
        source.close();
        Outcome { failures, ..now(&faults) }
    }

    fn start(&self, source: &Source, number: usize, before: usize) -> Process {
        let mut command = (self.member)(number);
        command.env(MEMBER, format!("{} {number} {before}", source.address()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Process::watched(command.spawn().expect("this program can be run again"))
    }
}

/// What is wrong with the end of a member.
fn failure(number: usize, member: &mut Process) -> Option<String> {
    let begin = Instant::now();
    while member.status().is_none() && begin.elapsed() < DEADLINE {
        std::thread::sleep(Duration::from_millis(5));
    }
    match member.status() {
        None => Some(format!("process {} hangs", number + 1)),
        Some(status) => (!status.success()).then(|| format!("process {} has ended with {status}", number + 1)),
    }
}
