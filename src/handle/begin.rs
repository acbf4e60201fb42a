//! What comes before a call: where it was asked for, the wait for the first connection; and the tokens of its tags.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::blocking;
use super::caller::Caller;
use super::engine::Engine;
use crate::backend::server::Server;
use crate::health::HealthReporter;
use crate::options::CacheOptions;
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
    async fn wait(&self, health: &HealthReporter) {
        let deadline = *self.deadline.get_or_init(|| Instant::now() + self.limit);
        let mut watched = health.watch();
        // Fails only when the board is gone, and the handle holds it.
        let settled = async { watched.wait_for(|health| !health.may_connect_soon()).await.is_ok() };
        let _ = watchdog::within(deadline, settled).await;
        self.is_pending.store(false, Ordering::Relaxed);
    }
}

impl<S: Server> Engine<S> {
    /// Every call begins with this.
    #[inline]
    pub(super) async fn begin<C>(&self, options: &mut CacheOptions<C>, caller: fn() -> Caller) {
        if self.inner.first_connection.is_pending() {
            self.first_connection().await;
        }
        self.add_tokens(options, caller).await;
    }

    /// The same for a sync call.
    #[inline(always)]
    pub(super) fn begin_blocking<C>(&self, options: &mut CacheOptions<C>) {
        if self.inner.first_connection.is_pending() {
            blocking::block_on(self.first_connection());
        }
        self.add_tokens_blocking(options);
    }

    /// The same for the calls of a batch.
    pub(super) async fn begin_all<K, C>(&self, calls: &mut [(K, CacheOptions<C>)], caller: fn() -> Caller) {
        self.first_connection().await;
        self.add_all_tokens(calls, caller).await;
    }

    /// Waits for the first connection, where that was asked for and is still to come.
    ///
    /// Boxed: the futures of all calls would contain it.
    #[cold]
    pub(super) fn first_connection(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let first = &self.inner.first_connection;
            if first.is_pending() && !self.is_closed() {
                first.wait(&self.inner.health).await;
            }
        })
    }
}
