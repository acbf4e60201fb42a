//! `cachekit-rs`: its attribute, on what its preset `production` is made of, with the timeout set, and with room for as many
//! operations at once as cache-house has: with its own limit of 100 it would shed callers of the row with 512 tasks.

use std::sync::Arc;

use cachekit::backend::redis::RedisBackend;
use cachekit::prelude::*;
use cachekit::{BackpressureConfig, CacheKitBuilder, ReliabilityConfig};

use super::{CAPACITY, COMMAND_TIMEOUT, EXPIRE, url};
use crate::origin::load;
use crate::peer::{Failure, Peer};
use crate::user::User;

/// The default of cache-house.
const MOST_IN_FLIGHT: usize = 4096;

/// Without its memory tier.
pub(super) async fn on_server(port: u16) -> CacheKit {
    production(port).await.no_l1().build().expect("a sound configuration")
}

/// With it.
pub(super) async fn over_server(port: u16) -> CacheKit {
    production(port).await.l1_capacity(CAPACITY as usize).build().expect("a sound configuration")
}

async fn production(port: u16) -> CacheKitBuilder {
    let backend = RedisBackend::builder().url(url(port)).auto_reconnect().command_timeout(COMMAND_TIMEOUT);
    let backend = backend.build().expect("a sound configuration");
    drop(backend.connect().await.expect("a server"));
    let backpressure = BackpressureConfig { max_concurrent: MOST_IN_FLIGHT, ..BackpressureConfig::default() };
    let reliability = ReliabilityConfig { backpressure: Some(backpressure), ..ReliabilityConfig::default() };
    CacheKit::builder().backend(Arc::new(backend)).default_ttl(EXPIRE).reliability(reliability)
}

impl Peer for CacheKit {
    async fn get(&self, id: u64) -> Result<User, Failure> {
        Ok(get_user(self, id).await?)
    }
}

#[cachekit(client = cache, ttl = 3600, interop = "get_user", namespace = "users")]
async fn get_user(cache: &CacheKit, id: u64) -> Result<User, CachekitError> {
    Ok(load(id).await)
}
