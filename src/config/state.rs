//! The states of a builder: each carries what is already decided.

use std::time::Duration;

use super::{Connection, Endpoint, Login, Reconnect, Secret, Tls, Topology};
use crate::error::Error;

/// The topology is still owed: no `build` yet.
#[derive(Debug, Clone, Default)]
pub struct WantsTopology(());

/// One server.
#[derive(Debug, Clone)]
pub struct Standalone {
    pub(super) endpoint: Option<Endpoint>,
    pub(super) database: Option<u8>,
    pub(super) connection: ConnectionOptions,
}

/// The embedded cache: no server at all.
#[derive(Debug, Clone, Default)]
pub struct Memory(());

/// The state in which the topology is decided.
#[diagnostic::on_unimplemented(
    message = "the topology of this builder is decided already",
    label = "a second topology",
    note = "call exactly one of `.standalone(endpoint)` and `.memory()`"
)]
pub trait OwesTopology: sealed::Sealed {}

/// The states that know all they need.
#[diagnostic::on_unimplemented(
    message = "this builder doesn't know yet where to cache",
    label = "the topology is still owed",
    note = "call `.standalone(\"localhost:6379\")` for a Redis or Valkey server, or `.memory()` for none, before `.build()`"
)]
pub trait Buildable: sealed::Sealed {
    #[doc(hidden)]
    fn into_topology(self) -> Result<DecidedTopology, Error>;
}

/// The states with a connection to configure.
#[diagnostic::on_unimplemented(
    message = "connection options need a connection",
    label = "there is no server to connect to here",
    note = "call it after `.standalone(\"localhost:6379\")`; `.memory()` has no server"
)]
pub trait Connects: sealed::Sealed {
    #[doc(hidden)]
    fn connection(&mut self) -> &mut ConnectionOptions;
}

/// The states in which a database can be chosen.
#[diagnostic::on_unimplemented(
    message = "a database can be chosen only on a standalone server",
    label = "no server with numbered databases has been chosen",
    note = "call it after `.standalone(\"localhost:6379\")`; to keep entries apart elsewhere, use `.namespace(…)`"
)]
pub trait TakesDatabase: sealed::Sealed {
    #[doc(hidden)]
    fn set_database(&mut self, database: u8);
}

/// A [`Topology`] on its way from a state to a configuration.
#[doc(hidden)]
#[derive(Debug)]
pub struct DecidedTopology(pub(super) Topology);

/// The connection options, which every state with a connection has.
#[doc(hidden)]
#[derive(Debug, Clone, Default)]
pub struct ConnectionOptions {
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) tls: Option<Tls>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) command_timeout: Option<Duration>,
    pub(super) pool_size: Option<usize>,
    pub(super) max_in_flight: Option<usize>,
    pub(super) reconnect: Option<Reconnect>,
}

impl Standalone {
    pub(super) fn new(endpoint: Option<Endpoint>) -> Self {
        Self { endpoint, database: None, connection: ConnectionOptions::default() }
    }
}

impl Memory {
    pub(super) fn new() -> Self {
        Self(())
    }
}

impl OwesTopology for WantsTopology {}

impl Buildable for Memory {
    fn into_topology(self) -> Result<DecidedTopology, Error> {
        Ok(DecidedTopology(Topology::Memory))
    }
}

impl Buildable for Standalone {
    fn into_topology(self) -> Result<DecidedTopology, Error> {
        // A bad endpoint was kept as the builder's first error, which is returned before this is asked.
        let endpoint = self.endpoint.ok_or_else(|| Error::config("standalone", "has no endpoint"))?;
        let database = one_of("database", endpoint.database, self.database)?.unwrap_or(0);
        Ok(DecidedTopology(Topology::Standalone(Box::new(self.connection.into_connection(endpoint, database)?))))
    }
}

impl Connects for Standalone {
    fn connection(&mut self) -> &mut ConnectionOptions {
        &mut self.connection
    }
}

impl TakesDatabase for Standalone {
    fn set_database(&mut self, database: u8) {
        self.database = Some(database);
    }
}

impl ConnectionOptions {
    fn into_connection(self, endpoint: Endpoint, database: u8) -> Result<Connection, Error> {
        let username = one_of("username", endpoint.username.clone(), self.username)?;
        let password = one_of("password", endpoint.password.clone(), self.password)?;
        let login = match (username, password) {
            (username, Some(password)) => Some(Login { username, password }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Error::config("username", "is given without a password; accepts both or neither"));
            }
        };
        let over_unix = matches!(endpoint.address, super::Address::Unix(_));
        if self.tls.is_some() && over_unix {
            return Err(Error::config("tls", "is set for a Unix socket; accepts TCP endpoints only"));
        }
        let tls = self.tls.or_else(|| endpoint.tls.then(Tls::default));
        if tls.is_some() && cfg!(not(feature = "tls")) {
            return Err(Error::config("tls", "isn't in this build; turn on the feature `tls` of cache-house"));
        }
        let second = Duration::from_secs(1);
        Ok(Connection {
            endpoint,
            database,
            login,
            tls,
            connect_timeout: within("connect_timeout", self.connect_timeout.unwrap_or(5 * second), 600 * second)?,
            command_timeout: within("command_timeout", self.command_timeout.unwrap_or(second / 4), 60 * second)?,
            pool_size: in_range("pool_size", self.pool_size.unwrap_or(1) as u64, 1, 64)? as usize,
            max_in_flight: in_range("max_in_flight", self.max_in_flight.unwrap_or(4096) as u64, 1, 1 << 20)? as usize,
            reconnect: self.reconnect.unwrap_or_default().check()?,
        })
    }
}

/// The value that one of the two gives: the endpoint's URL, or the option.
fn one_of<T>(option: &str, in_url: Option<T>, set: Option<T>) -> Result<Option<T>, Error> {
    match (in_url, set) {
        (Some(_), Some(_)) => {
            Err(Error::config(option, format!("is given twice, in the endpoint's URL and by `.{option}(…)`; keep one")))
        }
        (in_url, set) => Ok(in_url.or(set)),
    }
}

fn within(option: &str, duration: Duration, longest: Duration) -> Result<Duration, Error> {
    let shortest = Duration::from_millis(1);
    if (shortest..=longest).contains(&duration) {
        return Ok(duration);
    }
    Err(Error::config(option, format!("is {duration:?}; accepts {shortest:?} to {longest:?}")))
}

pub(super) fn in_range(option: &str, value: u64, least: u64, most: u64) -> Result<u64, Error> {
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(Error::config(option, format!("is {value}; accepts {least} to {most}")))
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::WantsTopology {}
    impl Sealed for super::Standalone {}
    impl Sealed for super::Memory {}
}
