//! Invalidations that the server hasn't confirmed.
//!
//! What was removed or cleared while the server was unavailable is written here, and stays until the
//! server has confirmed that it's gone. Until then no call reads the key from the server, so no
//! invalidated value comes back, however long the outage.

mod clearings;
mod items;

use std::future::Future;
use std::sync::Arc;

use self::items::Items;
use super::invalidation::Invalidation;
use super::server::{ServerError, Unavailable};
use super::slots::SlotSet;
use crate::key::{CallKey, KeyPrefix, ServerKey};
use crate::surroundings::atomic::Ordering;
use crate::surroundings::{Mutex, Notify};
use crate::telemetry::metrics::Length;

pub(crate) use self::clearings::{Clearings, Refusals};
pub(crate) use self::items::Full;

/// Keys that are removed from the server in one command, and items that are looked at under the lock at once.
const BATCH: usize = 500;

#[derive(Default)]
pub(crate) struct Journal {
    /// How many items wait; read without the lock by every call that goes to the server.
    len: Length,
    items: Mutex<Items>,
    added: Notify,
}

/// Where the journal is replayed.
pub(crate) trait Invalidate {
    /// Whether one item may be out of reach while others aren't: a cluster.
    const HAS_PARTS: bool;

    /// Removes the keys; what came of each.
    fn remove_all(&self, keys: &[ServerKey]) -> impl Future<Output = Vec<Result<(), ServerError>>> + Send;

    /// Removes all that `clearings` name, in one walk over the server's keys.
    fn clear(&self, clearings: &Clearings) -> impl Future<Output = Result<Cleared, ServerError>> + Send;
}

/// What a walk has come to.
pub(crate) struct Cleared {
    /// The slots in which nothing is left of what was named.
    pub(crate) certain: SlotSet,
    /// But for these.
    pub(crate) refusals: Refusals,
}

/// A key that stays blocked whatever is confirmed.
#[must_use = "dropped at once, it holds nothing"]
pub(crate) struct Hold {
    journal: Arc<Journal>,
    key: ServerKey,
}

impl Journal {
    /// A journal for the server at `endpoint`.
    pub(crate) fn of(endpoint: &str) -> Self {
        Self { len: Length::of(endpoint), ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Waits until an item is added.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    /// Whether the server may still hold a value of `key` that was invalidated.
    pub(crate) fn blocks(&self, key: &CallKey) -> bool {
        self.len() > 0 && self.names(&key.server_key())
    }

    /// The same of a server's key.
    pub(crate) fn names(&self, key: &ServerKey) -> bool {
        self.len() > 0 && self.items.lock().blocks(key)
    }

    /// Notes that what `invalidation` names has to go.
    pub(crate) fn add(&self, invalidation: &Invalidation) -> Result<(), Full> {
        match invalidation {
            Invalidation::Key(key) => {
                let (server_key, scope_len) = (key.server_key(), key.scope().map_or(0, str::len));
                self.write(|items| items.add_key(server_key, scope_len))
            }
            Invalidation::Matching(prefix) => {
                self.write(|items| items.add_prefix(prefix.clone(), None));
                Ok(())
            }
        }
    }

    /// The same for a key of which nothing else is known.
    pub(crate) fn add_server_key(&self, key: ServerKey) {
        self.write(|items| items.add_lone_key(key));
    }

    /// The same for all keys that `prefix` names, in some slots only.
    pub(crate) fn add_prefix_in(&self, prefix: KeyPrefix, slots: SlotSet) {
        self.write(|items| items.add_prefix(prefix, Some(slots)));
    }

    /// Blocks `key` until the hold is dropped, which notes that the key has to go: a store of it is under way and may come behind
    /// what is confirmed meanwhile.
    pub(crate) fn hold(self: &Arc<Self>, key: &CallKey) -> Hold {
        let key = key.server_key();
        self.write(|items| items.hold(key.clone()));
        Hold { journal: Arc::clone(self), key }
    }

    /// Replays all that is written, and forgets what was confirmed. The lock is held for a part of it at a time.
    ///
    /// What the server refuses stays, and doesn't hold up the rest.
    ///
    /// # Errors
    ///
    /// Where the server, or a part of it, is unavailable; what was confirmed is forgotten.
    pub(crate) async fn replay<I: Invalidate>(&self, server: &I) -> Result<(), Unavailable> {
        let sequence = self.items.lock().sequence();
        let keys = self.replay_keys(server, sequence, usize::MAX).await;
        if !I::HAS_PARTS {
            keys?;
        }
        keys.and(self.replay_clearings(server, sequence).await)
    }

    /// Replays a first part, which shows whether the server takes invalidations; of a short journal, all keys.
    ///
    /// # Errors
    ///
    /// Where the server is unavailable.
    pub(crate) async fn begin_replay<I: Invalidate>(&self, server: &I) -> Result<(), Unavailable> {
        let sequence = self.items.lock().sequence();
        self.replay_keys(server, sequence, 1).await
    }

    async fn replay_keys<I: Invalidate>(&self, server: &I, sequence: u64, batches: usize) -> Result<(), Unavailable> {
        let (mut unavailable, mut last) = (None, None);
        for _ in 0..batches {
            let batch = self.items.lock().keys_after(last.as_ref(), sequence, BATCH);
            if batch.last.is_none() {
                break;
            }
            last = batch.last;
            if batch.keys.is_empty() {
                continue;
            }
            let names: Vec<_> = batch.keys.iter().map(|(key, _)| key.clone()).collect();
            let results = server.remove_all(&names).await;
            let done = batch.keys.iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(key, _)| key);
            self.confirm(|items| items.confirm_keys(done));
            let why = results.iter().find_map(|result| match result {
                Err(ServerError::Unavailable(why)) => Some(*why),
                _ => None,
            });
            unavailable = unavailable.or(why);
            if !I::HAS_PARTS && unavailable.is_some() {
                break;
            }
            if results.iter().all(|result| result.as_ref().is_err_and(ServerError::is_read_only)) {
                // Not about these keys: each of the others would be refused too.
                break;
            }
        }
        unavailable.map_or(Ok(()), Err)
    }

    async fn replay_clearings<I: Invalidate>(&self, server: &I, sequence: u64) -> Result<(), Unavailable> {
        let (mut clearings, mut last) = (Clearings::default(), None);
        loop {
            last = self.items.lock().prefixes_after(last.as_ref(), sequence, BATCH, &mut clearings);
            if last.is_none() {
                break;
            }
        }
        clearings.folded = self.items.lock().folded();
        if clearings.is_empty() {
            return Ok(());
        }
        let cleared = match server.clear(&clearings).await {
            Ok(cleared) => cleared,
            Err(ServerError::Unavailable(why)) => return Err(why),
            Err(ServerError::Refused { .. } | ServerError::WrongType) => return Ok(()),
        };
        let mut confirmed = items::unrefused(&clearings, &cleared.refusals).peekable();
        while confirmed.peek().is_some() {
            self.confirm(|items| items.confirm_prefixes(confirmed.by_ref().take(BATCH), &cleared.certain));
        }
        if let Some(folded) = clearings.folded.as_ref().filter(|_| !cleared.refusals.has_folded()) {
            self.confirm(|items| items.confirm_folded(folded.clearing.sequence, &cleared.certain));
        }
        Ok(())
    }

    fn write<T>(&self, write: impl FnOnce(&mut Items) -> T) -> T {
        let mut items = self.items.lock();
        let could_tell = !items.is_everything();
        let written = write(&mut items);
        self.len.store(items.len(), Ordering::Release);
        let is_last_straw = could_tell && items.is_everything();
        drop(items);
        self.added.notify_one();
        if is_last_straw {
            tracing::error!(
                target: "cache_house",
                "too many key prefixes were cleared while the server was away; it isn't read from until the program restarts"
            );
        }
        written
    }

    fn confirm(&self, confirm: impl FnOnce(&mut Items)) {
        let mut items = self.items.lock();
        confirm(&mut items);
        self.len.store(items.len(), Ordering::Release);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.journal.write(|items| items.release(&self.key));
    }
}

#[cfg(test)]
mod tests;
