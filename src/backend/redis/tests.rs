//! What no public call does yet, so that the integration tests can't: against real servers.

mod failover;
mod invalidations;
#[expect(dead_code, reason = "the integration tests use more of it")]
#[path = "../../../tests/integration/support/process.rs"]
mod process;
#[path = "../../../tests/integration/support/resp.rs"]
mod resp;
mod scripts;
#[expect(dead_code, reason = "the integration tests use more of it")]
#[path = "../../../tests/integration/support/server.rs"]
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use self::server::Server as RealServer;
use super::Redis;
use super::layout::Layout;
use crate::backend::invalidations::Invalidations;
use crate::clock::Clock;
use crate::config::{CacheHouseBuilder, Reconnect, Topology};
use crate::health::{Health, HealthReporter};
use crate::key::Scope;

const DEADLINE: Duration = Duration::from_secs(30);

/// For [`server`], which waits before there is a runtime.
#[track_caller]
fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A client that is connected to all primaries.
async fn connect(settings: Topology, invalidations: Arc<dyn Invalidations>) -> Redis {
    let Topology::Server(settings) = settings else { unreachable!("the builder names a server") };
    let scope = Scope::new("p", "n").expect("both parts are given");
    let board = Arc::new(HealthReporter::new(Health::Connecting, "test"));
    let (journal, counters) = (Arc::default(), Arc::default());
    let clock = Clock::default();
    let redis = Redis::start(&settings, &scope, journal, invalidations, counters, board, clock)
        .expect("the settings are right");
    let begin = Instant::now();
    let is_connected = || match &**redis.inner.layout.load() {
        Layout::Unknown => false,
        Layout::Single(node) => node.is_available(),
        Layout::Cluster(map) => map.is_whole(),
    };
    while !is_connected() {
        assert!(begin.elapsed() < DEADLINE, "the server isn't connected to");
        sleep(Duration::from_millis(2)).await;
    }
    redis
}

fn quick() -> Reconnect {
    Reconnect::default().min_delay(Duration::from_millis(10)).max_delay(Duration::from_millis(50))
}

async fn connect_to(server: &RealServer, invalidations: Arc<dyn Invalidations>) -> Redis {
    let builder = CacheHouseBuilder::new().standalone(server.endpoint()).reconnect(quick());
    connect(builder.command_timeout(Duration::from_secs(5)).into_config().expect("it's right").topology, invalidations)
        .await
}
