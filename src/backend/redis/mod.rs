//! Redis and Valkey, standalone and cluster, through fred. The only folder that names it.
//!
//! fred carries commands; the promises are kept here. [`discovery`] finds out what there is and owns the rest: a [`node`] for each
//! server, with its circuit and its deadlines ([`in_flight`]), and its [`supervisor`], which connects, probes and rebuilds. [`layout`]
//! says which node has which keys; [`cluster`] follows redirects.

mod batch;
mod cluster;
mod connector;
mod discovery;
mod home;
mod in_flight;
mod inspect;
mod layout;
mod link;
mod mask;
mod names;
mod node;
mod recent;
mod reply;
mod roster;
mod scan;
mod stage;
mod starvation;
mod supervisor;
mod tls;
mod wire;
mod wishes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use fred::types::{Resp3Frame as Frame, Value};
use tokio::sync::oneshot;

use self::connector::Recipe;
use self::discovery::Discovery;
use self::home::Home;
use self::in_flight::{InFlight, Unanswered};
use self::layout::Layout;
use self::node::{Failed, Node, Shared};
use self::recent::{Invalidated, Recent};
use self::roster::Roster;
use self::stage::{Stage, Stages};
use self::wishes::Wishes;
use super::journal::Journal;
use super::slots::slot_of;
use super::{Life, Server, ServerError, ServerReport, Unavailable};
use crate::config::{Address, ConnectionSettings, Expected, Reconnect};
use crate::error::Error;
use crate::health::HealthReporter;
use crate::key::{CallKey, KeyPrefix, Scope, ServerKey};
use crate::telemetry::Counters;

/// What is at the endpoints, and the task that keeps connections to it. The task ends when this is dropped.
pub(crate) struct Redis {
    core: Arc<Core>,
}

/// Shared by callers and the discovery task.
struct Core {
    recipe: Arc<Recipe>,
    /// A key that never exists, to ask for when a server's health is in question.
    probe_key: String,
    seeds: Vec<Address>,
    expected: Expected,
    reconnect: Reconnect,
    shared: Shared,
    roster: Arc<Roster>,
    layout: ArcSwap<Layout>,
    wishes: Wishes,
    recent: Recent,
    /// Callers that wait for what others do with the server: for a node that they have been redirected to, and for a store.
    waiting: Arc<InFlight>,
    home: Home,
    stages: Stages,
}

/// No redirect is followed once a command's first timeout has passed, and the last may take one more.
const STORE_TIMEOUTS: u32 = 2;

/// How long closing goes on with a journal that takes its time; each operation has its own deadline besides.
const LAST_REPLAY: Duration = Duration::from_secs(5);

impl Redis {
    /// Starts connecting, and returns at once.
    pub(crate) fn start(
        settings: &ConnectionSettings,
        scope: &Scope,
        journal: Arc<Journal>,
        counters: Arc<Counters>,
        health: Arc<HealthReporter>,
    ) -> Result<Self, Error> {
        let roster = Arc::new(Roster::new(health));
        let (max_in_flight, command_timeout) = (settings.max_in_flight, settings.command_timeout);
        let core = Arc::new(Core {
            recipe: Arc::new(Recipe::new(settings)?),
            probe_key: probe_key(scope),
            seeds: settings.seeds.iter().map(|seed| seed.address.clone()).collect(),
            expected: settings.expected,
            reconnect: settings.reconnect,
            shared: Shared {
                max_in_flight,
                command_timeout,
                journal,
                counters,
                roster: Arc::clone(&roster),
                starvation: Arc::default(),
            },
            roster,
            layout: ArcSwap::from_pointee(Layout::Unknown),
            wishes: Wishes::default(),
            recent: Recent::default(),
            waiting: InFlight::new(max_in_flight, command_timeout),
            home: Home::default(),
            stages: Stages::new(),
        });
        let started = Discovery::start(Arc::clone(&core));
        started.map_err(|error| Error::config("build", format!("can't start an I/O thread: {error}")))?;
        Ok(Self { core })
    }

    /// Ends the task and all connections; done when they are gone.
    pub(crate) async fn close(&self) {
        /// Also where the replay is given up, or the call dropped.
        struct Closing<'a>(&'a Core);

        impl Drop for Closing<'_> {
            fn drop(&mut self) {
                self.0.advance(Stage::Closing);
            }
        }

        let closing = Closing(&self.core);
        if self.core.shared.journal.len() > 0 {
            // What doesn't succeed now is lost with this process, as its memory is.
            let until = Some(Instant::now() + LAST_REPLAY);
            match &**self.core.layout.load() {
                Layout::Single(node) => {
                    if let Ok(link) = node.link() {
                        let _ = scan::replay(node, &link, until).await;
                    }
                }
                Layout::Cluster(_) => cluster::replay_once(&self.core, until).await,
                Layout::Unknown => {}
            }
        }
        drop(closing);
        self.core.reached(Stage::Closed).await;
    }

    /// What a replica doesn't have, or can't tell, its primary may.
    async fn get_from_primary(&self, key: &ServerKey) -> Result<Option<Bytes>, ServerError> {
        reply::bytes(self.send(key, "GET", vec![named(key)]).await?)
    }

    /// What the servers say of themselves.
    pub(crate) async fn inspect(&self) -> Vec<ServerReport> {
        inspect::servers(&self.core).await
    }

    async fn send(&self, key: &Bytes, command: &'static str, args: Vec<Value>) -> Result<Frame, ServerError> {
        self.core.leave_starved_runtime();
        self.core.send(key, command, args).await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.core.advance(Stage::Closing);
    }
}

impl Server for Redis {
    fn is_available(&self, key: &CallKey) -> bool {
        self.core.leave_starved_runtime();
        match &**self.core.layout.load() {
            Layout::Unknown => false,
            Layout::Single(node) => node.is_available(),
            Layout::Cluster(map) if map.is_whole() => true,
            Layout::Cluster(map) => map.shard_of(slot_of(&key.server_key())).is_some_and(|shard| shard.is_readable()),
        }
    }

    async fn get(&self, key: &ServerKey) -> Result<Option<Bytes>, ServerError> {
        let node = self.core.reader(key)?;
        let found = async {
            let link = node.link()?;
            let frame = match node.get(&link, key).await {
                Err(Failed::Redirected(redirect)) => self.core.follow(redirect, key, "GET", vec![named(key)]).await?,
                reply => reply?,
            };
            node.read(reply::bytes(frame))
        };
        match found.await {
            Ok(None) | Err(ServerError::Unavailable(_)) if node.role == link::Role::Replica => {
                self.get_from_primary(key).await
            }
            found => found,
        }
    }

    async fn get_with_life(&self, key: &ServerKey) -> Result<Option<(Bytes, Life)>, ServerError> {
        let node = self.core.reader(key)?;
        let life = self.core.send_to(&node, key, "PTTL", vec![named(key)]);
        let value = self.core.send_to(&node, key, "GET", vec![named(key)]);
        // Sent back to back on one connection: one round trip. The life first: if another client replaces the value in between, the new
        // one gets what remained to the old one, and no old one lives on.
        let (life, value) = tokio::join!(life, value);
        let value = match value.and_then(|frame| node.read(reply::bytes(frame))) {
            Ok(Some(value)) => value,
            Ok(None) | Err(ServerError::Unavailable(_)) if node.role == link::Role::Replica => {
                // How long it lives, the next hit asks.
                return Ok(self.get_from_primary(key).await?.map(|value| (value, Life::Unknown)));
            }
            Ok(None) => return Ok(None),
            Err(error) => return Err(error),
        };
        let life = match life.and_then(|frame| node.read(reply::number(&frame))) {
            Ok(-1) => Life::Endless,
            // The whole milliseconds that remain, so never more than does.
            Ok(millis) => {
                u64::try_from(millis).map_or(Life::Unknown, |millis| Life::Remaining(Duration::from_millis(millis)))
            }
            Err(_) => Life::Unknown,
        };
        Ok(Some((value, life)))
    }

    async fn contains(&self, key: &ServerKey) -> Result<bool, ServerError> {
        Ok(reply::number(&self.send(key, "EXISTS", vec![named(key)]).await?)? > 0)
    }

    /// A task of the I/O's own sends it: the caller's may be dropped, or never polled again, between two redirects of a cluster.
    async fn set(
        &self,
        key: &ServerKey,
        value: Bytes,
        life: Duration,
        under_way: impl Send + 'static,
    ) -> Result<(), ServerError> {
        let Some(permit) = self.core.waiting.enter() else {
            return Err(ServerError::Unavailable(Unavailable::Shed));
        };
        let (answer, answered) = oneshot::channel();
        let (core, key) = (Arc::clone(&self.core), key.clone());
        self.core.home.spawn(async move {
            let args = vec![named(&key), Value::Bytes(value), "PX".into(), millis(life).into()];
            let stored = core.send(&key, "SET", args).await.map(|_| ());
            drop((under_way, core));
            // A caller that was dropped doesn't listen.
            let _ = answer.send(stored);
        });
        match permit.run(answered).await {
            Ok(answered) => answered.unwrap_or(Err(ServerError::Unavailable(Unavailable::ConnectionLost))),
            Err(unanswered) => {
                if unanswered == Unanswered::Starved {
                    self.core.shared.starvation.note();
                }
                Err(ServerError::Unavailable(Unavailable::TimedOut))
            }
        }
    }

    fn patience(&self) -> Duration {
        let timeout = STORE_TIMEOUTS * self.core.shared.command_timeout;
        timeout + in_flight::patience_with_sweeper(timeout)
    }

    async fn check_type(&self, key: &ServerKey) -> Result<(), ServerError> {
        // Refused with WRONGTYPE for anything that isn't a string.
        self.send(key, "STRLEN", vec![named(key)]).await.map(|_| ())
    }

    fn replaced(&self, key: &ServerKey) {
        self.core.confirmed(Invalidated::Key(key.clone()));
    }

    async fn remove(&self, key: &ServerKey) -> Result<bool, ServerError> {
        let removed = reply::number(&self.send(key, "UNLINK", vec![named(key)]).await?)?;
        self.core.confirmed(Invalidated::Key(key.clone()));
        Ok(removed > 0)
    }

    async fn clear(&self, prefix: &KeyPrefix) -> Result<u64, ServerError> {
        let layout = self.core.layout.load_full();
        match &*layout {
            Layout::Unknown => Err(ServerError::Unavailable(Unavailable::NotConnected)),
            Layout::Single(node) => scan::clear(node, &node.link()?, prefix).await,
            Layout::Cluster(_) => cluster::clear(&self.core, prefix).await,
        }
    }
}

impl Core {
    fn stage(&self) -> Stage {
        self.stages.now()
    }

    /// Goes on to `stage`, never back.
    fn advance(&self, stage: Stage) {
        self.stages.advance(stage);
        if stage >= Stage::Closing {
            self.layout.store(Arc::new(Layout::Unknown));
        }
    }

    async fn reached(&self, stage: Stage) {
        self.stages.reached(stage).await;
    }

    /// The node that a change of `key` goes to.
    fn writer(&self, key: &Bytes) -> Result<Arc<Node>, ServerError> {
        let away = ServerError::Unavailable(Unavailable::NotConnected);
        match &**self.layout.load() {
            Layout::Unknown => Err(away),
            Layout::Single(node) => Ok(Arc::clone(node)),
            Layout::Cluster(map) => map.shard_of(slot_of(key)).map(|shard| Arc::clone(&shard.primary)).ok_or(away),
        }
    }

    /// The node that `key` is read from.
    fn reader(&self, key: &Bytes) -> Result<Arc<Node>, ServerError> {
        let away = ServerError::Unavailable(Unavailable::NotConnected);
        match &**self.layout.load() {
            Layout::Unknown => Err(away),
            Layout::Single(node) => Ok(Arc::clone(node)),
            Layout::Cluster(map) => {
                let shard = map.shard_of(slot_of(key)).ok_or(away)?;
                // While nothing is read from replicas, nobody looks into what they may not know yet.
                let primary_only = shard.replicas.is_empty() || self.recent.concerns(key);
                Ok(if primary_only { Arc::clone(&shard.primary) } else { map.reader(shard) })
            }
        }
    }

    /// A primary has confirmed that this is gone; its replicas may not know it yet. A server that isn't of a cluster has none to ask.
    fn confirmed(&self, invalidated: Invalidated) {
        if self.layout.load().map().is_some() {
            self.recent.note(invalidated);
        }
    }

    /// Sends one command about `key` to whoever has it.
    async fn send(&self, key: &Bytes, command: &'static str, args: Vec<Value>) -> Result<Frame, ServerError> {
        let node = self.writer(key)?;
        self.send_to(&node, key, command, args).await
    }

    /// Sends one command about `key` to `node`, and from there to wherever it's redirected.
    async fn send_to(
        &self,
        node: &Arc<Node>,
        key: &Bytes,
        command: &'static str,
        args: Vec<Value>,
    ) -> Result<Frame, ServerError> {
        let link = node.link()?;
        let again = (node.role != link::Role::Standalone).then(|| args.clone());
        match (node.send(&link, key, command, args).await, again) {
            (Err(Failed::Redirected(redirect)), Some(args)) => self.follow(redirect, key, command, args).await,
            (reply, _) => Ok(reply?),
        }
    }
}

/// A key that no caller makes, not even on purpose: any answer but null belongs to another command. It begins with the scope, because a
/// user may be allowed no other keys.
fn probe_key(scope: &Scope) -> String {
    format!("{}:probe:{:032x}", scope.as_str(), rand::random::<u128>())
}

/// A key as an argument.
fn named(key: &Bytes) -> Value {
    Value::Bytes(key.clone())
}

/// Whole milliseconds, at least one, at most what a server can add to the time.
fn millis(life: Duration) -> i64 {
    const LONGEST: u128 = 1_000_000_000_000_000;
    i64::try_from(life.as_nanos().div_ceil(1_000_000).clamp(1, LONGEST)).unwrap_or(i64::MAX)
}
