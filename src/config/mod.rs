//! Configuration: the builder, endpoints and secrets, and what is loaded from a file and the environment.

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
pub mod states;
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
