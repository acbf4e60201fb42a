//! `cached`: its asynchronous store on Redis, and its attributes in memory.

use cached::macros::{cached, concurrent_cached};
use cached::{AsyncRedisCache, ConcurrentCachedAsync};

use super::{EXPIRE, url};
use crate::origin::load;
use crate::peer::{Failure, Peer};
use crate::user::User;

/// With the connection manager, since without it a lost connection stays lost. It has no setting for a timeout: those of
/// redis-rs apply, 500 ms a command and 1 s to connect. What it stores is MessagePack; it has no other.
pub(super) async fn on_server(port: u16) -> AsyncRedisCache<u64, User> {
    let builder = AsyncRedisCache::builder("get_user").ttl(EXPIRE).connection_string(&url(port));
    builder.connection_manager(true).build().await.expect("a server")
}

impl Peer for AsyncRedisCache<u64, User> {
    async fn get(&self, id: u64) -> Result<User, Failure> {
        Ok(self.async_cache_get_or_set_with(id, || load(id)).await?)
    }
}

/// The sharded store, for concurrent callers.
pub(super) struct InMemory;

impl Peer for InMemory {
    async fn get(&self, id: u64) -> Result<User, Failure> {
        Ok(sharded(id).await)
    }
}

#[concurrent_cached(max_size = 10_000, ttl_secs = 3600)]
async fn sharded(id: u64) -> User {
    load(id).await
}

/// The same for a call of a number and a text.
pub(super) struct ByTwoArguments;

impl Peer for ByTwoArguments {
    async fn get(&self, id: u64) -> Result<User, Failure> {
        Ok(sharded_by_two(id, "details").await)
    }
}

#[concurrent_cached(max_size = 10_000, ttl_secs = 3600)]
async fn sharded_by_two(id: u64, _fields: &'static str) -> User {
    load(id).await
}

/// The one with `sync_writes`, which the sharded store doesn't have.
pub(super) struct Coalescing;

impl Peer for Coalescing {
    async fn get(&self, id: u64) -> Result<User, Failure> {
        Ok(coalescing(id).await)
    }
}

#[cached(max_size = 10_000, ttl_secs = 3600, sync_writes = "by_key")]
async fn coalescing(id: u64) -> User {
    load(id).await
}
