//! Hits in memory, by one task.

use super::KEYS;
use crate::peers::Line;
use crate::server::Server;
use crate::table::{Better, Figures, Table, nanos};
use crate::{origin, peers};

const ROUNDS: usize = 15;
const CALLS: u64 = 50 * KEYS;

pub(crate) async fn measure(table: &mut Table) {
    let server = Server::start();
    measure_line(table, "hit in memory", peers::from_memory(server.port).await).await;
    measure_line(table, "hit in memory, two arguments", peers::from_memory_by_two_arguments()).await;
}

async fn measure_line(table: &mut Table, row: &'static str, line: Line) {
    for peer in line.iter().flatten() {
        peer.nanos(KEYS).await;
    }
    let mut figures = Figures::default();
    let runs = origin::runs();
    for round in 0..=ROUNDS {
        for (peer, figures) in line.iter().zip(&mut figures) {
            let Some(peer) = peer.clone() else { continue };
            // On a worker, as in a program; `block_on` has a thread of its own.
            let nanos = tokio::spawn(async move { peer.nanos(CALLS).await }).await.expect("no call panics");
            if round > 0 {
                figures.push(nanos);
            }
        }
    }
    assert_eq!(origin::runs(), runs, "each measured call was a hit");
    table.ratios(row, &figures, Better::Less, nanos);
}
