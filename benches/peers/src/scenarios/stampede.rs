//! Many callers of one key that nobody has cached yet.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;

use crate::peer::Shared;
use crate::peers::Line;
use crate::server::Server;
use crate::table::{Figures, Table, count};
use crate::{origin, peers};

const ROUNDS: u64 = 5;
const CALLERS: usize = 100;
const WORK: Duration = Duration::from_millis(20);
/// Ids that no other scenario has.
const FIRST: u64 = 1_000_000;

pub(crate) async fn measure(table: &mut Table) {
    let server = Server::start();
    origin::takes(WORK);
    stampede(table, "on the server", &peers::from_server(server.port).await, FIRST).await;
    stampede(table, "in memory", &peers::stampeded_in_memory(server.port).await, FIRST + ROUNDS).await;
    origin::takes(Duration::ZERO);
}

async fn stampede(table: &mut Table, place: &str, line: &Line, first: u64) {
    let mut figures = Figures::default();
    for id in first..first + ROUNDS {
        for (peer, figures) in line.iter().zip(&mut figures) {
            let Some(peer) = peer else { continue };
            let before = origin::runs();
            all_at_once(peer, id).await;
            figures.push((origin::runs() - before) as f64);
        }
    }
    table.absolute(format!("runs of the work for {CALLERS} callers, {place}"), &figures, count);
}

async fn all_at_once(peer: &Shared, id: u64) {
    let barrier = Arc::new(Barrier::new(CALLERS));
    let call = |_| {
        let (peer, barrier) = (Arc::clone(peer), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            peer.get(id).await.map(drop)
        })
    };
    let callers: Vec<_> = (0..CALLERS).map(call).collect();
    for caller in callers {
        caller.await.expect("no call panics").expect("a server");
    }
}
