//! What callers and the discovery task share: settings, the layout, and which node a key belongs to.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;

use super::super::invalidations::Invalidations;
use super::super::journal::Journal;
use super::super::server::{Epoch, ServerError, Unavailable};
use super::super::slots::{SlotSet, slot_of};
use super::backoff::Wanted;
use super::connector::Recipe;
use super::discovery_requests::DiscoveryRequests;
use super::failovers::Failovers;
use super::home::Home;
use super::in_flight::InFlight;
use super::layout::Layout;
use super::leases::Leases;
use super::near::NearSettings;
use super::node::{Node, NodeContext};
use super::node_health::NodeHealth;
use super::recent_invalidations::RecentInvalidations;
use super::stage::{Stage, Stages};
use crate::backend::invalidation::Invalidation;
use crate::clock::Clock;
use crate::config::{Address, ConnectionSettings, Expected, Reconnect};
use crate::error::Error;
use crate::health::HealthReporter;
use crate::key::{Scope, ServerKey};
use crate::telemetry::Counters;

/// Shared by callers and the discovery task.
pub(super) struct Inner {
    pub(super) recipe: Arc<Recipe>,
    /// A key that never exists, read by probes.
    pub(super) probe_key: String,
    pub(super) leases: Arc<Leases>,
    pub(super) seeds: Vec<Address>,
    pub(super) expected: Expected,
    pub(super) reconnect: Reconnect,
    pub(super) context: NodeContext,
    pub(super) node_health: Arc<NodeHealth>,
    pub(super) layout: ArcSwap<Layout>,
    pub(super) requests: DiscoveryRequests,
    /// Calls want a server while none is known.
    pub(super) wanted: Wanted,
    pub(super) recent_invalidations: RecentInvalidations,
    pub(super) failovers: Failovers,
    /// Callers that wait for other tasks: for a connection to a node that they were redirected to, and for a store.
    pub(super) waiting: Arc<InFlight>,
    pub(super) home: Home,
    stages: Stages,
}

impl Inner {
    pub(super) fn new(
        settings: &ConnectionSettings,
        scope: &Scope,
        journal: Arc<Journal>,
        invalidations: Arc<dyn Invalidations>,
        counters: Arc<Counters>,
        health: Arc<HealthReporter>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let node_health = Arc::new(NodeHealth::new(health));
        let key_prefix: Arc<str> = scope.key_prefix().into();
        let (max_in_flight, command_timeout) = (settings.max_in_flight, settings.command_timeout);
        Ok(Self {
            recipe: Arc::new(Recipe::new(settings)?),
            probe_key: probe_key(scope),
            leases: Arc::new(Leases::new(Arc::clone(&key_prefix))),
            seeds: settings.seeds.iter().map(|seed| seed.address.clone()).collect(),
            expected: settings.expected,
            reconnect: settings.reconnect,
            context: NodeContext {
                max_in_flight,
                near: NearSettings::new(settings.near_cache, clock),
                command_timeout,
                key_prefix,
                journal,
                counters,
                node_health: Arc::clone(&node_health),
                invalidations,
                starvation: Arc::default(),
            },
            node_health,
            layout: ArcSwap::from_pointee(Layout::Unknown),
            requests: DiscoveryRequests::default(),
            wanted: Wanted::default(),
            recent_invalidations: RecentInvalidations::default(),
            failovers: Failovers::default(),
            waiting: InFlight::new(max_in_flight, command_timeout),
            home: Home::default(),
            stages: Stages::new(),
        })
    }

    pub(super) fn stage(&self) -> Stage {
        self.stages.now()
    }

    /// Goes on to `stage`, never back.
    pub(super) fn advance(&self, stage: Stage) {
        self.stages.advance(stage);
        if stage >= Stage::Closing {
            self.layout.store(Arc::new(Layout::Unknown));
        }
    }

    pub(super) async fn reached(&self, stage: Stage) {
        self.stages.reached(stage).await;
    }

    /// The node that a change of `key` goes to.
    pub(super) fn writer(&self, key: &Bytes) -> Result<Arc<Node>, ServerError> {
        let away = ServerError::Unavailable(Unavailable::NotConnected);
        match &**self.layout.load() {
            Layout::Unknown => Err(away),
            Layout::Single(node) => Ok(Arc::clone(node)),
            Layout::Cluster(map) => map.shard_of(slot_of(key)).map(|shard| Arc::clone(&shard.primary)).ok_or(away),
        }
    }

    /// The node that `key` is read from.
    pub(super) fn reader(&self, key: &Bytes) -> Result<Arc<Node>, ServerError> {
        let away = ServerError::Unavailable(Unavailable::NotConnected);
        match &**self.layout.load() {
            Layout::Unknown => Err(away),
            Layout::Single(node) => Ok(Arc::clone(node)),
            Layout::Cluster(map) => {
                let shard = map.shard_of(slot_of(key)).ok_or(away)?;
                // Without replicas the recent invalidations needn't be looked at.
                let primary_only = shard.replicas.is_empty() || self.recent_invalidations.concerns(key);
                Ok(if primary_only { Arc::clone(&shard.primary) } else { map.reader(shard) })
            }
        }
    }

    /// Notes that a primary has confirmed an invalidation, which its replicas may not know yet. It's journalled again if a failover was
    /// noticed since it was sent: the primary may have lost its place before. A standalone server has no replicas here.
    pub(super) fn confirmed(&self, invalidated: Invalidation<ServerKey>, sent: Epoch) {
        if matches!(&**self.layout.load(), Layout::Single(_)) {
            return;
        }
        // Noted first: a failover that begins behind the look at it finds it noted.
        self.recent_invalidations.note(invalidated.clone());
        if self.failovers.any_since(sent) {
            self.journal_again(invalidated, &SlotSet::all());
        }
    }

    /// Handles a failover of `slots`: their recent invalidations are journalled again, because the replica that has taken the slots over
    /// may not know of the last ones; then `adopt` may let calls read from it.
    pub(super) fn fail_over<R>(&self, slots: &SlotSet, adopt: impl FnOnce() -> R) -> R {
        if slots.is_empty() {
            return adopt();
        }
        self.failovers.note(|| {
            let again = self.recent_invalidations.all();
            again.into_iter().for_each(|invalidated| self.journal_again(invalidated, slots));
            adopt()
        })
    }

    fn journal_again(&self, invalidated: Invalidation<ServerKey>, slots: &SlotSet) {
        let journal = &self.context.journal;
        match invalidated {
            Invalidation::Key(key) if slots.contains(slot_of(&key)) => journal.add_server_key(key),
            Invalidation::Key(_) => {}
            Invalidation::Matching(prefix) => journal.add_prefix_in(prefix, slots.clone()),
        }
    }

    /// Begins a read of `key`. It's unavailable if the journal names the key: a failover may have been handled since the caller asked.
    pub(super) fn begin_read(&self, key: &ServerKey) -> Result<Epoch, ServerError> {
        let sent = self.failovers.epoch();
        match self.context.journal.names(key) {
            true => Err(ServerError::Unavailable(Unavailable::NotReady)),
            false => Ok(sent),
        }
    }

    /// What was found of `key` by a read that began at `sent`. It's unavailable if a failover was noticed meanwhile and `key` was
    /// invalidated lately: the value may be the one from before, on the replica that has taken over.
    pub(super) fn judged<T>(
        &self,
        key: &ServerKey,
        sent: Epoch,
        found: Result<T, ServerError>,
    ) -> Result<T, ServerError> {
        match self.failovers.any_since(sent) && self.recent_invalidations.is_repeated(key) {
            true => Err(ServerError::Unavailable(Unavailable::NotReady)),
            false => found,
        }
    }
}

/// A key that no caller can make, not even on purpose: any answer but null belongs to another command. It begins with the scope, because
/// the user may be allowed no other keys.
fn probe_key(scope: &Scope) -> String {
    format!("{}:probe:{:032x}", scope.as_str(), rand::random::<u128>())
}
