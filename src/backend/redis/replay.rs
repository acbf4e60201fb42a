//! Replaying the journal: over the pool of the one server that there is, or over a cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::super::invalidation::Invalidation;
use super::super::journal::{Cleared, Clearings, Invalidate};
use super::super::server::{ServerError, Unavailable};
use super::super::slots::SlotSet;
use super::clearing::{self, check_deadline};
use super::inner::Inner;
use super::layout::Layout;
use super::node::Node;
use super::pool::Pool;
use super::removals::{drop_leases, unlink};
use crate::key::ServerKey;

/// How often invalidations that wait are tried again while nothing says that a shard is back.
const REPLAY: Duration = Duration::from_secs(1);

/// Replays the journal once, wherever the layout leads, but not beyond `until`.
pub(super) async fn replay_once(inner: &Inner, until: Instant) {
    match &**inner.layout.load() {
        Layout::Single(node) => {
            if let Ok(pool) = node.pool() {
                let _ = replay(node, &pool, Some(until)).await;
            }
        }
        Layout::Cluster(_) => replay_on_cluster(inner, Some(until)).await,
        Layout::Unknown => {}
    }
}

/// Replays the journal over `pool`, whether or not that is published, but not beyond `until`.
pub(super) async fn replay(node: &Node, pool: &Arc<Pool>, until: Option<Instant>) -> Result<(), Unavailable> {
    node.journal.replay(&OverPool { node, pool, until }).await
}

/// Replays a first part of the journal, which is all of a short one.
pub(super) async fn begin_replay(node: &Node, pool: &Arc<Pool>) -> Result<(), Unavailable> {
    node.journal.begin_replay(&OverPool { node, pool, until: None }).await
}

/// Replays over the pool of a standalone server.
struct OverPool<'a> {
    node: &'a Node,
    pool: &'a Arc<Pool>,
    until: Option<Instant>,
}

impl Invalidate for OverPool<'_> {
    const HAS_PARTS: bool = false;

    async fn remove_all(&self, keys: &[ServerKey]) -> Vec<Result<(), ServerError>> {
        let dropped = match check_deadline(self.until) {
            Ok(()) => drop_leases(self.node, self.pool, keys).await,
            overdue => overdue,
        };
        if let Err(error) = dropped {
            // A key may not go before its lease, by which older work would store it again.
            return vec![Err(error); keys.len()];
        }
        let all = unlink(self.node, self.pool, keys).await.map(|_| ());
        match &all {
            // Only some of the keys may be the reason.
            Err(error @ ServerError::Refused { .. }) if !error.is_read_only() => {}
            _ => return keys.iter().map(|_| all.clone()).collect(),
        }
        let mut results = Vec::with_capacity(keys.len());
        for key in keys {
            results.push(unlink(self.node, self.pool, std::slice::from_ref(key)).await.map(|_| ()));
        }
        results
    }

    async fn clear(&self, clearings: &Clearings) -> Result<Cleared, ServerError> {
        check_deadline(self.until)?;
        let (_, refusals) = clearing::clear_all(self.node, self.pool, clearings, self.until).await?;
        Ok(Cleared { certain: SlotSet::all(), refusals })
    }
}

/// Replays the journal for as long as there is a cluster: when something is added, when a node has come back, and every second
/// while something waits.
pub(super) async fn replay_journal(inner: &Inner) {
    loop {
        let changed = inner.node_health.changed.notified();
        if inner.layout.load().map().is_none() {
            changed.await;
            continue;
        }
        if inner.context.journal.len() > 0 {
            replay_on_cluster(inner, None).await;
        }
        let waits = inner.context.journal.len() > 0;
        tokio::select! {
            () = changed => {}
            () = inner.context.journal.added() => {}
            () = sleep(REPLAY), if waits => {}
        }
    }
}

/// Replays the journal once, but not beyond `until`.
async fn replay_on_cluster(inner: &Inner, until: Option<Instant>) {
    if inner.context.journal.replay(&OverCluster { inner, until }).await.is_err() {
        tracing::debug!(target: "cache_house", "invalidations wait for a shard");
    }
}

/// Replays over the shards of a cluster.
struct OverCluster<'a> {
    inner: &'a Inner,
    until: Option<Instant>,
}

impl Invalidate for OverCluster<'_> {
    const HAS_PARTS: bool = true;

    async fn remove_all(&self, keys: &[ServerKey]) -> Vec<Result<(), ServerError>> {
        if let Err(overdue) = check_deadline(self.until) {
            return vec![Err(overdue); keys.len()];
        }
        let sent = self.inner.failovers.epoch();
        let results: Vec<_> = self.inner.remove_all(keys).await.into_iter().map(|result| result.map(|_| ())).collect();
        // A primary that has just come back may lose its place to a replica, which doesn't know of them.
        let removed = keys.iter().zip(&results).filter(|(_, result)| result.is_ok());
        removed.for_each(|(key, _)| self.inner.confirmed(Invalidation::Key(key.clone()), sent));
        results
    }

    async fn clear(&self, clearings: &Clearings) -> Result<Cleared, ServerError> {
        check_deadline(self.until)?;
        let sent = self.inner.failovers.epoch();
        let progress = clearing::clear_slots(self.inner, clearings, self.until).await;
        if !progress.certain.is_empty() {
            clearings.prefixes().for_each(|prefix| self.inner.confirmed(Invalidation::Matching(prefix.clone()), sent));
        }
        match progress.trouble {
            Some(error) if progress.certain.is_empty() => Err(error),
            _ => Ok(Cleared { certain: progress.certain, refusals: progress.refusals }),
        }
    }
}
