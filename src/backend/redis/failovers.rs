//! Whether a failover came between a command and its reply.
//!
//! A primary that has lost its place goes on to confirm what is sent to it until it learns so, and all of that is lost. So what it
//! confirmed while a failover was noticed is taken for lost, and what was read meanwhile for old.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::server::Epoch;

/// The failovers that have been noticed. Several may be at once: by a map, and by the move of the I/O to another thread.
#[derive(Default)]
pub(super) struct Failovers {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Failovers {
    /// Which have ended. Asked before the layout is looked at, and a command sent.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.ended.load(Ordering::SeqCst))
    }

    /// Whether one has begun since, or hadn't ended yet.
    pub(super) fn any_since(&self, sent: Epoch) -> bool {
        self.begun.load(Ordering::SeqCst) != sent.0
    }

    /// Notes one, which lasts for as long as `handle` takes: it repeats invalidations, and may change the layout.
    pub(super) fn note<R>(&self, handle: impl FnOnce() -> R) -> R {
        /// Ends it, also where `handle` panics.
        struct Ends<'a>(&'a AtomicU64);

        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }

        self.begun.fetch_add(1, Ordering::SeqCst);
        let _ends = Ends(&self.ended);
        handle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_knows_of_each_failover_that_overlaps_with_it() {
        let failovers = Failovers::default();
        failovers.note(|| ());
        let before = failovers.epoch();
        assert!(!failovers.any_since(before), "it had ended");
        let during = failovers.note(|| {
            assert!(failovers.any_since(before));
            failovers.epoch()
        });
        assert!(failovers.any_since(before) && failovers.any_since(during));
        assert!(!failovers.any_since(failovers.epoch()));
    }

    #[test]
    fn of_two_at_once_the_one_that_ends_first_hides_none() {
        let failovers = Failovers::default();
        let between = failovers.note(|| failovers.note(|| failovers.epoch()));
        assert!(failovers.any_since(between));
        let within = failovers.note(|| {
            failovers.note(|| ());
            failovers.epoch()
        });
        assert!(failovers.any_since(within));
    }

    #[test]
    fn one_whose_handling_panics_has_ended() {
        let failovers = Failovers::default();
        let panicked =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| failovers.note(|| panic!("on purpose"))));
        assert!(panicked.is_err() && !failovers.any_since(failovers.epoch()));
    }
}
