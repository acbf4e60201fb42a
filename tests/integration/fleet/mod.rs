//! Between processes: real ones, which are killed and frozen while they call and invalidate.
//!
//! The processes are this test binary, which is run again with one test that does nothing else: [`member`] and [`puppet`].

#[path = "../../../examples/fleet/history/mod.rs"]
mod history;
mod late_fills;
mod leases;
mod puppet;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
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
    History { settings, processes: 4, member: || this_binary("fleet::member"), servers, faults }
}

/// Whether so much has happened that the absence of violations says something.
fn says_something(outcome: &Outcome) -> bool {
    let total = outcome.total();
    total.judged > 2_000 && total.hits > 1_000 && total.fenced > 20 && total.invalidations > 200
}

#[track_caller]
fn assert_as_promised(outcome: &Outcome) {
    assert!(outcome.violations.is_empty(), "{outcome:#?}");
    assert!(outcome.failures.is_empty(), "{outcome:#?}");
    assert!(says_something(outcome), "{outcome:#?}");
}

#[test]
fn no_answer_is_older_than_a_confirmed_invalidation() {
    let server = [Server::start()];
    let history = history(settings(server[0].endpoint()), &server, Fault::ALL);
    let every_fault = |outcome: &Outcome| {
        let faults = &outcome.faults;
        faults.kills > 0 && faults.freezes > 0 && faults.cuts > 0 && faults.server_freezes > 0
    };
    let outcome = history.run(DEADLINE, |outcome| every_fault(outcome) && says_something(outcome));
    assert_as_promised(&outcome);
    assert!(every_fault(&outcome), "{outcome:#?}");
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
    let faults = [Fault::KillMember, Fault::FreezeMember];
    let history = history(settings(cluster.endpoint()), &cluster.nodes, &faults);
    let slots = slots(&cluster, &history.settings);
    let is_over = AtomicBool::new(false);
    let (outcome, moved) = thread::scope(|scope| {
        let moving = scope.spawn(|| move_slots(&cluster, &slots, &is_over));
        let outcome = history.run(DEADLINE, |outcome| outcome.faults.freezes > 0 && says_something(outcome));
        is_over.store(true, Ordering::SeqCst);
        (outcome, moving.join().expect("slots can be moved"))
    });
    assert_as_promised(&outcome);
    assert!(moved > 10, "{moved} slots have moved: {outcome:#?}");
}

/// The slots of the history's keys.
fn slots(cluster: &Cluster, settings: &Settings) -> Vec<usize> {
    let cache = CacheHouse::builder().memory().key_prefix(&settings.key_prefix).build().expect("the builder is right");
    let key = |number| cache.key(&call(number)).expect("it has a key");
    let slot = |key: String| cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", &key]).integer();
    (0..KEYS).map(|number| usize::try_from(slot(key(number))).expect("it's a slot")).collect()
}

/// Moves one slot after another to the next node until it's over; how many.
fn move_slots(cluster: &Cluster, slots: &[usize], is_over: &AtomicBool) -> usize {
    let owner = |slot| cluster.owner_of_slot(slot).port();
    let position = |port| cluster.nodes.iter().position(|node| node.port() == port).expect("it's one of them");
    let mut owners: Vec<_> = slots.iter().map(|slot| position(owner(*slot))).collect();
    for turn in 0.. {
        if is_over.load(Ordering::SeqCst) {
            return turn;
        }
        let (slot, from) = (slots[turn % KEYS], &mut owners[turn % KEYS]);
        let to = (*from + 1) % cluster.nodes.len();
        let nodes = (&cluster.nodes[*from], &cluster.nodes[to]);
        cluster.begin_move(slot, nodes.0, nodes.1);
        // Long enough for calls in between.
        thread::sleep(Duration::from_millis(10));
        while cluster.move_keys(slot, nodes.0, nodes.1, 1) {}
        cluster.end_move(slot, nodes.1);
        *from = to;
    }
    unreachable!("turns have no end")
}
