//! Flights that a batch joins, and the keys that it reads by one command.

use std::sync::Arc;

use super::{Flights, Join, Leader, Observer, Storing};
use crate::backend::memory::Evicted;
use crate::backend::tiers::Fence;
use crate::handle::caller::{BatchPulse, Caller};
use crate::key::CallKey;

/// What a call has of its key's flight while the server is asked for the value.
pub(crate) enum Hold {
    Leads(Leader),
    /// Another call leads.
    Beside(Observer),
}

impl Flights {
    /// Joins the flights of all these keys, with no other batch in between. So of two batches with keys in common, one waits for the
    /// other, and not each for the other.
    pub(crate) fn join_all<'a>(
        self: &Arc<Self>,
        keys: impl Iterator<Item = &'a CallKey>,
        caller: Caller,
        pulse: &BatchPulse,
    ) -> impl Iterator<Item = Join> {
        let one_batch = self.batches.lock();
        let joined: Vec<_> = keys.map(|key| (key, self.try_join(key, caller))).collect();
        drop(one_batch);
        let joined = joined.into_iter().map(move |(key, joined)| {
            joined.unwrap_or_else(|overdue| {
                overdue.makes_way();
                self.join(key, caller)
            })
        });
        joined.inspect(move |join| {
            if let Join::Leader(leader) = join {
                leader.belongs_to(pulse)
            }
        })
    }
}

impl Leader {
    /// The leader goes on whenever its batch does, and the batch's work is its own.
    pub(crate) fn belongs_to(&self, pulse: &BatchPulse) {
        self.flight.pulse.belongs_to(pulse);
    }
}

impl Hold {
    /// The server is about to be asked.
    pub(crate) fn asks(&self) {
        if let Self::Leads(leader) = self {
            leader.asks();
        }
    }
}

impl Fence for Hold {
    type Storing = Storing;
    type Watch = Option<Observer>;

    fn commit(&self, keep: impl FnOnce() -> Evicted) {
        match self {
            Self::Leads(leader) => leader.commit(keep),
            Self::Beside(observer) => observer.commit(keep),
        }
    }

    fn begin_store(&self) -> Option<Storing> {
        match self {
            Self::Leads(leader) => leader.begin_store(),
            Self::Beside(observer) => observer.begin_store(),
        }
    }

    fn watch(&self) -> Option<Observer> {
        match self {
            Self::Leads(leader) => Some(leader.watch()),
            // It's found anyway.
            Self::Beside(_) => None,
        }
    }
}
