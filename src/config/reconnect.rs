//! The delays between attempts to reconnect.

use std::time::Duration;

use super::limits::RECONNECT_DELAY;
use crate::error::Error;

/// The delays between attempts to reconnect: doubling from `min_delay` (50 ms) to `max_delay` (2 s), each
/// shortened by up to half at random so that a fleet doesn't come back in step. Attempts go on indefinitely.
///
/// Under traffic the attempts come sooner: after `min_delay`, or a hundredth of the outage if that's longer. Only one attempt runs at a
/// time. This doesn't apply if the server refuses the login or TLS, the user lacks a permission, the topology is the wrong one, or the
/// server closes the connection within a second.
///
/// ```
/// use cache_house::{CacheHouse, Reconnect};
/// use std::time::Duration;
///
/// let cache = CacheHouse::builder()
///     .standalone("localhost:6379")
///     .reconnect(Reconnect::default().max_delay(Duration::from_secs(10)))
///     .build()?;
/// # Ok::<(), cache_house::Error>(())
/// ```
#[doc(alias("backoff", "retry"))]
#[must_use = "hand this to the builder's `reconnect`"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconnect {
    pub(crate) min_delay: Duration,
    pub(crate) max_delay: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { min_delay: Duration::from_millis(50), max_delay: Duration::from_secs(2) }
    }
}

impl Reconnect {
    /// Sets the first delay. Default: 50 ms; from 1 ms to `max_delay`.
    pub fn min_delay(mut self, delay: Duration) -> Self {
        self.min_delay = delay;
        self
    }

    /// Sets the longest delay. Default: 2 s; from `min_delay` to 10 minutes.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    pub(super) fn check(self) -> Result<Self, Error> {
        let (shortest, longest) = RECONNECT_DELAY.into_inner();
        if self.min_delay < shortest || self.max_delay < self.min_delay || self.max_delay > longest {
            let (min, max) = (self.min_delay, self.max_delay);
            let problem =
                format!("is {min:?} to {max:?}; accepts {shortest:?} <= min_delay <= max_delay <= {longest:?}");
            return Err(Error::config("reconnect", problem));
        }
        Ok(self)
    }
}
