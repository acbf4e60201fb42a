//! What the journal holds. Adding to it, looking something up and confirming it cost the same however much it is, but for what folding drops.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::clearings::{Clearing, Clearings, Folded, Refusals};
use crate::backend::prefixes::PrefixMap;
use crate::backend::slots::SlotSet;
use crate::key::{KeyPrefix, ServerKey};

/// Keys of one namespace before they become "clear that namespace".
pub(super) const MAX_KEYS_A_SCOPE: usize = 10_000;
/// Keys of all namespaces before the one at hand becomes "clear that namespace".
pub(super) const MAX_KEYS: usize = 100_000;
/// Prefixes to clear before they become "clear all under their key prefix".
pub(super) const MAX_PREFIXES: usize = 10_000;
/// Hashes of key prefixes, which are kept when those are too many, before nothing is read from the server any more. They take 9 MB.
pub(super) const MAX_FOLDED: usize = 400_000;

/// The journal can't take another key: only for custom keys outside their scope, which can't be collapsed.
#[derive(Debug)]
pub(crate) struct Full;

#[derive(Default)]
pub(super) struct Items {
    /// By server key, whichever call it's of, and sorted: what a prefix names stands together.
    keys: BTreeMap<ServerKey, Noted>,
    /// How many keys there are of each scope.
    scopes: HashMap<Box<[u8]>, usize>,
    /// Keys that stay blocked, and by how many holds.
    held: HashMap<ServerKey, usize>,
    prefixes: PrefixMap<Clearing>,
    folded: Option<Folded>,
    /// More was named than can be kept apart: the server isn't read from any more.
    everything: bool,
    /// Numbers each writing, so that a confirmation doesn't take away a later one.
    sequence: u64,
}

struct Noted {
    sequence: u64,
    /// Bytes of the scope that the key begins with; none where that isn't known, or it's of no scope.
    scope_len: usize,
}

/// A part of the keys.
pub(super) struct Batch {
    pub(super) keys: Vec<(ServerKey, u64)>,
    /// Where the next batch begins; `None` at the end.
    pub(super) last: Option<ServerKey>,
}

impl Items {
    /// How many items there are; what is folded is one.
    pub(super) fn len(&self) -> usize {
        let folded = usize::from(self.folded.is_some() || self.everything);
        self.keys.len() + self.held.len() + self.prefixes.len() + folded
    }

    /// The number of the last writing.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether the items can't be kept apart any more.
    pub(super) fn is_everything(&self) -> bool {
        self.everything
    }

    pub(super) fn blocks(&self, key: &[u8]) -> bool {
        self.everything
            || self.keys.contains_key(key)
            || self.held.contains_key(key)
            || self.prefixes.naming(key).any(|(_, clearing)| clearing.concerns(key))
            || self.folded.as_ref().is_some_and(|folded| folded.names(key))
    }

    /// Adds a key whose scope is so long.
    pub(super) fn add_key(&mut self, key: ServerKey, scope_len: usize) -> Result<(), Full> {
        let scope = &key[..scope_len];
        let is_new = !self.keys.contains_key(&key);
        let of_scope = self.scopes.get(scope).copied().unwrap_or_default();
        if is_new && (self.keys.len() >= MAX_KEYS || (scope_len > 0 && of_scope >= MAX_KEYS_A_SCOPE)) {
            // A scope came from a `str`.
            let Some(scope) = std::str::from_utf8(scope).ok().filter(|scope| !scope.is_empty()) else {
                return Err(Full);
            };
            self.add_prefix(KeyPrefix::of_scope(scope), None);
            return Ok(());
        }
        self.note_key(key, scope_len);
        Ok(())
    }

    /// Adds a key of which nothing else is known.
    pub(super) fn add_lone_key(&mut self, key: ServerKey) {
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(&key) {
            self.fold(|folded| folded.add_key(&key));
        } else {
            self.note_key(key, 0);
        }
    }

    pub(super) fn hold(&mut self, key: ServerKey) {
        *self.held.entry(key).or_default() += 1;
    }

    /// Ends a hold: the key has to go once more.
    pub(super) fn release(&mut self, key: &ServerKey) {
        if let Some(holds) = self.held.get_mut(key) {
            *holds -= 1;
            if *holds == 0 {
                self.held.remove(key);
            }
        }
        self.add_lone_key(key.clone());
    }

    /// Adds what `prefix` names, in these slots or in all.
    pub(super) fn add_prefix(&mut self, prefix: KeyPrefix, left: Option<SlotSet>) {
        self.note_prefix(prefix, left);
        if self.prefixes.len() > MAX_PREFIXES {
            self.fold_prefixes();
        }
    }

    /// Up to `most` keys from behind `last` on; of those, the ones that were written up to `sequence`.
    pub(super) fn keys_after(&self, last: Option<&ServerKey>, sequence: u64, most: usize) -> Batch {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let part = || self.keys.range::<ServerKey, _>((from, Bound::Unbounded)).take(most);
        let keys = part().filter(|(_, noted)| noted.sequence <= sequence);
        let keys = keys.map(|(key, noted)| (key.clone(), noted.sequence)).collect();
        Batch { keys, last: part().last().map(|(key, _)| key.clone()) }
    }

    /// Adds up to `most` prefixes from behind `last` on, that were written up to `sequence`; the last that was looked at, `None` at the
    /// end.
    pub(super) fn prefixes_after(
        &self,
        last: Option<&KeyPrefix>,
        sequence: u64,
        most: usize,
        to: &mut Clearings,
    ) -> Option<KeyPrefix> {
        let mut seen = None;
        for (prefix, clearing) in self.prefixes.iter_after(last).take(most) {
            seen = Some(prefix);
            if clearing.sequence <= sequence {
                to.prefixes.insert(prefix.clone(), clearing.clone());
            }
        }
        seen.cloned()
    }

    pub(super) fn folded(&self) -> Option<Folded> {
        self.folded.clone()
    }

    /// The server has confirmed these, each in the writing of this number.
    pub(super) fn confirm_keys<'a>(&mut self, keys: impl Iterator<Item = &'a (ServerKey, u64)>) {
        for (key, sequence) in keys {
            if self.keys.get(key).is_some_and(|noted| noted.sequence == *sequence) {
                self.forget_key(key);
            }
        }
    }

    /// The server has confirmed these, in the slots `certain`.
    pub(super) fn confirm_prefixes<'a>(
        &mut self,
        confirmed: impl Iterator<Item = (&'a KeyPrefix, u64)>,
        certain: &SlotSet,
    ) {
        for (prefix, sequence) in confirmed {
            let noted = self.prefixes.get_mut(prefix).filter(|clearing| clearing.sequence == sequence);
            if noted.is_some_and(|clearing| clearing.is_done_with(certain)) {
                self.prefixes.remove(prefix);
            }
        }
    }

    pub(super) fn confirm_folded(&mut self, sequence: u64, certain: &SlotSet) {
        let noted = self.folded.as_mut().filter(|folded| folded.clearing.sequence == sequence);
        if noted.is_some_and(|folded| folded.clearing.is_done_with(certain)) {
            self.folded = None;
        }
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn note_key(&mut self, key: ServerKey, scope_len: usize) {
        let sequence = self.next();
        if let Some(noted) = self.keys.get_mut(&key)
            && noted.scope_len >= scope_len
        {
            noted.sequence = sequence;
            return;
        }
        // Another call knows of a scope what the first didn't.
        self.forget_key(&key);
        if scope_len > 0 {
            match self.scopes.get_mut(&key[..scope_len]) {
                Some(count) => *count += 1,
                None => _ = self.scopes.insert(key[..scope_len].into(), 1),
            }
        }
        self.keys.insert(key, Noted { sequence, scope_len });
    }

    fn forget_key(&mut self, key: &ServerKey) {
        let Some(noted) = self.keys.remove(key) else { return };
        let scope = &key[..noted.scope_len];
        if let Some(count) = self.scopes.get_mut(scope) {
            *count -= 1;
            if *count == 0 {
                self.scopes.remove(scope);
            }
        }
    }

    fn note_prefix(&mut self, prefix: KeyPrefix, left: Option<SlotSet>) {
        if left.is_none() {
            self.forget_keys_under(&prefix);
        }
        let sequence = self.next();
        let left = match (left, self.prefixes.get(&prefix)) {
            (Some(mut left), Some(Clearing { left: Some(before), .. })) => {
                left.add(before);
                Some(left)
            }
            (_, Some(Clearing { left: None, .. })) => None,
            (left, _) => left,
        };
        self.prefixes.insert(prefix, Clearing { sequence, left });
    }

    /// Drops the keys that clearing `prefix` takes along.
    fn forget_keys_under(&mut self, prefix: &KeyPrefix) {
        let text = prefix.as_str();
        self.forget_key(&ServerKey::copy_from_slice(text.as_bytes()));
        // From `:` to what comes next.
        let (from, to) = (ServerKey::from(format!("{text}:")), ServerKey::from(format!("{text};")));
        let gone = self.keys.range(from..to).map(|(key, _)| key).filter(|key| !prefix.spares(key));
        for key in gone.cloned().collect::<Vec<_>>() {
            self.forget_key(&key);
        }
    }

    /// Too many prefixes: clears all that is under their first parts, the key prefixes. Where those are too many as well, their hashes
    /// are kept, so that there is room again for many before the next time.
    fn fold_prefixes(&mut self) {
        let prefixes = std::mem::take(&mut self.prefixes);
        for (prefix, _) in prefixes.iter() {
            let first = prefix.widest();
            if self.prefixes.get(&first).is_none() {
                self.note_prefix(first, None);
            }
        }
        if self.prefixes.len() > MAX_PREFIXES / 2 {
            let prefixes = std::mem::take(&mut self.prefixes);
            self.fold(|folded| prefixes.iter().for_each(|(prefix, _)| folded.add_first_part(prefix)));
        }
    }

    fn fold(&mut self, add: impl FnOnce(&mut Folded)) {
        let sequence = self.next();
        let folded = self.folded.get_or_insert_with(Folded::new);
        add(folded);
        folded.clearing = Clearing { sequence, left: None };
        if folded.len() > MAX_FOLDED {
            self.folded = None;
            self.everything = true;
        }
    }

    /// The parts of it that must agree with each other.
    #[cfg(test)]
    pub(super) fn assert_consistent(&self) {
        let mut scopes = HashMap::new();
        for (key, noted) in self.keys.iter().filter(|(_, noted)| noted.scope_len > 0) {
            *scopes.entry(Box::from(&key[..noted.scope_len])).or_default() += 1;
        }
        assert_eq!(scopes, self.scopes);
    }
}

/// Everything that a walk has refused stays.
pub(super) fn unrefused<'a>(
    clearings: &'a Clearings,
    refusals: &'a Refusals,
) -> impl Iterator<Item = (&'a KeyPrefix, u64)> {
    let confirmed = clearings.prefixes.iter().filter(|(prefix, _)| !refusals.has(prefix));
    confirmed.map(|(prefix, clearing)| (prefix, clearing.sequence))
}
