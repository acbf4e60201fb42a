//! Where the time comes from that decides whether an entry in memory has expired.

use std::fmt;
use std::sync::Arc;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use std::time::Instant;

/// The clock by which the memory tier expires its entries.
///
/// Programs use the system's monotonic clock and never see this type. Tests hand a
/// [`ManualClock`] to the builder and move the time themselves.
///
/// Only the memory tier follows it: a server counts down its keys' lives by its own clock.
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<AtomicU64>>);

/// A clock that stands still until it's moved, for tests of code that uses the cache.
///
/// ```
/// use cache_house::{CacheHouse, CacheOptions, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new();
/// let cache = CacheHouse::builder().memory().clock(clock.clone()).build()?;
/// let minute = || CacheOptions::new("now").expire(Duration::from_secs(60));
///
/// assert_eq!(cache.cached(minute(), || 1), 1);
/// clock.advance(Duration::from_secs(59));
/// assert_eq!(cache.cached(minute(), || 2), 1);
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(cache.cached(minute(), || 3), 3);
/// # Ok::<(), cache_house::Error>(())
/// ```
#[doc(alias("mock", "fake time", "test"))]
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<AtomicU64>);

/// A point on a [`Clock`], in nanoseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Clock {
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        match &self.0 {
            None => Moment(system_nanos()),
            Some(manual) => Moment(manual.load(Ordering::Acquire)),
        }
    }
}

impl ManualClock {
    /// A clock that starts at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the time on; it never goes back. Stops at the end of time, 584 years on.
    pub fn advance(&self, by: Duration) {
        let add = |now: u64| Some(now.saturating_add(nanos(by)));
        // The closure always returns `Some`, so the update can't be refused.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }
}

impl Moment {
    pub(crate) fn as_nanos(self) -> u64 {
        self.0
    }

    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) fn after(self, ttl: Duration) -> Moment {
        Moment(self.0.saturating_add(nanos(ttl)))
    }
}

impl From<ManualClock> for Clock {
    fn from(manual: ManualClock) -> Self {
        Self(Some(manual.0))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Clock::Manual" } else { "Clock::System" })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// By a clock that goes on while the machine sleeps, as the server's does.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
fn system_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Neither is negative, and 584 years fit.
    (now.tv_sec as u64) * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[inline]
fn system_nanos() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    nanos(START.get_or_init(Instant::now).elapsed())
}
