//! The choice of the topology.

use super::CacheHouseBuilder;
use crate::config::endpoint::Endpoint;
use crate::config::state::{Autodetect, Cluster, Memory, OwesTopology, Standalone};
use crate::error::Error;

/// Where to cache: exactly one of these.
impl<S> CacheHouseBuilder<S> {
    /// Caches on one Redis or Valkey server, version 6.2 or later, at this [`Endpoint`].
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

    /// Caches on a Redis or Valkey cluster, version 6.2 or later, of which this is a node.
    ///
    /// If this node is down, those of [`node`](Self::node) are tried in turn. The node that answers names all others.
    ///
    /// All nodes share credentials and TLS. `build()` returns an error if the URL has a database or other credentials than another node's,
    /// or is that of a Unix socket.
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

    /// Caches on a server or a cluster, whichever answers. Each connect finds out which, so one may replace the other.
    ///
    /// `build()` returns an error if the URL has a database, since a cluster has none to choose.
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

    /// Caches in this process alone, without a server.
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
