//! What is accepted: the bounds that the builder and the configuration file share.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::Error;
use crate::policy::LONGEST;

const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const MIB: u64 = 1 << 20;

/// Zero means "don't store", which is for single calls.
pub(super) const EXPIRE: RangeInclusive<Duration> = Duration::from_nanos(1)..=Duration::MAX;
/// Longer waits are hangs.
pub(super) const LEASE: RangeInclusive<Duration> = MILLISECOND..=Duration::from_secs(3600);
/// Zero would be no fallback at all, which has a switch of its own.
pub(super) const FALLBACK_MAX_AGE: RangeInclusive<Duration> = MILLISECOND..=LONGEST;
/// Below that it would ask about as often as calls do; above, `expire` does what it's for.
pub(super) const NEAR_CACHE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(3600);
/// Zero doesn't wait. Longer waits are hangs.
pub(super) const WAIT_FOR_SERVER: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);
/// Of the options of freshness; zero turns one off.
pub(super) const FRESHNESS: RangeInclusive<Duration> = Duration::ZERO..=LONGEST;
/// Zero would have every call try failing work again.
pub(super) const RETRY_AFTER: RangeInclusive<Duration> = MILLISECOND..=LONGEST;
pub(super) const REFRESH_EARLY: RangeInclusive<f64> = 0.0..=f64::MAX;
pub(super) const CONNECT_TIMEOUT: RangeInclusive<Duration> = MILLISECOND..=Duration::from_secs(600);
pub(super) const COMMAND_TIMEOUT: RangeInclusive<Duration> = MILLISECOND..=Duration::from_secs(60);
/// Also how long a sync caller on a worker of a runtime waits for another's work, with a server or without.
pub(crate) const DEFAULT_COMMAND_TIMEOUT: Duration = Duration::from_millis(250);
pub(super) const RECONNECT_DELAY: RangeInclusive<Duration> = MILLISECOND..=Duration::from_secs(600);

pub(super) const DATABASE: RangeInclusive<u64> = 0..=255;
pub(super) const VERSION: RangeInclusive<u64> = 0..=u32::MAX as u64;
pub(super) const POOL_SIZE: RangeInclusive<u64> = 1..=64;
pub(super) const MAX_IN_FLIGHT: RangeInclusive<u64> = 1..=1 << 20;
pub(super) const MEMORY_MAX_ENTRIES: RangeInclusive<u64> = 1..=1 << 32;
pub(super) const MEMORY_MAX_BYTES: RangeInclusive<u64> = 1024..=1 << 50;
/// The server's own limit.
pub(super) const MAX_VALUE_BYTES: RangeInclusive<u64> = 1..=512 * MIB;

/// Zero compresses all that shrinks; the largest is larger than any value.
pub(super) const COMPRESSION_MIN_SIZE: RangeInclusive<u64> = 0..=1024 * MIB;

pub(super) fn within(option: &str, duration: Duration, accepted: &RangeInclusive<Duration>) -> Result<Duration, Error> {
    if accepted.contains(&duration) {
        return Ok(duration);
    }
    let (shortest, longest) = (accepted.start(), accepted.end());
    Err(Error::config(option, format!("is {duration:?}; accepts {shortest:?} to {longest:?}")))
}

pub(super) fn in_range(option: &str, value: u64, accepted: &RangeInclusive<u64>) -> Result<u64, Error> {
    if accepted.contains(&value) {
        return Ok(value);
    }
    Err(Error::config(option, format!("is {value}; accepts {} to {}", accepted.start(), accepted.end())))
}
