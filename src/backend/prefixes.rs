//! Prefixes that are found by the keys they name.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::key::KeyPrefix;

/// A map whose prefixes are looked up by what a key begins with, so that its size doesn't matter.
#[derive(Clone)]
pub(crate) struct PrefixMap<V> {
    by_prefix: BTreeMap<KeyPrefix, V>,
    /// How many prefixes there are of each length: what else a key begins with needn't be looked up.
    lengths: BTreeMap<usize, usize>,
}

impl<V> Default for PrefixMap<V> {
    fn default() -> Self {
        Self { by_prefix: BTreeMap::new(), lengths: BTreeMap::new() }
    }
}

impl<V> PrefixMap<V> {
    pub(crate) fn len(&self) -> usize {
        self.by_prefix.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_prefix.is_empty()
    }

    /// The prefixes that name `key`, the shortest first.
    pub(crate) fn naming<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = (&'a KeyPrefix, &'a V)> {
        let lengths = self.lengths.range(..=key.len()).map(|(length, _)| *length);
        let ends = lengths.filter(|length| key.get(*length).is_none_or(|next| *next == b':'));
        let found = ends.filter_map(|length| self.by_prefix.get_key_value(&key[..length]));
        found.filter(|(prefix, _)| !prefix.spares(key))
    }

    pub(crate) fn get(&self, prefix: &KeyPrefix) -> Option<&V> {
        self.by_prefix.get(prefix)
    }

    pub(crate) fn get_mut(&mut self, prefix: &KeyPrefix) -> Option<&mut V> {
        self.by_prefix.get_mut(prefix)
    }

    pub(crate) fn insert(&mut self, prefix: KeyPrefix, value: V) {
        let length = length_of(&prefix);
        if self.by_prefix.insert(prefix, value).is_none() {
            *self.lengths.entry(length).or_default() += 1;
        }
    }

    pub(crate) fn remove(&mut self, prefix: &KeyPrefix) {
        let length = length_of(prefix);
        if self.by_prefix.remove(prefix).is_some()
            && let Some(count) = self.lengths.get_mut(&length)
        {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&length);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&KeyPrefix, &V)> {
        self.by_prefix.iter()
    }

    /// The same from behind `last` on.
    pub(crate) fn iter_after(&self, last: Option<&KeyPrefix>) -> impl Iterator<Item = (&KeyPrefix, &V)> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_prefix.range::<KeyPrefix, _>((from, Bound::Unbounded))
    }
}

fn length_of(prefix: &KeyPrefix) -> usize {
    Borrow::<[u8]>::borrow(prefix).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> KeyPrefix {
        KeyPrefix::of_scope(text)
    }

    #[test]
    fn a_key_finds_the_prefixes_that_name_it_and_no_others() {
        let mut map = PrefixMap::default();
        for text in ["p", "p:n", "p:n:1", "p:m", "q:n", "p:n2"] {
            map.insert(prefix(text), ());
        }
        let named =
            |key: &str| map.naming(key.as_bytes()).map(|(prefix, ())| prefix.as_str().to_owned()).collect::<Vec<_>>();
        assert_eq!(named("p:n:1"), ["p", "p:n", "p:n:1"]);
        assert_eq!(named("p:n:12"), ["p", "p:n"]);
        assert_eq!(named("p"), ["p"]);
        assert_eq!(named("q:n3"), [""; 0]);
        assert_eq!(named("\u{e9}"), [""; 0]);
        // What a map of these says is what each of them says.
        for key in ["p:n:1", "p:n", "p:n2:7", "q", "q:n:", "p:m:x:y", ""] {
            let each: Vec<_> = map.iter().filter(|(prefix, ())| prefix.matches(key.as_bytes())).collect();
            assert_eq!(map.naming(key.as_bytes()).collect::<Vec<_>>(), each, "{key}");
        }
    }

    #[test]
    fn what_was_removed_is_not_found() {
        let mut map = PrefixMap::default();
        map.insert(prefix("p:n"), 1);
        map.insert(prefix("p:m"), 1);
        map.insert(prefix("p:n"), 2);
        assert_eq!((map.len(), map.get(&prefix("p:n"))), (2, Some(&2)));
        map.remove(&prefix("p:n"));
        map.remove(&prefix("p:n"));
        assert_eq!(map.naming(b"p:n:1").count(), 0);
        assert_eq!(map.naming(b"p:m:1").count(), 1);
        map.remove(&prefix("p:m"));
        assert!(map.is_empty() && map.naming(b"p:m:1").next().is_none());
    }
}
