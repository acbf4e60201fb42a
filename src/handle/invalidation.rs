//! An invalidation from its beginning until the server has confirmed it, or the journal has it.

use super::coalescing::{Leader, Stores};
use super::engine::Engine;
use crate::backend::invalidation::Invalidation;
use crate::backend::server::{Server, ServerError};
use crate::error::Error;

/// An invalidation that the server hasn't confirmed. It's journalled unless it's confirmed, also where the call's future is dropped
/// half-way.
#[must_use = "dropped at once, it's journalled"]
pub(super) struct Pending<'a, S: Server> {
    engine: &'a Engine<S>,
    invalidation: &'a Invalidation,
    /// Stores that were on their way to the server when it began.
    stores: Stores,
    /// The insert that it's part of, whose value memory is to hold in the end; without one, memory is to hold nothing.
    replacement: Option<&'a Leader>,
    confirmed: bool,
}

impl<'a, S: Server> Pending<'a, S> {
    /// An invalidation after which there is no value.
    pub(super) fn removal(engine: &'a Engine<S>, invalidation: &'a Invalidation, stores: Stores) -> Self {
        Self::new(engine, invalidation, stores, None)
    }

    /// An invalidation of the value that another replaces, which `leader` inserts.
    pub(super) fn replacement(
        engine: &'a Engine<S>,
        invalidation: &'a Invalidation,
        stores: Stores,
        leader: &'a Leader,
    ) -> Self {
        Self::new(engine, invalidation, stores, Some(leader))
    }

    fn new(
        engine: &'a Engine<S>,
        invalidation: &'a Invalidation,
        stores: Stores,
        replacement: Option<&'a Leader>,
    ) -> Self {
        // Without a server, memory is all there is to invalidate.
        let confirmed = engine.inner.tiers.server.is_none();
        Self { engine, invalidation, stores, replacement, confirmed }
    }

    /// Waits for the stores, so that the next command to the server comes after them. Returns whether it does: a sync caller's program
    /// may keep the I/O from running, and then they take too long.
    pub(super) async fn stores_end(&self) -> bool {
        match self.engine.server_deadline() {
            Some(deadline) => self.stores.ended(deadline).await,
            None => true,
        }
    }

    /// The server has done it.
    pub(super) fn confirm(mut self) {
        self.confirmed = true;
    }

    /// The server hasn't done it, because of `error`: journalled, and nothing that the caller has to act on where that's an outage.
    pub(super) fn give_up(mut self, error: ServerError) -> Result<(), Error> {
        self.confirmed = true;
        self.journal()?;
        match error {
            ServerError::Unavailable(_) => Ok(()),
            // A primary that was demoted: the new primary is sent it.
            error if error.is_read_only() => Ok(()),
            ServerError::Refused { .. } | ServerError::WrongType => Err(error.into()),
        }
    }

    fn journal(&self) -> Result<(), Error> {
        let tiers = &self.engine.inner.tiers;
        // What they bring after the journal has been replayed has to go too.
        self.stores.overtake(&tiers.journal);
        tiers.journal(self.invalidation)
    }
}

impl<S: Server> Drop for Pending<'_, S> {
    fn drop(&mut self) {
        if !self.confirmed
            && let Err(error) = self.journal()
        {
            tracing::warn!(target: "cache_house", %error, "an invalidation is lost");
        }
        if self.replacement.is_none_or(Leader::is_superseded) {
            // It's journalled or confirmed by now, so that later calls can't read the old value from the server. A call that has read it
            // before may have kept it.
            let inner = &self.engine.inner;
            inner.flights.invalidate(self.invalidation);
            inner.tiers.forget(self.invalidation);
        }
    }
}
