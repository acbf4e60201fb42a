//! The status of the cache, for `health` and `watch_health`, with a log line for each change.

use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::error::one_line;
use crate::telemetry::metrics::{self, Circuit};

/// Whether calls are served by the server or from memory, and why.
///
/// ```
/// use cache_house::{CacheHouse, Health};
///
/// fn advice(health: &Health) -> String {
///     match health {
///         Health::Degraded { reason, .. } => format!("look at the server: {reason}"),
///         health => format!("nothing to do: {health}"),
///     }
/// }
///
/// let cache = CacheHouse::builder().memory().build()?;
/// assert_eq!(advice(&cache.health()), "nothing to do: memory only");
/// # Ok::<(), cache_house::Error>(())
/// ```
#[doc(alias("status", "circuit breaker", "availability", "readiness"))]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// No connection yet; memory serves.
    Connecting,
    /// The server serves.
    Connected {
        /// What kind of server was found.
        topology: Topology,
    },
    /// The circuit is open: memory serves, and reconnecting goes on.
    #[doc(alias("outage", "circuit open", "unavailable"))]
    Degraded {
        /// When it was lost, or first refused.
        since: Instant,
        /// The last failure.
        reason: Reason,
    },
    /// There is no server: the embedded cache.
    Memory,
    /// The handle is closed: calls run their work.
    Closed,
}

/// What kind of server a handle is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Topology {
    /// One server.
    Standalone,
    /// A cluster.
    Cluster {
        /// How many shards there are: primaries that have slots.
        shards: usize,
        /// How many of them are reachable now; calls of the others' keys are served from memory.
        served: usize,
    },
}

/// Why the server isn't used: the kind of failure and the server's message.
///
/// `Display` writes both in one line and never shows a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    kind: ReasonKind,
    detail: String,
    /// What bounds the copies that memory serves meanwhile.
    fallback_max_age: Option<Duration>,
}

/// The kinds of failure of a server.
#[doc(alias("outage", "cause"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReasonKind {
    /// Nothing answers at the endpoint.
    Unreachable,
    /// The connection broke.
    ConnectionLost,
    /// Connected, but several operations in a row weren't answered in time.
    TimedOut,
    /// The server is loading its data or failing over.
    NotReady,
    /// User name or password are wrong, or missing.
    Authentication,
    /// The user may not run the commands that a cache needs.
    Permission,
    /// The TLS handshake failed.
    Tls,
    /// The server isn't of the kind that was configured.
    WrongTopology,
}

impl ReasonKind {
    /// Whether the server may be back in a moment. The others last until somebody changes a setting.
    pub(crate) fn may_end_at_any_time(self) -> bool {
        matches!(self, Self::Unreachable | Self::ConnectionLost | Self::TimedOut | Self::NotReady)
    }
}

/// Whether a handle has a near cache: see [`CacheHouseBuilder::near_cache`](crate::CacheHouseBuilder::near_cache).
///
/// ```
/// use cache_house::{CacheHouse, NearCache};
///
/// let cache = CacheHouse::builder().memory().build()?;
/// assert_eq!(cache.near_cache(), NearCache::Off);
/// # Ok::<(), cache_house::Error>(())
/// ```
#[doc(alias("client-side caching", "CLIENT TRACKING", "status"))]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NearCache {
    /// No near cache is configured.
    Off,
    /// There is no connection yet, or none now, on which the server reports changes. So each hit asks the server.
    Connecting,
    /// Hits are served from memory, unless they may be too old. Of a cluster: on all nodes.
    On,
    /// The server, or a proxy before it, doesn't report changes. So each hit asks the server. Tried again after 30 s and with each new
    /// connection.
    Unavailable {
        /// Why, in one line.
        reason: String,
    },
}

impl fmt::Display for NearCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Connecting => f.write_str("connecting"),
            Self::On => f.write_str("on"),
            Self::Unavailable { reason } => write!(f, "unavailable: {reason}"),
        }
    }
}

impl Health {
    /// Whether the server serves calls.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }

    /// The state of the circuit to report. None for a closed handle: another may have taken its place.
    fn circuit(&self) -> Option<Circuit> {
        match self {
            Self::Connected { topology: Topology::Cluster { shards, served } } if served < shards => {
                Some(Circuit::PartlyOpen)
            }
            Self::Connected { .. } => Some(Circuit::Closed),
            Self::Connecting | Self::Degraded { .. } => Some(Circuit::Open),
            Self::Memory | Self::Closed => None,
        }
    }

    /// Whether an attempt that is under way, or the next one, may connect without a change of the configuration or of the server's.
    pub(crate) fn may_connect_soon(&self) -> bool {
        match self {
            Self::Connecting => true,
            Self::Degraded { reason, .. } => match reason.kind {
                ReasonKind::Unreachable | ReasonKind::ConnectionLost | ReasonKind::TimedOut | ReasonKind::NotReady => {
                    true
                }
                ReasonKind::Authentication | ReasonKind::Permission | ReasonKind::Tls | ReasonKind::WrongTopology => {
                    false
                }
            },
            Self::Connected { .. } | Self::Memory | Self::Closed => false,
        }
    }
}

impl Topology {
    fn served(&self) -> usize {
        match self {
            Self::Standalone => 1,
            Self::Cluster { served, .. } => *served,
        }
    }
}

impl Reason {
    /// `detail` may be a server's text: it's made fit for a log.
    pub(crate) fn new(kind: ReasonKind, detail: impl AsRef<str>) -> Self {
        Self { kind, detail: one_line(detail.as_ref()), fallback_max_age: None }
    }

    /// The kind of failure.
    #[must_use]
    pub fn kind(&self) -> ReasonKind {
        self.kind
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standalone => f.write_str("a standalone server"),
            Self::Cluster { shards, served } => write!(f, "a cluster, {served} of {shards} shards served"),
        }
    }
}

impl fmt::Display for ReasonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "unreachable",
            Self::ConnectionLost => "connection lost",
            Self::TimedOut => "timed out",
            Self::NotReady => "not ready",
            Self::Authentication => "authentication refused",
            Self::Permission => "permission missing",
            Self::Tls => "TLS refused",
            Self::WrongTopology => "wrong topology",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        match self.fallback_max_age {
            Some(age) => write!(f, "; memory serves copies for {age:?} after the server confirmed them"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Connected { topology } => write!(f, "connected to {topology}"),
            Self::Degraded { since, reason } => write!(f, "degraded for {:.1?}: {reason}", since.elapsed()),
            Self::Memory => f.write_str("memory only"),
            Self::Closed => f.write_str("closed"),
        }
    }
}

/// Keeps the health for `health`, sends each change to `watch_health`, and logs it.
#[derive(Debug)]
pub(crate) struct HealthReporter {
    posted: watch::Sender<Health>,
    /// Named in log lines; carries no credentials.
    endpoint: String,
    fallback_max_age: Option<Duration>,
    lines: Mutex<Lines>,
}

/// Bounds the log lines of a server that comes and goes: a few at once, then one after a while.
#[derive(Debug)]
struct Lines {
    /// How many may be logged at once.
    left: u32,
    /// When `left` was reckoned up.
    since: Instant,
    held_back: u64,
}

impl Lines {
    const MOST: u32 = 10;
    const EACH: Duration = Duration::from_secs(6);

    fn new(now: Instant) -> Self {
        Self { left: Self::MOST, since: now, held_back: 0 }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.since);
        let more = u32::try_from(passed.as_nanos() / Self::EACH.as_nanos()).unwrap_or(u32::MAX);
        if self.left.saturating_add(more) >= Self::MOST {
            (self.left, self.since) = (Self::MOST, now);
        } else {
            self.left += more;
            self.since += Self::EACH * more;
        }
    }

    /// Whether a line may be logged now. One that may not be is counted.
    fn allow(&mut self, now: Instant) -> bool {
        self.refill(now);
        if self.left > 0 && self.held_back == 0 {
            self.left -= 1;
            return true;
        }
        self.held_back += 1;
        false
    }

    /// How many lines were held back, if there were any and one in their place may be logged now.
    fn catch_up(&mut self, now: Instant) -> Option<u64> {
        if self.held_back == 0 {
            return None;
        }
        self.refill(now);
        self.left = self.left.checked_sub(1)?;
        Some(std::mem::take(&mut self.held_back))
    }
}

impl HealthReporter {
    pub(crate) fn new(first: Health, endpoint: impl Into<String>) -> Self {
        let lines = Mutex::new(Lines::new(Instant::now()));
        let reporter =
            Self { posted: watch::Sender::new(first), endpoint: endpoint.into(), fallback_max_age: None, lines };
        reporter.tell_circuit(reporter.read().circuit());
        reporter
    }

    /// Says in each outage for how long copies are served.
    pub(crate) fn with_fallback_max_age(mut self, age: Option<Duration>) -> Self {
        self.fallback_max_age = age;
        self
    }

    pub(crate) fn read(&self) -> Health {
        self.posted.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Health> {
        self.posted.subscribe()
    }

    /// The server serves from now on; `trouble` is what keeps a part of it from doing so.
    pub(crate) fn connected(&self, topology: Topology, trouble: Option<&Reason>) {
        let endpoint = &self.endpoint;
        let before = self.change(Health::Connected { topology });
        let Some(before) = before.filter(|_| self.may_log()) else { return };
        match (before, trouble) {
            (Health::Connected { topology: before }, Some(reason)) if topology.served() < before.served() => {
                tracing::warn!(target: "cache_house", %endpoint, %reason, "{topology}; memory serves the others");
            }
            (Health::Degraded { since, .. }, _) => {
                let down = since.elapsed();
                tracing::info!(target: "cache_house", %endpoint, ?down, %topology, "the cache server is back");
            }
            _ => tracing::info!(target: "cache_house", %endpoint, %topology, "the cache server is connected"),
        }
    }

    /// The server is given up on for now; an outage that goes on keeps its beginning.
    pub(crate) fn degraded(&self, mut reason: Reason) {
        reason.fallback_max_age = self.fallback_max_age;
        let since = match self.read() {
            Health::Degraded { since, .. } => since,
            _ => Instant::now(),
        };
        let is_known = matches!(self.read(), Health::Degraded { reason: last, .. } if last.kind == reason.kind);
        if self.change(Health::Degraded { since, reason: reason.clone() }).is_some() && !is_known && self.may_log() {
            tracing::warn!(
                target: "cache_house", endpoint = %self.endpoint, %reason,
                "the cache server is unavailable, memory serves"
            );
        }
        self.catch_up();
    }

    /// Logs the status, if so many changes have come that lines were held back.
    pub(crate) fn catch_up(&self) {
        let held_back = self.lines.lock().catch_up(Instant::now());
        if let Some(held_back) = held_back {
            let (endpoint, health) = (&self.endpoint, self.read());
            tracing::warn!(target: "cache_house", %endpoint, %health, held_back, "the cache server comes and goes");
        }
    }

    fn may_log(&self) -> bool {
        self.lines.lock().allow(Instant::now())
    }

    pub(crate) fn closed(&self) {
        self.change(Health::Closed);
    }

    /// The health before, if it was another; nothing follows on `Closed`.
    fn change(&self, next: Health) -> Option<Health> {
        let (mut before, circuit) = (None, next.circuit());
        self.posted.send_if_modified(|now| {
            let changes = *now != next && *now != Health::Closed;
            if changes {
                before = Some(std::mem::replace(now, next));
            }
            changes
        });
        if before.is_some() {
            self.tell_circuit(circuit);
        }
        before
    }

    fn tell_circuit(&self, circuit: Option<Circuit>) {
        if let Some(circuit) = circuit {
            metrics::set_circuit(&self.endpoint, circuit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_circuit_of_a_cluster_is_partly_open_while_a_shard_is_away() {
        let connected = |topology| Health::Connected { topology }.circuit();
        assert_eq!(connected(Topology::Standalone), Some(Circuit::Closed));
        assert_eq!(connected(Topology::Cluster { shards: 3, served: 3 }), Some(Circuit::Closed));
        assert_eq!(connected(Topology::Cluster { shards: 3, served: 2 }), Some(Circuit::PartlyOpen));
        let reason = Reason::new(ReasonKind::TimedOut, "");
        assert_eq!(Health::Degraded { since: Instant::now(), reason }.circuit(), Some(Circuit::Open));
        assert_eq!(Health::Connecting.circuit(), Some(Circuit::Open));
        assert_eq!((Health::Memory.circuit(), Health::Closed.circuit()), (None, None));
    }

    #[test]
    fn of_many_changes_a_few_are_logged_and_then_how_it_is() {
        let begin = Instant::now();
        let mut lines = Lines::new(begin);
        assert_eq!((0..100).filter(|_| lines.allow(begin)).count(), 10);
        assert_eq!(lines.catch_up(begin + Lines::EACH / 2), None, "not yet");
        assert_eq!(lines.catch_up(begin + Lines::EACH), Some(90));
        assert_eq!(lines.catch_up(begin + Lines::EACH * 2), None, "there is nothing to catch up with");
        // Now and then one is always allowed.
        assert!(lines.allow(begin + Lines::EACH * 2));
        assert!(!lines.allow(begin + Lines::EACH * 2));
        assert!(!lines.allow(begin + Lines::EACH * 9), "the one that was held back comes first");
        assert_eq!(lines.catch_up(begin + Lines::EACH * 9), Some(2));
        assert_eq!((0..100).filter(|_| lines.allow(begin + Lines::EACH * 1000)).count(), 10);
    }
}
