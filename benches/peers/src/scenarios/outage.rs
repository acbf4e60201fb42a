//! Calls at a steady rate while the server doesn't serve.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout_at};

use crate::peer::Shared;
use crate::table::{Better, Figures, Table, percent, time};

pub(super) const ROUNDS: u64 = 3;
const BETWEEN_CALLS: Duration = Duration::from_millis(2);
/// Ids that were called before the outage.
const WARM: u64 = 512;
/// One call in so many is of an id that was never called.
const COLD_EACH: u64 = 4;
const COLD: u64 = 2_000_000;

/// How long the server is away. Each round differs, since peers try again at fixed times of which one may just fit.
pub(super) fn length(round: u64) -> Duration {
    Duration::from_millis(1500 + 400 * round)
}

pub(super) async fn warm_up(peer: &Shared) {
    for id in 0..WARM {
        peer.get(id).await.expect("a server");
    }
}

/// What came of one call, and how long it took.
struct Outcome {
    seconds: f64,
    failed: bool,
}

/// Calls that were started; some may still wait.
pub(super) struct Calls {
    started: Vec<(Instant, JoinHandle<Outcome>)>,
}

/// Starts a call every two milliseconds, whatever comes of those before, until the outage is over.
pub(super) async fn calls(peer: &Shared, outage: Duration) -> Calls {
    let mut ticks = interval(BETWEEN_CALLS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut started = Vec::new();
    for call in 0..outage.as_millis() as u64 / BETWEEN_CALLS.as_millis() as u64 {
        ticks.tick().await;
        let id = if call % COLD_EACH == 0 { COLD + call } else { call % WARM };
        let (peer, start) = (Arc::clone(peer), Instant::now());
        let outcome = async move {
            let failed = peer.get(id).await.is_err();
            Outcome { seconds: start.elapsed().as_secs_f64(), failed }
        };
        started.push((start, tokio::spawn(outcome)));
    }
    Calls { started }
}

#[derive(Default)]
pub(super) struct Report {
    p50: Figures,
    p99: Figures,
    errors: Figures,
}

impl Report {
    /// Waits for the calls that are left, for `patience` at most; longer ones count as having taken so long, and as failed.
    pub(super) async fn add(&mut self, column: usize, calls: Calls, patience: Duration) {
        let deadline = tokio::time::Instant::now() + patience;
        let (mut seconds, mut errors) = (Vec::new(), 0);
        let total = calls.started.len();
        for (start, mut call) in calls.started {
            let outcome = match timeout_at(deadline, &mut call).await {
                Ok(outcome) => outcome.expect("no call panics"),
                Err(_) => {
                    call.abort();
                    Outcome { seconds: start.elapsed().as_secs_f64(), failed: true }
                }
            };
            seconds.push(outcome.seconds);
            errors += usize::from(outcome.failed);
        }
        seconds.sort_by(f64::total_cmp);
        self.p50[column].push(seconds[total / 2]);
        self.p99[column].push(seconds[total * 99 / 100]);
        self.errors[column].push(errors as f64 / total as f64);
    }

    pub(super) fn write(&self, table: &mut Table, title: &str) {
        table.ratios(format!("{title}, p50 a call"), &self.p50, Better::Less, time);
        table.ratios(format!("{title}, p99 a call"), &self.p99, Better::Less, time);
        table.absolute(format!("{title}, calls that failed or didn't end"), &self.errors, percent);
    }
}
