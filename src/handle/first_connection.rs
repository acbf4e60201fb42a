//! The wait for the first connection: once a handle, where that was configured.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::health::HealthReporter;
use crate::surroundings;
use crate::watchdog;

/// The one wait for the first connection, which the calls before it share.
pub(super) struct FirstConnection {
    /// Whether the next call has to wait.
    is_pending: AtomicBool,
    limit: Duration,
    /// When the wait ends at the latest, from the first call on.
    deadline: OnceLock<Instant>,
}

impl FirstConnection {
    /// Calls wait for `limit` at most; not at all where it's zero.
    pub(super) fn new(limit: Duration) -> Self {
        Self { is_pending: AtomicBool::new(!limit.is_zero()), limit, deadline: OnceLock::new() }
    }

    #[inline(always)]
    pub(super) fn is_pending(&self) -> bool {
        self.is_pending.load(Ordering::Relaxed)
    }

    /// Waits for the connection, for the deadline, or for a refusal that another attempt won't change.
    pub(super) async fn wait(&self, health: &HealthReporter) {
        let deadline = *self.deadline.get_or_init(|| surroundings::now() + self.limit);
        let mut watched = health.watch();
        // Fails only when the board is gone, and the handle holds it.
        let settled = async { watched.wait_for(|health| !health.may_connect_soon()).await.is_ok() };
        let _ = watchdog::within(deadline, settled).await;
        self.is_pending.store(false, Ordering::Relaxed);
    }
}
