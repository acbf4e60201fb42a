//! The typestate builder.

// In the order in which the documentation shows what they add.
mod topology;

mod common;

mod freshness;

mod memory;

#[cfg(any(feature = "encryption", feature = "lz4"))]
mod sealing;

mod nodes;

mod connection;

mod check;

use std::fmt;
use std::sync::Arc;

use super::checked::Builder;
use super::endpoint::Endpoint;
use super::memory::MemoryOptions;
use super::namespace::Namespaces;
use super::state::{Decided, Loaded, Memory, WantsTopology};
use crate::clock::Clock;
use crate::codec::{Sealing, SharedCodec};
use crate::error::Error;
use crate::policy::{FreshnessOverrides, Overrides};

/// Builds a [`CacheHandle`](crate::CacheHandle), one decision at a time.
///
/// One decision is owed: where to cache. The rest has defaults and may be set in any order, before or after it.
///
/// 1. Where: [`autodetect`](Self::autodetect), [`standalone`](Self::standalone), [`cluster`](Self::cluster) or
///    [`memory`](Self::memory).
/// 2. What all calls share: namespace, key prefix, expiry, codec, key builder.
/// 3. How much stays in memory, and whether memory serves while a server is away.
/// 4. With a server: credentials, TLS, timeouts, reconnects.
///
/// ```
/// use cache_house::CacheHouse;
/// use std::time::Duration;
///
/// // One server; calls are served from memory until it answers.
/// let cache = CacheHouse::builder()
///     .namespace("app")
///     .expire(Duration::from_secs(60))
///     .standalone("localhost:6379")
///     .command_timeout(Duration::from_millis(100))
///     .build()?;
///
/// // A cluster, of which these two nodes are known.
/// let cache = CacheHouse::builder().cluster("10.0.0.1:7000").node("10.0.0.2:7000").read_from_replicas(true).build()?;
///
/// // Whatever answers there.
/// let cache = CacheHouse::builder().autodetect("localhost:6379").build()?;
///
/// // No server at all.
/// let cache = CacheHouse::builder().memory().memory_max_entries(1_000).build()?;
/// # Ok::<(), cache_house::Error>(())
/// ```
///
/// | state | entered by | has, beside the common options |
/// | --- | --- | --- |
/// | [`WantsTopology`] | `CacheHouse::builder()` | `standalone`, `cluster`, `autodetect`, `memory`; no `build` |
/// | [`Standalone`](crate::config::Standalone) | `.standalone(endpoint)` | `database`, connection options, `build` |
/// | [`Cluster`](crate::config::Cluster) | `.cluster(first_node)` | `node`, `read_from_replicas`, connection options, `build` |
/// | [`Autodetect`](crate::config::Autodetect) | `.autodetect(endpoint)` | `node`, connection options, `build` |
/// | [`Memory`] | `.memory()` | `build` |
/// | [`Loaded`] | `CacheHouse::load()`, `from_file(path)`, `from_provider(p)` | `build`; code wins over what is loaded |
///
/// A wrong chain doesn't compile, and the compiler says what to do. A chain needs no `?`: `build()` returns the first bad value. Of an
/// option that is set twice, the last value counts.
#[must_use = "a builder does nothing until `.build()`"]
pub struct CacheHouseBuilder<S = WantsTopology> {
    common: Common,
    state: S,
    first_error: Option<Error>,
}

/// The options that every topology has.
#[derive(Debug)]
struct Common {
    namespace: String,
    key_prefix: String,
    overrides: Overrides,
    namespaces: Namespaces,
    key_builder: Option<Builder>,
    fallback_to_memory: bool,
    memory: MemoryOptions,
    clock: Clock,
    sealing: Sealing,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            namespace: "main".into(),
            key_prefix: "cachehouse".into(),
            overrides: Overrides::defaults(),
            namespaces: Namespaces::default(),
            key_builder: None,
            fallback_to_memory: true,
            memory: MemoryOptions::default(),
            clock: Clock::default(),
            sealing: Sealing::default(),
        }
    }
}

impl CacheHouseBuilder<Loaded> {
    /// A builder whose `build` returns this error.
    pub(super) fn refused(error: Error) -> Self {
        let state = Loaded { decided: Decided::Memory(Memory::new()), sources: Arc::default() };
        Self { common: Common::default(), state, first_error: Some(error) }
    }
}

impl CacheHouseBuilder {
    pub(crate) fn new() -> Self {
        Self { common: Common::default(), state: WantsTopology::default(), first_error: None }
    }
}

impl<S> CacheHouseBuilder<S> {
    pub(super) fn into_state(self) -> S {
        self.state
    }

    pub(super) fn shared_codec(mut self, codec: SharedCodec) -> Self {
        self.common.overrides.codec = Some(codec);
        self
    }

    pub(super) fn loaded_freshness(mut self, freshness: Option<FreshnessOverrides>) -> Self {
        if let Some(freshness) = freshness {
            *self.common.overrides.freshness_mut() = freshness;
        }
        self
    }

    pub(super) fn loaded_sealing(mut self, sealing: Sealing) -> Self {
        self.common.sealing = sealing;
        self
    }

    pub(super) fn enter<T>(self, state: T) -> CacheHouseBuilder<T> {
        CacheHouseBuilder { common: self.common, state, first_error: self.first_error }
    }

    /// The endpoint that a setter was handed; where it's bad, the first error is kept.
    fn endpoint<E>(&mut self, setter: &str, endpoint: E) -> Option<Endpoint>
    where
        E: TryInto<Endpoint>,
        E::Error: Into<Error>,
    {
        endpoint.try_into().map_err(|error| self.keep(error.into().within(setter))).ok()
    }

    fn keep(&mut self, error: Error) {
        self.first_error.get_or_insert(error);
    }
}

impl<S: fmt::Debug> fmt::Debug for CacheHouseBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHouseBuilder")
            .field("common", &self.common)
            .field("state", &self.state)
            .field("first_error", &self.first_error)
            .finish()
    }
}

#[cfg(test)]
mod tests;
