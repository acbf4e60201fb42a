//! Which nodes there are, and which of them has which keys.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use super::super::slots::{SLOTS, SlotSet};
use super::node::Node;
use super::reply::SlotRange;
use crate::config::Address;

/// What has been found at the endpoints.
pub(super) enum Layout {
    /// Nothing yet.
    Unknown,
    Single(Arc<Node>),
    Cluster(SlotMap),
}

/// The map of a cluster.
pub(super) struct SlotMap {
    /// By slot, the number of its shard; [`UNOWNED`] where it has none. Corrected in place as redirects are met.
    owners: Box<[AtomicU16]>,
    pub(super) shards: Vec<Shard>,
    by_address: HashMap<Address, u16>,
    /// The numbers of the shards that the cluster itself named as primaries, with slots. The others are here because a redirect named them.
    with_slots: HashSet<u16>,
    /// Reads take turns.
    turn: AtomicUsize,
}

/// A primary, and the replicas that are read from.
pub(super) struct Shard {
    pub(super) primary: Arc<Node>,
    pub(super) replicas: Vec<Arc<Node>>,
}

const UNOWNED: u16 = u16::MAX;

impl Layout {
    pub(super) fn map(&self) -> Option<&SlotMap> {
        match self {
            Self::Cluster(map) => Some(map),
            Self::Unknown | Self::Single(_) => None,
        }
    }

    /// All nodes, replicas included.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        match self {
            Self::Unknown => Vec::new(),
            Self::Single(node) => vec![Arc::clone(node)],
            Self::Cluster(map) => map
                .shards
                .iter()
                .flat_map(|shard| [&shard.primary].into_iter().chain(&shard.replicas))
                .cloned()
                .collect(),
        }
    }
}

impl SlotMap {
    /// `shards` are all shards; `ranges` assigns slots to the addresses of their primaries.
    pub(super) fn new(shards: Vec<Shard>, ranges: &[SlotRange]) -> Self {
        // A map that names more primaries is refused.
        let numbered = (0..UNOWNED).zip(&shards);
        let by_address: HashMap<_, _> =
            numbered.map(|(number, shard)| (shard.primary.address.clone(), number)).collect();
        let owners: Box<[AtomicU16]> = (0..SLOTS).map(|_| AtomicU16::new(UNOWNED)).collect();
        let mut with_slots = HashSet::new();
        for range in ranges {
            let owner = by_address.get(&range.primary).copied().unwrap_or(UNOWNED);
            with_slots.insert(owner);
            for slot in range.first..=range.last {
                owners[usize::from(slot)].store(owner, Ordering::Relaxed);
            }
        }
        Self { owners, shards, by_address, with_slots, turn: AtomicUsize::new(0) }
    }

    pub(super) fn shard_of(&self, slot: u16) -> Option<&Shard> {
        let owner = self.owners.get(usize::from(slot))?.load(Ordering::Relaxed);
        self.shards.get(usize::from(owner))
    }

    pub(super) fn primary_at(&self, address: &Address) -> Option<&Arc<Node>> {
        self.by_address.get(address).map(|number| &self.shards[usize::from(*number)].primary)
    }

    /// A node has said that `slot` is at `address` now.
    pub(super) fn moved(&self, slot: u16, address: &Address) {
        if let (Some(number), Some(owner)) = (self.by_address.get(address), self.owners.get(usize::from(slot))) {
            owner.store(*number, Ordering::Relaxed);
        }
    }

    /// Whether `slot` at `address` may mean a failover: the node wasn't a primary in this map. It needn't be a known replica, because maps
    /// leave out replicas that are away. Nor has it to be unknown: a redirect may have named it before the cluster's own map does. For a
    /// new node that slots move to, the only cost is that invalidations are repeated.
    pub(super) fn is_failover(&self, slot: u16, address: &Address) -> bool {
        let was_primary = self.by_address.get(address).is_some_and(|number| self.with_slots.contains(number));
        self.shard_of(slot).is_some() && !was_primary
    }

    /// The slots that replicas have taken over from their primaries, where `ranges` is what follows.
    pub(super) fn failed_over(&self, ranges: &[SlotRange]) -> SlotSet {
        let mut slots = SlotSet::none();
        for range in ranges {
            let taken = (range.first..=range.last).filter(|slot| self.is_failover(*slot, &range.primary));
            taken.for_each(|slot| slots.insert(slot));
        }
        slots
    }

    /// Whether every slot's primary is available.
    pub(super) fn is_whole(&self) -> bool {
        self.shards.iter().all(|shard| shard.primary.is_available())
    }

    pub(super) fn has_unowned_slots(&self) -> bool {
        self.owners.iter().any(|owner| owner.load(Ordering::Relaxed) == UNOWNED)
    }

    /// The slots of each primary that has some.
    pub(super) fn slots_by_primary(&self) -> Vec<(Arc<Node>, SlotSet)> {
        let mut slots: Vec<SlotSet> = self.shards.iter().map(|_| SlotSet::none()).collect();
        for (slot, owner) in (0..SLOTS).zip(&self.owners) {
            if let Some(slots) = slots.get_mut(usize::from(owner.load(Ordering::Relaxed))) {
                slots.insert(slot);
            }
        }
        let primaries = self.shards.iter().map(|shard| Arc::clone(&shard.primary));
        primaries.zip(slots).filter(|(_, slots)| !slots.is_empty()).collect()
    }

    /// The next node of `shard` to read from: the primary and its replicas take turns, as far as they are available.
    pub(super) fn reader(&self, shard: &Shard) -> Arc<Node> {
        if !shard.replicas.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let count = shard.replicas.len() + 1;
            for step in 0..count {
                let node = match (turn + step) % count {
                    0 => &shard.primary,
                    number => &shard.replicas[number - 1],
                };
                if node.is_available() {
                    return Arc::clone(node);
                }
            }
        }
        Arc::clone(&shard.primary)
    }
}

impl Shard {
    /// Whether a call may read there; if not, its nodes are tried sooner.
    pub(super) fn serves(&self) -> bool {
        self.primary.serves() || self.replicas.iter().any(|replica| replica.serves())
    }
}
