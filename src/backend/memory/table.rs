//! The table of the memory tier: bounded by entries and by weight, each by itself and over all its shards together, so that one
//! value may take up the whole table.
//!
//! It evicts as S3-FIFO does (Yang and others, SOSP 2023): what comes into a full table is on trial first, as a few of all entries
//! are. What is read there settles; the rest is evicted, and settles if it comes back soon. The settled are evicted by SIEVE (Zhang
//! and others, NSDI 2024): a hand goes round from the oldest to the newest, and takes the marks of reads away until it finds an
//! entry without one. A read writes nothing but a mark, and that once; and what is evicted soon after it came is still in the
//! processor's caches.

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
    /// How many entries made room for others.
    evictions: AtomicU64,
}

struct Shard<V> {
    /// The slots by their keys' hashes.
    index: HashTable<u32>,
    slots: Vec<Slot<V>>,
    /// The first free slot; each has the next in `newer`.
    free: u32,
    trial: Queue,
    settled: Queue,
    /// Where the next look at the settled begins; [`NONE`] is at the oldest.
    hand: u32,
    /// Pieces of the hashes of what went from trial, each in the place that its hash says.
    gone: Box<[u32]>,
}

/// Entries in the order in which they came.
struct Queue {
    newest: u32,
    oldest: u32,
    len: usize,
}

struct Slot<V> {
    /// `None` where the slot is free.
    item: Option<Item<V>>,
    /// Read since it came, or since the hand came by.
    marked: AtomicBool,
    is_settled: bool,
    newer: u32,
    older: u32,
}

struct Item<V> {
    key: StoredKey,
    value: V,
    weight: u64,
}

/// What became of the value that a key was to have in place of another.
enum Replaced<V> {
    /// The other, with its weight, is out.
    Yes(V, u64),
    /// The other is newer, and still there.
    Newer(V),
    /// The key has none.
    Absent(V),
}

const NONE: u32 = u32::MAX;

/// Of so many entries, one is on trial. S3-FIFO's ten did a little worse under a Zipf-like load: 72.6 % of hits for 73.0 %.
const TRIAL: usize = 30;

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
    /// the whole table may be; and how many were evicted.
    pub(super) fn insert(&self, key: StoredKey, value: V, weight: u64) -> (Vec<V>, u64) {
        self.insert_unless(key, value, weight, |_| false)
    }

    /// The same; but where `is_newer` says so of what the key has, both that and the value go.
    pub(super) fn insert_unless(
        &self,
        key: StoredKey,
        value: V,
        weight: u64,
        is_newer: impl Fn(&V) -> bool,
    ) -> (Vec<V>, u64) {
        let (mut out, mut evicted) = (Vec::new(), Vec::new());
        let (hash, shard) = (key.hash(), self.shard(key.hash()));
        if weight > self.max_weight {
            let before = shard.write().remove(hash, key.as_bytes(), |_| true);
            out.extend(self.forget(before));
            out.push(value);
            return (out, 0);
        }
        let mut locked = shard.write();
        match locked.replace(hash, key.as_bytes(), value, weight, &is_newer) {
            Replaced::Yes(before, its_weight) => {
                self.totals.weight.fetch_add(weight, Ordering::Relaxed);
                self.totals.weight.fetch_sub(its_weight, Ordering::Relaxed);
                out.push(before);
            }
            Replaced::Newer(value) => {
                out.extend(self.forget(locked.remove(hash, key.as_bytes(), |_| true)));
                out.push(value);
            }
            Replaced::Absent(value) => {
                // Counted first, so that the room is made before it's taken, and the new entry isn't what makes it.
                self.totals.entries.fetch_add(1, Ordering::Relaxed);
                self.totals.weight.fetch_add(weight, Ordering::Relaxed);
                // Where there is room yet, all may stay.
                let settles = !self.is_too_full() || locked.take_back(hash);
                if self.is_too_full() {
                    // One is often enough, and then one hold of the lock is.
                    evicted.extend(self.forget_evicted(locked.evict()));
                }
                if self.is_too_full() {
                    drop(locked);
                    self.make_room(hash, &mut evicted);
                    locked = shard.write();
                    // Perhaps the key has got a value meanwhile.
                    out.extend(self.forget(locked.remove(hash, key.as_bytes(), |_| true)));
                }
                let item = Item { key, value, weight };
                if out.last().is_some_and(is_newer) {
                    out.extend(self.forget(Some(item)));
                } else {
                    locked.push(item, settles);
                }
            }
        }
        drop(locked);
        // Others may have counted on the same room.
        self.make_room(hash, &mut evicted);
        let evictions = evicted.len() as u64;
        out.append(&mut evicted);
        (out, evictions)
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

    pub(super) fn evictions(&self) -> u64 {
        self.totals.evictions.load(Ordering::Relaxed)
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
            out.extend(self.forget_evicted(evicted));
            number = (number + 1) & (self.shards.len() - 1);
        }
    }

    fn is_too_full(&self) -> bool {
        self.len() > self.max_entries || self.weight() > self.max_weight
    }

    /// Counts out an item that made room for another.
    fn forget_evicted(&self, item: Option<Item<V>>) -> Option<V> {
        let value = self.forget(item)?;
        self.totals.evictions.fetch_add(1, Ordering::Relaxed);
        Some(value)
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
        Self {
            index: HashTable::new(),
            slots: Vec::new(),
            free: NONE,
            trial: Queue::new(),
            settled: Queue::new(),
            hand: NONE,
            gone: Box::default(),
        }
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

    /// Puts a value in the place of the one that the key has, unless that is newer.
    fn replace(&mut self, hash: u64, key: &[u8], value: V, weight: u64, is_newer: impl Fn(&V) -> bool) -> Replaced<V> {
        let Some(at) = self.find(hash, key) else { return Replaced::Absent(value) };
        let slot = &mut self.slots[at as usize];
        let Some(item) = &mut slot.item else { return Replaced::Absent(value) };
        if is_newer(&item.value) {
            return Replaced::Newer(value);
        }
        *slot.marked.get_mut() = true;
        Replaced::Yes(mem::replace(&mut item.value, value), mem::replace(&mut item.weight, weight))
    }

    /// Makes an item the newest; its key has none.
    fn push(&mut self, item: Item<V>, is_settled: bool) {
        let hash = item.key.hash();
        let slot = Slot { item: Some(item), marked: AtomicBool::new(false), is_settled, newer: NONE, older: NONE };
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
        self.link(at, is_settled);
        let slots = &self.slots;
        let hash_of = |&at: &u32| slots[at as usize].item.as_ref().map_or(0, |item| item.key.hash());
        self.index.insert_unique(hash, at, hash_of);
    }

    /// Makes a slot the newest of its queue.
    fn link(&mut self, at: u32, is_settled: bool) {
        let queue = if is_settled { &mut self.settled } else { &mut self.trial };
        queue.len += 1;
        let before = mem::replace(&mut queue.newest, at);
        match before {
            NONE => queue.oldest = at,
            before => self.slots[before as usize].newer = at,
        }
        let slot = &mut self.slots[at as usize];
        (slot.is_settled, slot.older, slot.newer) = (is_settled, before, NONE);
    }

    fn unlink(&mut self, at: u32) {
        let slot = &self.slots[at as usize];
        let (newer, older) = (slot.newer, slot.older);
        let queue = if slot.is_settled { &mut self.settled } else { &mut self.trial };
        queue.len -= 1;
        match newer {
            NONE => queue.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        match older {
            NONE => queue.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
        if self.hand == at {
            self.hand = newer;
        }
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
        while self.trial.len > 0 && self.trial.len * TRIAL >= self.settled.len {
            let at = self.trial.oldest;
            if !mem::take(self.slots[at as usize].marked.get_mut()) {
                let item = self.take(at)?;
                self.leave_back(item.key.hash());
                return Some(item);
            }
            self.unlink(at);
            self.link(at, true);
        }
        self.evict_settled()
    }

    fn evict_settled(&mut self) -> Option<Item<V>> {
        if self.settled.len == 0 {
            return None;
        }
        let mut at = if self.hand == NONE { self.settled.oldest } else { self.hand };
        loop {
            let slot = &mut self.slots[at as usize];
            if !mem::take(slot.marked.get_mut()) {
                self.hand = at;
                return self.take(at);
            }
            at = if slot.newer == NONE { self.settled.oldest } else { slot.newer };
        }
    }

    /// Takes the item of a slot out, and frees the slot.
    fn take(&mut self, at: u32) -> Option<Item<V>> {
        let item = self.slots[at as usize].item.take()?;
        self.unlink(at);
        self.slots[at as usize].newer = mem::replace(&mut self.free, at);
        if let Ok(entry) = self.index.find_entry(item.key.hash(), |&known| known == at) {
            entry.remove();
        }
        Some(item)
    }

    /// Remembers what went from trial, so that it settles if it comes back before as many others as there are entries have gone.
    fn leave_back(&mut self, hash: u64) {
        if self.gone.len() < self.slots.len() {
            self.gone = vec![0; self.slots.len().next_power_of_two()].into();
        }
        let (place, piece) = self.place(hash);
        self.gone[place] = piece;
    }

    /// Whether it went from trial not long ago.
    fn take_back(&mut self, hash: u64) -> bool {
        let (place, piece) = self.place(hash);
        self.gone.get_mut(place).is_some_and(|gone| *gone == piece && mem::take(gone) != 0)
    }

    fn place(&self, hash: u64) -> (usize, u32) {
        (hash as usize & self.gone.len().wrapping_sub(1), (hash >> 32) as u32 | 1)
    }
}

impl Queue {
    fn new() -> Self {
        Self { newest: NONE, oldest: NONE, len: 0 }
    }
}

#[cfg(test)]
mod tests;
