//! Moving the I/O out of a runtime that the program blocks.

use std::sync::Arc;

use super::discovery::Discovery;
use super::inner::Inner;
use super::layout::Layout;
use super::node_health::Parts;
use super::stage::Stage;
use crate::backend::slots::SlotSet;
use crate::health::{Reason, ReasonKind};

impl Inner {
    /// Moves the I/O to a thread of its own if the program keeps it from running where it is.
    #[inline]
    pub(super) fn leave_starved_runtime(self: &Arc<Self>) {
        if self.context.starvation.is_chronic() {
            self.move_to_a_thread();
        }
    }

    #[cold]
    fn move_to_a_thread(self: &Arc<Self>) {
        let generation = self.home.begin_move(|| {
            self.context.starvation.relieve();
            self.stage() == Stage::Running
        });
        let Some(generation) = generation else { return };
        tracing::warn!(
            target: "cache_house",
            "the program blocks the workers of the runtime that the cache's I/O runs in; the I/O moves to a thread of its own"
        );
        // The next map has none before it that would show a failover.
        let nodes = self.fail_over(&SlotSet::all(), || self.layout.swap(Arc::new(Layout::Unknown))).nodes();
        self.node_health.expect(Parts::Unknown);
        for node in &nodes {
            node.advance(Stage::Closing);
            if let Some(pool) = node.standing() {
                // Nothing more is sent on it, whenever its tasks run again.
                pool.abort();
                self.home.leave_behind(&node.address, pool.identities());
            }
            node.end_in_flight();
        }
        self.home.end_move();
        if let Err(error) = Discovery::start_anew(Arc::clone(self), generation) {
            // No task is left that could answer a `close`.
            self.advance(Stage::Closed);
            let problem = format!("no thread could be started to connect on: {error}");
            self.node_health.nothing_found(Reason::new(ReasonKind::Unreachable, problem));
        }
    }
}
