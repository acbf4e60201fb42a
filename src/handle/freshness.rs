//! How fresh a value is, and what that means for a call.

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::coalescing::{AsOf, Leader};
use super::entry::Source;
use crate::clock::{Clock, Moment};
use crate::key::CallKey;
use crate::policy::Freshness;
use crate::surroundings::Mutex;
use crate::telemetry::metrics::Answer;

/// A value on its way to its caller.
#[derive(Debug, Clone)]
pub(super) struct Fetched<T> {
    pub(super) value: T,
    pub(super) source: Source,
    /// What remains of its TTL, the stale window included; `None` where that isn't known, or has no end.
    pub(super) remaining: Option<Duration>,
}

impl<T> Fetched<T> {
    /// How old it may be, unless it's of this call's own work.
    pub(super) fn as_of(&self) -> AsOf {
        if self.source == Source::Server { AsOf::Question } else { AsOf::Now }
    }
}

/// What a value is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It's served.
    Fresh,
    /// It's fresh, and this caller renews it early; the others are served.
    Early,
    /// It's in the window of `stale_while_revalidate`: one caller renews it, and the others are served.
    Revalidate,
    /// It's in the window of `stale_if_error` alone: served where the work fails or takes too long.
    IfError,
}

/// A value that a leader has found, and may fall back on.
#[derive(Debug, Clone)]
pub(super) struct Old<T> {
    pub(super) fetched: Fetched<T>,
    pub(super) verdict: Verdict,
}

impl<T> Old<T> {
    /// Whether `found` is to be renewed early, as this one was: it's no newer, or the work would run twice.
    pub(super) fn elects(&self, found: &Fetched<T>) -> bool {
        let (before, now) = (self.fetched.remaining, found.remaining);
        self.verdict == Verdict::Early && before.zip(now).is_some_and(|(before, now)| now <= before)
    }

    /// How a call is counted that hasn't been served this value.
    pub(super) fn missed(&self) -> Answer {
        if self.fetched.source == Source::Server { Answer::ServerMiss } else { Answer::MemoryMiss }
    }
}

impl Leader {
    /// Has other callers served this value while it's renewed, or where its work takes too long for them.
    pub(super) fn announce<T: Clone + Any + Send + Sync>(&self, Old { fetched, verdict }: &Old<T>) {
        if verdict.is_served() {
            self.renews(&fetched.value, fetched.remaining, fetched.as_of());
        } else {
            self.falls_back();
        }
    }
}

impl Verdict {
    /// What a value is good for that has so much left of its TTL. `work` is how long the work takes, where that is known, and `random`
    /// is above 0 and up to 1.
    pub(super) fn of(
        freshness: &Freshness,
        remaining: Option<Duration>,
        work: impl FnOnce() -> Option<Duration>,
        random: impl FnOnce() -> f64,
    ) -> Self {
        let Some(remaining) = remaining else { return Self::Fresh };
        let window = freshness.stale_window();
        if remaining > window {
            // XFetch: Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", 2015.
            let is_early = freshness.refresh_early > 0.0
                && work().is_some_and(|work| {
                    let gap = work.as_secs_f64() * freshness.refresh_early * -random().ln();
                    gap >= (remaining - window).as_secs_f64()
                });
            return if is_early { Self::Early } else { Self::Fresh };
        }
        if window - remaining < freshness.stale_while_revalidate { Self::Revalidate } else { Self::IfError }
    }

    /// Whether the value is served to callers that don't renew it.
    pub(super) fn is_served(self) -> bool {
        self != Self::IfError
    }

    pub(super) fn is_stale(self) -> bool {
        matches!(self, Self::Revalidate | Self::IfError)
    }
}

/// The keys whose work has failed while an old value is there, and until when it isn't tried again.
pub(super) struct Retries {
    until: Mutex<HashMap<Box<[u8]>, Moment>>,
    clock: Clock,
}

/// Keys with failed work; of more, the work is tried again by each call.
const MOST_RETRIES: usize = 10_000;

impl Retries {
    pub(super) fn new(clock: Clock) -> Self {
        Self { until: Mutex::default(), clock }
    }

    /// Whether the work of `key` isn't to be tried yet.
    pub(super) fn hold(&self, key: &CallKey) -> bool {
        let mut until = self.until.lock();
        if until.is_empty() {
            return false;
        }
        let now = self.clock.now();
        match until.entry(key.as_bytes().into()) {
            Entry::Occupied(held) if *held.get() > now => true,
            Entry::Occupied(passed) => {
                passed.remove();
                false
            }
            Entry::Vacant(_) => false,
        }
    }

    /// The work of `key` has failed.
    pub(super) fn note(&self, key: &CallKey, retry_after: Duration) {
        let now = self.clock.now();
        let mut until = self.until.lock();
        if until.len() >= MOST_RETRIES {
            until.retain(|_, until| *until > now);
        }
        if until.len() < MOST_RETRIES || until.contains_key(key.as_bytes()) {
            until.insert(key.as_bytes().into(), now.after(retry_after));
        }
    }

    /// The work of `key` has succeeded, or its value has come from outside.
    pub(super) fn forget(&self, key: &CallKey) {
        let mut until = self.until.lock();
        if !until.is_empty() {
            until.remove(key.as_bytes());
        }
    }
}

/// How long the works of named calls take, for early refreshes. A call has a slot by the hash of its name, and of two in one slot the
/// last to have run has it.
pub(super) struct WorkTimes(OnceLock<Box<[AtomicU64]>>);

const SLOTS: usize = 1024;

/// The part of a slot that holds a time, in microseconds: up to 19 hours. The rest is the call's.
const TIME_BITS: u32 = 36;

impl WorkTimes {
    pub(super) fn new() -> Self {
        Self(OnceLock::new())
    }

    /// How long the work of the call with this hash took last.
    pub(super) fn of(&self, call: u64) -> Option<Duration> {
        let slot = self.0.get()?[call as usize % SLOTS].load(Ordering::Relaxed);
        let micros = slot & ((1 << TIME_BITS) - 1);
        (slot != 0 && slot >> TIME_BITS == call >> TIME_BITS).then(|| Duration::from_micros(micros))
    }

    pub(super) fn note(&self, call: u64, took: Duration) {
        let slots = self.0.get_or_init(|| (0..SLOTS).map(|_| AtomicU64::new(0)).collect());
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, (1 << TIME_BITS) - 1);
        slots[call as usize % SLOTS].store(call >> TIME_BITS << TIME_BITS | micros, Ordering::Relaxed);
    }
}

/// A value that this call's own work has made, and that isn't stored.
pub(super) fn computed<T>(value: T) -> Fetched<T> {
    Fetched { value, source: Source::Work, remaining: None }
}

/// The value of work that can't fail.
pub(super) fn infallible<T>(result: Result<Fetched<T>, Infallible>) -> Fetched<T> {
    match result {
        Ok(found) => found,
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests;
