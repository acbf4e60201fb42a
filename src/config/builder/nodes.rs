//! The options of a standalone server, and those of a cluster.

use super::CacheHouseBuilder;
use crate::config::endpoint::Endpoint;
use crate::config::state::{ReadsFromReplicas, TakesDatabase, TakesNodes};
use crate::error::Error;

/// Options of a standalone server.
impl<S> CacheHouseBuilder<S> {
    /// The number of the database: 0. An error of `build()` where the endpoint's URL names one too.
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

/// Options of a cluster, and of what may turn out to be one.
impl<S> CacheHouseBuilder<S> {
    /// One more node to begin with, tried where those before it don't answer. One that answers is enough.
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

    /// Whether values are read from replicas too, and from replicas alone while their primary is away: off. A replica is behind its
    /// primary, by little while all is well: until it has caught up, what another process has just invalidated may be read again. What this
    /// one has invalidated within ten seconds is read from primaries.
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
