//! The options of freshness: how they are merged, and what a combination means that makes no sense.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

/// The options of freshness that a call, its namespace or its handle sets. `None` leaves the option to the next of them.
///
/// A new option is a field here, a row in [`or`](Self::or), and a field of [`Freshness`] with its row in [`merged`](Freshness::merged).
#[derive(Debug, Clone, Default)]
pub(crate) struct FreshnessOverrides {
    pub(crate) jitter: Option<Duration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) refresh_early: Option<f64>,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) hard_timeout: Option<Duration>,
    pub(crate) max_staleness: Option<Duration>,
}

/// The options of freshness that are in effect for one call.
///
/// Any value of this type makes sense: what a user set otherwise has its nearest meaning here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Freshness {
    /// Up to this much is taken off an entry's TTL; see [`shortened`](Self::shortened).
    pub(crate) jitter: Duration,
    /// How long after its TTL a value is served while one caller renews it; zero: not at all, else at least a millisecond.
    pub(crate) stale_while_revalidate: Duration,
    /// How long after its TTL a value is served where the work fails; zero: not at all, else at least a millisecond.
    pub(crate) stale_if_error: Duration,
    /// When failed work is tried again; at least a millisecond.
    pub(crate) retry_after: Duration,
    /// The factor `beta` of XFetch; zero: off. Never negative and always finite.
    pub(crate) refresh_early: f64,
    /// Longer than zero, and shorter than `hard_timeout`. `None` too where no value could be served in place of the work's.
    pub(crate) soft_timeout: Option<Duration>,
    /// Longer than zero.
    pub(crate) hard_timeout: Option<Duration>,
    /// How old an answer of the near cache may be; zero asks the server. `None`: the near cache's own bound.
    pub(crate) max_staleness: Option<Duration>,
}

/// The options of freshness of one call. In a box where one is in effect: a call's policy is made on each hit, and few calls have any.
#[derive(Clone, Default)]
pub(crate) struct InEffect(Option<Box<Freshness>>);

/// The longest time that an option of freshness takes: a year, so that the sum of any two fits into whatever holds a time.
pub(crate) const LONGEST: Duration = Duration::from_secs(31_557_600);

/// The default of `retry_after`.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The server's precision.
const SHORTEST: Duration = Duration::from_millis(1);

/// All is early with less already. A product with it is still finite.
const MOST_EARLY: f64 = 1e6;

impl Deref for InEffect {
    type Target = Freshness;

    #[inline]
    fn deref(&self) -> &Freshness {
        static OFF: Freshness = Freshness::OFF;
        self.0.as_deref().unwrap_or(&OFF)
    }
}

impl fmt::Debug for InEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl FreshnessOverrides {
    /// These, and `others` where these set nothing.
    pub(super) fn or(self, others: &Self) -> Self {
        Self {
            jitter: self.jitter.or(others.jitter),
            stale_while_revalidate: self.stale_while_revalidate.or(others.stale_while_revalidate),
            stale_if_error: self.stale_if_error.or(others.stale_if_error),
            retry_after: self.retry_after.or(others.retry_after),
            refresh_early: self.refresh_early.or(others.refresh_early),
            soft_timeout: self.soft_timeout.or(others.soft_timeout),
            hard_timeout: self.hard_timeout.or(others.hard_timeout),
            max_staleness: self.max_staleness.or(others.max_staleness),
        }
    }
}

impl Freshness {
    /// The freshness of calls without any such option.
    pub(crate) const OFF: Self = Self {
        jitter: Duration::ZERO,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        retry_after: RETRY_AFTER,
        refresh_early: 0.0,
        soft_timeout: None,
        hard_timeout: None,
        max_staleness: None,
    };

    /// The options of these, of which the first that sets an option wins. The value's TTL is `expire`: where that is zero nothing is
    /// stored, so that nothing is ever stale or early.
    #[inline(never)] // Few calls come here; the others need no copy of it.
    pub(super) fn merged(layers: [Option<&FreshnessOverrides>; 3], expire: Duration) -> InEffect {
        let time = |of: fn(&FreshnessOverrides) -> Option<Duration>| layers.into_iter().flatten().find_map(of);
        let stores = !expire.is_zero();
        let window = |of| time(of).filter(|window| stores && !window.is_zero()).map_or(Duration::ZERO, bounded);
        let timeout = |of| time(of).filter(|timeout| !timeout.is_zero()).map(|timeout| timeout.min(LONGEST));

        let beta = layers.into_iter().flatten().find_map(|set| set.refresh_early);
        let is_early = |beta: &f64| stores && beta.is_finite() && *beta > 0.0;
        let hard_timeout = timeout(|set| set.hard_timeout);
        let merged = Self {
            jitter: if stores { time(|set| set.jitter).unwrap_or_default().min(LONGEST) } else { Duration::ZERO },
            stale_while_revalidate: window(|set| set.stale_while_revalidate),
            stale_if_error: window(|set| set.stale_if_error),
            retry_after: time(|set| set.retry_after).map_or(RETRY_AFTER, bounded),
            refresh_early: beta.filter(is_early).map_or(0.0, |beta| beta.min(MOST_EARLY)),
            soft_timeout: timeout(|set| set.soft_timeout),
            hard_timeout,
            max_staleness: time(|set| set.max_staleness).map(|age| age.min(LONGEST)),
        };
        // The hard one comes first, or nothing is there to serve in place of what the work returns.
        let is_in_effect = |soft: &Duration| hard_timeout.is_none_or(|hard| *soft < hard) && merged.reads_ttl();
        let soft_timeout = merged.soft_timeout.filter(is_in_effect);
        InEffect(Some(Box::new(Self { soft_timeout, ..merged })))
    }

    /// Whether none of the options is in effect that are about an entry's TTL or its work.
    #[cfg_attr(not(test), expect(dead_code, reason = "the engine is going to read it"))]
    pub(crate) fn is_off(&self) -> bool {
        Self { retry_after: RETRY_AFTER, max_staleness: None, ..*self } == Self::OFF
    }

    /// For how long after its TTL an entry is kept: the longer of the two windows.
    pub(crate) fn stale_window(&self) -> Duration {
        self.stale_while_revalidate.max(self.stale_if_error)
    }

    /// Whether a hit needs the entry's remaining TTL.
    pub(crate) fn reads_ttl(&self) -> bool {
        !self.stale_window().is_zero() || self.refresh_early > 0.0
    }

    /// `ttl` with the jitter taken off. `random` is from 0 to 1. At least a millisecond is left, or what there was of it.
    pub(crate) fn shortened(&self, ttl: Duration, random: f64) -> Duration {
        let share = if (0.0..=1.0).contains(&random) { random } else { 0.0 };
        ttl.saturating_sub(self.jitter.mul_f64(share)).max(ttl.min(SHORTEST))
    }
}

fn bounded(time: Duration) -> Duration {
    time.clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests;
