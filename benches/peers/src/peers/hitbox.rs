//! `hitbox`: its attribute on Redis, on moka, and on moka before Redis.

use hitbox::backend::CacheBackend;
use hitbox::concurrency::BroadcastConcurrencyManager;
use hitbox::offload::OffloadManager;
use hitbox::policy::PolicyConfig;
use hitbox_backend::composition::Compose;
use hitbox_backend::format::{BincodeFormat, JsonFormat};
use hitbox_fn::{Cache, cached};
use hitbox_moka::MokaBackend;
use hitbox_redis::{ConnectionMode, RedisBackend};

use super::{CAPACITY, COMMAND_TIMEOUT, CONNECT_TIMEOUT, EXPIRE, url};
use crate::origin::load;
use crate::peer::{Failure, Peer};
use crate::user::User;

type Coalesced<B> = Cache<B, BroadcastConcurrencyManager<User>>;

pub(super) fn on_server(port: u16) -> Coalesced<impl CacheBackend + Send + Sync + 'static> {
    cache(redis(port))
}

pub(super) fn in_memory() -> Coalesced<impl CacheBackend + Send + Sync + 'static> {
    cache(moka())
}

pub(super) fn over_server(port: u16) -> Coalesced<impl CacheBackend + Send + Sync + 'static> {
    cache(moka().compose(redis(port), OffloadManager::with_defaults()))
}

/// `retries` as in its documentation.
fn redis(port: u16) -> RedisBackend<JsonFormat> {
    let builder = RedisBackend::builder().connection(ConnectionMode::single(url(port))).value_format(JsonFormat);
    let builder = builder.response_timeout(COMMAND_TIMEOUT).connection_timeout(CONNECT_TIMEOUT).retries(3);
    builder.build().expect("a sound configuration")
}

/// With the format that it recommends; it keeps what is encoded.
fn moka() -> MokaBackend<BincodeFormat> {
    MokaBackend::builder().max_entries(CAPACITY).value_format(BincodeFormat).build()
}

fn cache<B: CacheBackend>(backend: B) -> Coalesced<B> {
    let policy = PolicyConfig::builder().ttl(EXPIRE).concurrency(1.try_into().expect("from 1 to 255")).build();
    Cache::builder().backend(backend).policy(policy).concurrency_manager(BroadcastConcurrencyManager::new()).build()
}

impl<B: CacheBackend + Send + Sync + 'static> Peer for Coalesced<B> {
    async fn get(&self, id: u64) -> Result<User, Failure> {
        Ok(get_user(id).cache(self).await)
    }
}

#[cached]
async fn get_user(id: u64) -> User {
    load(id).await
}
