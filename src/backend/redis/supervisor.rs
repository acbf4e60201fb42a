//! The supervisor of a node: connects, watches, gives up and reconnects, indefinitely.
//!
//! One task owns the node's connection and the sweeper of its deadlines. It ends when the node closes. The
//! [discovery](super::discovery) owns it, and restarts it if it panics.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::super::server::Unavailable;
use super::backoff::{Backoff, STABLE};
use super::connection::Identity;
use super::connector::Connector;
use super::inner::Inner;
use super::near_line;
use super::node::Node;
use super::pool::{Ended, Pool};
use super::replay;
use super::role::Role;
use super::stage::Stage;
use super::wire::{self, SendError};
use crate::config::Reconnect;
use crate::health::{Reason, ReasonKind};

/// All that the supervisor needs.
pub(super) struct Supervisor {
    pub(super) inner: Arc<Inner>,
    pub(super) node: Arc<Node>,
    pub(super) connector: Connector,
    pub(super) reconnect: Reconnect,
    /// Connections from before that the server may still read from.
    pub(super) gone: Vec<Identity>,
}

/// How often an idle connection is probed.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long one probe may take before it counts as missed; at least as long as a command may.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Probes missed in a row before the connection is given up and built anew.
const PROBES_TO_REBUILD: u32 = 2;
/// How long the journal waits for room among what is in flight.
const WHILE_SHED: Duration = Duration::from_millis(20);
/// Connections whose end the server has not confirmed; older ones are given up on.
const MAX_GONE: usize = 64;

impl Supervisor {
    pub(super) async fn run(self) {
        // However this ends, no call goes to a pool that isn't watched.
        let _gone = Unpublish(&self.node);
        tokio::select! {
            biased;
            () = self.supervise() => {}
            () = self.node.sweep() => {}
            () = near_line::keep(&self.inner, &self.node, &self.connector) => {}
            // Ends the supervision above.
            () = async { self.node.close_once_drained().await; pending().await } => {}
        }
        self.node.advance(Stage::Closed);
    }

    /// Runs until the node closes; then no connection is left.
    async fn supervise(&self) {
        let mut backoff = Backoff::new(self.reconnect);
        let mut gone = self.gone.clone();
        let mut successor = None;
        while self.node.stage() == Stage::Running {
            let connected = match successor.take() {
                Some(connected) => Some(Ok(connected)),
                None => self.unless_closing(self.connector.connect()).await,
            };
            // Whether calls may request an earlier attempt. Not if the server refuses the login, or closed the connection within a second.
            let mut hurries = false;
            match connected {
                None => return,
                Some(Err(reason)) => {
                    hurries = reason.kind().may_end_at_any_time();
                    self.node.node_health.down(self.node.id, reason);
                }
                Some(Ok((pool, mut ended))) => {
                    let pool = Arc::new(pool);
                    let _ending = AbortOnDrop(&pool);
                    self.node.stands(Some(&pool));
                    let settling = async { self.admit(&pool, &mut ended).await && self.settle(&pool, &mut gone).await };
                    let settled = self.unless_closing(settling).await;
                    if settled == Some(true) {
                        let begin = Instant::now();
                        successor = self.unless_closing(self.serve(&pool, &mut ended)).await.flatten();
                        if begin.elapsed() >= STABLE {
                            backoff.reset();
                            hurries = true;
                        }
                    }
                    self.node.stands(None);
                    pool.abort();
                    if pool.is_out_of_step() {
                        self.node.counters.desyncs.add_one();
                    }
                    self.node.end_in_flight();
                    ended.all().await;
                    gone.extend(pool.identities());
                    let surplus = gone.len().saturating_sub(MAX_GONE);
                    gone.drain(..surplus);
                }
            }
            if successor.is_none() {
                let pause = async {
                    match hurries {
                        true => backoff.wait(&self.node.wanted).await,
                        false => sleep(backoff.next_delay()).await,
                    }
                };
                self.unless_closing(pause).await;
            }
        }
        if let Some((pool, ended)) = successor {
            pool.abort();
            ended.all().await;
        }
    }

    async fn unless_closing<T>(&self, step: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.node.reached(Stage::Closing) => None,
            output = step => Some(output),
        }
    }

    /// Waits until the server can serve, and makes sure that we may do what a cache has to.
    async fn admit(&self, pool: &Arc<Pool>, ended: &mut Ended) -> bool {
        let mut backoff = Backoff::new(self.reconnect);
        loop {
            let checked = tokio::select! {
                biased;
                () = ended.any() => return false,
                checked = timeout(self.patience(), pool.check_permissions()) => checked,
            };
            let trouble = match checked {
                Ok(Ok(trouble)) => trouble,
                Ok(Err(error)) => {
                    self.node.node_health.down(self.node.id, Reason::new(ReasonKind::ConnectionLost, error.details()));
                    return false;
                }
                Err(_) => {
                    let problem = format!("no answer within {:?}", self.patience());
                    self.node.node_health.down(self.node.id, Reason::new(ReasonKind::TimedOut, problem));
                    return false;
                }
            };
            let Some(reason) = trouble else { return true };
            let kind = reason.kind();
            self.node.node_health.down(self.node.id, reason);
            // The connection is kept: discovery may read the map of a cluster that is down over it, and diagnostics what is missing.
            match kind {
                ReasonKind::NotReady => sleep(self.reconnect.min_delay).await,
                ReasonKind::Permission => sleep(backoff.next_delay()).await,
                _ => return false,
            }
        }
    }

    /// How long one probe may take; no caller waits for it.
    fn patience(&self) -> Duration {
        PROBE_TIMEOUT.max(self.node.command_timeout)
    }

    /// Makes sure that no invalidated value comes back: ends connections of ours that the server may still read from, then begins to
    /// replay the journal. Whether the pool may serve; no call reads over it what the journal still names.
    async fn settle(&self, pool: &Arc<Pool>, gone: &mut Vec<Identity>) -> bool {
        if let Ok(unanswered) = timeout(self.patience(), pool.end_on_server(gone.clone())).await {
            *gone = unanswered;
        }
        if !gone.is_empty() {
            return false;
        }
        if self.replays()
            && let Err(why) = replay::begin_replay(&self.node, pool).await
        {
            self.node.node_health.down(self.node.id, Reason::new(ReasonKind::TimedOut, why.as_str()));
            return false;
        }
        // Before any call reads over the new connection.
        self.node.invalidations.all_changed();
        self.node.publish(pool);
        true
    }

    /// Whether the journal is this node's alone. In a cluster its items have slots, which move.
    fn replays(&self) -> bool {
        self.node.role == Role::Standalone
    }

    /// Until the pool is over; then perhaps with another that is to follow.
    async fn serve(&self, pool: &Arc<Pool>, ended: &mut Ended) -> Option<(Pool, Ended)> {
        let closed_again = Notify::new();
        tokio::select! {
            biased;
            successor = self.watch(pool, ended, &closed_again) => successor,
            () = self.keep_replaying(pool, &closed_again), if self.replays() => None,
        }
    }

    /// Watches the connection until it's over.
    async fn watch(&self, pool: &Arc<Pool>, ended: &mut Ended, closed_again: &Notify) -> Option<(Pool, Ended)> {
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.tick().await;
        let mut successor = pin!(self.successor(pool));
        loop {
            let alive = tokio::select! {
                biased;
                () = ended.any() => false,
                reason = self.node.tripped() => {
                    let recovered = self.recover(pool, ended, &reason).await;
                    closed_again.notify_one();
                    recovered
                }
                () = self.node.suspected() => self.still_permitted(pool).await,
                _ = heartbeat.tick() => self.beat(pool, ended).await,
                successor = &mut successor => {
                    let problem = "the server takes no writes any more, and its address leads to one that does";
                    self.node.give_up(Reason::new(ReasonKind::ConnectionLost, problem));
                    return Some(successor);
                }
            };
            if !alive || pool.is_out_of_step() {
                if pool.is_out_of_step() {
                    self.node.give_up(Reason::new(ReasonKind::ConnectionLost, wire::out_of_step().details()));
                }
                self.node.lost();
                return None;
            }
        }
    }

    /// Once the server takes no writes any more: a pool to its successor, as soon as the address leads there. A primary that was
    /// demoted keeps its connections; meanwhile it's read from.
    async fn successor(&self, pool: &Arc<Pool>) -> (Pool, Ended) {
        if self.node.role != Role::Standalone {
            // In a cluster, redirects name the new primary.
            return pending().await;
        }
        loop {
            pool.becomes_read_only().await;
            let mut backoff = Backoff::new(self.reconnect);
            loop {
                sleep(backoff.next_delay()).await;
                self.connector.pass_over();
                let found = self.connector.connect().await.ok();
                // It may be a primary again, and then the other pool may lead to the same server.
                let _ = timeout(self.patience(), pool.check_permissions()).await;
                if !pool.is_read_only() {
                    break;
                }
                let Some((other, ended)) = found else { continue };
                let checked = timeout(self.patience(), other.check_permissions()).await;
                if matches!(checked, Ok(Ok(None))) && !other.is_read_only() {
                    return (other, ended);
                }
                other.abort();
                ended.all().await;
            }
        }
    }

    /// The circuit is open over a connection that still stands: half-open, one probe at a time.
    async fn recover(&self, pool: &Arc<Pool>, ended: &mut Ended, reason: &Reason) -> bool {
        if !mends_by_itself(reason) {
            return false;
        }
        let mut missed = 0;
        while missed < PROBES_TO_REBUILD {
            match self.probe(pool, ended).await {
                Probe::Answered => {
                    // A server that takes no invalidation isn't read from: calls would only pay for it.
                    if !self.replays() || replay::begin_replay(&self.node, pool).await.is_ok() {
                        self.node.publish(pool);
                        return true;
                    }
                    missed += 1;
                }
                Probe::NotReady(reason) => {
                    let is_worth_waiting = mends_by_itself(&reason);
                    self.node.node_health.down(self.node.id, reason);
                    if !is_worth_waiting {
                        return false;
                    }
                    sleep(self.reconnect.min_delay).await;
                }
                Probe::Missed => missed += 1,
                Probe::Ended => return false,
            }
        }
        false
    }

    /// Replays the journal while the circuit is closed: what is left of it after an outage, and what isn't confirmed for another
    /// reason. The callers don't wait for that.
    async fn keep_replaying(&self, pool: &Arc<Pool>, closed_again: &Notify) {
        loop {
            let mut pause = HEARTBEAT;
            if self.node.is_available()
                && self.node.journal.len() > 0
                && let Err(why) = replay::replay(&self.node, pool, None).await
            {
                // Failures have been counted towards the circuit.
                tracing::debug!(target: "cache_house", why = why.as_str(), "invalidations wait for the server");
                if why == Unavailable::Shed {
                    pause = WHILE_SHED;
                }
            }
            let waits = self.node.journal.len() > 0;
            tokio::select! {
                () = self.node.journal.added() => {}
                () = closed_again.notified() => {}
                () = sleep(pause), if waits => {}
            }
        }
    }

    /// A command was refused: checks whether all are.
    async fn still_permitted(&self, pool: &Arc<Pool>) -> bool {
        match timeout(self.patience(), pool.check_permissions()).await {
            Ok(Ok(Some(reason))) => {
                self.node.give_up(reason);
                false
            }
            // A broken connection is noticed by the probes.
            _ => true,
        }
    }

    async fn beat(&self, pool: &Arc<Pool>, ended: &mut Ended) -> bool {
        self.node.starvation.relieve();
        match self.probe(pool, ended).await {
            Probe::Answered => {
                self.node.node_health.catch_up();
                true
            }
            Probe::NotReady(reason) => {
                // Recovery comes next, over the same connection.
                self.node.give_up(reason);
                true
            }
            Probe::Missed => matches!(self.probe(pool, ended).await, Probe::Answered),
            Probe::Ended => false,
        }
    }

    async fn probe(&self, pool: &Arc<Pool>, ended: &mut Ended) -> Probe {
        tokio::select! {
            biased;
            () = ended.any() => Probe::Ended,
            answer = timeout(self.patience(), pool.probe()) => match answer {
                Ok(Ok(_)) => Probe::Answered,
                Ok(Err(SendError::Refused(reply))) => match pool.trouble(&reply) {
                    Some(reason) => Probe::NotReady(reason),
                    None => Probe::Answered,
                },
                Ok(Err(SendError::Lost(_))) => Probe::Ended,
                Err(_) => Probe::Missed,
            },
        }
    }
}

/// Whether the same connection may serve again. Otherwise connecting anew finds out whether it's been mended.
fn mends_by_itself(reason: &Reason) -> bool {
    use ReasonKind::{Authentication, ConnectionLost, Permission, WrongTopology};
    !matches!(reason.kind(), ConnectionLost | Permission | Authentication | WrongTopology)
}

enum Probe {
    Answered,
    /// Answered that it can't serve.
    NotReady(Reason),
    Missed,
    /// The connection is over.
    Ended,
}

/// Ends the pool however its scope is left.
struct AbortOnDrop<'a>(&'a Pool);

impl Drop for AbortOnDrop<'_> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Unpublish<'a>(&'a Node);

impl Drop for Unpublish<'_> {
    fn drop(&mut self) {
        self.0.lost();
        self.0.stands(None);
        self.0.end_in_flight();
    }
}
