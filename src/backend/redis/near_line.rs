//! The near cache's connection to one server: what is read over it is reported once it changes.
//!
//! The node's supervisor owns the task. It connects while the node is available, makes sure that reports arrive, and then asks every
//! third of the bound for the sentinel: a key of the handle's own whose value no other program sets. The answer shows that all reports from before
//! the question have come, and the sentinel's value that nothing has emptied or replaced the database, of which the client library reports
//! nothing. It ends with the supervisor, and with the connection: then no copy is near any more.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fred::types::Resp3Frame as Frame;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::super::near::Marks;
use super::super::slots::slot_of;
use super::backoff::{Backoff, STABLE};
use super::command::{Command, Set};
use super::connector::Connector;
use super::in_flight::InFlight;
use super::inner::Inner;
use super::near::{Line, Near};
use super::node::Node;
use super::pool::Ended;
use super::reply::{self, ErrorReply};
use super::wire::{Reports, SendError, Sent};
use crate::health::NearCache;
use crate::key::NEAR;
use crate::telemetry::metrics;

/// A line that reports are known to arrive on, and what keeps it.
struct Open {
    line: Arc<Line>,
    ended: Ended,
    reports: Reports,
    sentinel: Sentinel,
}

/// A key that only this connection's task sets.
struct Sentinel {
    key: Bytes,
    value: Bytes,
    /// When it was given its TTL.
    since: Instant,
}

/// Why there is no line.
enum Trouble {
    /// It may be there at the next attempt.
    Lost,
    /// The server can't, or won't: not until something is changed there.
    Refused(String),
    /// No key of this handle is on the node.
    Unneeded,
}

/// How long the sentinel lives without its process.
const SENTINEL_TTL: Duration = Duration::from_secs(3600);

/// How long a server that has refused isn't asked again, unless there's a new connection to it.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// How long one answer may take, at least.
const PATIENCE: Duration = Duration::from_millis(500);

/// Before this, servers send reports between the parts of other replies, and report no keys that leave with their slot.
const FIRST_VERSION: u64 = 7;

impl Trouble {
    fn of(command: &str, reply: &ErrorReply) -> Self {
        if reply.is_not_ready() {
            return Self::Lost;
        }
        Self::Refused(format!("the server refuses {command}: {} {}", reply.code, reply.message))
    }
}

impl Near {
    fn report(&self, inner: &Inner, node: &Node, status: NearCache) {
        let before = std::mem::replace(&mut *self.status.lock(), status.clone());
        if before == status {
            return;
        }
        let endpoint = &node.address;
        if self.settings.configured.is_none() {
            tracing::debug!(target: "cache_house", %endpoint, "tags' tokens: {status}");
            return;
        }
        metrics::set_near_cache(&inner.seeds[0].to_string(), inner.near_cache() == NearCache::On);
        match &status {
            NearCache::Unavailable { reason } => {
                tracing::warn!(target: "cache_house", %endpoint, reason, "there is no near cache, so each hit asks the server");
            }
            _ => tracing::debug!(target: "cache_house", %endpoint, "near cache: {status}"),
        }
    }

    /// How long one answer may take; no caller waits for it.
    fn patience(&self, node: &Node) -> Duration {
        PATIENCE.max(node.command_timeout)
    }

    /// Keeps a line to the node while that is available; runs indefinitely.
    async fn keep(&self, inner: &Inner, node: &Node, connector: &Connector) {
        self.settings.until_wanted().await;
        let mut backoff = Backoff::new(inner.reconnect);
        loop {
            while !node.is_available() {
                self.available.notified().await;
            }
            let pause = match self.open(inner, node, connector).await {
                Ok(Open { line, mut ended, reports, sentinel }) => {
                    let begin = Instant::now();
                    tokio::select! {
                        biased;
                        () = self.serve(inner, node, &line, &mut ended, reports, sentinel) => {}
                        () = line.sweep() => {}
                    }
                    self.report(inner, node, NearCache::Connecting);
                    drop(line);
                    ended.all().await;
                    if begin.elapsed() >= STABLE {
                        backoff.reset();
                    }
                    backoff.next_delay()
                }
                Err(Trouble::Lost) => {
                    self.report(inner, node, NearCache::Connecting);
                    backoff.next_delay()
                }
                Err(Trouble::Refused(reason)) => {
                    self.report(inner, node, NearCache::Unavailable { reason });
                    REFUSED_PAUSE
                }
                Err(Trouble::Unneeded) => {
                    self.report(inner, node, NearCache::On);
                    REFUSED_PAUSE
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.available.notified(), if pause >= REFUSED_PAUSE => {}
            }
        }
    }

    /// Connects, and makes sure that a change is reported: that of the sentinel, by the node's other connection.
    async fn open(&self, inner: &Inner, node: &Node, connector: &Connector) -> Result<Open, Trouble> {
        let other = node.standing().ok_or(Trouble::Lost)?;
        let key = sentinel_key(inner, node).ok_or(Trouble::Unneeded)?;
        let (pool, ended) = connector.connect().await.map_err(|_| Trouble::Lost)?;
        let (pool, patience) = (Arc::new(pool), self.patience(node));
        let in_flight = InFlight::new(inner.context.max_in_flight, node.command_timeout);
        let line = Arc::new(Line {
            marks: Marks::new(),
            pool,
            calls_by: Arc::clone(&other),
            in_flight,
            suspect: Notify::new(),
        });
        let mut reports = line.pool.reports();
        let send = |command| answer_within(patience, line.pool.send(&key, command));
        let hello = send(Command::Hello).await?.map_err(|reply| Trouble::of("HELLO", &reply))?;
        let version = reply::hello_field(&hello, "version").unwrap_or_default();
        if version
            .split('.')
            .next()
            .and_then(|major| major.parse::<u64>().ok())
            .is_none_or(|major| major < FIRST_VERSION)
        {
            let version = line.pool.readable(&version);
            let problem = format!("the server is of version {version:?}, and it takes Redis 7 or later, or Valkey");
            return Err(Trouble::Refused(problem));
        }
        if is_replica(&hello) {
            let problem = "the server is a replica, which reports changes once they are replicated to it";
            return Err(Trouble::Refused(problem.to_owned()));
        }
        send(Command::ClientTracking { on: true }).await?.map_err(|reply| Trouble::of("CLIENT TRACKING", &reply))?;
        send(Command::Get(key.clone())).await?.map_err(|reply| Trouble::of("GET", &reply))?;
        let value = Bytes::from(format!("{:032x}", rand::random::<u128>()));
        let set = Command::Set(Box::new(Set { key: key.clone(), value: value.clone(), ttl: SENTINEL_TTL }));
        let set = answer_within(patience, other.send(&key, set)).await?;
        set.map_err(|reply| Trouble::of("SET", &reply))?;
        let reported = async {
            loop {
                match reports.recv().await {
                    Ok(report) if report.keys.iter().any(|reported| *reported.as_bytes() == *key) => return true,
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return false,
                }
            }
        };
        match timeout(patience, reported).await {
            Ok(true) => {}
            Ok(false) => return Err(Trouble::Lost),
            Err(_) => {
                let problem = "the change of a key wasn't reported, as behind a proxy that passes no invalidations on";
                return Err(Trouble::Refused(problem.to_owned()));
            }
        }
        let sentinel = Sentinel { key, value, since: Instant::now() };
        Ok(Open { line, ended, reports, sentinel })
    }

    /// Beats, and takes reports in, until the line isn't to be relied on any more.
    async fn serve(
        &self,
        inner: &Inner,
        node: &Node,
        line: &Arc<Line>,
        ended: &mut Ended,
        mut reports: Reports,
        mut sentinel: Sentinel,
    ) {
        let _unpublish = Unpublish { near: self, line };
        self.line.store(Some(Arc::clone(line)));
        if node.standing().is_none_or(|standing| !Arc::ptr_eq(&standing, &line.calls_by)) {
            // Calls may go to another server by now, of which this one reports nothing.
            return;
        }
        let mut beats = interval(self.settings.max_staleness() / 3);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let patience = self.patience(node).max(self.settings.max_staleness());
        loop {
            tokio::select! {
                biased;
                () = ended.any() => return,
                () = line.suspect.notified() => return,
                // Before the reports, however many there are.
                _ = beats.tick() => {
                    let sent = self.settings.clock.now();
                    let role = answer_within(patience, line.pool.send(&sentinel.key, Command::Hello));
                    let value = answer_within(patience, line.pool.send(&sentinel.key, Command::Get(sentinel.key.clone())));
                    let question = async {
                        let (role, value) = tokio::join!(role, value);
                        Ok::<_, Trouble>((role?, value?))
                    };
                    let beat = async {
                        tokio::pin!(question);
                        loop {
                            tokio::select! {
                                biased;
                                answer = &mut question => return answer,
                                report = reports.recv() => if !line.take_in(report) { return Err(Trouble::Lost) },
                            }
                        }
                    };
                    let answered = tokio::select! {
                        biased;
                        () = ended.any() => return,
                        () = line.suspect.notified() => return,
                        answered = beat => answered,
                    };
                    let Ok((Ok(hello), Ok(answer))) = answered else { return };
                    if is_replica(&hello) {
                        // It takes over what its primary has, of which it reports no single keys.
                        return;
                    }
                    // What was reported before the answer came before it.
                    for _ in 0..reports.len() {
                        match reports.try_recv() {
                            Ok(report) => _ = line.take_in(Ok(report)),
                            Err(TryRecvError::Lagged(missed)) => _ = line.take_in(Err(RecvError::Lagged(missed))),
                            Err(TryRecvError::Empty) => break,
                            Err(TryRecvError::Closed) => return,
                        }
                    }
                    if !matches!(reply::bytes(answer), Ok(Some(value)) if value == sentinel.value) {
                        // The database was emptied, replaced or restored, of which nothing was reported; or replies are out of step.
                        return;
                    }
                    line.marks.beat(sent);
                    self.report(inner, node, NearCache::On);
                    if sentinel.since.elapsed() >= SENTINEL_TTL / 2 {
                        sentinel.since = Instant::now();
                        let longer = Command::Pexpire(Box::new((sentinel.key.clone(), SENTINEL_TTL)));
                        if answer_within(patience, line.pool.send(&sentinel.key, longer)).await.is_err() {
                            return;
                        }
                    }
                }
                report = reports.recv() => if !line.take_in(report) { return },
            }
        }
    }
}

/// Ends what is read over a line, and what was, however that line's task ends.
struct Unpublish<'a> {
    near: &'a Near,
    line: &'a Line,
}

impl Drop for Unpublish<'_> {
    fn drop(&mut self) {
        self.near.line.store(None);
        self.line.marks.end();
        self.line.pool.abort();
        self.line.in_flight.end_all();
    }
}

/// The reply, or the refusal; lost if it takes too long.
async fn answer_within(
    patience: Duration,
    sent: impl Future<Output = Sent>,
) -> Result<Result<Frame, ErrorReply>, Trouble> {
    match timeout(patience, sent).await {
        Ok(Ok(frame)) => Ok(Ok(frame)),
        Ok(Err(SendError::Refused(reply))) => Ok(Err(reply)),
        Ok(Err(SendError::Lost(_))) | Err(_) => Err(Trouble::Lost),
    }
}

/// Whether HELLO says so.
fn is_replica(hello: &Frame) -> bool {
    reply::hello_field(hello, "role").is_some_and(|role| matches!(&*role, "replica" | "slave"))
}

/// The name of the handle's sentinel on this node, in a slot of the node's; `None` where keys of the handle's prefix have none there.
///
/// Each line of the node has the same, so that none is left behind. What shows that the database is another is the value, of which each
/// line makes a new one: one that an earlier line's `SET` brings late, or that a restored snapshot has, only ends the line.
fn sentinel_key(inner: &Inner, node: &Node) -> Option<Bytes> {
    let (prefix, handle) = (&inner.context.key_prefix, inner.context.near.handle);
    let layout = inner.layout.load_full();
    let Some(map) = layout.map() else { return Some(format!("{prefix}{NEAR}:{handle:032x}").into()) };
    let (_, slots) = map.slots_by_primary().into_iter().find(|(primary, _)| primary.id == node.id)?;
    // Each try finds one of 16,384 slots.
    let mut names = (0..1 << 20).map(|number| Bytes::from(format!("{prefix}{NEAR}:{handle:032x}:{number}")));
    let is_tagged = inner.context.key_prefix.contains('{');
    if is_tagged {
        names.next().filter(|name| slots.contains(slot_of(name)))
    } else {
        names.find(|name| slots.contains(slot_of(name)))
    }
}

/// For a node without a near cache.
pub(super) async fn keep(inner: &Inner, node: &Node, connector: &Connector) {
    match &node.near {
        Some(near) => near.keep(inner, node, &connector.reporting()).await,
        None => pending().await,
    }
}
