//! The composition root: from a checked configuration to a handle.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use figment::Provider;
use parking_lot::RwLock;

use crate::backend::invalidations::Unheard;
use crate::backend::journal::Journal;
use crate::backend::measured::Measured;
use crate::backend::memory::{Memory, MemoryLimits};
use crate::backend::redis::Redis;
use crate::backend::tiers::Tiers;
use crate::config::{
    Buildable, CacheHouseBuilder, Checked, CheckedMemory, Config, DEFAULT_COMMAND_TIMEOUT, Loaded, Topology,
};
use crate::error::Error;
use crate::handle::{CacheHandle, Defaults, Engine, Inner};
use crate::health::{Health, HealthReporter};
use crate::telemetry::metrics;

/// The entry point: [`builder`](Self::builder) and [`load`](Self::load) make a [`CacheHandle`], [`install`](Self::install) makes it the
/// process-wide default.
#[doc(alias("read-through", "cache-aside", "memoize", "two-tier", "L1/L2"))]
#[derive(Debug, Clone, Copy)]
pub struct CacheHouse(());

impl CacheHouse {
    /// Returns a builder with all defaults. Before `build`, it needs a topology.
    pub fn builder() -> CacheHouseBuilder {
        CacheHouseBuilder::new()
    }

    /// Returns a builder with the options of `cachehouse.toml` and the environment.
    ///
    /// Defaults < the file < variables `CACHEHOUSE_*` < options that are set on the builder. Without a file and variables, the topology is a
    /// server or cluster at `localhost:6379`.
    ///
    /// The file is `cachehouse.toml` in the current folder, or the one that `CACHEHOUSE_CONFIG` names. It's read here, once.
    /// All that is wrong is returned by [`build`](CacheHouseBuilder::build), in one error.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    ///
    /// let cache = CacheHouse::load().namespace("app").build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn load() -> CacheHouseBuilder<Loaded> {
        CacheHouseBuilder::<Loaded>::loaded(Config::load())
    }

    /// [`load`](Self::load) with defaults of the program's own: the file and the variables win over them, and what is set on the
    /// builder wins over all.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use cache_house::figment::providers::{Format, Toml};
    ///
    /// let defaults = Toml::string("namespace = 'shop'\nexpire = '1h'");
    /// let cache = CacheHouse::load_with_defaults(defaults).build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn load_with_defaults(defaults: impl Provider) -> CacheHouseBuilder<Loaded> {
        CacheHouseBuilder::<Loaded>::loaded(Config::load_with_defaults(defaults))
    }

    /// [`load`](Self::load) with this file, which has to exist.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    ///
    /// let cache = CacheHouse::from_file("examples/cachehouse.toml").build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> CacheHouseBuilder<Loaded> {
        CacheHouseBuilder::<Loaded>::loaded(Config::from_file(path))
    }

    /// Returns a builder with the options of a figment provider over the defaults.
    ///
    /// Neither a file nor the environment is read, unless the provider does, as [`Config::figment`] does.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use cache_house::figment::{Figment, providers::{Format, Toml}};
    ///
    /// let settings = Figment::new().merge(Toml::string("memory = {}\nexpire = '5m'")).merge(("namespace", "app"));
    /// let cache = CacheHouse::from_provider(settings).build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn from_provider(provider: impl Provider) -> CacheHouseBuilder<Loaded> {
        CacheHouseBuilder::<Loaded>::loaded(Config::from_provider(provider))
    }

    /// Makes `handle` the process-wide default, and returns the one before.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    ///
    /// CacheHouse::install(CacheHouse::builder().memory().build()?);
    /// assert!(CacheHouse::installed().is_some());
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("global", "singleton", "default"))]
    pub fn install(handle: CacheHandle) -> Option<CacheHandle> {
        default_handle().write().replace(handle)
    }

    /// Returns the process-wide default, if one is installed.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let answer = || match CacheHouse::installed() {
    ///     Some(cache) => cache.cached(opts!("answer"), || 42),
    ///     None => 42,
    /// };
    /// assert_eq!(answer(), 42);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("global", "singleton", "default"))]
    #[must_use]
    pub fn installed() -> Option<CacheHandle> {
        default_handle().read().clone()
    }
}

/// For what the attribute `cached` writes.
impl CacheHouse {
    #[doc(hidden)]
    #[must_use]
    pub fn __installed(function: &str) -> Option<CacheHandle> {
        static WARNED: AtomicBool = AtomicBool::new(false);
        let installed = Self::installed();
        if installed.is_none() && !WARNED.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "cache_house", function,
                "a cached function runs uncached: no handle is installed; call CacheHouse::install first; logged once"
            );
        }
        installed
    }
}

fn default_handle() -> &'static RwLock<Option<CacheHandle>> {
    static DEFAULT: OnceLock<RwLock<Option<CacheHandle>>> = OnceLock::new();
    DEFAULT.get_or_init(RwLock::default)
}

impl<S> CacheHouseBuilder<S> {
    /// Returns the handle, without waiting for a server.
    ///
    /// Connecting goes on in the background, with or without a Tokio runtime. Until it succeeds, calls are served from memory. Only reading
    /// files takes time: up to `connect_timeout` for the password's, and as much for those of certificates.
    ///
    /// Inside a multi-thread runtime, the connections run on that runtime; elsewhere on an I/O thread of the handle's own.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config): the first bad value of the chain, a value out of its bounds, options that exclude each other, a file
    /// of a password or certificate that can't be used, TLS without the feature `tls`, or an I/O thread that can't be started. Of a
    /// configuration that is loaded, all that is wrong. A server that is away is no error.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().standalone("localhost:1").build()?; // no server there, which is fine
    /// assert_eq!(cache.cached(opts!("answer"), || 42), 42);
    ///
    /// let error = CacheHouse::builder().standalone("localhost:port").build().unwrap_err();
    /// assert!(error.is_config());
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn build(self) -> Result<CacheHandle, Error>
    where
        S: Buildable,
    {
        let sources = self.sources();
        let built = self.into_config().and_then(connect);
        built.map_err(|error| sources.map_or(error.clone(), |sources| sources.explain(error)))
    }
}

fn connect(config: Checked) -> Result<CacheHandle, Error> {
    metrics::describe();
    let counters = Arc::default();
    let CheckedMemory { max_entries, max_bytes, max_value_bytes, weighers } = config.memory;
    let limits = MemoryLimits { max_entries, max_bytes };
    let memory = || Memory::new(limits, config.clock.clone());
    let (mut patience, mut fallback_max_age, mut near) = (DEFAULT_COMMAND_TIMEOUT, None, None);
    let (health, journal, memory, server) = match &config.topology {
        Topology::Memory => (Arc::new(HealthReporter::new(Health::Memory, "")), Arc::default(), Some(memory()), None),
        Topology::Server(connection) => {
            patience = connection.command_timeout;
            (fallback_max_age, near) = (connection.fallback_max_age, connection.near_cache);
            let endpoint = connection.seeds[0].to_string();
            if near.is_some() {
                metrics::set_near_cache(&endpoint, false);
            }
            let journal = Arc::new(Journal::of(&endpoint));
            let health = HealthReporter::new(Health::Connecting, endpoint);
            let health = Arc::new(health.with_fallback_max_age(fallback_max_age));
            let (written, counters, health_board) = (Arc::clone(&journal), Arc::clone(&counters), Arc::clone(&health));
            let (heard, clock) = (Arc::new(Unheard), config.clock.clone());
            let server = Redis::start(connection, &config.scope, written, heard, counters, health_board, clock)?;
            (health, journal, config.fallback_to_memory.then(memory), Some(server))
        }
    };
    let (server, sealing) = (server.map(Measured::new), config.sealing);
    let tiers = Tiers { memory, server, journal, counters, max_value_bytes, fallback_max_age, near, weighers, sealing };
    let key_builder = config.key_builder.map(|builder| builder.0);
    let defaults = Defaults::new(config.overrides, config.namespaces);
    let mut inner = Inner::new(tiers, health, defaults, key_builder, patience, config.clock);
    if let Topology::Server(connection) = &config.topology {
        inner = inner.with_max_in_flight(connection.max_in_flight).with_wait_for_server(connection.wait_for_server);
    }
    Ok(CacheHandle::new(Engine::new(inner, config.scope)))
}
