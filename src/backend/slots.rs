//! Hash slots: the 16,384 parts into which a cluster divides its keys.

use std::fmt;
use std::ops::RangeInclusive;

use crc16::{State, XMODEM};

pub(crate) const SLOTS: u16 = 16_384;

/// The slot of a key: CRC-16 of what stands between its first `{` and the next `}`, if anything does, else of the whole key. From
/// the Redis Cluster Specification, "Hash tags".
pub(crate) fn slot_of(key: &[u8]) -> u16 {
    State::<XMODEM>::calculate(tag_of(key).unwrap_or(key)) % SLOTS
}

/// The hash tag of `key`, if it has one that counts.
pub(crate) fn tag_of(key: &[u8]) -> Option<&[u8]> {
    let begin = key.iter().position(|&byte| byte == b'{')? + 1;
    let len = key[begin..].iter().position(|&byte| byte == b'}')?;
    (len > 0).then(|| &key[begin..begin + len])
}

/// Some of the slots.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SlotSet(Box<[u64; WORDS]>);

const WORDS: usize = SLOTS as usize / 64;

impl SlotSet {
    pub(crate) fn none() -> Self {
        Self(Box::new([0; WORDS]))
    }

    pub(crate) fn all() -> Self {
        Self(Box::new([u64::MAX; WORDS]))
    }

    /// A number that no slot has is ignored.
    pub(crate) fn insert(&mut self, slot: u16) {
        if let Some(word) = self.0.get_mut(usize::from(slot / 64)) {
            *word |= 1 << (slot % 64);
        }
    }

    pub(crate) fn insert_range(&mut self, slots: RangeInclusive<u16>) {
        slots.for_each(|slot| self.insert(slot));
    }

    pub(crate) fn contains(&self, slot: u16) -> bool {
        self.0.get(usize::from(slot / 64)).is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    pub(crate) fn intersects(&self, other: &Self) -> bool {
        self.0.iter().zip(&*other.0).any(|(one, other)| one & other != 0)
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&*other.0).for_each(|(word, other)| *word |= other);
    }

    pub(crate) fn subtract(&mut self, other: &Self) {
        self.0.iter_mut().zip(&*other.0).for_each(|(word, other)| *word &= !other);
    }

    pub(crate) fn keep(&mut self, other: &Self) {
        self.0.iter_mut().zip(&*other.0).for_each(|(word, other)| *word &= other);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SlotSet({} slots)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_slots_of_the_specification() {
        // The specification's own example, and what `CLUSTER KEYSLOT` of a server says.
        assert_eq!(State::<XMODEM>::calculate(b"123456789"), 0x31C3);
        assert_eq!(slot_of(b"somekey"), 11_058);
        assert_eq!(slot_of(b"foo{hash_tag}"), 2515);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), State::<XMODEM>::calculate(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b"foo{bar}{zap}"), slot_of(b"bar"));
        assert_eq!(slot_of(b"foo{bar"), State::<XMODEM>::calculate(b"foo{bar") % SLOTS);
        assert_eq!(slot_of(b""), 0);
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let mut some = SlotSet::none();
        assert!(some.is_empty());
        some.insert_range(60..=70);
        some.insert(SLOTS - 1);
        some.insert(SLOTS);
        assert_eq!(some.len(), 12);
        assert!(some.contains(63) && some.contains(64) && some.contains(SLOTS - 1));
        assert!(!some.contains(59) && !some.contains(71) && !some.contains(SLOTS));
        let mut rest = SlotSet::all();
        rest.subtract(&some);
        assert_eq!(rest.len(), usize::from(SLOTS) - 12);
        assert!(!rest.intersects(&some));
        rest.add(&some);
        assert_eq!(rest, SlotSet::all());
        rest.keep(&some);
        assert_eq!(rest, some);
    }
}
