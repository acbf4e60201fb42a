//! One call of a batch, and its hold on its key.

use super::progress::NoValue;
use crate::handle::coalescing::together::Hold;
use crate::handle::coalescing::{Leader, Stores};
use crate::handle::entry::Decisions;
use crate::handle::freshness::Old;
use crate::handle::joint::Seat;
use crate::handle::read_through::Outcome;
use crate::handle::want::Want;
use crate::key::CallKey;
use crate::options::CacheOptions;

/// One call of a batch.
pub(super) struct Call<'a, T, C> {
    pub(super) key: CallKey,
    pub(super) options: &'a CacheOptions<C>,
    /// What memory has, where it's to be renewed. In a box: calls are moved, and few have it.
    pub(super) old: Option<Box<Old<T>>>,
    pub(super) want: Want<NoValue>,
    pub(super) decisions: Decisions,
    /// Several keys are this call.
    pub(super) has_twins: bool,
}

/// A call that leads its flight.
pub(super) struct Led {
    pub(super) at: usize,
    pub(super) leader: Leader,
    /// What a forced one waits for.
    pub(super) stores: Option<Stores>,
}

/// A call whose key is read together with those of others.
pub(super) struct Asking {
    pub(super) at: usize,
    pub(super) hold: Hold,
}

/// What several calls have found, by their places in the batch; `None`: the call that leads is waited for.
pub(super) type Outcomes<T> = Vec<(usize, Option<Outcome<T, NoValue>>)>;

impl<T, C> Call<'_, T, C> {
    pub(super) fn seat(&self) -> &Seat {
        self.decisions.seat.as_ref().expect("a call of a batch has one")
    }
}
