//! The leases that this process holds on the server.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use super::super::lease::lease_key;
use super::super::server::ServerError;
use crate::key::ServerKey;

/// How old a lease is when it's renewed, and how often that's looked into: well before half its TTL.
pub(super) const RENEWED_AFTER: Duration = Duration::from_secs(5);
/// Leases that are renewed; works beyond that, all of which take longer than a lease's TTL, aren't stored.
const MOST_RENEWED: usize = 100_000;
/// How long work may take for its value to be stored. A leader that isn't polled again keeps its lease no longer than this.
const RENEWED_FOR: Duration = Duration::from_secs(3600);
/// How long no lease is taken where the server has refused one.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// The leases that this process holds.
pub(super) struct Leases {
    /// Of keys that give no prefix themselves.
    default_prefix: Arc<str>,
    held: Mutex<HashMap<u64, Held>>,
    next: AtomicU64,
    /// What tokens of this handle begin with: no other handle has it.
    seed: u128,
    /// The server has no `SET` with `NX` and `GET`.
    pub(super) by_script: AtomicBool,
    /// The server has refused what a lease takes.
    refused: Mutex<Option<Instant>>,
    is_refused: AtomicBool,
    warned: AtomicBool,
}

struct Held {
    key: ServerKey,
    lease: ServerKey,
    since: Instant,
}

impl Leases {
    pub(super) fn new(default_prefix: Arc<str>) -> Self {
        Self {
            default_prefix,
            held: Mutex::default(),
            next: AtomicU64::new(0),
            seed: rand::random(),
            by_script: AtomicBool::new(false),
            refused: Mutex::new(None),
            is_refused: AtomicBool::new(false),
            warned: AtomicBool::new(false),
        }
    }

    /// A token that no other lease has had. Made without random numbers, whose generator a thread that ends may not have any more.
    pub(super) fn token(&self) -> Bytes {
        format!("{:032x}-{}", self.seed, self.next.fetch_add(1, Ordering::Relaxed)).into()
    }

    /// The name of the lease of `key`, if it can have one.
    pub(super) fn name(&self, key: &[u8]) -> Option<ServerKey> {
        lease_key(key, &self.default_prefix)
    }

    /// Has the lease of `key` renewed until it's [let go](Self::let_go) by the number that is returned.
    pub(super) fn hold(&self, key: ServerKey, lease: ServerKey) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut held = self.held.lock();
        if held.len() < MOST_RENEWED {
            held.insert(number, Held { key, lease, since: Instant::now() });
        }
        number
    }

    pub(super) fn let_go(&self, number: u64) {
        self.held.lock().remove(&number);
    }

    /// The leases of works that take long, with their keys.
    pub(super) fn due(&self) -> Vec<(ServerKey, ServerKey)> {
        let mut held = self.held.lock();
        held.retain(|_, held| held.since.elapsed() < RENEWED_FOR);
        let old = held.values().filter(|held| held.since.elapsed() >= RENEWED_AFTER);
        old.map(|held| (held.key.clone(), held.lease.clone())).collect()
    }

    pub(super) fn are_refused(&self) -> bool {
        if !self.is_refused.load(Ordering::Relaxed) {
            return false;
        }
        let mut refused = self.refused.lock();
        let still = refused.is_some_and(|since| since.elapsed() < REFUSED_FOR);
        if !still {
            *refused = None;
            self.is_refused.store(false, Ordering::Relaxed);
        }
        still
    }

    pub(super) fn note_refusal(&self, error: &ServerError) {
        *self.refused.lock() = Some(Instant::now());
        self.is_refused.store(true, Ordering::Relaxed);
        if !self.warned.swap(true, Ordering::Relaxed) {
            let ServerError::Refused { code, message } = error else { return };
            tracing::warn!(
                target: "cache_house", code, message,
                "the server refuses what a fence takes, so a fill may be stored behind another process's invalidation; logged once"
            );
        }
    }
}
