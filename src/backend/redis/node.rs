//! One server as callers see it: a pool while the circuit is closed, nothing while it's open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use fred::types::Resp3Frame as Frame;
use futures_util::future::Either;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::super::invalidations::Invalidations;
use super::super::journal::Journal;
use super::super::server::{ServerError, Unavailable};
use super::backoff::Wanted;
use super::command::Command;
use super::in_flight::{InFlight, Permit, Swept, Unanswered};
use super::near::{Near, NearSettings};
use super::node_health::{NodeHealth, NodeId};
use super::pool::Pool;
use super::reply::{ErrorReply, Redirect};
use super::role::Role;
use super::stage::{Stage, Stages};
use super::starvation::Starvation;
use super::wire::SendError;
use crate::config::Address;
use crate::health::{Reason, ReasonKind};
use crate::telemetry::Counters;

/// How often a node that is draining is looked at.
const WHILE_DRAINING: Duration = Duration::from_millis(10);

/// Shared by callers and the one supervisor task, which owns the connection.
pub(crate) struct Node {
    pub(super) address: Address,
    pub(super) role: Role,
    pub(super) id: NodeId,
    /// A key that never exists, read by probes.
    pub(super) probe_key: Bytes,
    /// The connection, while there is one, whether or not calls may go to it.
    standing: ArcSwapOption<Pool>,
    /// Some while the circuit is closed: calls may go to the server.
    pool: ArcSwapOption<Pool>,
    in_flight: Arc<InFlight>,
    /// None on replicas.
    pub(super) near: Option<Near>,
    /// Timeouts and connection errors since the last answer.
    failures: AtomicU32,
    /// Notifies the supervisor that a caller has opened the circuit; the reason is in `trip_reason`.
    trip: Notify,
    trip_reason: Mutex<Option<Reason>>,
    /// Notifies the supervisor of a suspicion: a permission is missing, the server takes no writes, or replies are out of step.
    suspect: Notify,
    pub(super) wanted: Wanted,
    /// The key prefix of the handle: leases of keys that give none begin with it.
    pub(super) key_prefix: Arc<str>,
    pub(super) journal: Arc<Journal>,
    pub(super) counters: Arc<Counters>,
    pub(super) node_health: Arc<NodeHealth>,
    pub(super) invalidations: Arc<dyn Invalidations>,
    pub(super) command_timeout: Duration,
    pub(super) starvation: Arc<Starvation>,
    stages: Stages,
}

/// What all nodes of a handle have in common.
pub(super) struct NodeContext {
    pub(super) max_in_flight: usize,
    pub(super) near: NearSettings,
    pub(super) command_timeout: Duration,
    pub(super) key_prefix: Arc<str>,
    pub(super) journal: Arc<Journal>,
    pub(super) counters: Arc<Counters>,
    pub(super) node_health: Arc<NodeHealth>,
    pub(super) invalidations: Arc<dyn Invalidations>,
    pub(super) starvation: Arc<Starvation>,
}

/// Why an operation on a node failed.
#[derive(Debug)]
pub(super) enum Failed {
    Server(ServerError),
    /// Another node of the cluster has the key.
    Redirected(Redirect),
}

impl From<Failed> for ServerError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Server(error) => error,
            Failed::Redirected(_) => Self::Unavailable(Unavailable::NotReady),
        }
    }
}

impl From<ServerError> for Failed {
    fn from(error: ServerError) -> Self {
        Self::Server(error)
    }
}

/// Failures in a row that open the circuit.
const FAILURES_TO_OPEN: u32 = 3;

impl Node {
    pub(super) fn new(address: Address, role: Role, probe_key: Bytes, context: &NodeContext) -> Self {
        let near = Some(&context.near).filter(|_| role != Role::Replica);
        Self {
            address,
            role,
            id: context.node_health.enter(),
            probe_key,
            standing: ArcSwapOption::empty(),
            pool: ArcSwapOption::empty(),
            in_flight: InFlight::new(context.max_in_flight, context.command_timeout),
            near: near.map(Near::new),
            failures: AtomicU32::new(0),
            trip: Notify::new(),
            trip_reason: Mutex::new(None),
            suspect: Notify::new(),
            wanted: Wanted::default(),
            key_prefix: Arc::clone(&context.key_prefix),
            journal: Arc::clone(&context.journal),
            counters: Arc::clone(&context.counters),
            node_health: Arc::clone(&context.node_health),
            invalidations: Arc::clone(&context.invalidations),
            command_timeout: context.command_timeout,
            starvation: Arc::clone(&context.starvation),
            stages: Stages::new(),
        }
    }

    pub(super) fn is_available(&self) -> bool {
        self.pool.load().is_some()
    }

    /// The same for a call, which has the supervisor try sooner if the node is away.
    #[inline]
    pub(super) fn serves(&self) -> bool {
        let is_available = self.is_available();
        if !is_available {
            self.wanted.ask();
        }
        is_available
    }

    /// The pool, for an operation of a caller.
    pub(super) fn pool(&self) -> Result<Arc<Pool>, ServerError> {
        self.pool.load_full().ok_or(ServerError::Unavailable(Unavailable::NotConnected))
    }

    /// The connection, also while the circuit is open: for what has a deadline of its own.
    pub(super) fn standing(&self) -> Option<Arc<Pool>> {
        self.standing.load_full()
    }

    /// Sends one command about `key`, under the deadline and within the cap of what may be in flight.
    pub(super) async fn send(&self, pool: &Arc<Pool>, key: &Bytes, command: Command) -> Result<Frame, Failed> {
        let is_essential = command.is_essential();
        self.noting_permission(is_essential, self.watched(pool, pool.send(key, command)).await)
    }

    /// Sends one command about `key` over the near cache's connection, within its own cap.
    pub(super) async fn send_over(
        &self,
        in_flight: &InFlight,
        pool: &Arc<Pool>,
        key: &Bytes,
        command: Command,
    ) -> Result<Frame, Failed> {
        let permit = self.enter(in_flight, pool)?;
        self.understood(pool, permit.run(pool.send(key, command)).await)
    }

    /// Has the supervisor check permissions after a `NOPERM`: it may concern this key alone, or all of them.
    pub(super) fn noting_permission<T>(&self, is_essential: bool, reply: Result<T, Failed>) -> Result<T, Failed> {
        if is_essential
            && let Err(Failed::Server(ServerError::Refused { code, .. })) = &reply
            && code == "NOPERM"
        {
            self.suspect.notify_one();
        }
        reply
    }

    /// Has the supervisor probe after a reply of a type that the command never has: it may belong to another command.
    pub(super) fn read<T>(&self, reply: Result<T, ServerError>) -> Result<T, ServerError> {
        reply.inspect_err(|_| self.suspect.notify_one())
    }

    pub(super) async fn watched<T>(
        &self,
        pool: &Arc<Pool>,
        operation: impl Future<Output = Result<T, SendError>>,
    ) -> Result<T, Failed> {
        let permit = self.enter(&self.in_flight, pool)?;
        self.understood(pool, permit.run(operation).await)
    }

    /// Reads `key`. Under contention, the `GET` is batched with those of other callers.
    pub(super) async fn get(&self, pool: &Arc<Pool>, key: &Bytes) -> Result<Frame, Failed> {
        self.get_over(&self.in_flight, pool, key).await
    }

    /// The same, counted among these that are in flight.
    pub(super) async fn get_over(&self, in_flight: &InFlight, pool: &Arc<Pool>, key: &Bytes) -> Result<Frame, Failed> {
        let permit = self.enter(in_flight, pool)?;
        let operation = match permit.is_contended() {
            true => Either::Left(pool.get_together(key)),
            false => Either::Right(pool.send(key, Command::Get(key.clone()))),
        };
        self.noting_permission(true, self.understood(pool, permit.run(operation).await))
    }

    fn enter<'a>(&self, in_flight: &'a InFlight, pool: &Arc<Pool>) -> Result<Permit<'a>, ServerError> {
        let Some(permit) = in_flight.enter() else {
            self.counters.shed.add_one();
            return Err(ServerError::Unavailable(Unavailable::Shed));
        };
        if pool.is_over() {
            return Err(ServerError::Unavailable(Unavailable::ConnectionLost));
        }
        Ok(permit)
    }

    /// What one of several replies means.
    pub(super) fn judged(&self, pool: &Arc<Pool>, reply: Result<Frame, ErrorReply>) -> Result<Frame, Failed> {
        reply.map_err(|reply| self.refused(pool, reply))
    }

    /// What came of an operation, and what that means for the circuit.
    fn understood<T>(&self, pool: &Arc<Pool>, outcome: Result<Result<T, SendError>, Unanswered>) -> Result<T, Failed> {
        let unavailable = |why| Err(Failed::Server(ServerError::Unavailable(why)));
        match outcome {
            Ok(Ok(reply)) => {
                self.answered(pool);
                Ok(reply)
            }
            Ok(Err(SendError::Refused(reply))) => Err(self.refused(pool, reply)),
            Ok(Err(SendError::Lost(error))) => {
                self.counters.server_errors.add_one();
                self.open(Some(pool), Reason::new(ReasonKind::ConnectionLost, error.details()));
                unavailable(Unavailable::ConnectionLost)
            }
            Err(Unanswered::Lost) => {
                self.counters.server_errors.add_one();
                unavailable(Unavailable::ConnectionLost)
            }
            Err(Unanswered::Starved) => {
                self.counters.server_timeouts.add_one();
                self.starvation.note();
                unavailable(Unavailable::TimedOut)
            }
            // The sweeper has counted it towards the circuit, unless the program itself was the reason.
            Err(Unanswered::Overdue) => {
                self.counters.server_timeouts.add_one();
                unavailable(Unavailable::TimedOut)
            }
        }
    }

    /// What an error reply means.
    fn refused(&self, pool: &Arc<Pool>, reply: ErrorReply) -> Failed {
        if let Some(reason) = pool.another_kind(&reply) {
            self.counters.server_errors.add_one();
            self.open(Some(pool), reason);
            return Failed::Server(ServerError::Unavailable(Unavailable::NotReady));
        }
        if let Some(redirect) = reply.redirect(&self.address) {
            self.answered(pool);
            return Failed::Redirected(redirect);
        }
        if reply.is_no_script() || reply.is_script_refused() {
            // No error: the script's source is sent next, or there is no fence, which is logged.
            self.answered(pool);
            return Failed::Server(reply.into());
        }
        self.counters.server_errors.add_one();
        if reply.is_not_ready() || reply.is_authentication() {
            let reason = reply.reason();
            self.failed(1, Some(pool), reason.unwrap_or_else(|| Reason::new(ReasonKind::NotReady, "")));
            return Failed::Server(ServerError::Unavailable(Unavailable::NotReady));
        }
        if reply.is_read_only() && !pool.is_read_only() {
            self.suspect.notify_one();
        }
        self.answered(pool);
        Failed::Server(reply.into())
    }

    /// An answer over the near cache's connection says nothing about the one that calls go by.
    fn answered(&self, pool: &Arc<Pool>) {
        // Read before written: the line stays shared between cores while all is well.
        if self.failures.load(Ordering::Relaxed) != 0
            && self.pool.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, pool))
        {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    fn failed(&self, times: u32, pool: Option<&Arc<Pool>>, reason: Reason) {
        let before = self.failures.fetch_add(times, Ordering::Relaxed);
        if before.saturating_add(times) >= FAILURES_TO_OPEN {
            self.open(pool, reason);
        }
    }

    /// Opens the circuit, if it's closed, over `pool` where one is named; a pool that has been replaced since says
    /// nothing about its successor.
    fn open(&self, pool: Option<&Arc<Pool>>, reason: Reason) {
        let current = self.pool.load_full();
        let Some(current) = current else { return };
        if pool.is_some_and(|pool| !Arc::ptr_eq(pool, &current)) {
            return;
        }
        let previous = self.pool.compare_and_swap(&current, None);
        if previous.as_ref().is_some_and(|previous| Arc::ptr_eq(previous, &current)) {
            self.counters.circuit_openings.add_one();
            self.node_health.down(self.id, reason.clone());
            *self.trip_reason.lock() = Some(reason);
            self.trip.notify_one();
        }
    }
}

/// The supervisor's side.
impl Node {
    /// Closes the circuit: calls go to the server from here on.
    pub(super) fn publish(&self, pool: &Arc<Pool>) {
        self.failures.store(0, Ordering::Relaxed);
        *self.trip_reason.lock() = None;
        self.pool.store(Some(Arc::clone(pool)));
        self.node_health.up(self.id);
        if let Some(near) = &self.near {
            near.node_is_available();
        }
    }

    /// There is a connection, or there is none any more.
    pub(super) fn stands(&self, pool: Option<&Arc<Pool>>) {
        self.standing.store(pool.cloned());
        if let (Some(_), Some(near)) = (pool, &self.near) {
            near.connection_is_new();
        }
    }

    /// Waits for a suspicion.
    pub(super) async fn suspected(&self) {
        self.suspect.notified().await;
    }

    /// Opens the circuit for a reason that the supervisor has found.
    pub(super) fn give_up(&self, reason: Reason) {
        self.open(None, reason);
    }

    /// Opens the circuit because the connection is over.
    pub(super) fn lost(&self) {
        self.open(None, Reason::new(ReasonKind::ConnectionLost, "the server or the network ended it"));
    }

    /// Ends what is in flight over pools that are all over.
    pub(super) fn end_in_flight(&self) {
        self.in_flight.end_all();
    }

    /// Waits until a caller has opened the circuit.
    pub(super) async fn tripped(&self) -> Reason {
        loop {
            if let Some(reason) = self.trip_reason.lock().take() {
                return reason;
            }
            self.trip.notified().await;
        }
    }

    /// Ends operations that wait too long; runs indefinitely.
    pub(super) async fn sweep(&self) {
        self.in_flight
            .sweep(|Swept { overdue, starved }| {
                if starved {
                    tracing::debug!(target: "cache_house", overdue, "the program kept its own runtime from running");
                    return;
                }
                let reason =
                    format!("{FAILURES_TO_OPEN} operations in a row took longer than {:?}", self.command_timeout);
                let overdue = u32::try_from(overdue).unwrap_or(u32::MAX);
                self.failed(overdue, None, Reason::new(ReasonKind::TimedOut, reason));
            })
            .await;
    }
}

/// How a node ends.
impl Node {
    pub(super) fn stage(&self) -> Stage {
        self.stages.now()
    }

    /// Goes on to `stage`, never back.
    pub(super) fn advance(&self, stage: Stage) {
        self.stages.advance(stage);
        if stage >= Stage::Closing {
            self.pool.store(None);
        }
    }

    pub(super) async fn reached(&self, stage: Stage) {
        self.stages.reached(stage).await;
    }

    /// Closes once the node is draining and what was sent to it has been answered: a read that was sent just before its slot moved away
    /// still gets its value. Waits for `command_timeout` at most, and not at all while the circuit is open.
    pub(super) async fn close_once_drained(&self) {
        self.reached(Stage::Draining).await;
        let drained = async {
            loop {
                // Slept first: a caller that has read the old layout may be about to send.
                sleep(WHILE_DRAINING).await;
                let is_idle = self.in_flight.is_empty() && self.near.as_ref().is_none_or(Near::is_idle);
                if is_idle || !self.is_available() {
                    return;
                }
            }
        };
        let _ = timeout(self.command_timeout, drained).await;
        self.advance(Stage::Closing);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.node_health.leave(self.id);
    }
}
