//! The configuration, and a handle that is connected by it.

use std::time::Duration;

use cache_house::operate::Operator;
use cache_house::{CacheHandle, Config, Error, Health};

use crate::arguments::Common;
use crate::failure::Failure;
use crate::output;

/// How long a server may take to answer at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What commands work with that need the server.
pub(crate) struct Session {
    pub(crate) cache: CacheHandle,
    pub(crate) operator: Operator,
    /// As the configuration names it, without credentials.
    pub(crate) endpoint: String,
}

/// The configuration that the service has, too.
pub(crate) fn config(common: &Common) -> Result<Config, Error> {
    match &common.config {
        Some(file) => Config::from_file(file),
        None => Config::load(),
    }
}

/// The same, where a mistake in it ends the command.
pub(crate) fn right_config(common: &Common) -> Result<Config, Failure> {
    config(common).map_err(wrong)
}

pub(crate) fn wrong(error: Error) -> Failure {
    Failure::finding(format!("the configuration is wrong\n\n{error}"))
}

impl Session {
    pub(crate) async fn open(common: &Common) -> Result<Self, Failure> {
        let config = right_config(common)?;
        let endpoint = endpoint(&config);
        let cache = config.into_builder().build().map_err(wrong)?;
        let operator =
            Operator::new(&cache).map_err(|_| Failure::finding("there is no server to look at: [memory]"))?;
        match settled(&cache).await {
            Health::Connected { .. } => Ok(Self { cache, operator, endpoint }),
            health => {
                cache.close_async().await;
                Err(Failure::finding(format!("the server can't be used: {endpoint}\n\n{}", reason(&health))))
            }
        }
    }

    /// Ends the connections.
    pub(crate) async fn close(self) {
        self.cache.close_async().await;
    }
}

/// The health once it's known how the first attempt to connect went.
pub(crate) async fn settled(cache: &CacheHandle) -> Health {
    let mut health = cache.watch_health();
    let known = |health: &Health| !matches!(health, Health::Connecting);
    // What came of it is read from the handle.
    let _ = tokio::time::timeout(PATIENCE, health.wait_for(known)).await;
    cache.health()
}

/// Why the server can't be used.
pub(crate) fn reason(health: &Health) -> String {
    match health {
        Health::Degraded { reason, .. } => reason.to_string(),
        health => format!("{health}, after {}", output::time(PATIENCE)),
    }
}

/// Where the configuration's server is, without credentials.
pub(crate) fn endpoint(config: &Config) -> String {
    const KEYS: [&str; 3] = ["standalone.endpoint", "cluster.nodes", "autodetect.endpoint"];
    let setting = config.settings().iter().find(|setting| KEYS.contains(&setting.key()));
    setting.map_or_else(|| "memory".to_owned(), |setting| setting.value().trim_matches('"').to_owned())
}
