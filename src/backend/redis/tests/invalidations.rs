//! What is reported of changes on the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use tokio::time::sleep;

use super::server::Server as RealServer;
use super::{DEADLINE, connect_to};
use crate::backend::invalidations::Invalidations;

#[derive(Default)]
struct Counted(AtomicU32);

impl Invalidations for Counted {
    fn all_changed(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn each_new_connection_reports_that_all_may_have_changed() {
    let (server, heard) = (RealServer::start(), Arc::new(Counted::default()));
    let redis = connect_to(&server, Arc::clone(&heard) as _).await;
    assert_eq!(heard.0.load(Ordering::SeqCst), 1);
    server.crash_and_restart();
    let begin = Instant::now();
    while heard.0.load(Ordering::SeqCst) < 2 {
        assert!(begin.elapsed() < DEADLINE, "nothing is reported of the new connection");
        sleep(super::Duration::from_millis(2)).await;
    }
    redis.close().await;
}
