//! What is known of all nodes, summed up as the health of the handle.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::health::{HealthReporter, Reason, ReasonKind, Topology};

/// Nodes report here. Each report wakes the tasks that wait for a node.
pub(super) struct NodeHealth {
    board: Arc<HealthReporter>,
    state: Mutex<State>,
    next: AtomicU64,
    /// Notified at each report and each new layout.
    pub(super) changed: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeId(u64);

struct State {
    expected: Parts,
    nodes: HashMap<NodeId, Condition>,
    /// Whether the health of this layout has been posted.
    posted: bool,
}

/// Which nodes the handle's health depends on.
pub(super) enum Parts {
    /// It isn't known yet what there is.
    Unknown,
    Single(NodeId),
    /// The primaries that have slots.
    Shards(Vec<NodeId>),
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    Connecting,
    Up,
    Down(Reason),
}

impl NodeHealth {
    pub(super) fn new(board: Arc<HealthReporter>) -> Self {
        let state = State { expected: Parts::Unknown, nodes: HashMap::new(), posted: false };
        Self { board, state: Mutex::new(state), next: AtomicU64::new(0), changed: Notify::new() }
    }

    pub(super) fn enter(&self) -> NodeId {
        let id = NodeId(self.next.fetch_add(1, Ordering::Relaxed));
        self.state.lock().nodes.insert(id, Condition::Connecting);
        id
    }

    pub(super) fn leave(&self, id: NodeId) {
        self.state.lock().nodes.remove(&id);
    }

    pub(super) fn expect(&self, parts: Parts) {
        let mut state = self.state.lock();
        let same_kind = matches!((&state.expected, &parts), (Parts::Shards(_), Parts::Shards(_)));
        state.posted &= same_kind;
        state.expected = parts;
        self.post(&mut state);
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn up(&self, id: NodeId) {
        self.report(id, Condition::Up);
    }

    pub(super) fn down(&self, id: NodeId, reason: Reason) {
        self.report(id, Condition::Down(reason));
    }

    /// Discovery found no server; `reason` says why.
    pub(super) fn nothing_found(&self, reason: Reason) {
        let state = self.state.lock();
        if matches!(state.expected, Parts::Unknown) {
            self.board.degraded(reason);
        }
    }

    /// Logs the present health if lines were held back because there were too many.
    pub(super) fn catch_up(&self) {
        self.board.catch_up();
    }

    /// Whether the node's first connection is still being made.
    pub(super) fn is_connecting(&self, id: NodeId) -> bool {
        self.state.lock().nodes.get(&id) == Some(&Condition::Connecting)
    }

    /// Whether the server that was found there is of another kind than expected.
    pub(super) fn has_another_kind(&self, id: NodeId) -> bool {
        let state = self.state.lock();
        matches!(state.nodes.get(&id), Some(Condition::Down(reason)) if reason.kind() == ReasonKind::WrongTopology)
    }

    fn report(&self, id: NodeId, condition: Condition) {
        let mut state = self.state.lock();
        if let Some(known) = state.nodes.get_mut(&id) {
            *known = condition;
            self.post(&mut state);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Posts the sum. Held by the lock, so that an older sum never follows a newer one.
    fn post(&self, state: &mut State) {
        match &state.expected {
            Parts::Unknown => {}
            Parts::Single(id) => match state.nodes.get(id) {
                Some(Condition::Up) => self.board.connected(Topology::Standalone, None),
                Some(Condition::Down(reason)) => self.board.degraded(reason.clone()),
                Some(Condition::Connecting) | None => {}
            },
            Parts::Shards(ids) => {
                let conditions = || ids.iter().filter_map(|id| state.nodes.get(id));
                let served = conditions().filter(|condition| **condition == Condition::Up).count();
                let reason = conditions().find_map(|condition| match condition {
                    Condition::Down(reason) => Some(reason),
                    _ => None,
                });
                // While the first connections are being made, a part of them is no news.
                if !state.posted && conditions().any(|condition| *condition == Condition::Connecting) {
                    return;
                }
                state.posted = true;
                match (served, reason) {
                    (0, Some(reason)) => self.board.degraded(reason.clone()),
                    (0, None) => {}
                    _ => self.board.connected(Topology::Cluster { shards: ids.len(), served }, reason),
                }
            }
        }
    }
}
