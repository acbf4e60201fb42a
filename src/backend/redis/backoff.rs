//! How long to wait between attempts to connect.

use std::time::Duration;

use rand::Rng;

use crate::config::Reconnect;

/// How long a pool has to serve before its loss begins with the shortest delay again: a server that hangs up on us at once isn't
/// connected to without end.
pub(super) const STABLE: Duration = Duration::from_secs(1);

/// Exponential, with jitter: each delay is shortened by up to half at random.
pub(super) struct Backoff {
    reconnect: Reconnect,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(reconnect: Reconnect) -> Self {
        Self { reconnect, next: reconnect.min_delay }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.reconnect.min_delay;
    }

    pub(super) fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.reconnect.max_delay);
        delay.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_from_the_least_to_the_longest_and_are_shortened_by_half_at_most() {
        let (least, longest) = (Duration::from_millis(50), Duration::from_secs(2));
        let mut backoff = Backoff::new(Reconnect::default().min_delay(least).max_delay(longest));
        for power in 0..12 {
            let full = (least * 2_u32.pow(power)).min(longest);
            let delay = backoff.next_delay();
            assert!(delay >= full / 2 && delay <= full, "{delay:?} after {power} failures");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= least);
    }
}
