//! Redis and Valkey, standalone and cluster, through fred. The only folder that names fred.
//!
//! fred sends commands and reads replies. Everything else is done here: [`discovery`] finds the servers and owns a [`node`] and a
//! [`supervisor`] for each. A node has the circuit breaker and the deadlines ([`in_flight`]); its supervisor connects, probes and
//! reconnects. [`layout`] maps keys to nodes, [`redirects`] follows `MOVED` and `ASK`, [`replay`] replays the journal.
//!
//! Files import from each other and never from this one, which holds only [`Redis`].

mod backoff;
mod batch;
mod clearing;
mod command;
mod connection;
mod connector;
mod discovery;
mod discovery_requests;
mod failovers;
mod fills;
mod home;
mod in_flight;
mod inner;
mod inspect;
mod layout;
mod leases;
mod many;
mod mask;
mod names;
mod near;
mod near_line;
mod near_reads;
mod node;
mod node_health;
#[cfg(feature = "operate")]
pub(crate) mod operate;
mod pool;
mod recent_invalidations;
mod redirects;
mod relocation;
mod removals;
mod replay;
mod reply;
mod role;
mod scan;
mod scripts;
mod stage;
mod starvation;
mod supervisor;
mod tls;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fred::types::Resp3Frame as Frame;
use tokio::sync::oneshot;

use self::command::{Command, Set};
use self::discovery::Discovery;
use self::in_flight::Unanswered;
use self::inner::Inner;
use self::layout::Layout;
use self::node::Failed;
use self::role::Role;
use self::stage::Stage;
use super::invalidations::Invalidations;
use super::journal::Journal;
use super::lease::{Lease, Proof, Stored, Terms};
use super::server::{Epoch, NearReply, ReadReply, Server, ServerError, ServerReport, Ttl, Unavailable, UnderWay};
use super::slots::slot_of;
use crate::backend::invalidation::Invalidation;
use crate::clock::Clock;
use crate::config::ConnectionSettings;
use crate::error::Error;
use crate::health::{HealthReporter, NearCache};
use crate::key::{CallKey, KeyPrefix, Scope, ServerKey};
use crate::telemetry::Counters;

/// What is at the endpoints, and the task that keeps connections to it. The task ends when this is dropped.
pub(crate) struct Redis {
    inner: Arc<Inner>,
}

/// No redirect is followed once a command's first timeout has passed, and the last may take one more.
const STORE_TIMEOUTS: u32 = 2;

/// How long closing replays the journal at most; each operation has its own deadline besides.
const LAST_REPLAY: Duration = Duration::from_secs(5);

impl Redis {
    /// Starts connecting, and returns at once.
    pub(crate) fn start(
        settings: &ConnectionSettings,
        scope: &Scope,
        journal: Arc<Journal>,
        invalidations: Arc<dyn Invalidations>,
        counters: Arc<Counters>,
        health: Arc<HealthReporter>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let inner = Arc::new(Inner::new(settings, scope, journal, invalidations, counters, health, clock)?);
        let started = Discovery::start(Arc::clone(&inner));
        started.map_err(|error| Error::config("build", format!("can't start an I/O thread: {error}")))?;
        Ok(Self { inner })
    }

    /// Ends the task and all connections; done when they are gone.
    pub(crate) async fn close(&self) {
        /// Closes also if the replay is given up or the call is dropped.
        struct Closing<'a>(&'a Inner);

        impl Drop for Closing<'_> {
            fn drop(&mut self) {
                self.0.advance(Stage::Closing);
            }
        }

        let closing = Closing(&self.inner);
        if self.inner.context.journal.len() > 0 {
            // What doesn't succeed now is lost with this process, as its memory is.
            replay::replay_once(&self.inner, Instant::now() + LAST_REPLAY).await;
        }
        drop(closing);
        self.inner.reached(Stage::Closed).await;
    }

    /// For a read that a replica couldn't serve.
    async fn get_from_primary(&self, key: &ServerKey) -> Result<Option<Bytes>, ServerError> {
        reply::bytes(self.send(key, Command::Get(key.clone())).await?)
    }

    /// A report of each server that there is a connection to.
    pub(crate) async fn inspect(&self) -> Vec<ServerReport> {
        inspect::servers(&self.inner).await
    }

    /// For operators: a walk over the keys of each primary that begin with `prefix:`.
    #[cfg(feature = "operate")]
    pub(crate) async fn walks(&self, prefix: &str, sample: bool) -> Result<Vec<operate::NodeWalk>, ServerError> {
        operate::walks(&self.inner, prefix, sample).await
    }

    /// Whether there is a near cache, and if not, why.
    pub(crate) fn near_cache(&self) -> NearCache {
        self.inner.near_cache()
    }

    async fn send(&self, key: &Bytes, command: Command) -> Result<Frame, ServerError> {
        self.inner.leave_starved_runtime();
        self.inner.send(key, command).await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.inner.advance(Stage::Closing);
    }
}

impl Server for Redis {
    fn wants_reports(&self) {
        self.inner.context.near.want();
    }

    fn is_available(&self, key: &CallKey) -> bool {
        self.inner.leave_starved_runtime();
        match &**self.inner.layout.load() {
            Layout::Unknown => {
                self.inner.wanted.ask();
                false
            }
            Layout::Single(node) => node.serves(),
            Layout::Cluster(map) if map.is_whole() => true,
            Layout::Cluster(map) => map.shard_of(slot_of(&key.server_key())).is_some_and(|shard| shard.serves()),
        }
    }

    fn is_available_for_all(&self) -> bool {
        self.inner.leave_starved_runtime();
        match &**self.inner.layout.load() {
            Layout::Unknown => {
                self.inner.wanted.ask();
                false
            }
            Layout::Single(node) => node.serves(),
            Layout::Cluster(map) => map.is_whole(),
        }
    }

    async fn get(&self, key: &ServerKey) -> Result<Option<Bytes>, ServerError> {
        let sent = self.inner.begin_read(key)?;
        let node = self.inner.reader(key)?;
        // A standalone server redirects nothing.
        let begun = (node.role != Role::Standalone).then(Instant::now);
        let found = async {
            let pool = node.pool()?;
            let frame = match node.get(&pool, key).await {
                Err(Failed::Redirected(redirect)) => {
                    let begun = begun.unwrap_or_else(Instant::now);
                    self.inner.follow(redirect, key, Command::Get(key.clone()), begun).await?
                }
                reply => reply?,
            };
            node.read(reply::bytes(frame))
        };
        let found = match found.await {
            Ok(None) | Err(ServerError::Unavailable(_)) if node.role == Role::Replica => {
                self.get_from_primary(key).await
            }
            found => found,
        };
        self.inner.judged(key, sent, found)
    }

    async fn get_near(&self, key: &ServerKey, asks_ttl: bool) -> Result<Option<NearReply>, ServerError> {
        let sent = self.inner.begin_read(key)?;
        if let Some(reply) = self.inner.get_near(key, asks_ttl).await {
            return self.inner.judged(key, sent, reply);
        }
        let found = match asks_ttl {
            true => self.get_with_ttl(key).await?,
            false => self.get(key).await?.map(|bytes| (bytes, Ttl::Unknown)),
        };
        Ok(found.map(|(bytes, ttl)| (bytes, ttl, None)))
    }

    async fn get_with_ttl(&self, key: &ServerKey) -> Result<Option<(Bytes, Ttl)>, ServerError> {
        let sent = self.inner.begin_read(key)?;
        let node = self.inner.reader(key)?;
        let ttl = self.inner.send_to(&node, key, Command::Pttl(key.clone()));
        let value = self.inner.send_to(&node, key, Command::Get(key.clone()));
        // Sent back to back on one connection: one round trip. The TTL first: if another client replaces the value in between, the new
        // one gets what remained to the old one, and no old one lives on.
        let (ttl, value) = tokio::join!(ttl, value);
        let found = match value.and_then(|frame| node.read(reply::bytes(frame))) {
            Ok(Some(value)) => {
                Ok(Some((value, Ttl::of_pttl(ttl.and_then(|frame| node.read(reply::number(&frame))).ok()))))
            }
            Ok(None) | Err(ServerError::Unavailable(_)) if node.role == Role::Replica => {
                // The next hit reads its TTL.
                self.get_from_primary(key).await.map(|found| found.map(|value| (value, Ttl::Unknown)))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        self.inner.judged(key, sent, found)
    }

    async fn get_many(&self, keys: &[(&ServerKey, bool)]) -> Option<Vec<ReadReply>> {
        let node = match &**self.inner.layout.load() {
            Layout::Single(node) => Arc::clone(node),
            // A cluster's keys have different slots.
            Layout::Unknown | Layout::Cluster(_) => return None,
        };
        many::get_many(&node, keys).await
    }

    async fn take_lease(&self, key: &ServerKey, limit: Option<Duration>) -> Result<Option<Lease>, ServerError> {
        self.inner.leave_starved_runtime();
        self.inner.take_lease(key, limit).await
    }

    async fn release_lease(&self, proof: &Proof) -> Result<(), ServerError> {
        self.inner.release_lease(proof).await
    }

    async fn contains(&self, key: &ServerKey) -> Result<bool, ServerError> {
        let sent = self.inner.begin_read(key)?;
        let exists = self.send(key, Command::Exists(key.clone())).await.and_then(|frame| reply::number(&frame));
        self.inner.judged(key, sent, exists.map(|count| count > 0))
    }

    /// Sent by a task of its own: the caller's future may be dropped, or never polled again, between two redirects of a cluster.
    async fn set(
        &self,
        key: &ServerKey,
        value: Bytes,
        ttl: Duration,
        terms: Terms,
        mut under_way: impl UnderWay,
    ) -> Result<Stored, ServerError> {
        let Some(permit) = self.inner.waiting.enter() else {
            self.inner.context.counters.shed.add_one();
            return Err(ServerError::Unavailable(Unavailable::Shed));
        };
        let (answer, answered) = oneshot::channel();
        let (inner, key) = (Arc::clone(&self.inner), key.clone());
        self.inner.home.spawn(async move {
            let set = |value| Box::new(Set { key: key.clone(), value, ttl });
            let stored = match terms {
                Terms::Fenced(proof) => inner.fill(&key, value, ttl, &proof).await,
                Terms::Unfenced => inner.send_set(&key, Command::SetString(set(value))).await,
                Terms::Unconditional => inner.send_set(&key, Command::Set(set(value))).await,
            };
            under_way.end(&stored);
            drop((under_way, inner));
            // A caller that was dropped doesn't listen.
            let _ = answer.send(stored);
        });
        match permit.run(answered).await {
            Ok(answered) => answered.unwrap_or(Err(ServerError::Unavailable(Unavailable::ConnectionLost))),
            Err(unanswered) => {
                if unanswered == Unanswered::Starved {
                    self.inner.context.starvation.note();
                }
                Err(ServerError::Unavailable(Unavailable::TimedOut))
            }
        }
    }

    fn patience(&self) -> Duration {
        let timeout = STORE_TIMEOUTS * self.inner.context.command_timeout;
        timeout + in_flight::patience_with_sweeper(timeout)
    }

    async fn check_type(&self, key: &ServerKey) -> Result<(), ServerError> {
        self.inner.leave_starved_runtime();
        // Refused with WRONGTYPE for anything that isn't a string.
        self.inner.send_after_lease(key, Command::Strlen(key.clone())).await.map(|_| ())
    }

    fn epoch(&self) -> Epoch {
        self.inner.failovers.epoch()
    }

    fn replaced(&self, key: &ServerKey, sent: Epoch) {
        self.inner.confirmed(Invalidation::Key(key.clone()), sent);
    }

    async fn remove(&self, key: &ServerKey) -> Result<bool, ServerError> {
        self.inner.leave_starved_runtime();
        let sent = self.inner.failovers.epoch();
        let removed = reply::number(&self.inner.send_after_lease(key, Command::Unlink(vec![key.clone()])).await?)?;
        self.inner.confirmed(Invalidation::Key(key.clone()), sent);
        Ok(removed > 0)
    }

    async fn clear(&self, prefix: &KeyPrefix) -> Result<u64, ServerError> {
        let layout = self.inner.layout.load_full();
        match &*layout {
            Layout::Unknown => Err(ServerError::Unavailable(Unavailable::NotConnected)),
            Layout::Single(node) => clearing::clear_node(node, &node.pool()?, prefix).await,
            Layout::Cluster(_) => clearing::clear_cluster(&self.inner, prefix).await,
        }
    }
}

#[cfg(test)]
mod tests;
