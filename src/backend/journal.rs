//! Invalidations that the server hasn't confirmed.
//!
//! What was removed or cleared while the server couldn't be asked is written here, and stays until the
//! server has confirmed that it's gone. Until then no call reads the key from the server, so no
//! invalidated value comes back, however long the outage.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::slots::{SlotSet, slot_of};
use super::{ServerError, Unavailable};
use crate::key::{CallKey, KeyPrefix, ServerKey};
use crate::telemetry::metrics::Length;

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
    len: Length,
    items: Mutex<Items>,
    added: Notify,
}

#[derive(Default)]
struct Items {
    /// By scope, so that a scope can be collapsed; the empty one holds custom keys outside their scope.
    scopes: HashMap<String, HashMap<ServerKey, u64>>,
    keys: usize,
    prefixes: HashMap<KeyPrefix, Clearing>,
    /// Numbers each writing, so that a confirmation doesn't take away a later one.
    sequence: u64,
}

/// A namespace to clear.
#[derive(Clone)]
struct Clearing {
    sequence: u64,
    /// Where it hasn't been confirmed yet; all of it on a server that isn't a cluster.
    left: SlotSet,
}

/// What carries out the journal's items.
pub(crate) trait Invalidate {
    /// Whether one item may be out of reach while others aren't: a cluster.
    const HAS_PARTS: bool;

    /// Removes the keys; what came of each.
    fn remove_all(&self, keys: &[ServerKey]) -> impl Future<Output = Vec<Result<(), ServerError>>> + Send;

    /// Removes what `prefix` names in the slots `left`; in which of them it's certain.
    fn clear(&self, prefix: &KeyPrefix, left: &SlotSet) -> impl Future<Output = Result<SlotSet, ServerError>> + Send;
}

/// The journal can't take another key: only for custom keys outside their scope, which can't be collapsed.
#[derive(Debug)]
pub(crate) struct Full;

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
        if self.len() == 0 {
            return false;
        }
        let items = self.items.lock();
        let server_key = OnceCell::new();
        let server_key = || server_key.get_or_init(|| key.server_key());
        let mut clearing = items.prefixes.iter().filter(|(prefix, _)| prefix.matches_key(key));
        if clearing.any(|(_, clearing)| clearing.left.contains(slot_of(server_key()))) {
            return true;
        }
        let has = |scope| items.scopes.get(scope).is_some_and(|keys: &HashMap<_, _>| keys.contains_key(server_key()));
        // Of what is named by its key alone, the scope isn't known.
        has("") || key.scope().is_some_and(has)
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
            self.add_prefix_locked(&mut items, KeyPrefix::of_scope(scope), SlotSet::all());
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

    /// The same for one that is known by its key alone; where there is no room for it, it's forgotten.
    pub(crate) fn add_server_key(&self, key: ServerKey) {
        let mut items = self.items.lock();
        if items.keys >= MAX_KEYS {
            return;
        }
        let sequence = items.next();
        if items.scopes.entry(String::new()).or_default().insert(key, sequence).is_none() {
            items.keys += 1;
        }
        self.written(&items);
    }

    /// Notes that all keys that `prefix` names have to go.
    pub(crate) fn add_prefix(&self, prefix: KeyPrefix) {
        self.add_prefix_locked(&mut self.items.lock(), prefix, SlotSet::all());
    }

    /// The same for some slots only.
    pub(crate) fn add_prefix_in(&self, prefix: KeyPrefix, slots: SlotSet) {
        self.add_prefix_locked(&mut self.items.lock(), prefix, slots);
    }

    fn add_prefix_locked(&self, items: &mut Items, prefix: KeyPrefix, mut left: SlotSet) {
        if left == SlotSet::all() {
            items.forget_keys_under(&prefix);
        }
        let sequence = items.next();
        if let Some(before) = items.prefixes.get(&prefix) {
            left.add(&before.left);
        }
        items.prefixes.insert(prefix, Clearing { sequence, left });
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
    /// Where the server, or a part of it, can't be asked; what was confirmed is forgotten.
    pub(crate) async fn replay<I: Invalidate>(&self, server: &I) -> Result<(), Unavailable> {
        let (prefixes, keys) = {
            let items = self.items.lock();
            let prefixes: Vec<_> = items.prefixes.iter().map(|(prefix, what)| (prefix.clone(), what.clone())).collect();
            let keys: Vec<_> = items.scopes.values().flatten().map(|(key, at)| (key.clone(), *at)).collect();
            (prefixes, keys)
        };
        let mut unavailable = None;
        for (prefix, clearing) in prefixes {
            match server.clear(&prefix, &clearing.left).await {
                Ok(cleared) => self.confirm_prefix(&prefix, clearing.sequence, &cleared),
                Err(ServerError::Unavailable(why)) => unavailable = Some(why),
                Err(ServerError::Refused { .. } | ServerError::WrongType) => {}
            }
            if !I::HAS_PARTS
                && let Some(why) = unavailable
            {
                return Err(why);
            }
        }
        for batch in keys.chunks(BATCH) {
            let names: Vec<_> = batch.iter().map(|(key, _)| key.clone()).collect();
            let results = server.remove_all(&names).await;
            let done: Vec<_> =
                batch.iter().zip(&results).filter(|(_, result)| result.is_ok()).map(|(key, _)| key).collect();
            self.confirm_keys(&done);
            let why = results.iter().find_map(|result| match result {
                Err(ServerError::Unavailable(why)) => Some(*why),
                _ => None,
            });
            unavailable = unavailable.or(why);
            if !I::HAS_PARTS
                && let Some(why) = unavailable
            {
                return Err(why);
            }
            if results.iter().all(|result| result.as_ref().is_err_and(ServerError::is_read_only)) {
                // Not about these keys: each of the others would be refused too.
                break;
            }
        }
        unavailable.map_or(Ok(()), Err)
    }

    fn confirm_keys(&self, confirmed: &[&(ServerKey, u64)]) {
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

    fn confirm_prefix(&self, prefix: &KeyPrefix, sequence: u64, cleared: &SlotSet) {
        let mut items = self.items.lock();
        if let Some(clearing) = items.prefixes.get_mut(prefix).filter(|clearing| clearing.sequence == sequence) {
            clearing.left.subtract(cleared);
            if clearing.left.is_empty() {
                items.prefixes.remove(prefix);
            }
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
        let all = || Clearing { sequence, left: SlotSet::all() };
        self.prefixes.extend(collapsed.into_iter().map(|prefix| (prefix, all())));
        for prefix in self.prefixes.keys().cloned().collect::<Vec<_>>() {
            self.forget_keys_under(&prefix);
        }
    }
}

#[cfg(test)]
mod tests;
