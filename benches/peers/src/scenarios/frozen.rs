//! A server that is connected and doesn't answer.

use std::time::Duration;

use super::outage::{ROUNDS, Report, calls, length, warm_up};
use crate::peers::{NAMES, over_server};
use crate::server::Server;
use crate::table::Table;

/// How long it stays frozen for the calls that still wait.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) async fn measure(table: &mut Table) {
    let mut report = Report::default();
    for round in 0..ROUNDS {
        for column in 0..NAMES.len() {
            let server = Server::start();
            let Some(peer) = over_server(server.port, column).await else { continue };
            warm_up(&peer).await;
            server.freeze();
            let calls = calls(&peer, length(round)).await;
            report.add(column, calls, PATIENCE).await;
            server.thaw();
        }
    }
    report.write(table, "server frozen");
}
