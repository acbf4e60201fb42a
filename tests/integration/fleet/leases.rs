//! `lease`: one process computes a key, and one that dies, is frozen or hangs meanwhile holds nobody up for longer.

use std::time::{Duration, Instant};

use super::puppet::Puppet;
use crate::support::{DEADLINE, Server, wait_until};

const LEASE: Duration = Duration::from_millis(500);

/// A process whose work runs, and another that waits for its value.
struct Pair {
    holder: Puppet,
    waiter: Puppet,
    _server: Server,
}

impl Pair {
    /// The holder's work runs.
    fn start() -> Self {
        let server = Server::start();
        let (mut holder, waiter) = (Puppet::start(&server), Puppet::start(&server));
        holder.call(1, Some(LEASE));
        holder.until_it_runs(1);
        Self { holder, waiter, _server: server }
    }

    /// The waiter gives the holder up, and computes.
    #[track_caller]
    fn the_waiter_computes_after_the_lease(&mut self) {
        let (waiter, begin) = (&mut self.waiter, Instant::now());
        waiter.call(2, Some(LEASE));
        waiter.until_it_runs(2);
        let waited = begin.elapsed();
        assert!(waited >= LEASE, "it waits first: {waited:?}");
        assert!(waited < 20 * LEASE, "{waited:?}");
        waiter.end(2, "new");
        assert_eq!(waiter.answer(2), "new");
        assert_eq!(waiter.counts(), (0, 1), "its value isn't refused");
    }

    #[track_caller]
    fn the_holders_value_comes_too_late(&mut self) {
        let holder = &mut self.holder;
        holder.end(1, "old");
        assert_eq!(holder.answer(1), "old", "the caller gets its own value");
        assert_eq!(holder.counts().0, 1, "it's refused");
        assert_eq!(holder.get().as_deref(), Some("new"));
    }
}

#[test]
fn a_killed_holder_blocks_no_call_for_longer_than_the_lease() {
    let mut pair = Pair::start();
    pair.holder.process.kill();
    pair.the_waiter_computes_after_the_lease();
    assert_eq!(pair.waiter.get().as_deref(), Some("new"));
}

#[test]
fn a_holder_that_is_frozen_finds_its_value_refused_once_it_goes_on() {
    let mut pair = Pair::start();
    pair.holder.process.freeze();
    pair.the_waiter_computes_after_the_lease();
    pair.holder.process.thaw();
    pair.the_holders_value_comes_too_late();
    assert_eq!(pair.waiter.get().as_deref(), Some("new"));
}

#[test]
fn a_holder_with_hung_work_blocks_no_call_for_longer_than_the_lease() {
    let mut pair = Pair::start();
    pair.the_waiter_computes_after_the_lease();
    pair.the_holders_value_comes_too_late();
    assert_eq!(pair.waiter.get().as_deref(), Some("new"));
}

#[test]
fn of_three_hundred_callers_in_six_processes_one_runs_its_work() {
    let server = Server::start();
    let mut puppets: Vec<_> = (0..6).map(|_| Puppet::start(&server)).collect();
    for puppet in &mut puppets {
        (0..50).for_each(|number| puppet.call(number, Some(2 * DEADLINE)));
    }
    let runs = |puppets: &[Puppet]| -> Vec<(usize, u32)> {
        let of = |(process, puppet): (usize, &Puppet)| puppet.all_runs().into_iter().map(move |call| (process, call));
        puppets.iter().enumerate().flat_map(of).collect()
    };
    wait_until("the other processes wait for one", DEADLINE, || {
        puppets.iter_mut().map(|puppet| puppet.counts().1).sum::<u64>() == 5
    });
    let [(process, number)] = runs(&puppets)[..] else { panic!("one runs: {:?}", runs(&puppets)) };
    puppets[process].end(number, "value");
    for puppet in &puppets {
        (0..50).for_each(|number| assert_eq!(puppet.answer(number), "value"));
    }
    assert_eq!(runs(&puppets).len(), 1, "{:?}", runs(&puppets));
}
