//! Fills that end behind another process's invalidation, in a process that was frozen meanwhile.

use super::puppet::{Invalidation, Puppet, options};
use crate::support::{DEADLINE, Server, connected, wait_until};

const INVALIDATIONS: [(Invalidation, Option<&str>); 4] = [
    (Invalidation::Remove, None),
    (Invalidation::ClearNamespace, None),
    (Invalidation::ClearKeys, None),
    (Invalidation::Insert, Some("new")),
];

/// Freezes a process while its work runs, and has another process invalidate the key by each kind of invalidation. Before that,
/// `meanwhile` is done to the lease of this name.
fn a_late_fill_is_refused(meanwhile: impl Fn(&Server, &str)) {
    let server = Server::start();
    let key = connected(&server).key(&options()).expect("it has a key");
    let lease = format!("cachehouse::lease:{{{key}}}");
    let (mut filling, mut invalidating) = (Puppet::start(&server), Puppet::start(&server));
    for (number, (invalidation, found)) in (1..).zip(INVALIDATIONS) {
        filling.call(number, None);
        filling.until_it_runs(number);
        assert!(server.has(&lease), "{invalidation:?}");
        filling.process.freeze();
        meanwhile(&server, &lease);
        invalidating.invalidate(invalidation);
        filling.process.thaw();
        filling.end(number, "old");
        assert_eq!(filling.answer(number), "old", "the caller gets its own value");
        for puppet in [&mut filling, &mut invalidating] {
            assert_eq!(puppet.get().as_deref(), found, "{invalidation:?}");
        }
        assert_eq!(filling.counts().0, u64::from(number), "{invalidation:?}");
        invalidating.invalidate(Invalidation::Remove);
    }
}

#[test]
fn a_frozen_process_does_not_store_what_another_has_invalidated() {
    a_late_fill_is_refused(|_, _| {});
}

#[test]
fn nor_once_its_lease_is_over() {
    a_late_fill_is_refused(|server, lease| {
        // As if it had been frozen for a minute, which nobody wants to wait for.
        server.command(&["PEXPIRE", lease, "1"]);
        wait_until("the lease is over", DEADLINE, || !server.has(lease));
    });
}

#[test]
fn a_fill_whose_lease_is_over_does_not_replace_a_later_one() {
    let server = Server::start();
    let key = connected(&server).key(&options()).expect("it has a key");
    let lease = format!("cachehouse::lease:{{{key}}}");
    let (mut filling, mut other) = (Puppet::start(&server), Puppet::start(&server));
    filling.call(1, None);
    filling.until_it_runs(1);
    filling.process.freeze();
    server.command(&["PEXPIRE", &lease, "1"]);
    wait_until("the lease is over", DEADLINE, || !server.has(&lease));
    other.call(2, None);
    other.end(2, "new");
    assert_eq!(other.answer(2), "new");
    filling.process.thaw();
    filling.end(1, "old");
    assert_eq!(filling.answer(1), "old", "the caller gets its own value");
    assert_eq!((filling.get().as_deref(), other.get().as_deref()), (Some("new"), Some("new")));
    assert_eq!(filling.counts().0, 1);
}
