//! The scenarios, each with few threads and one key: what goes wrong between threads goes wrong between two or three of them.

use super::schedules::hurry;
use super::world::{Fate, World};

/// All scenarios by name.
pub const SCENARIOS: &[(&str, fn())] = &[
    ("callers_share_one_run", callers_share_one_run),
    ("a_leader_is_lost", a_leader_is_lost),
    ("calls_after_a_lost_leader", calls_after_a_lost_leader),
    ("a_store_whose_caller_is_not_polled", a_store_whose_caller_is_not_polled),
    ("two_removals_and_a_store", two_removals_and_a_store),
    ("a_removal_that_is_not_polled_and_another", a_removal_that_is_not_polled_and_another),
    ("an_outage", an_outage),
    ("an_outage_of_a_removal", an_outage_of_a_removal),
    ("an_outage_of_an_insert", an_outage_of_an_insert),
    ("an_insert_that_is_lost", an_insert_that_is_lost),
    ("another_process_invalidates", another_process_invalidates),
    ("another_process_overtakes_the_work", another_process_overtakes_the_work),
    ("a_sync_waiter_beside_an_async_leader", a_sync_waiter_beside_an_async_leader),
    ("work_panics", work_panics),
    ("an_insert_beside_a_fill", an_insert_beside_a_fill),
    ("a_get_beside_a_removal", a_get_beside_a_removal),
    ("a_late_server_and_slow_threads", a_late_server_and_slow_threads),
];

/// Sync and async, some of which come as others end.
fn callers_share_one_run() {
    let world = World::new(0, 0);
    world.caller(Fate::Lives);
    world.caller(Fate::Lives);
    world.sync_caller();
    world.runs_to_rest();
    assert_eq!(world.runs(), 1, "the work ran so often");
}

/// Any caller may be the leader, and may be dropped or never polled again, while another removes the key.
fn a_leader_is_lost() {
    let world = World::new(0, 0);
    world.may_be_unfenced();
    world.caller(Fate::any());
    world.caller(Fate::any());
    world.caller(Fate::Lives);
    world.remover(Fate::Lives);
    world.runs_to_rest();
}

/// The watchdog has a caller go on from a leader that isn't polled again. Before it has ended that look, others call and remove the key.
fn calls_after_a_lost_leader() {
    let world = World::new(0, 0);
    world.caller(Fate::stops());
    world.thread("waiter", |world| {
        world.until_left(1);
        world.call(Fate::Lives);
    });
    for _ in 0..2 {
        world.thread("caller", |world| {
            world.until_left(2);
            world.call(Fate::Lives);
        });
    }
    world.thread("remover", |world| {
        world.until_left(2);
        world.remove(Fate::Lives);
    });
    world.runs_to_rest();
}

/// The removal waits for the store, and the store for nobody.
fn a_store_whose_caller_is_not_polled() {
    let world = World::new(0, 0);
    world.may_be_unfenced();
    world.caller(Fate::stops());
    world.remover(Fate::Lives);
    world.caller(Fate::Lives);
    world.runs_to_rest();
}

/// The second removal has to find the store that the first waits for.
fn two_removals_and_a_store() {
    let world = World::new(0, 0);
    world.may_be_unfenced();
    world.caller(Fate::Lives);
    world.remover(Fate::any());
    world.thread("remover", |world| {
        world.remove(Fate::Lives);
        world.get(Fate::Lives);
    });
    world.runs_to_rest();
}

/// The first is never polled again once it waits for the store, and the second doesn't leave the store's value on the server.
fn a_removal_that_is_not_polled_and_another() {
    let world = World::new(0, 0);
    world.is_unfenced();
    world.caller(Fate::Lives);
    world.remover(Fate::StopsAfter(1));
    world.remover(Fate::Lives);
    world.runs_to_rest();
}

/// Commands are lost with their connection, while a value is filled and removed.
fn an_outage() {
    let world = World::new(2, 0);
    world.fill();
    world.caller(Fate::Lives);
    world.thread("remover", |world| {
        world.remove(Fate::Lives);
        world.call(Fate::Lives);
    });
    world.getter(Fate::Lives);
    world.runs_to_rest();
}

/// A removal is lost while calls are about to read: what they read after it isn't kept either.
fn an_outage_of_a_removal() {
    let world = World::new(1, 0);
    world.fill();
    world.getter(Fate::Lives);
    world.thread("remover", |world| {
        world.remove(Fate::Lives);
        world.get(Fate::Lives);
    });
    world.runs_to_rest();
}

/// The same with an insert, whose old value may be read before the journal has it.
fn an_outage_of_an_insert() {
    let world = World::new(1, 0);
    world.fill();
    world.thread("writer", |world| {
        world.insert(Fate::any());
        world.get(Fate::Lives);
    });
    world.getter(Fate::Lives);
    world.caller(Fate::Lives);
    world.runs_to_rest();
}

/// Calls come as the insert's flight ends: they find its old value in the journal, or not on the server.
fn an_insert_that_is_lost() {
    let world = World::new(1, 0);
    world.loses_stores();
    world.fill();
    world.thread("writer", |world| {
        world.insert(Fate::Lives);
        world.get(Fate::Lives);
    });
    world.getter(Fate::Lives);
    world.getter(Fate::Lives);
    world.runs_to_rest();
}

/// Another process removes the key at any time between a read and the store of what was computed.
fn another_process_invalidates() {
    let world = World::new(0, 0);
    world.caller(Fate::Lives);
    world.thread("another process", |world| {
        world.remove_elsewhere();
        world.call(Fate::Lives);
        world.remove_elsewhere();
    });
    world.caller(Fate::Lives);
    world.runs_to_rest();
}

/// It removes the key while the work runs: what comes of the work is kept nowhere.
fn another_process_overtakes_the_work() {
    let world = World::new(0, 0);
    world.overtaken_caller();
    world.caller(Fate::Lives);
    world.sync_caller();
    world.runs_to_rest();
}

fn a_sync_waiter_beside_an_async_leader() {
    let world = World::new(0, 0);
    world.caller(Fate::any());
    world.sync_caller();
    world.sync_caller();
    world.remover(Fate::Lives);
    world.runs_to_rest();
}

/// The panic reaches its own caller, and the others get a value.
fn work_panics() {
    let world = World::new(0, 0);
    world.panicking_caller();
    world.caller(Fate::Lives);
    world.sync_caller();
    world.remover(Fate::Lives);
    world.runs_to_rest();
}

fn an_insert_beside_a_fill() {
    let world = World::new(0, 0);
    world.may_be_unfenced();
    world.caller(Fate::Lives);
    world.thread("writer", |world| {
        world.insert(Fate::Lives);
        world.get(Fate::Lives);
        world.remove(Fate::Lives);
    });
    world.getter(Fate::Lives);
    world.runs_to_rest();
}

/// What was read before the removal isn't kept after it.
fn a_get_beside_a_removal() {
    let world = World::new(0, 0);
    world.fill();
    world.getter(Fate::any());
    world.getter(Fate::Lives);
    world.thread("remover", |world| {
        world.remove(Fate::Lives);
        world.remove(Fate::Lives);
    });
    world.runs_to_rest();
}

/// An answer is late, and time passes also while threads run: deadlines pass before what they wait for, and after.
fn a_late_server_and_slow_threads() {
    hurry();
    let world = World::new(0, 1);
    world.may_be_unfenced();
    world.fill();
    world.caller(Fate::Lives);
    world.remover(Fate::any());
    world.thread("remover", |world| {
        world.remove(Fate::Lives);
        world.call(Fate::Lives);
    });
    world.runs_to_rest();
}
