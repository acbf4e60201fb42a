//! What comes before a call: the wait for the first connection, where that was asked for; and the tokens of its tags.

use super::blocking;
use super::caller::Caller;
use super::engine::Engine;
use crate::backend::server::Server;
use crate::options::CacheOptions;

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
    pub(super) async fn begin_all<C>(&self, calls: &mut [CacheOptions<C>], caller: fn() -> Caller) {
        self.first_connection().await;
        self.add_all_tokens(calls, caller).await;
    }
}
