//! The options of a standalone server, and those of a cluster.

use super::CacheHouseBuilder;
use crate::config::endpoint::Endpoint;
use crate::config::state::{ReadsFromReplicas, TakesDatabase, TakesNodes};
use crate::error::Error;

/// Options of a standalone server.
impl<S> CacheHouseBuilder<S> {
    /// Sets the number of the database. Default: 0. `build()` returns an error if the endpoint's URL has one too.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    ///
    /// CacheHouse::builder().standalone("localhost").database(2).build()?;
    /// assert!(CacheHouse::builder().standalone("redis://localhost/1").database(2).build().unwrap_err().is_config());
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("db", "select"))]
    pub fn database(mut self, database: u8) -> Self
    where
        S: TakesDatabase,
    {
        self.state.set_database(database);
        self
    }
}

/// Options of a cluster, and of an endpoint where a cluster may be found.
impl<S> CacheHouseBuilder<S> {
    /// Adds a node to begin with, which is tried if those before it don't answer. One node that answers is enough.
    #[doc(alias("seed", "host"))]
    pub fn node<E>(mut self, endpoint: E) -> Self
    where
        S: TakesNodes,
        E: TryInto<Endpoint>,
        E::Error: Into<Error>,
    {
        let endpoint = self.endpoint("node", endpoint);
        self.state.nodes().extend(endpoint);
        self
    }

    /// Reads values from replicas too, and from replicas alone while their primary is away. Default: off.
    ///
    /// A replica is behind its primary. Until it has caught up, values that another process has just invalidated may be read. Keys that this
    /// process has invalidated within ten seconds are read from primaries.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    ///
    /// let cache = CacheHouse::builder().cluster("10.0.0.1:7000").read_from_replicas(true).build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("read replica", "readonly", "slave"))]
    pub fn read_from_replicas(mut self, on: bool) -> Self
    where
        S: ReadsFromReplicas,
    {
        self.state.set_read_from_replicas(on);
        self
    }
}
