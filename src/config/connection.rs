//! Where the values are cached: in memory alone, or on a server, and how it is reached.

use std::time::Duration;

use super::endpoint::Endpoint;
use super::reconnect::Reconnect;
use super::secret::Password;
use super::tls::Tls;

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
    /// For how long after the server confirmed a copy memory serves it in an outage; `None`: the copy's expiry decides.
    pub(crate) fallback_max_age: Option<Duration>,
    /// How old an answer of the near cache may be; `None`: there is no near cache.
    pub(crate) near_cache: Option<Duration>,
    /// How long the first calls wait for the first connection; zero: they don't.
    pub(crate) wait_for_server: Duration,
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
    /// Either; each connect finds out which.
    Either,
}

#[derive(Debug, Clone)]
pub(crate) struct Login {
    /// `None` is the server's default user.
    pub(crate) username: Option<String>,
    pub(crate) password: Password,
}
