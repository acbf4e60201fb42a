//! How long to wait between attempts to connect.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::config::Reconnect;

/// How long a pool has to serve before its loss begins with the shortest delay again: a server that closes the connection at once isn't
/// connected to without end.
pub(super) const STABLE: Duration = Duration::from_secs(1);

/// While calls want a server, the delay is this part of its outage at most. So it's used again soon after a short outage, and a long
/// one costs few attempts more: 50 to 100 each time that the outage gets 2.7 times as long.
const PART_OF_OUTAGE: u32 = 100;

/// Exponential, with jitter: each delay is shortened by up to half at random.
pub(super) struct Backoff {
    reconnect: Reconnect,
    next: Duration,
    /// When the first attempt was due.
    since: Instant,
}

/// Calls that find no server ask for an attempt to connect.
#[derive(Default)]
pub(super) struct Wanted {
    is_wanted: AtomicBool,
    asked: Notify,
}

impl Wanted {
    /// A call would have gone to the server.
    #[inline]
    pub(super) fn ask(&self) {
        // Read before it's written: in an outage every call comes here.
        if !self.is_wanted.load(Ordering::Relaxed) && !self.is_wanted.swap(true, Ordering::Relaxed) {
            self.asked.notify_one();
        }
    }
}

impl Backoff {
    pub(super) fn new(reconnect: Reconnect) -> Self {
        Self { reconnect, next: reconnect.min_delay, since: Instant::now() }
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new(self.reconnect);
    }

    pub(super) fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.reconnect.max_delay);
        shortened(delay)
    }

    /// Waits for the next attempt, less long if a call needs the server.
    pub(super) async fn wait(&mut self, wanted: &Wanted) {
        let delay = self.next_delay();
        let wanted_delay = self.wanted_delay(self.since.elapsed()).min(delay);
        wanted.is_wanted.store(false, Ordering::Relaxed);
        sleep(wanted_delay).await;
        tokio::select! {
            () = sleep(delay.saturating_sub(wanted_delay)) => {}
            () = wanted.asked.notified() => {}
        }
    }

    /// The delay while calls want a server that has been away for so long.
    fn wanted_delay(&self, outage: Duration) -> Duration {
        shortened((outage / PART_OF_OUTAGE).max(self.reconnect.min_delay))
    }
}

/// By up to half at random, so that a fleet doesn't come back in step.
fn shortened(delay: Duration) -> Duration {
    delay.mul_f64(rand::thread_rng().gen_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_call_that_wants_the_server_shortens_the_delay_also_if_it_came_while_an_attempt_was_made() {
        let hour = Duration::from_secs(3600);
        let mut backoff = Backoff::new(Reconnect::default().min_delay(LEAST).max_delay(hour));
        let wanted = Wanted::default();
        while backoff.next_delay() < hour / 2 {}
        wanted.ask();
        backoff.wait(&wanted).await;
        let (mut waits, mut asks) = (std::pin::pin!(backoff.wait(&wanted)), std::pin::pin!(sleep(2 * LEAST)));
        tokio::select! {
            () = &mut waits => panic!("nobody asked"),
            () = &mut asks => wanted.ask(),
        }
        waits.await;
    }

    #[test]
    fn the_longer_an_outage_is_the_longer_are_the_delays_of_calls_that_want_the_server() {
        let backoff = Backoff::new(Reconnect::default().min_delay(LEAST));
        for (outage, full) in
            [(0, LEAST), (5, LEAST), (60, Duration::from_millis(600)), (3600, Duration::from_secs(36))]
        {
            let delay = backoff.wanted_delay(Duration::from_secs(outage));
            assert!(delay >= full / 2 && delay <= full, "{delay:?} after {outage} s");
        }
    }

    #[test]
    fn delays_double_from_the_least_to_the_longest_and_are_shortened_by_half_at_most() {
        let longest = Duration::from_secs(2);
        let mut backoff = Backoff::new(Reconnect::default().min_delay(LEAST).max_delay(longest));
        for power in 0..12 {
            let full = (LEAST * 2_u32.pow(power)).min(longest);
            let delay = backoff.next_delay();
            assert!(delay >= full / 2 && delay <= full, "{delay:?} after {power} failures");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= LEAST);
    }
}
