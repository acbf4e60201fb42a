//! What the direct operations do: reading, writing and invalidating without any work to run.

use std::any::Any;

use super::applied::Applied;
use super::caller::Caller;
use super::coalescing::AsOf;
use super::engine::Engine;
use super::entry::Source;
use super::freshness::{Fetched, Verdict};
use super::invalidation::Pending;
use crate::backend::invalidation::Invalidation;
use crate::backend::server::{Server, ServerError, Unavailable};
use crate::backend::tiers::{NotReplaced, Read, Route};
use crate::codec::ValueCodec;
use crate::error::Error;
use crate::key::KeyPrefix;
use crate::options::CacheOptions;
use crate::surroundings;
use crate::telemetry::metrics::Answer;

impl<S: Server> Engine<S> {
    pub(super) async fn get<T, C>(&self, options: &CacheOptions<C>, caller: Caller) -> Option<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let key = self.open_key(options).ok()?;
        let tiers = &self.inner.tiers;
        let call = self.resolve(&key, options);
        let (Route::Server, Some(server)) = (tiers.route(&key), &tiers.server) else {
            return self.memory_or_miss(&call, options);
        };
        if let Some((value, remaining)) = tiers.read_near(&call) {
            let found = Fetched { value, source: Source::Near, remaining: Some(remaining) };
            let verdict = self.verdict(&call, options, &found);
            if !verdict.is_stale() {
                self.served(options, &key, &found, Verdict::Fresh);
                return Some(found.value);
            }
        }
        // A read of its own beside the flight: no call that has work waits for one that has none.
        let observer = self.inner.flights.observe(&key, caller);
        match tiers.read_server(server, &call, &observer).await {
            Read::Hit(value, remaining) => {
                let found = Fetched { value, source: Source::Server, remaining };
                if self.verdict(&call, options, &found).is_stale() {
                    self.answered(options, Answer::ServerMiss);
                    return None;
                }
                self.answered(options, Answer::ServerHit);
                Some(found.value)
            }
            Read::Miss | Read::Undecodable | Read::Foreign => {
                self.answered(options, Answer::ServerMiss);
                None
            }
            Read::Unavailable => self.memory_or_miss(&call, options),
        }
    }

    pub(super) async fn contains<C>(&self, options: &CacheOptions<C>) -> bool {
        match self.open_key(options) {
            Ok(key) => self.inner.tiers.contains(&self.resolve(&key, options)).await,
            Err(_) => false,
        }
    }

    pub(super) async fn insert<T, C>(
        &self,
        options: &CacheOptions<C>,
        value: &T,
        caller: Caller,
    ) -> Result<Applied, Error>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let key = self.open_key(options)?;
        let tiers = &self.inner.tiers;
        let call = self.resolve(&key, options);
        tiers.counters.invalidations.add_one();
        self.inner.retries.forget(&key);
        let old = Invalidation::Key(key.clone());
        let ttl = self.lifetime(&call, options, None, value);
        if ttl.is_zero() {
            // The value isn't to be stored, and the one it would have replaced is out of date.
            let removed = self.invalidate(&old).await?;
            return Ok(Applied { entries: 0, ..removed });
        }
        let (leader, stores) = self.inner.flights.take_over(&key, caller, &tiers.journal);
        // Until the server confirms the new value, the old one has to go. Memory keeps the new one either way.
        let pending = Pending::replacement(self, &old, stores, &leader);
        // Not what a later writer may have put there since.
        tiers.forget_within(&leader, &key);
        // Callers that wait for the key needn't wait for the server.
        leader.publish(value, ttl, true);
        let in_order = pending.stores_end().await;
        // Journalled before the flight ends: once it's over, calls read from the server what the journal doesn't block.
        let result = match tiers.replace(&call, &leader, value, ttl).await {
            Ok(()) if in_order => {
                pending.confirm();
                Ok(Applied { entries: 1, journalled: false })
            }
            Ok(()) => pending
                .give_up(ServerError::Unavailable(Unavailable::TimedOut))
                .map(|()| Applied { entries: 1, journalled: true }),
            // Nothing of this cache's would have to go.
            Err(NotReplaced::Foreign(error)) => {
                pending.confirm();
                return Err(error);
            }
            Err(NotReplaced::Unavailable(why)) => {
                let is_kept = tiers.memory.as_ref().is_some_and(|memory| memory.find(&key).is_some());
                let entries = (is_kept && !leader.is_superseded()).into();
                pending.give_up(ServerError::Unavailable(why)).map(|()| Applied { entries, journalled: true })
            }
            Err(NotReplaced::Overtaken) => {
                // The old value has to be gone before this returns.
                let applied = |journalled| Applied { entries: 0, journalled };
                let deadline = self.server_deadline().unwrap_or_else(surroundings::now);
                let removed = match leader.replaced(deadline).await {
                    // By an insert that has come after this one. What it didn't do it has journalled.
                    Some(true) if in_order => {
                        pending.confirm();
                        leader.finish(value, Some(ttl), AsOf::Now);
                        return Ok(applied(tiers.journal.blocks(&key)));
                    }
                    Some(_) => Err(ServerError::Unavailable(Unavailable::TimedOut)),
                    None => tiers.remove_from_server(&old).await,
                };
                match removed {
                    Ok(_) if in_order => {
                        pending.confirm();
                        Ok(applied(false))
                    }
                    Ok(_) => pending.give_up(ServerError::Unavailable(Unavailable::TimedOut)).map(|()| applied(true)),
                    Err(error) => pending.give_up(error).map(|()| applied(true)),
                }
            }
            Err(NotReplaced::Failed(error)) => {
                drop(pending);
                Err(error)
            }
        };
        leader.finish(value, Some(ttl), AsOf::Now);
        result
    }

    /// Removes the value of a call.
    pub(super) async fn remove<C>(&self, options: &CacheOptions<C>) -> Result<Applied, Error> {
        let key = self.open_key(options)?;
        self.inner.tiers.counters.invalidations.add_one();
        let removed = self.invalidate(&Invalidation::Key(key)).await?;
        if removed.entries == 0 && !removed.journalled {
            tracing::debug!(target: "cache_house", call = %options.name(), "removed nothing");
        }
        Ok(removed)
    }

    pub(super) async fn clear_namespace(&self, namespace: &str) -> Result<Applied, Error> {
        let scope = self.scope.overridden(None, Some(namespace))?;
        self.clear(KeyPrefix::of_scope(scope.as_str())).await
    }

    pub(super) async fn clear_keys(&self, prefix: &str) -> Result<Applied, Error> {
        self.clear(KeyPrefix::new(prefix, self.scope.key_prefix())?).await
    }

    /// Removes all keys that `prefix` names.
    async fn clear(&self, prefix: KeyPrefix) -> Result<Applied, Error> {
        if self.is_closed() {
            return Err(Error::closed());
        }
        self.inner.tiers.counters.invalidations.add_one();
        self.invalidate(&Invalidation::Matching(prefix)).await
    }

    pub(super) async fn invalidate(&self, invalidation: &Invalidation) -> Result<Applied, Error> {
        let tiers = &self.inner.tiers;
        let pending = Pending::removal(self, invalidation, self.inner.flights.invalidate(invalidation));
        let in_memory = tiers.forget(invalidation);
        let in_order = pending.stores_end().await;
        // Here, so that a removal which is dropped while it waits is journalled.
        if self.inner.first_connection.is_pending() {
            self.first_connection().await;
        }
        let error = match tiers.remove_from_server(invalidation).await {
            Ok(on_server) if in_order => {
                pending.confirm();
                let entries = match (invalidation, on_server) {
                    (Invalidation::Key(_), Some(on_server)) => on_server.max(in_memory),
                    (Invalidation::Matching(_), Some(on_server)) => on_server,
                    (_, None) => in_memory,
                };
                return Ok(Applied { entries, journalled: false });
            }
            Ok(_) => ServerError::Unavailable(Unavailable::TimedOut),
            Err(error) => error,
        };
        pending.give_up(error)?;
        Ok(Applied { entries: in_memory, journalled: true })
    }
}
