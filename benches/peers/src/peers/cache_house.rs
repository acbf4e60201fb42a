//! This crate.

use std::time::Duration;

use cache_house::{CacheHandle, CacheHouse, NearCache, opts};

use super::{COMMAND_TIMEOUT, CONNECT_TIMEOUT, EXPIRE};
use crate::origin::load;
use crate::peer::{Failure, Peer};
use crate::user::User;

pub(super) fn in_memory() -> CacheHandle {
    CacheHouse::builder().expire(EXPIRE).memory().build().expect("a sound configuration")
}

pub(super) async fn over_server(port: u16) -> CacheHandle {
    let builder = CacheHouse::builder().expire(EXPIRE).standalone(("127.0.0.1", port));
    let builder = builder.command_timeout(COMMAND_TIMEOUT).connect_timeout(CONNECT_TIMEOUT);
    let cache = builder.build().expect("a sound configuration");
    assert!(cache.ready(Duration::from_secs(5)).await.is_connected());
    cache
}

pub(super) async fn near(port: u16) -> CacheHandle {
    let builder = CacheHouse::builder().expire(EXPIRE).standalone(("127.0.0.1", port));
    let builder = builder.command_timeout(COMMAND_TIMEOUT).connect_timeout(CONNECT_TIMEOUT);
    let cache = builder.near_cache(Duration::from_secs(1)).build().expect("a sound configuration");
    while cache.near_cache() != NearCache::On {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    cache
}

impl Peer for CacheHandle {
    async fn get(&self, id: u64) -> Result<User, Failure> {
        Ok(self.cached_async(opts!("get_user", id), || load(id)).await)
    }
}

pub(super) fn by_two_arguments() -> ByTwoArguments {
    ByTwoArguments(in_memory())
}

pub(super) struct ByTwoArguments(CacheHandle);

impl Peer for ByTwoArguments {
    async fn get(&self, id: u64) -> Result<User, Failure> {
        Ok(self.0.cached_async(opts!("get_user", id, "details"), || load(id)).await)
    }
}
