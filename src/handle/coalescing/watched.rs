//! What the watchdog does for flights that callers wait for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::flight::Flight;
use super::{Flights, invalidate};
use crate::surroundings::atomic::Ordering;
use crate::watchdog::Watched;

/// How often the watchdog wakes leaders that callers wait for.
pub(super) const PULSE: Duration = Duration::from_secs(1);

/// Looks at a leader before its waiters give up: a minute, as for sync callers.
const MOST_LOOKS: u32 = 60;

impl Watched for Flights {
    /// Wakes each leader that callers wait for. One that hasn't been polled since it was woken the last time doesn't get to run: its
    /// task is busy or blocked, or its future isn't polled any more. Then a waiter takes over, and what the leader finds isn't kept.
    fn look(&self, now: Instant) -> Option<Instant> {
        let gives_way =
            |flight: &Arc<Flight>| flight.state.lock().gives_way_at.is_some_and(|gives_way_at| gives_way_at <= now);
        // What has ended is dropped outside the locks: its value is the user's.
        let (mut stuck, mut awaited, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        for shard in &self.shards {
            let mut shard = shard.lock();
            // A sync leader is on its thread, whatever it does there.
            let is_stuck = |flight: &mut Arc<Flight>| {
                let is_idle = flight.leader.is_async && flight.pulse.is_stuck();
                (is_idle || gives_way(flight)) && flight.is_waited_for()
            };
            let from = stuck.len();
            stuck.extend(shard.current.extract_if(is_stuck));
            invalidate(&stuck[from..]);
            awaited.extend(shard.current.iter().filter(|flight| flight.is_waited_for()).cloned());
            ended.extend(shard.take_ended());
            stuck.extend(shard.behind.extract_if(.., is_stuck));
            awaited.extend(shard.behind.iter().cloned());
        }
        let waits = !awaited.is_empty();
        // Wakers are the user's code.
        for flight in awaited {
            if flight.looks.fetch_add(1, Ordering::Relaxed) >= MOST_LOOKS {
                // Two works may wait for each other.
                flight.state.lock().overdue = true;
                flight.changed.notify_waiters();
            }
            flight.pulse.wake();
        }
        for flight in stuck {
            flight.makes_way();
        }
        let next = now + PULSE;
        if waits {
            return Some(next);
        }
        self.attention.end(|| {
            let mut one_waits = self.shards.iter().filter(|shard| {
                // They aren't kept for the next look, which may never come.
                let mut shard = shard.lock();
                ended.extend(shard.take_ended());
                shard.is_waited_for()
            });
            one_waits.next().map(|_| next)
        })
    }
}
