//! The table of the memory tier: bounded by entries and by weight, each by itself and over all its shards together, so that one value may
//! take up the whole table.
//!
//! It evicts by SIEVE (Zhang and others, NSDI 2024): entries stand in the order in which they came, a read marks its entry, and a hand
//! that goes from the oldest to the newest and round again takes marks away until it finds an entry without one. So a read writes nothing
//! but a mark, and that once.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hashbrown::HashTable;
use parking_lot::RwLock;

use crate::key::{CallKey, StoredKey};

/// What leaves the table is always handed to the caller, to be dropped outside the locks.
pub(super) struct Table<V> {
    shards: Box<[RwLock<Shard<V>>]>,
    max_entries: u64,
    max_weight: u64,
    totals: Totals,
}

/// Of all shards, what is about to be inserted included. Apart from what each read looks at.
#[derive(Default)]
#[repr(align(128))]
struct Totals {
    entries: AtomicU64,
    weight: AtomicU64,
}

struct Shard<V> {
    /// The slots by their keys' hashes.
    index: HashTable<u32>,
    slots: Vec<Slot<V>>,
    /// The first free slot; each has the next in `newer`.
    free: u32,
    newest: u32,
    oldest: u32,
    /// Where the next eviction begins to look: [`NONE`] is the oldest.
    hand: u32,
}

struct Slot<V> {
    /// `None` where the slot is free.
    item: Option<Item<V>>,
    /// Read since the hand came by.
    marked: AtomicBool,
    newer: u32,
    older: u32,
}

struct Item<V> {
    key: StoredKey,
    value: V,
    weight: u64,
}

const NONE: u32 = u32::MAX;

/// What a slot and its place in the index cost, with the room that growing leaves.
pub(super) const fn slot_bytes<V>() -> usize {
    size_of::<Slot<V>>() * 3 / 2 + 8
}

impl<V: Clone> Table<V> {
    /// `shards` is a power of two.
    pub(super) fn new(max_entries: u64, max_weight: u64, shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| RwLock::new(Shard::new())).collect(),
            // Slots have numbers of 32 bits.
            max_entries: max_entries.min(u64::from(NONE)),
            max_weight,
            totals: Totals::default(),
        }
    }

    #[inline]
    pub(super) fn get(&self, key: &CallKey) -> Option<V> {
        self.shard(key.hash()).read().get(key.hash(), key.as_bytes())
    }

    /// Inserts a value, in place of what its key has. Returns what had to go: that, what was evicted, and a value that is heavier than
    /// the whole table may be.
    pub(super) fn insert(&self, key: StoredKey, value: V, weight: u64) -> Vec<V> {
        let mut out = Vec::new();
        let (hash, shard) = (key.hash(), self.shard(key.hash()));
        if weight > self.max_weight {
            let before = shard.write().remove(hash, key.as_bytes(), |_| true);
            out.extend(self.forget(before));
            out.push(value);
            return out;
        }
        let replaced = shard.write().replace(hash, key.as_bytes(), value, weight);
        match replaced {
            Ok((before, its_weight)) => {
                self.totals.weight.fetch_add(weight, Ordering::Relaxed);
                self.totals.weight.fetch_sub(its_weight, Ordering::Relaxed);
                out.push(before);
            }
            Err(value) => {
                // Counted first, so that the room is made before it's taken, and the new entry isn't what makes it.
                self.totals.entries.fetch_add(1, Ordering::Relaxed);
                self.totals.weight.fetch_add(weight, Ordering::Relaxed);
                self.make_room(hash, &mut out);
                let another = shard.write().push(Item { key, value, weight });
                out.extend(self.forget(another));
            }
        }
        // Others may have counted on the same room.
        self.make_room(hash, &mut out);
        out
    }

    /// Takes the value of a key out, if `goes` says so.
    pub(super) fn remove_if(&self, key: &CallKey, goes: impl FnOnce(&V) -> bool) -> Option<V> {
        let removed = self.shard(key.hash()).write().remove(key.hash(), key.as_bytes(), goes);
        self.forget(removed)
    }

    /// Takes out all that `goes` names.
    pub(super) fn remove_all(&self, mut goes: impl FnMut(&StoredKey, &V) -> bool) -> Vec<V> {
        let mut out = Vec::new();
        for shard in &self.shards {
            let removed = shard.write().remove_all(&mut goes);
            out.extend(removed.into_iter().filter_map(|item| self.forget(Some(item))));
        }
        out
    }

    /// Takes everything out, and gives back the room.
    pub(super) fn clear(&self) -> Vec<V> {
        let mut out = Vec::new();
        for shard in &self.shards {
            let before = mem::replace(&mut *shard.write(), Shard::new());
            out.extend(before.slots.into_iter().filter_map(|slot| self.forget(slot.item)));
        }
        out
    }

    pub(super) fn len(&self) -> u64 {
        self.totals.entries.load(Ordering::Relaxed)
    }

    pub(super) fn weight(&self) -> u64 {
        self.totals.weight.load(Ordering::Relaxed)
    }

    #[inline]
    fn shard(&self, hash: u64) -> &RwLock<Shard<V>> {
        &self.shards[self.shard_number(hash)]
    }

    /// By bits that the index of the shard doesn't begin with.
    #[inline]
    fn shard_number(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.shards.len() - 1)
    }

    /// Evicts until the bounds hold: from the shard of this hash, then from the next one, and so on.
    fn make_room(&self, hash: u64, out: &mut Vec<V>) {
        let mut number = self.shard_number(hash);
        let mut empty = 0;
        while self.is_too_full() && empty < self.shards.len() {
            let evicted = self.shards[number].write().evict();
            empty = if evicted.is_none() { empty + 1 } else { 0 };
            out.extend(self.forget(evicted));
            number = (number + 1) & (self.shards.len() - 1);
        }
    }

    fn is_too_full(&self) -> bool {
        self.len() > self.max_entries || self.weight() > self.max_weight
    }

    /// Counts an item out.
    fn forget(&self, item: Option<Item<V>>) -> Option<V> {
        let item = item?;
        self.totals.entries.fetch_sub(1, Ordering::Relaxed);
        self.totals.weight.fetch_sub(item.weight, Ordering::Relaxed);
        Some(item.value)
    }
}

impl<V: Clone> Shard<V> {
    fn new() -> Self {
        Self { index: HashTable::new(), slots: Vec::new(), free: NONE, newest: NONE, oldest: NONE, hand: NONE }
    }

    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.index.find(hash, |&at| self.key(at) == Some(key)).copied()
    }

    fn key(&self, at: u32) -> Option<&[u8]> {
        Some(self.slots[at as usize].item.as_ref()?.key.as_bytes())
    }

    #[inline]
    fn get(&self, hash: u64, key: &[u8]) -> Option<V> {
        let slot = &self.slots[self.find(hash, key)? as usize];
        // Read before it's written, so that the line of a value that many read stays shared between cores.
        if !slot.marked.load(Ordering::Relaxed) {
            slot.marked.store(true, Ordering::Relaxed);
        }
        Some(slot.item.as_ref()?.value.clone())
    }

    /// Puts a value in the place of the one that the key has, and returns that with its weight; or returns the value, where it has none.
    fn replace(&mut self, hash: u64, key: &[u8], value: V, weight: u64) -> Result<(V, u64), V> {
        let Some(at) = self.find(hash, key) else { return Err(value) };
        let slot = &mut self.slots[at as usize];
        let Some(item) = &mut slot.item else { return Err(value) };
        *slot.marked.get_mut() = true;
        Ok((mem::replace(&mut item.value, value), mem::replace(&mut item.weight, weight)))
    }

    /// Makes an item the newest. Returns the one that the key has got meanwhile.
    fn push(&mut self, item: Item<V>) -> Option<Item<V>> {
        let hash = item.key.hash();
        let another = self.remove(hash, item.key.as_bytes(), |_| true);
        let slot = Slot { item: Some(item), marked: AtomicBool::new(false), newer: NONE, older: self.newest };
        let at = match self.free {
            NONE => {
                self.slots.push(slot);
                // The bound on entries keeps it below `NONE`.
                (self.slots.len() - 1) as u32
            }
            free => {
                self.free = self.slots[free as usize].newer;
                self.slots[free as usize] = slot;
                free
            }
        };
        match self.newest {
            NONE => self.oldest = at,
            newest => self.slots[newest as usize].newer = at,
        }
        self.newest = at;
        let slots = &self.slots;
        let hash_of = |&at: &u32| slots[at as usize].item.as_ref().map_or(0, |item| item.key.hash());
        self.index.insert_unique(hash, at, hash_of);
        another
    }

    fn remove(&mut self, hash: u64, key: &[u8], goes: impl FnOnce(&V) -> bool) -> Option<Item<V>> {
        let at = self.find(hash, key)?;
        let item = self.slots[at as usize].item.as_ref()?;
        if goes(&item.value) { self.take(at) } else { None }
    }

    fn remove_all(&mut self, goes: &mut impl FnMut(&StoredKey, &V) -> bool) -> Vec<Item<V>> {
        let mut out = Vec::new();
        for at in 0..self.slots.len() as u32 {
            if self.slots[at as usize].item.as_ref().is_some_and(|item| goes(&item.key, &item.value)) {
                out.extend(self.take(at));
            }
        }
        out
    }

    fn evict(&mut self) -> Option<Item<V>> {
        if self.oldest == NONE {
            return None;
        }
        let mut at = if self.hand == NONE { self.oldest } else { self.hand };
        loop {
            let slot = &mut self.slots[at as usize];
            if !mem::take(slot.marked.get_mut()) {
                self.hand = at;
                return self.take(at);
            }
            at = if slot.newer == NONE { self.oldest } else { slot.newer };
        }
    }

    /// Takes the item of a slot out, and frees the slot.
    fn take(&mut self, at: u32) -> Option<Item<V>> {
        let slot = &mut self.slots[at as usize];
        let item = slot.item.take()?;
        let (newer, older) = (slot.newer, slot.older);
        slot.newer = mem::replace(&mut self.free, at);
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        if self.hand == at {
            self.hand = newer;
        }
        if let Ok(entry) = self.index.find_entry(item.key.hash(), |&known| known == at) {
            entry.remove();
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests;
