//! `redis`, known as redis-rs, with the few lines that one writes around it.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::caching::CacheConfig;
use redis::{AsyncCommands, Client, RedisResult};
use tokio::time::timeout;

use super::{COMMAND_TIMEOUT, CONNECT_TIMEOUT, EXPIRE, url};
use crate::origin::load;
use crate::peer::{Failure, Peer};
use crate::user::User;

pub(super) struct GetOrCompute(ConnectionManager);

/// The longest delay between attempts is that of cache-house.
pub(super) async fn on_server(port: u16) -> GetOrCompute {
    connected(&url(port), config()).await
}

/// With its client-side caching.
pub(super) async fn near(port: u16) -> GetOrCompute {
    connected(&format!("{}/?protocol=resp3", url(port)), config().set_cache_config(CacheConfig::new())).await
}

fn config() -> ConnectionManagerConfig {
    ConnectionManagerConfig::new()
        .set_response_timeout(Some(COMMAND_TIMEOUT))
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_max_delay(Duration::from_secs(2))
}

async fn connected(url: &str, config: ConnectionManagerConfig) -> GetOrCompute {
    let client = Client::open(url).expect("a sound URL");
    GetOrCompute(client.get_connection_manager_with_config(config).await.expect("a server"))
}

/// By a careful hand: no trouble with the server reaches the caller, nothing is written where reading failed, and a command
/// that waits for a reconnection is bounded too, which the manager's own timeouts don't do.
impl Peer for GetOrCompute {
    async fn get(&self, id: u64) -> Result<User, Failure> {
        let (mut connection, key) = (self.0.clone(), format!("get_user:{id}"));
        let found: RedisResult<Option<Vec<u8>>> = match timeout(COMMAND_TIMEOUT, connection.get(&key)).await {
            Ok(found) => found,
            Err(_) => return Ok(load(id).await),
        };
        let Ok(found) = found else { return Ok(load(id).await) };
        if let Some(user) = found.and_then(|json| serde_json::from_slice(&json).ok()) {
            return Ok(user);
        }
        let user = load(id).await;
        if let Ok(json) = serde_json::to_vec(&user) {
            let stored = connection.set_ex::<_, _, ()>(&key, json, EXPIRE.as_secs());
            // A value that isn't stored is computed again.
            let _ = timeout(COMMAND_TIMEOUT, stored).await;
        }
        Ok(user)
    }
}
