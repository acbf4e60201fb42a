//! Flights that a batch joins.

use std::sync::Arc;

use super::{Flights, Join, Leader};
use crate::handle::caller::{BatchPulse, Caller};
use crate::key::CallKey;

impl Flights {
    /// Joins the flights of all these keys, with no other batch in between. So of two batches with keys in common, one waits for the
    /// other, and not each for the other.
    pub(crate) fn join_all<'a>(
        self: &Arc<Self>,
        keys: impl Iterator<Item = &'a CallKey>,
        caller: Caller,
        pulse: &BatchPulse,
    ) -> Vec<Join> {
        let one_batch = self.batches.lock();
        let joined: Vec<_> = keys.map(|key| (key, self.try_join(key, caller))).collect();
        drop(one_batch);
        let joined = joined.into_iter().map(|(key, joined)| {
            joined.unwrap_or_else(|overdue| {
                overdue.makes_way();
                self.join(key, caller)
            })
        });
        joined
            .inspect(|join| {
                if let Join::Lead(leader) = join {
                    leader.belongs_to(pulse)
                }
            })
            .collect()
    }
}

impl Leader {
    /// The leader goes on whenever its batch does, and the batch's work is its own.
    pub(crate) fn belongs_to(&self, pulse: &BatchPulse) {
        self.flight.pulse.belongs_to(pulse);
    }
}
