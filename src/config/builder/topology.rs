//! The choice of the topology.

use super::CacheHouseBuilder;
use crate::config::endpoint::Endpoint;
use crate::config::state::{Autodetect, Cluster, Memory, OwesTopology, Standalone};
use crate::error::Error;

/// Where to cache: exactly one of these.
impl<S> CacheHouseBuilder<S> {
    /// One Redis or Valkey server, version 6 or later. Anything that makes an [`Endpoint`] names it.
    ///
    /// ```
    /// # use cache_house::CacheHouse;
    /// CacheHouse::builder().standalone("localhost").build()?;
    /// CacheHouse::builder().standalone(("10.0.0.7", 6380)).build()?;
    /// CacheHouse::builder().standalone("redis://app:s3cret@cache.example/2").build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("redis", "valkey", "server", "url", "connect"))]
    pub fn standalone<E>(mut self, endpoint: E) -> CacheHouseBuilder<Standalone>
    where
        S: OwesTopology,
        E: TryInto<Endpoint>,
        E::Error: Into<Error>,
    {
        let endpoint = self.endpoint("standalone", endpoint);
        self.enter(Standalone::new(endpoint))
    }

    /// A Redis or Valkey cluster, version 6 or later, of which this is a node; more of them, by [`node`](Self::node), are tried in turn
    /// where this one is down. The cluster itself names the others.
    ///
    /// All nodes share credentials and TLS. A database in the URL is an error of `build()`.
    ///
    /// ```
    /// # use cache_house::CacheHouse;
    /// let cache = CacheHouse::builder().cluster("10.0.0.1:7000").node("10.0.0.2:7000").build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("redis cluster", "valkey cluster", "shard"))]
    pub fn cluster<E>(mut self, first_node: E) -> CacheHouseBuilder<Cluster>
    where
        S: OwesTopology,
        E: TryInto<Endpoint>,
        E::Error: Into<Error>,
    {
        let endpoint = self.endpoint("cluster", first_node);
        self.enter(Cluster::new(endpoint))
    }

    /// A server or a cluster, whichever answers. Each connect finds out which, so one may replace the other.
    ///
    /// A database in the URL is an error of `build()`, since a cluster may be found.
    ///
    /// ```
    /// # use cache_house::CacheHouse;
    /// let cache = CacheHouse::builder().autodetect("localhost:6379").build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("redis", "valkey", "server", "url", "connect"))]
    pub fn autodetect<E>(mut self, endpoint: E) -> CacheHouseBuilder<Autodetect>
    where
        S: OwesTopology,
        E: TryInto<Endpoint>,
        E::Error: Into<Error>,
    {
        let endpoint = self.endpoint("autodetect", endpoint);
        self.enter(Autodetect::new(endpoint))
    }

    /// The embedded cache, with no server: entries live in this process alone.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    ///
    /// assert_eq!(cache.cached(opts!("answer"), || 42), 42);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("embedded", "in-process", "in-memory", "L1"))]
    pub fn memory(self) -> CacheHouseBuilder<Memory>
    where
        S: OwesTopology,
    {
        self.enter(Memory::new())
    }
}
