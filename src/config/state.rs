//! The states of a builder: each carries what is already decided.

use std::sync::Arc;
use std::time::Duration;

use super::connection::{ConnectionSettings, Expected, Login, Topology};
use super::endpoint::{Address, Endpoint};
use super::limits::{
    COMMAND_TIMEOUT, CONNECT_TIMEOUT, DEFAULT_COMMAND_TIMEOUT, FALLBACK_MAX_AGE, MAX_IN_FLIGHT, NEAR_CACHE, POOL_SIZE,
    WAIT_FOR_SERVER, in_range, within,
};
use super::load::sources::Sources;
use super::reconnect::Reconnect;
use super::secret::{Password, Secret};
use super::tls::Tls;
use crate::error::Error;

/// No topology yet: `build` isn't available.
#[derive(Debug, Clone, Default)]
pub struct WantsTopology(());

/// One server.
#[derive(Debug, Clone)]
pub struct Standalone {
    pub(super) endpoint: Option<Endpoint>,
    pub(super) database: Option<u8>,
    pub(super) connection: ConnectionOptions,
}

/// A cluster.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub(super) nodes: Vec<Endpoint>,
    pub(super) read_from_replicas: bool,
    pub(super) connection: ConnectionOptions,
}

/// A server or a cluster; each connect finds out which.
#[derive(Debug, Clone)]
pub struct Autodetect {
    pub(super) nodes: Vec<Endpoint>,
    pub(super) connection: ConnectionOptions,
}

/// The embedded cache: no server at all.
#[derive(Debug, Clone, Default)]
pub struct Memory(());

/// A topology from a file or the environment, known only at run time.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub(super) decided: Decided,
    pub(super) sources: Arc<Sources>,
}

/// The state that was decided on at run time.
#[derive(Debug, Clone)]
pub(super) enum Decided {
    Standalone(Standalone),
    Cluster(Cluster),
    Autodetect(Autodetect),
    Memory(Memory),
}

/// The state in which a topology has to be chosen.
#[diagnostic::on_unimplemented(
    message = "the topology of this builder is decided already",
    label = "a second topology",
    note = "call exactly one of `.standalone(endpoint)`, `.cluster(first_node)`, `.autodetect(endpoint)` and `.memory()`"
)]
pub trait OwesTopology: sealed::Sealed {}

/// The states with a topology: `build` is available.
#[diagnostic::on_unimplemented(
    message = "this builder doesn't know yet where to cache",
    label = "the topology is still owed",
    note = "before `.build()`, call `.autodetect(\"localhost:6379\")` for a Redis or Valkey server or cluster, `.standalone(…)` or `.cluster(…)` to insist on one of the two, or `.memory()` for none"
)]
pub trait Buildable: sealed::Sealed {
    #[doc(hidden)]
    fn into_topology(self, problems: &mut Vec<Error>) -> Option<DecidedTopology>;

    /// Where its options were written, if that isn't in code.
    #[doc(hidden)]
    fn sources(&self) -> Option<Arc<Sources>> {
        None
    }
}

/// The states with a connection to configure.
#[diagnostic::on_unimplemented(
    message = "connection options need a connection",
    label = "there is no server to connect to here",
    note = "call it after `.standalone(…)`, `.cluster(…)` or `.autodetect(…)`; `.memory()` has no server, and what is loaded has it from the file or the environment"
)]
pub trait Connects: sealed::Sealed {
    #[doc(hidden)]
    fn connection(&mut self) -> &mut ConnectionOptions;
}

/// The states in which a database can be chosen.
#[diagnostic::on_unimplemented(
    message = "a database can be chosen only on a standalone server",
    label = "no server with numbered databases has been chosen",
    note = "call it after `.standalone(…)`. A cluster has database 0 alone, and what `.autodetect(…)` finds may be one: to keep entries apart there, use `.namespace(…)`"
)]
pub trait TakesDatabase: sealed::Sealed {
    #[doc(hidden)]
    fn set_database(&mut self, database: u8);
}

/// The states with more nodes than one.
#[diagnostic::on_unimplemented(
    message = "only a cluster has more than one node",
    label = "no cluster has been chosen",
    note = "call it after `.cluster(first_node)`, or after `.autodetect(endpoint)`, which may find one"
)]
pub trait TakesNodes: sealed::Sealed {
    #[doc(hidden)]
    fn nodes(&mut self) -> &mut Vec<Endpoint>;
}

/// The states in which replicas may be read from.
#[diagnostic::on_unimplemented(
    message = "only a cluster's replicas can be read from",
    label = "no cluster has been chosen",
    note = "call it after `.cluster(first_node)`; what `.autodetect(…)` finds is read from its primaries alone"
)]
pub trait ReadsFromReplicas: sealed::Sealed {
    #[doc(hidden)]
    fn set_read_from_replicas(&mut self, on: bool);
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
    pub(super) password: Option<Password>,
    pub(super) tls: Option<Tls>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) command_timeout: Option<Duration>,
    pub(super) pool_size: Option<usize>,
    pub(super) max_in_flight: Option<usize>,
    pub(super) reconnect: Option<Reconnect>,
    pub(super) fallback_max_age: Option<Duration>,
    pub(super) near_cache: Option<Duration>,
    pub(super) wait_for_server: Option<Duration>,
}

impl Standalone {
    pub(super) fn new(endpoint: Option<Endpoint>) -> Self {
        Self { endpoint, database: None, connection: ConnectionOptions::default() }
    }
}

impl Cluster {
    pub(super) fn new(first: Option<Endpoint>) -> Self {
        Self { nodes: first.into_iter().collect(), read_from_replicas: false, connection: ConnectionOptions::default() }
    }
}

impl Autodetect {
    pub(super) fn new(first: Option<Endpoint>) -> Self {
        Self { nodes: first.into_iter().collect(), connection: ConnectionOptions::default() }
    }
}

impl Memory {
    pub(super) fn new() -> Self {
        Self(())
    }
}

impl OwesTopology for WantsTopology {}

impl Buildable for Memory {
    fn into_topology(self, _: &mut Vec<Error>) -> Option<DecidedTopology> {
        Some(DecidedTopology(Topology::Memory))
    }
}

impl Buildable for Standalone {
    fn into_topology(self, problems: &mut Vec<Error>) -> Option<DecidedTopology> {
        let in_url = self.endpoint.as_ref().and_then(|endpoint| endpoint.database);
        let database = one_of("database", in_url, self.database).unwrap_or_else(|error| {
            problems.push(error);
            None
        });
        let expected = Expected::Standalone { database: database.unwrap_or(0) };
        self.connection.into_topology("standalone", self.endpoint.into_iter().collect(), expected, problems)
    }
}

impl Buildable for Cluster {
    fn into_topology(self, problems: &mut Vec<Error>) -> Option<DecidedTopology> {
        problems.extend(refuse_database("cluster", &self.nodes, "a cluster has database 0 alone").err());
        if self.nodes.iter().any(|node| matches!(node.address, Address::Unix(_))) {
            problems.push(Error::config("cluster", "names a Unix socket; the nodes of a cluster are reached by TCP"));
        }
        let expected = Expected::Cluster { read_from_replicas: self.read_from_replicas };
        self.connection.into_topology("cluster", self.nodes, expected, problems)
    }
}

impl Buildable for Autodetect {
    fn into_topology(self, problems: &mut Vec<Error>) -> Option<DecidedTopology> {
        let why = "what is found may be a cluster, which has database 0 alone";
        problems.extend(refuse_database("autodetect", &self.nodes, why).err());
        self.connection.into_topology("autodetect", self.nodes, Expected::Either, problems)
    }
}

impl Decided {
    pub(super) fn into_topology(self, problems: &mut Vec<Error>) -> Option<DecidedTopology> {
        match self {
            Self::Standalone(state) => state.into_topology(problems),
            Self::Cluster(state) => state.into_topology(problems),
            Self::Autodetect(state) => state.into_topology(problems),
            Self::Memory(state) => state.into_topology(problems),
        }
    }
}

impl Buildable for Loaded {
    fn into_topology(self, problems: &mut Vec<Error>) -> Option<DecidedTopology> {
        self.decided.into_topology(problems)
    }

    fn sources(&self) -> Option<Arc<Sources>> {
        Some(Arc::clone(&self.sources))
    }
}

impl Connects for Cluster {
    fn connection(&mut self) -> &mut ConnectionOptions {
        &mut self.connection
    }
}

impl Connects for Autodetect {
    fn connection(&mut self) -> &mut ConnectionOptions {
        &mut self.connection
    }
}

impl TakesNodes for Cluster {
    fn nodes(&mut self) -> &mut Vec<Endpoint> {
        &mut self.nodes
    }
}

impl TakesNodes for Autodetect {
    fn nodes(&mut self) -> &mut Vec<Endpoint> {
        &mut self.nodes
    }
}

impl ReadsFromReplicas for Cluster {
    fn set_read_from_replicas(&mut self, on: bool) {
        self.read_from_replicas = on;
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
    /// `setter` is what the endpoints were handed to. All that is wrong goes to `problems`; where a bad endpoint was kept
    /// out, its error is known already.
    fn into_topology(
        self,
        setter: &str,
        seeds: Vec<Endpoint>,
        expected: Expected,
        problems: &mut Vec<Error>,
    ) -> Option<DecidedTopology> {
        let before = problems.len();
        if seeds.is_empty() {
            problems.push(Error::config(setter, "has no endpoint"));
        }
        let over_unix = seeds.iter().any(|seed| matches!(seed.address, Address::Unix(_)));
        let tls = self.tls.or_else(|| seeds.iter().any(|seed| seed.tls).then(Tls::default));
        if tls.is_some() && over_unix {
            problems.push(Error::config("tls", "is set for a Unix socket; accepts TCP endpoints only"));
        }
        if tls.is_some() && cfg!(not(feature = "tls")) {
            problems.push(Error::config("tls", "isn't in this build; turn on the feature `tls` of cache-house"));
        }
        let mut keep = |error| problems.push(error);
        let second = Duration::from_secs(1);
        let connect_timeout = self.connect_timeout.unwrap_or(5 * second);
        let connect_timeout = within("connect_timeout", connect_timeout, &CONNECT_TIMEOUT).map_err(&mut keep);
        // Where it's out of range, any will do: `build` fails.
        let patience = connect_timeout.as_ref().copied().unwrap_or(second);
        let login = login(setter, &seeds, self.username, self.password, patience).map_err(&mut keep);
        let command_timeout = self.command_timeout.unwrap_or(DEFAULT_COMMAND_TIMEOUT);
        let command_timeout = within("command_timeout", command_timeout, &COMMAND_TIMEOUT).map_err(&mut keep);
        let pool_size = in_range("pool_size", self.pool_size.unwrap_or(1) as u64, &POOL_SIZE).map_err(&mut keep);
        let max_in_flight = self.max_in_flight.unwrap_or(4096) as u64;
        let max_in_flight = in_range("max_in_flight", max_in_flight, &MAX_IN_FLIGHT).map_err(&mut keep);
        let reconnect = self.reconnect.unwrap_or_default().check().map_err(&mut keep);
        let fallback_max_age = self.fallback_max_age.map(|age| within("fallback_max_age", age, &FALLBACK_MAX_AGE));
        let fallback_max_age = fallback_max_age.transpose().map_err(&mut keep);
        let near_cache = self.near_cache.map(|age| within("near_cache", age, &NEAR_CACHE));
        let near_cache = near_cache.transpose().map_err(&mut keep);
        let wait_for_server = self.wait_for_server.unwrap_or_default();
        let wait_for_server = within("wait_for_server", wait_for_server, &WAIT_FOR_SERVER).map_err(&mut keep);
        if problems.len() > before {
            return None;
        }
        Some(DecidedTopology(Topology::Server(Box::new(ConnectionSettings {
            seeds,
            expected,
            login: login.ok()?,
            tls,
            connect_timeout: connect_timeout.ok()?,
            command_timeout: command_timeout.ok()?,
            pool_size: pool_size.ok()? as usize,
            max_in_flight: max_in_flight.ok()? as usize,
            reconnect: reconnect.ok()?,
            fallback_max_age: fallback_max_age.ok()?,
            near_cache: near_cache.ok()?,
            wait_for_server: wait_for_server.ok()?,
        }))))
    }
}

/// The credentials, from the endpoints' URLs or from the options. A password file has to be readable now already.
fn login(
    setter: &str,
    seeds: &[Endpoint],
    username: Option<String>,
    password: Option<Password>,
    patience: Duration,
) -> Result<Option<Login>, Error> {
    let in_urls = agreed_login(setter, seeds)?;
    let username = one_of("username", in_urls.0, username)?;
    let option = if matches!(password, Some(Password::File(_))) { "password_file" } else { "password" };
    let password = one_of(option, in_urls.1.map(Password::Given), password)?;
    match (username, password) {
        (username, Some(password)) => {
            password.read(patience).map_err(|problem| Error::config(option, problem))?;
            Ok(Some(Login { username, password }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::config("username", "is given without a password; accepts both or neither")),
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

/// The credentials in the endpoints' URLs: those that have any must have the same.
fn agreed_login(setter: &str, seeds: &[Endpoint]) -> Result<(Option<String>, Option<Secret>), Error> {
    let mut logins = seeds.iter().map(|seed| (&seed.username, &seed.password)).filter(|login| *login != (&None, &None));
    let Some(first) = logins.next() else { return Ok((None, None)) };
    if logins.any(|login| login != first) {
        return Err(Error::config(
            setter,
            "has endpoints whose URLs differ in their credentials; all nodes share them",
        ));
    }
    Ok((first.0.clone(), first.1.clone()))
}

fn refuse_database(setter: &str, nodes: &[Endpoint], why: &str) -> Result<(), Error> {
    match nodes.iter().find_map(|node| node.database) {
        None => Ok(()),
        Some(database) => Err(Error::config(
            setter,
            format!("has an endpoint whose URL names the database {database}, but {why}; accepts a URL without one"),
        )),
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::WantsTopology {}
    impl Sealed for super::Standalone {}
    impl Sealed for super::Cluster {}
    impl Sealed for super::Autodetect {}
    impl Sealed for super::Memory {}
    impl Sealed for super::Loaded {}
}
