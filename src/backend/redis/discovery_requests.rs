//! What callers ask of the discovery: a new look at the layout, and nodes that redirects have named.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::Address;

#[derive(Default)]
pub(super) struct DiscoveryRequests {
    /// Look again: the layout has changed.
    pub(super) refresh: Notify,
    /// Nodes that redirects have named and that have no slots on the map, and when they were named last.
    addresses: Mutex<HashMap<Address, Instant>>,
    /// Whether too many have been logged.
    logged: AtomicBool,
}

/// How long a node is kept that redirects have named and that has no slots.
const KEPT: Duration = Duration::from_secs(60);
/// So many are kept at most. Each has a connection and deadlines of its own, and whatever a server names becomes one.
const MOST: usize = 64;

impl DiscoveryRequests {
    /// Has the discovery connect to the node at `address`; `false` where there are too many such nodes already.
    #[must_use]
    pub(super) fn add(&self, address: &Address) -> bool {
        let added = self.add_at(address, Instant::now());
        if added {
            self.refresh.notify_one();
        } else if !self.logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "cache_house",
                "redirects name more nodes than a cluster can be adding: {MOST} in {KEPT:?} that its map doesn't have; others aren't \
                 connected to"
            );
        }
        added
    }

    fn add_at(&self, address: &Address, now: Instant) -> bool {
        let mut addresses = self.addresses.lock();
        if let Some(last) = addresses.get_mut(address) {
            *last = now;
            return true;
        }
        if addresses.len() >= MOST {
            addresses.retain(|_, last| now.duration_since(*last) < KEPT);
        }
        let has_room = addresses.len() < MOST;
        if has_room {
            addresses.insert(address.clone(), now);
        }
        has_room
    }

    /// The nodes to be connected to beside those that are on the map.
    pub(super) fn beside(&self, on_map: &HashSet<Address>) -> Vec<Address> {
        let mut addresses = self.addresses.lock();
        let now = Instant::now();
        addresses.retain(|address, last| !on_map.contains(address) && now.duration_since(*last) < KEPT);
        addresses.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: u16) -> Address {
        Address::Tcp { host: "node".into(), port }
    }

    #[test]
    fn there_are_no_more_than_so_many_wishes_until_they_are_old_or_on_the_map() {
        let (requests, begin) = (DiscoveryRequests::default(), Instant::now());
        assert!((0..64).all(|port| requests.add_at(&node(port), begin)));
        assert!(!requests.add_at(&node(64), begin + KEPT / 2));
        assert!(requests.add_at(&node(7), begin + KEPT / 2), "it's one of them");
        assert!(requests.add_at(&node(64), begin + KEPT));
        let mut left = requests.beside(&[node(64)].into());
        assert_eq!(left, [node(7)]);
        left.extend(requests.beside(&HashSet::new()));
        assert_eq!(left.len(), 2, "the one on the map is forgotten");
    }
}
