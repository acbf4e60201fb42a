//! Invalidations that the server hasn't confirmed.
//!
//! What was removed or cleared while the server couldn't be asked is written here, and stays until the
//! server has confirmed that it's gone. Until then no call reads the key from the server, so no
//! invalidated value comes back, however long the outage.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{ServerError, Unavailable};
use crate::key::{CallKey, KeyPrefix, ServerKey};

/// Keys of one namespace before they become "clear that namespace".
const MAX_KEYS_A_SCOPE: usize = 10_000;
/// Keys of all namespaces before the one at hand becomes "clear that namespace".
const MAX_KEYS: usize = 100_000;
/// Namespaces to clear before they become "clear all under that key prefix".
const MAX_PREFIXES: usize = 10_000;
/// Keys that are removed from the server in one command.
const BATCH: usize = 500;

#[derive(Default)]
pub(crate) struct Journal {
    /// How many items wait; read without the lock by every call that goes to the server.
    len: AtomicUsize,
    items: Mutex<Items>,
    added: Notify,
}

#[derive(Default)]
struct Items {
    /// By scope, so that a scope can be collapsed; the empty one holds custom keys outside their scope.
    scopes: HashMap<String, HashMap<ServerKey, u64>>,
    keys: usize,
    prefixes: HashMap<KeyPrefix, u64>,
    /// Numbers each writing, so that a confirmation doesn't take away a later one.
    sequence: u64,
}

/// What carries out the journal's items.
pub(crate) trait Invalidate {
    fn remove_all(&self, keys: &[ServerKey]) -> impl Future<Output = Result<(), ServerError>> + Send;
    fn clear(&self, prefix: &KeyPrefix) -> impl Future<Output = Result<(), ServerError>> + Send;
}

/// The journal can't take another key: only for custom keys outside their scope, which can't be collapsed.
#[derive(Debug)]
pub(crate) struct Full;

impl Journal {
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Waits until an item is added.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }

    /// Whether the server may still hold a value of `key` that was invalidated.
    pub(crate) fn blocks(&self, key: &CallKey) -> bool {
        if self.len() == 0 {
            return false;
        }
        let items = self.items.lock();
        if items.prefixes.keys().any(|prefix| prefix.matches_key(key)) {
            return true;
        }
        let scope = items.scopes.get(key.scope().unwrap_or_default());
        scope.is_some_and(|keys| keys.contains_key(&key.server_key()))
    }

    /// Notes that `key` has to go.
    pub(crate) fn add_key(&self, key: &CallKey) -> Result<(), Full> {
        let scope = key.scope().unwrap_or_default();
        let mut items = self.items.lock();
        let full = items.keys >= MAX_KEYS || items.scopes.get(scope).is_some_and(|keys| keys.len() >= MAX_KEYS_A_SCOPE);
        if full && scope.is_empty() {
            if items.keys >= MAX_KEYS {
                return Err(Full);
            }
        } else if full {
            self.add_prefix_locked(&mut items, KeyPrefix::of_scope(scope));
            return Ok(());
        }
        let sequence = items.next();
        let keys = items.scopes.entry(scope.to_owned()).or_default();
        if keys.insert(key.server_key(), sequence).is_none() {
            items.keys += 1;
        }
        self.written(&items);
        Ok(())
    }

    /// Notes that all keys that `prefix` names have to go.
    pub(crate) fn add_prefix(&self, prefix: KeyPrefix) {
        self.add_prefix_locked(&mut self.items.lock(), prefix);
    }

    fn add_prefix_locked(&self, items: &mut Items, prefix: KeyPrefix) {
        items.forget_keys_under(&prefix);
        let sequence = items.next();
        items.prefixes.insert(prefix, sequence);
        if items.prefixes.len() > MAX_PREFIXES {
            items.collapse_prefixes();
        }
        self.written(items);
    }

    /// Carries out all that's written, and forgets what was confirmed.
    ///
    /// What the server refuses stays, and doesn't hold up the rest.
    ///
    /// # Errors
    ///
    /// Where the server can't be asked; what was confirmed before that is forgotten.
    pub(crate) async fn replay(&self, server: &impl Invalidate) -> Result<(), Unavailable> {
        let (prefixes, keys) = {
            let items = self.items.lock();
            let prefixes: Vec<_> = items.prefixes.iter().map(|(prefix, at)| (prefix.clone(), *at)).collect();
            let keys: Vec<_> = items.scopes.values().flatten().map(|(key, at)| (key.clone(), *at)).collect();
            (prefixes, keys)
        };
        for (prefix, at) in prefixes {
            match server.clear(&prefix).await {
                Ok(()) => self.confirm_prefix(&prefix, at),
                Err(error) => refused(error)?,
            }
        }
        for batch in keys.chunks(BATCH) {
            let names: Vec<_> = batch.iter().map(|(key, _)| key.clone()).collect();
            match server.remove_all(&names).await {
                Ok(()) => self.confirm_keys(batch),
                // Not about these keys: each of the others would be refused too.
                Err(ServerError::Refused { code, .. }) if code == "READONLY" => return Ok(()),
                Err(error) => {
                    refused(error)?;
                    self.replay_one_by_one(server, batch).await?;
                }
            }
        }
        Ok(())
    }

    /// A batch was refused: only some of its keys may be the reason.
    async fn replay_one_by_one(&self, server: &impl Invalidate, batch: &[(ServerKey, u64)]) -> Result<(), Unavailable> {
        for item in batch {
            match server.remove_all(std::slice::from_ref(&item.0)).await {
                Ok(()) => self.confirm_keys(std::slice::from_ref(item)),
                Err(error) => refused(error)?,
            }
        }
        Ok(())
    }

    fn confirm_keys(&self, confirmed: &[(ServerKey, u64)]) {
        let mut items = self.items.lock();
        let mut gone = 0;
        for (key, at) in confirmed {
            for keys in items.scopes.values_mut() {
                if keys.get(key) == Some(at) {
                    keys.remove(key);
                    gone += 1;
                }
            }
        }
        items.keys -= gone;
        items.scopes.retain(|_, keys| !keys.is_empty());
        self.len.store(items.len(), Ordering::Release);
    }

    fn confirm_prefix(&self, prefix: &KeyPrefix, at: u64) {
        let mut items = self.items.lock();
        if items.prefixes.get(prefix) == Some(&at) {
            items.prefixes.remove(prefix);
        }
        self.len.store(items.len(), Ordering::Release);
    }

    fn written(&self, items: &Items) {
        self.len.store(items.len(), Ordering::Release);
        self.added.notify_one();
    }
}

impl Items {
    fn len(&self) -> usize {
        self.keys + self.prefixes.len()
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Drops the keys that clearing `prefix` takes along.
    fn forget_keys_under(&mut self, prefix: &KeyPrefix) {
        self.scopes.retain(|_, keys| {
            keys.retain(|key, _| !prefix.matches(key));
            !keys.is_empty()
        });
        self.keys = self.scopes.values().map(HashMap::len).sum();
    }

    /// Too many namespaces: clears all that share their first part, the key prefix.
    fn collapse_prefixes(&mut self) {
        let sequence = self.next();
        let first_part = |prefix: &KeyPrefix| prefix.as_str().split(':').next().map(KeyPrefix::of_scope);
        let collapsed: Vec<_> = self.prefixes.keys().filter_map(first_part).collect();
        self.prefixes.clear();
        self.prefixes.extend(collapsed.into_iter().map(|prefix| (prefix, sequence)));
        for prefix in self.prefixes.keys().cloned().collect::<Vec<_>>() {
            self.forget_keys_under(&prefix);
        }
    }
}

/// Passes on what ends a replay; a refusal doesn't.
fn refused(error: ServerError) -> Result<(), Unavailable> {
    match error {
        ServerError::Unavailable(why) => Err(why),
        ServerError::Refused { .. } | ServerError::WrongType => Ok(()),
    }
}

#[cfg(test)]
mod tests;
