//! The near cache of one node, as callers see it: the connection that their reads go by, and the marks of what was read there.
//!
//! [`near_line`](super::near_line) keeps the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use fred::types::client::Invalidation;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;

use super::super::near::Marks;
use super::in_flight::InFlight;
use super::pool::Pool;
use crate::clock::Clock;
use crate::health::NearCache;

/// What the near caches of all nodes have in common.
#[derive(Clone)]
pub(super) struct NearSettings {
    /// Of the handle's near cache; `None` where it has none. Then the tokens of tags are near all the same, once there are some.
    pub(super) configured: Option<Duration>,
    pub(super) clock: Clock,
    /// What the sentinels' names have that no other handle's have.
    pub(super) handle: u128,
    wanted: Arc<Wanted>,
}

/// Whether anything that is near is of use.
#[derive(Default)]
struct Wanted {
    is_wanted: AtomicBool,
    changed: Notify,
}

/// How often the line of a handle without a near cache beats, times three: tags' tokens are at most so old.
const OF_TOKENS: Duration = Duration::from_secs(1);

/// The near cache of one node.
pub(super) struct Near {
    pub(super) settings: NearSettings,
    /// The connection that reads go by.
    pub(super) line: ArcSwapOption<Line>,
    /// The node has become available.
    pub(super) available: Notify,
    pub(super) status: Mutex<NearCache>,
}

/// A connection on which the server reports changes.
pub(super) struct Line {
    pub(super) pool: Arc<Pool>,
    /// The connection that calls went by when it was opened, to the same server.
    pub(super) calls_by: Arc<Pool>,
    pub(super) marks: Marks,
    pub(super) in_flight: Arc<InFlight>,
    /// A read wasn't answered in time.
    pub(super) suspect: Notify,
}

impl NearSettings {
    pub(super) fn new(configured: Option<Duration>, clock: Clock) -> Self {
        let wanted = Arc::new(Wanted::default());
        wanted.is_wanted.store(configured.is_some(), Ordering::Relaxed);
        Self { configured, clock, handle: rand::random(), wanted }
    }

    /// From here on there are lines.
    pub(super) fn want(&self) {
        // Read before written: the line stays shared between cores.
        if !self.wanted.is_wanted.load(Ordering::Relaxed) {
            self.wanted.is_wanted.store(true, Ordering::SeqCst);
            self.wanted.changed.notify_waiters();
        }
    }

    /// Whether there are lines, or would be.
    pub(super) fn are_wanted(&self) -> bool {
        self.wanted.is_wanted.load(Ordering::SeqCst)
    }

    pub(super) async fn until_wanted(&self) {
        loop {
            let changed = self.wanted.changed.notified();
            if self.are_wanted() {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn max_staleness(&self) -> Duration {
        self.configured.unwrap_or(OF_TOKENS)
    }
}

impl Near {
    pub(super) fn new(settings: &NearSettings) -> Self {
        Self {
            settings: settings.clone(),
            line: ArcSwapOption::empty(),
            available: Notify::new(),
            status: Mutex::new(NearCache::Connecting),
        }
    }

    /// Whether nothing waits for an answer.
    pub(super) fn is_idle(&self) -> bool {
        self.line.load().as_ref().is_none_or(|line| line.in_flight.is_empty())
    }

    pub(super) fn status(&self) -> NearCache {
        self.status.lock().clone()
    }

    /// Calls may go to the node from now on.
    pub(super) fn node_is_available(&self) {
        self.available.notify_one();
    }

    /// Calls go by another connection from now on, perhaps to another server.
    pub(super) fn connection_is_new(&self) {
        if let Some(line) = self.line.swap(None) {
            line.marks.end();
            line.suspect.notify_one();
        }
    }
}

impl Line {
    /// Ends reads that wait too long; runs indefinitely.
    pub(super) async fn sweep(&self) {
        self.in_flight
            .sweep(|swept| {
                // What came late for the program's own sake says nothing about the server.
                if !swept.starved {
                    self.suspect.notify_one();
                }
            })
            .await;
    }

    /// Takes a report in. Whether the line still reports.
    pub(super) fn take_in(&self, report: Result<Invalidation, RecvError>) -> bool {
        match report {
            Ok(report) => report.keys.iter().for_each(|key| self.marks.changed(key.as_bytes())),
            Err(RecvError::Lagged(_)) => self.marks.forget_all(),
            Err(RecvError::Closed) => return false,
        }
        true
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.pool.abort();
    }
}
