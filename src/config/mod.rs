//! Everything up to a valid configuration: builder states, endpoints, secrets.

mod builder;
mod endpoint;
mod reconnect;
mod secret;
mod state;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::codec::SharedCodec;
use crate::key::{KeyBuilder, Scope};

pub use builder::CacheHouseBuilder;
pub(crate) use endpoint::Address;
pub use endpoint::Endpoint;
pub use reconnect::Reconnect;
pub use secret::Secret;
pub use state::{Buildable, Connects, Memory, OwesTopology, Standalone, TakesDatabase, WantsTopology};
pub use tls::Tls;

/// A configuration that has been checked as a whole; made only by
/// [`CacheHouseBuilder::into_config`](builder::CacheHouseBuilder).
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) scope: Scope,
    pub(crate) expire: Duration,
    pub(crate) codec: SharedCodec,
    pub(crate) key_builder: Option<Builder>,
    pub(crate) fallback_to_memory: bool,
    pub(crate) memory_max_entries: u64,
    pub(crate) memory_max_bytes: u64,
    pub(crate) max_value_bytes: u64,
    pub(crate) clock: Clock,
    pub(crate) topology: Topology,
}

#[derive(Debug)]
pub(crate) enum Topology {
    Memory,
    Standalone(Box<Connection>),
}

/// How to reach one server and how long to wait for it.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    pub(crate) endpoint: Endpoint,
    pub(crate) database: u8,
    pub(crate) login: Option<Login>,
    pub(crate) tls: Option<Tls>,
    pub(crate) connect_timeout: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) pool_size: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) reconnect: Reconnect,
}

#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// `None` is the server's default user.
    pub(crate) username: Option<String>,
    pub(crate) password: Secret,
}

/// A key builder that can be shown.
#[derive(Clone)]
pub(crate) struct Builder(pub(crate) Arc<dyn KeyBuilder>);

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBuilder")
    }
}
