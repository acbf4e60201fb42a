//! Hits that come from the server, and those that come from memory while it reports changes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::KEYS;
use crate::peer::Shared;
use crate::peers::Line;
use crate::server::Server;
use crate::table::{Better, Figures, Table, calls};
use crate::{origin, peers};

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(200);

pub(crate) async fn measure(table: &mut Table) {
    let server = Server::start();
    side_by_side(table, "hit from Redis", &peers::from_server(server.port).await, &[1, 64, 512]).await;
    side_by_side(table, "hit in front of Redis that reports changes", &peers::near(server.port).await, &[1, 64]).await;
}

async fn side_by_side(table: &mut Table, title: &str, line: &Line, tasks: &[u64]) {
    for peer in line.iter().flatten() {
        // Once to be there, once to be read, and once to be known as near.
        for id in (0..3).flat_map(|_| 0..KEYS) {
            peer.get(id).await.expect("a server");
        }
    }
    for &tasks in tasks {
        let mut figures = Figures::default();
        let runs = origin::runs();
        for round in 0..=ROUNDS {
            for (peer, figures) in line.iter().zip(&mut figures) {
                let Some(peer) = peer else { continue };
                let throughput = throughput(peer, tasks).await;
                // The first round warms up.
                if round > 0 {
                    figures.push(throughput);
                }
            }
        }
        let runs = origin::runs() - runs;
        let all = figures.iter().flatten().sum::<f64>() * ROUND.as_secs_f64();
        // On a starved machine a command may time out.
        assert!((runs as f64) < all / 1000.0, "{runs} of {all:.0} measured calls weren't hits");
        table.ratios(format!("{title}, tasks: {tasks}"), &figures, Better::More, calls);
    }
}

/// Calls a second.
async fn throughput(peer: &Shared, tasks: u64) -> f64 {
    let start = Instant::now();
    let call = |task| {
        let peer = Arc::clone(peer);
        tokio::spawn(async move { peer.calls(task, start, ROUND).await })
    };
    let tasks: Vec<_> = (0..tasks).map(call).collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.expect("no call panics");
    }
    done as f64 / start.elapsed().as_secs_f64()
}
