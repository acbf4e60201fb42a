//! What is to be cleared: by prefix, or by the hashes of more prefixes than are kept as texts.

use std::collections::{BTreeSet, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::{fast, quality};

use super::super::prefixes::PrefixMap;
use super::super::server::ServerError;
use super::super::slots::{SlotSet, slot_of};
use crate::key::{KeyPrefix, ServerKey};

/// When something was noted to be cleared, and where that isn't confirmed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Clearing {
    pub(super) sequence: u64,
    /// `None`: everywhere, as on a server that isn't a cluster.
    pub(super) left: Option<SlotSet>,
}

/// All that one walk over the keys of a server is to remove.
#[derive(Default)]
pub(crate) struct Clearings {
    pub(super) prefixes: PrefixMap<Clearing>,
    pub(super) folded: Option<Folded>,
}

/// Prefixes and keys that are too many to be kept as texts.
///
/// They are known by 128 bits of hash, under seeds of this process, so two of them can't be made alike. So what is cleared is still
/// what was named, and nothing else.
#[derive(Clone)]
pub(super) struct Folded {
    pub(super) clearing: Clearing,
    /// Shared with a walk that is under way.
    prints: Arc<HashSet<u128, fast::RandomState>>,
    seeds: [quality::RandomState; 2],
}

/// What a walk wasn't allowed to remove. Of a prefix that names such a key, nothing more is tried in that walk.
#[derive(Default)]
pub(crate) struct Refusals {
    prefixes: BTreeSet<KeyPrefix>,
    folded: bool,
    first: Option<ServerError>,
}

impl Clearing {
    pub(super) fn concerns(&self, key: &[u8]) -> bool {
        self.left.as_ref().is_none_or(|left| left.contains(slot_of(key)))
    }

    /// Where it's certain now; whether nothing is left.
    pub(super) fn is_done_with(&mut self, certain: &SlotSet) -> bool {
        let left = self.left.get_or_insert_with(SlotSet::all);
        left.subtract(certain);
        left.is_empty()
    }
}

impl Clearings {
    /// All that `prefix` names, everywhere.
    pub(crate) fn of(prefix: KeyPrefix) -> Self {
        let mut clearings = Self::default();
        clearings.prefixes.insert(prefix, Clearing { sequence: 0, left: None });
        clearings
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && self.folded.is_none()
    }

    /// Whether `key` is to be removed, and isn't of what was refused.
    pub(crate) fn names(&self, key: &[u8], refusals: &Refusals) -> bool {
        let mut naming = self.prefixes.naming(key);
        naming.any(|(prefix, clearing)| clearing.concerns(key) && !refusals.prefixes.contains(prefix))
            || (!refusals.folded && self.folded.as_ref().is_some_and(|folded| folded.names(key)))
    }

    /// Those that are known by their texts.
    pub(crate) fn prefixes(&self) -> impl Iterator<Item = &KeyPrefix> {
        self.prefixes.iter().map(|(prefix, _)| prefix)
    }

    /// The one prefix that there is.
    pub(crate) fn single(&self) -> Option<&KeyPrefix> {
        let mut prefixes = self.prefixes();
        let first = prefixes.next().filter(|_| self.folded.is_none());
        first.filter(|_| prefixes.next().is_none())
    }

    /// The text that all of it begins with.
    pub(crate) fn common_text(&self) -> &str {
        let mut prefixes = self.prefixes.iter().map(|(prefix, _)| prefix.as_str());
        let (Some(first), None) = (prefixes.next(), &self.folded) else { return "" };
        // They are sorted, so what the last has in common with the first, all between have.
        let last = prefixes.last().unwrap_or(first);
        let common = first.chars().zip(last.chars()).take_while(|(one, other)| one == other);
        &first[..common.map(|(c, _)| c.len_utf8()).sum()]
    }

    /// The slots in which something is left of any.
    pub(crate) fn left(&self) -> SlotSet {
        let mut left = SlotSet::none();
        let folded = self.folded.as_ref().map(|folded| &folded.clearing);
        for clearing in self.prefixes.iter().map(|(_, clearing)| clearing).chain(folded) {
            match &clearing.left {
                Some(slots) => left.add(slots),
                None => return SlotSet::all(),
            }
        }
        left
    }
}

impl Refusals {
    /// The server doesn't let `key` go, which `clearings` name.
    pub(crate) fn add(&mut self, clearings: &Clearings, key: &[u8], error: ServerError) {
        for (prefix, _) in clearings.prefixes.naming(key) {
            // A user may be limited to what is below a prefix; then there is nothing of ours at the prefix itself.
            let itself = prefix.as_str().as_bytes() == key;
            if itself && matches!(&error, ServerError::Refused { code, .. } if code == "NOPERM") {
                continue;
            }
            self.first.get_or_insert_with(|| error.clone());
            self.prefixes.insert(prefix.clone());
        }
        if clearings.folded.as_ref().is_some_and(|folded| folded.names(key)) {
            self.first.get_or_insert(error);
            self.folded = true;
        }
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.prefixes.extend(other.prefixes);
        self.folded |= other.folded;
        self.first = self.first.take().or(other.first);
    }

    /// Whether nothing is left to try.
    pub(crate) fn are_all_of(&self, clearings: &Clearings) -> bool {
        self.prefixes.len() == clearings.prefixes.len() && (self.folded || clearings.folded.is_none())
    }

    /// The first of them.
    pub(crate) fn into_error(self) -> Option<ServerError> {
        self.first
    }

    pub(super) fn has(&self, prefix: &KeyPrefix) -> bool {
        self.prefixes.contains(prefix)
    }

    pub(super) fn has_folded(&self) -> bool {
        self.folded
    }
}

impl Folded {
    pub(super) fn new() -> Self {
        let clearing = Clearing { sequence: 0, left: None };
        Self { clearing, prints: Arc::default(), seeds: Default::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.prints.len()
    }

    /// Whether `key`, or the key prefix that it begins with, is among them.
    pub(super) fn names(&self, key: &[u8]) -> bool {
        self.clearing.concerns(key) && (self.has(first_part(key), true) || self.has(key, false))
    }

    /// Adds all under the key prefix that `prefix` begins with, and nothing else.
    pub(super) fn add_first_part(&mut self, prefix: &KeyPrefix) {
        let print = self.print(first_part(prefix.as_str().as_bytes()), true);
        Arc::make_mut(&mut self.prints).insert(print);
    }

    /// Adds this one key.
    pub(super) fn add_key(&mut self, key: &ServerKey) {
        let print = self.print(key, false);
        Arc::make_mut(&mut self.prints).insert(print);
    }

    fn has(&self, text: &[u8], is_prefix: bool) -> bool {
        self.prints.contains(&self.print(text, is_prefix))
    }

    fn print(&self, text: &[u8], is_prefix: bool) -> u128 {
        let [high, low] = self.seeds.each_ref().map(|seed| u128::from(seed.hash_one((is_prefix, text))));
        high << 64 | low
    }
}

/// What stands before the first `:`: the key prefix.
pub(super) fn first_part(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> KeyPrefix {
        KeyPrefix::of_scope(text)
    }

    fn refused(code: &str, message: &str) -> ServerError {
        ServerError::Refused { code: code.into(), message: message.into() }
    }

    /// Two prefixes, and a key and a key prefix that are folded.
    fn clearings() -> Clearings {
        let mut clearings = Clearings::of(prefix("p:n"));
        clearings.prefixes.insert(prefix("p:m"), Clearing { sequence: 0, left: None });
        let mut folded = Folded::new();
        folded.add_key(&ServerKey::from("lone"));
        folded.add_first_part(&prefix("tenant:n"));
        clearings.folded = Some(folded);
        clearings
    }

    #[test]
    fn what_is_refused_is_not_tried_again_and_the_rest_is() {
        let clearings = clearings();
        let left = |refusals: &Refusals| {
            let keys = ["p:n:1", "p:m:1", "lone", "tenant:x:1", "q:n:1"].into_iter();
            keys.filter(|key| clearings.names(key.as_bytes(), refusals)).collect::<Vec<_>>()
        };
        let mut refusals = Refusals::default();
        assert_eq!(left(&refusals), ["p:n:1", "p:m:1", "lone", "tenant:x:1"]);

        refusals.add(&clearings, b"p:n:1", refused("ERR", "first"));
        assert_eq!(left(&refusals), ["p:m:1", "lone", "tenant:x:1"]);
        assert!(refusals.has(&prefix("p:n")) && !refusals.has(&prefix("p:m")) && !refusals.has_folded());

        let (mut of_folded, mut of_m) = (Refusals::default(), Refusals::default());
        of_folded.add(&clearings, b"lone", refused("ERR", "second"));
        assert_eq!(left(&of_folded), ["p:n:1", "p:m:1"]);
        assert!(of_folded.has_folded() && !of_folded.are_all_of(&clearings));
        of_m.add(&clearings, b"p:m:1", refused("ERR", "third"));

        refusals.join(of_m);
        assert!(!refusals.are_all_of(&clearings), "what is folded is left");
        refusals.join(of_folded);
        refusals.join(Refusals::default());
        assert!(refusals.has_folded() && refusals.are_all_of(&clearings));
        assert_eq!(left(&refusals), [""; 0]);
        assert_eq!(refusals.into_error(), Some(refused("ERR", "first")));
    }

    #[test]
    fn nothing_is_left_to_try_where_each_prefix_is_refused_and_none_is_folded() {
        let clearings = Clearings::of(prefix("p:n"));
        let mut refusals = Refusals::default();
        assert!(!refusals.are_all_of(&clearings) && refusals.first.is_none());
        refusals.add(&clearings, b"p:n:1", refused("ERR", ""));
        assert!(refusals.are_all_of(&clearings) && !refusals.has_folded());
    }

    #[test]
    fn a_user_who_may_touch_only_what_is_below_a_prefix_clears_that() {
        let clearings = Clearings::of(prefix("p:n"));
        let mut refusals = Refusals::default();
        refusals.add(&clearings, b"p:n", refused("NOPERM", ""));
        assert!(!refusals.has(&prefix("p:n")) && clearings.names(b"p:n:1", &refusals));
        refusals.add(&clearings, b"p:n:1", refused("NOPERM", ""));
        assert!(refusals.has(&prefix("p:n")));
    }

    #[test]
    fn there_is_nothing_to_clear_without_prefixes_and_folded_ones() {
        assert!(Clearings::default().is_empty() && !Clearings::of(prefix("p")).is_empty());
        assert!(!Clearings { folded: Some(Folded::new()), ..Clearings::default() }.is_empty());
    }

    #[test]
    fn both_halves_of_a_print_are_hashes() {
        let folded = Folded::new();
        let (mut high, mut low) = (HashSet::new(), HashSet::new());
        for number in 0_u8..50 {
            let print = folded.print(&[number], false);
            assert!(high.insert(print >> 64) && low.insert(print as u64), "two of {number} are the same");
            assert_ne!(print, folded.print(&[number], true));
        }
    }
}
