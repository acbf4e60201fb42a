//! Everything up to a valid configuration: builder states, endpoints, secrets, and what is loaded from files and the environment.

mod builder;
mod checked;
mod connection;
mod endpoint;
pub(crate) mod file;
mod freshness;
mod limits;
mod load;
mod memory;
mod namespace;
mod reconnect;
mod secret;
mod state;
mod tls;

pub use builder::CacheHouseBuilder;
pub(crate) use checked::Checked;
pub(crate) use connection::{ConnectionSettings, Expected, Login, Topology};
pub(crate) use endpoint::Address;
pub use endpoint::Endpoint;
pub(crate) use limits::DEFAULT_COMMAND_TIMEOUT;
pub use load::{Config, Setting};
pub(crate) use memory::CheckedMemory;
pub use namespace::NamespaceOptions;
pub(crate) use namespace::Namespaces;
pub use reconnect::Reconnect;
pub use secret::Secret;
// Public here as well, but shown in `states`: few programs name them.
#[doc(hidden)]
pub use state::{
    Autodetect, Buildable, Cluster, Connects, Loaded, Memory, OwesTopology, ReadsFromReplicas, Standalone,
    TakesDatabase, TakesNodes, WantsTopology,
};
pub use tls::Tls;

/// The states of a [`CacheHouseBuilder`], for functions that take or return one.
///
/// A state is what the builder knows about the topology: `CacheHouseBuilder<WantsTopology>` has no `build` yet,
/// `CacheHouseBuilder<Standalone>` has. The traits say which methods a state has.
///
/// ```
/// use cache_house::config::states::{Buildable, WantsTopology};
/// use cache_house::{CacheHandle, CacheHouse, CacheHouseBuilder, Error};
///
/// /// What all caches of this program share.
/// fn common() -> CacheHouseBuilder<WantsTopology> {
///     CacheHouse::builder().key_prefix("shop")
/// }
///
/// fn finish<S: Buildable>(builder: CacheHouseBuilder<S>) -> Result<CacheHandle, Error> {
///     builder.fallback_to_memory(true).build()
/// }
///
/// let cache = finish(common().memory())?;
/// # Ok::<(), cache_house::Error>(())
/// ```
///
/// | trait | method | states |
/// | --- | --- | --- |
/// | [`OwesTopology`] | `standalone`, `cluster`, `autodetect`, `memory` | [`WantsTopology`] |
/// | [`Buildable`] | `build` | all others |
/// | [`Connects`] | connection options, such as `password` and `command_timeout` | [`Standalone`], [`Cluster`], [`Autodetect`] |
/// | [`TakesDatabase`] | `database` | [`Standalone`] |
/// | [`TakesNodes`] | `node` | [`Cluster`], [`Autodetect`] |
/// | [`ReadsFromReplicas`] | `read_from_replicas` | [`Cluster`] |
pub mod states {
    #[doc(inline)]
    pub use super::state::{
        Autodetect, Buildable, Cluster, Connects, Loaded, Memory, OwesTopology, ReadsFromReplicas, Standalone,
        TakesDatabase, TakesNodes, WantsTopology,
    };
}
