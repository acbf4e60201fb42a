//! Between processes: real ones, which are killed and frozen while they call and invalidate.
//!
//! The processes are this test binary, which is run again with one test that does nothing else: [`member`] and [`puppet`].

#[path = "../../../examples/fleet/history/mod.rs"]
mod history;
mod hosts;
mod late_fills;
mod leases;
mod puppet;

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use cache_house::CacheHouse;

use crate::support::{Cluster, DEADLINE, Server};
use history::faults::Fault;
use history::tally::Outcome;
use history::{History, KEYS, Settings, call};

/// What a member of a history runs; nothing in a run of all tests.
#[test]
fn member() {
    history::member::run();
}

/// What a [`puppet::Puppet`] runs; nothing in a run of all tests.
#[test]
fn puppet() {
    puppet::run();
}

/// This binary, to be run with the one test of this name.
fn this_binary(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test binary has a path"));
    command.args([test, "--exact", "--nocapture"]);
    command
}

fn settings(endpoint: String) -> Settings {
    Settings { endpoint, ..Settings::default() }
}

/// A history of four processes.
fn history<'a>(settings: Settings, servers: &'a [Server], faults: &'a [Fault]) -> History<'a> {
    let member: &dyn Fn(usize) -> Command = &|_| this_binary("fleet::member");
    History { settings, processes: 4, host: Ipv4Addr::LOCALHOST, member, servers, faults }
}

/// Runs a history until so much has happened, and what `until` asks for, that it says something if no answer is too old.
#[track_caller]
fn is_as_promised(history: &History<'_>, until: impl Fn(&Outcome) -> bool) {
    let says_something = |outcome: &Outcome| {
        let total = outcome.total();
        let enough = total.judged > 2_000 && total.hits > 1_000 && total.fenced > 20 && total.invalidations > 200;
        enough && until(outcome)
    };
    let outcome = history.run(DEADLINE, |outcome| says_something(outcome) || !outcome.violations.is_empty());
    assert!(outcome.violations.is_empty(), "{outcome:#?}");
    assert!(outcome.failures.is_empty(), "{outcome:#?}");
    assert!(says_something(&outcome), "{outcome:#?}");
}

#[test]
fn no_answer_is_older_than_a_confirmed_invalidation() {
    let server = [Server::start()];
    let history = history(settings(server[0].endpoint()), &server, Fault::ALL);
    is_as_promised(&history, |outcome| {
        let faults = &outcome.faults;
        faults.kills > 0 && faults.freezes > 0 && faults.cuts > 0 && faults.server_freezes > 0
    });
}

#[test]
fn without_a_fence_the_checker_finds_an_old_answer() {
    let server = [Server::start()];
    let settings = Settings { fence: false, ..settings(server[0].endpoint()) };
    let found = |outcome: &Outcome| outcome.total().violations > 0;
    let outcome = history(settings, &server, &[]).run(DEADLINE, found);
    assert!(found(&outcome), "{outcome:#?}");
}

#[test]
fn no_answer_is_older_while_slots_move() {
    let cluster = Cluster::of(3, 0, &[]);
    cluster.without_failover();
    let faults = [Fault::KillMember, Fault::FreezeMember];
    let history = history(settings(cluster.endpoint()), &cluster.nodes, &faults);
    let slots = slots(&cluster, &history.settings);
    let (moved, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                move_slot(&cluster, slots[moved.load(Ordering::SeqCst) % KEYS]);
                moved.fetch_add(1, Ordering::SeqCst);
            }
        });
        let _over = SetOnDrop(&is_over);
        is_as_promised(&history, |outcome| outcome.faults.freezes > 0 && moved.load(Ordering::SeqCst) > 20);
    });
}

/// Ends the moving of slots, also where the history panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The slots of the history's keys.
fn slots(cluster: &Cluster, settings: &Settings) -> Vec<usize> {
    let cache = CacheHouse::builder().memory().key_prefix(&settings.key_prefix).build().expect("the builder is right");
    let key = |number| cache.key(&call(number)).expect("it has a key");
    let slot = |key: String| cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", &key]).integer();
    (0..KEYS).map(|number| usize::try_from(slot(key(number))).expect("it's a slot")).collect()
}

/// Moves a slot to the next node.
fn move_slot(cluster: &Cluster, slot: usize) {
    let port = cluster.owner_of_slot(slot).port();
    let from = cluster.nodes.iter().position(|node| node.port() == port).expect("it's one of them");
    let (from, to) = (&cluster.nodes[from], &cluster.nodes[(from + 1) % cluster.nodes.len()]);
    cluster.begin_move(slot, from, to);
    // Long enough for calls in between.
    thread::sleep(Duration::from_millis(10));
    while cluster.move_keys(slot, from, to, 1) {}
    cluster.end_move(slot, to);
}
