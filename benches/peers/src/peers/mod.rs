//! The peers, each set up as its documentation says for the job.

mod cache_house;
mod cached;
mod cachekit;
mod hitbox;
mod moka;
mod redis_rs;

use std::sync::Arc;
use std::time::Duration;

use crate::peer::{Peer, Shared};

/// In the order of the table's columns.
pub(crate) const NAMES: [&str; 6] = ["cache-house", "cached", "cachekit-rs", "hitbox", "redis-rs", "moka"];

/// One for each column; none where a peer has no such thing.
pub(crate) type Line = [Option<Shared>; NAMES.len()];

/// How long a command may take, wherever that can be set: the default of cache-house.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(250);
/// How long connecting may take, wherever that can be set: the default of redis-rs.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Nothing expires during a run.
const EXPIRE: Duration = Duration::from_secs(3600);
/// More than any scenario has in memory.
const CAPACITY: u64 = 10_000;

/// Every hit comes from the server.
pub(crate) async fn from_server(port: u16) -> Line {
    [
        share(cache_house::over_server(port).await),
        share(cached::on_server(port).await),
        share(cachekit::on_server(port).await),
        share(hitbox::on_server(port)),
        share(redis_rs::on_server(port).await),
        None,
    ]
}

/// Memory in front of a server that reports changes.
pub(crate) async fn near(port: u16) -> Line {
    let near = share(cache_house::near(port).await);
    [near, None, None, None, share(redis_rs::near(port).await), None]
}

/// Memory alone, or memory in front of a server that needn't be asked.
pub(crate) async fn from_memory(port: u16) -> Line {
    [
        share(cache_house::in_memory()),
        share(cached::InMemory),
        share(cachekit::over_server(port).await),
        share(hitbox::in_memory()),
        None,
        share(moka::in_memory()),
    ]
}

/// Memory alone, for a call of a number and a text: of the quickest peer.
pub(crate) fn from_memory_by_two_arguments() -> Line {
    [share(cache_house::by_two_arguments()), share(cached::ByTwoArguments), None, None, None, None]
}

/// A server, with memory before or behind it where the peer has such a thing.
pub(crate) async fn over_server(port: u16, column: usize) -> Option<Shared> {
    match NAMES[column] {
        "cache-house" => share(cache_house::over_server(port).await),
        "cached" => share(cached::on_server(port).await),
        "cachekit-rs" => share(cachekit::over_server(port).await),
        "hitbox" => share(hitbox::over_server(port)),
        "redis-rs" => share(redis_rs::on_server(port).await),
        _ => None,
    }
}

/// Memory alone, for a stampede.
pub(crate) async fn stampeded_in_memory(port: u16) -> Line {
    let mut line = from_memory(port).await;
    line[1] = share(cached::Coalescing);
    line
}

fn share(peer: impl Peer) -> Option<Shared> {
    Some(Arc::new(peer))
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}
