//! Everything up to a valid configuration: builder states, endpoints, secrets, and what is loaded from files and the environment.

mod builder;
mod endpoint;
pub(crate) mod file;
mod limits;
mod load;
mod memory;
mod namespace;
mod reconnect;
mod secret;
mod state;
mod tls;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::codec::SharedCodec;
use crate::key::{KeyBuilder, Scope};

pub use builder::CacheHouseBuilder;
pub(crate) use endpoint::Address;
pub use endpoint::Endpoint;
pub(crate) use limits::DEFAULT_COMMAND_TIMEOUT;
pub(crate) use load::Sources;
pub use load::{Config, Setting};
pub(crate) use memory::CheckedMemory;
pub use namespace::NamespaceOptions;
pub use reconnect::Reconnect;
pub(crate) use secret::Password;
pub use secret::Secret;
pub use state::{
    Autodetect, Buildable, Cluster, Connects, Loaded, Memory, OwesTopology, ReadsFromReplicas, Standalone,
    TakesDatabase, TakesNodes, WantsTopology,
};
pub use tls::Tls;

/// A configuration that has been checked as a whole; made only by
/// [`CacheHouseBuilder::into_config`](builder::CacheHouseBuilder).
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) scope: Scope,
    pub(crate) expire: Duration,
    pub(crate) codec: SharedCodec,
    pub(crate) namespaces: Namespaces,
    pub(crate) key_builder: Option<Builder>,
    pub(crate) fallback_to_memory: bool,
    pub(crate) memory: CheckedMemory,
    pub(crate) clock: Clock,
    pub(crate) topology: Topology,
}

/// Options by namespace, as the user wrote it.
pub(crate) type Namespaces = HashMap<Box<str>, NamespaceOptions, foldhash::quality::RandomState>;

#[derive(Debug)]
pub(crate) enum Topology {
    Memory,
    Server(Box<ConnectionSettings>),
}

/// How to reach a server or a cluster, and how long to wait for it.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionSettings {
    /// Where to begin: the server, or nodes of a cluster, tried in turn. At least one.
    pub(crate) seeds: Vec<Endpoint>,
    pub(crate) expected: Expected,
    pub(crate) login: Option<Login>,
    pub(crate) tls: Option<Tls>,
    pub(crate) connect_timeout: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) pool_size: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) reconnect: Reconnect,
}

/// What is to be found at the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Standalone {
        database: u8,
    },
    Cluster {
        read_from_replicas: bool,
    },
    /// Either, told apart at each connect.
    Either,
}

#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// `None` is the server's default user.
    pub(crate) username: Option<String>,
    pub(crate) password: Password,
}

/// A key builder that can be shown.
#[derive(Clone)]
pub(crate) struct Builder(pub(crate) Arc<dyn KeyBuilder>);

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBuilder")
    }
}
