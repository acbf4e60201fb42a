//! A server that was killed, and comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::outage::{ROUNDS, Report, calls, length, warm_up};
use crate::origin;
use crate::peer::Shared;
use crate::peers::over_server;
use crate::server::Server;
use crate::table::{Better, Figures, Table, time};

/// Ids that are on the server and that the peer itself never asked for, so that no memory has them.
const STORED: u64 = 3_000_000;
/// As long as hits may be waited for.
const MOST: Duration = Duration::from_secs(10);
const BETWEEN_CALLS: Duration = Duration::from_millis(5);

pub(crate) async fn measure(table: &mut Table) {
    let (mut report, mut recovery) = (Report::default(), Figures::default());
    for round in 0..ROUNDS {
        for (column, recovery) in recovery.iter_mut().enumerate() {
            let mut server = Server::start();
            let Some(other) = over_server(server.port, column).await else { continue };
            store(&other).await;
            drop(other);
            server.save();
            let peer = over_server(server.port, column).await.expect("there was one before");
            warm_up(&peer).await;
            server.kill();
            let calls = calls(&peer, length(round)).await;
            server.restart();
            recovery.push(until_a_hit(&peer).await);
            report.add(column, calls, MOST).await;
        }
    }
    report.write(table, "server absent");
    table.ratios("until hits come from a restarted server", &recovery, Better::Less, time);
}

fn stored() -> impl Iterator<Item = u64> {
    STORED..STORED + MOST.as_millis() as u64 / BETWEEN_CALLS.as_millis() as u64
}

async fn store(peer: &Shared) {
    for id in stored() {
        peer.get(id).await.expect("a server");
        assert!(origin::has_run(id), "nobody has it yet");
    }
}

/// Seconds. Each call is of another id; one that doesn't run the work has its value from the server.
async fn until_a_hit(peer: &Shared) -> f64 {
    let (start, found) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let mut ticks = interval(BETWEEN_CALLS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for id in stored() {
        ticks.tick().await;
        if found.load(Ordering::Relaxed) {
            break;
        }
        let (peer, found) = (Arc::clone(peer), Arc::clone(&found));
        tokio::spawn(async move {
            if peer.get(id).await.is_ok() && !origin::has_run(id) {
                found.store(true, Ordering::Relaxed);
            }
        });
    }
    start.elapsed().as_secs_f64()
}
