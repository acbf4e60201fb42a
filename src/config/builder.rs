//! The typestate builder.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::checked::{Builder, Checked};
use super::connection::Topology;
use super::endpoint::Endpoint;
use super::limits::EXPIRE;
use super::load::sources::Sources;
use super::memory::{MemoryOptions, Tier};
use super::namespace::{NamespaceOptions, Namespaces};
use super::reconnect::Reconnect;
use super::secret::{Password, Secret};
use super::state::{
    Autodetect, Buildable, Cluster, Connects, Decided, Loaded, Memory, OwesTopology, ReadsFromReplicas, Standalone,
    TakesDatabase, TakesNodes, WantsTopology,
};
use super::tls::Tls;
use crate::clock::Clock;
use crate::codec::{Codec, SharedCodec};
use crate::error::Error;
use crate::key::{KeyBuilder, Scope};

/// Builds a [`CacheHandle`](crate::CacheHandle), one decision at a time.
///
/// One decision is owed: where to cache. The rest has defaults and may be set in any order, before or after it.
///
/// 1. Where: [`autodetect`](Self::autodetect), [`standalone`](Self::standalone), [`cluster`](Self::cluster) or
///    [`memory`](Self::memory).
/// 2. What all calls share: namespace, key prefix, expiry, codec, key builder.
/// 3. How much stays in memory, and whether memory serves while a server is away.
/// 4. With a server: credentials, TLS, timeouts, reconnects.
///
/// ```
/// use cache_house::CacheHouse;
/// use std::time::Duration;
///
/// // One server; calls are served from memory until it answers.
/// let cache = CacheHouse::builder()
///     .namespace("app")
///     .expire(Duration::from_secs(60))
///     .standalone("localhost:6379")
///     .command_timeout(Duration::from_millis(100))
///     .build()?;
///
/// // A cluster, of which these two nodes are known.
/// let cache = CacheHouse::builder().cluster("10.0.0.1:7000").node("10.0.0.2:7000").read_from_replicas(true).build()?;
///
/// // Whatever answers there.
/// let cache = CacheHouse::builder().autodetect("localhost:6379").build()?;
///
/// // No server at all.
/// let cache = CacheHouse::builder().memory().memory_max_entries(1_000).build()?;
/// # Ok::<(), cache_house::Error>(())
/// ```
///
/// | state | entered by | has, beside the common options |
/// | --- | --- | --- |
/// | [`WantsTopology`] | `CacheHouse::builder()` | `standalone`, `cluster`, `autodetect`, `memory`; no `build` |
/// | [`Standalone`] | `.standalone(endpoint)` | `database`, connection options, `build` |
/// | [`Cluster`] | `.cluster(first_node)` | `node`, `read_from_replicas`, connection options, `build` |
/// | [`Autodetect`] | `.autodetect(endpoint)` | `node`, connection options, `build` |
/// | [`Memory`] | `.memory()` | `build` |
/// | [`Loaded`] | `CacheHouse::load()`, `from_file(path)`, `from_provider(p)` | `build`; code wins over what is loaded |
///
/// A wrong chain doesn't compile, and the compiler says what to do. A bad value is kept, the first one only, and
/// returned by `build()`, so that a chain needs no `?`.
#[must_use = "a builder does nothing until `.build()`"]
pub struct CacheHouseBuilder<S = WantsTopology> {
    common: Common,
    state: S,
    first_error: Option<Error>,
}

/// The options that every topology has.
#[derive(Debug)]
struct Common {
    namespace: String,
    key_prefix: String,
    expire: Duration,
    codec: SharedCodec,
    namespaces: Namespaces,
    key_builder: Option<Builder>,
    fallback_to_memory: bool,
    memory: MemoryOptions,
    clock: Clock,
}

impl Default for Common {
    fn default() -> Self {
        Self {
            namespace: "main".into(),
            key_prefix: "cachehouse".into(),
            expire: Duration::from_secs(180),
            codec: SharedCodec::default(),
            namespaces: Namespaces::default(),
            key_builder: None,
            fallback_to_memory: true,
            memory: MemoryOptions::default(),
            clock: Clock::default(),
        }
    }
}

impl CacheHouseBuilder<Loaded> {
    /// A builder whose `build` returns this error.
    pub(super) fn refused(error: Error) -> Self {
        let state = Loaded { decided: Decided::Memory(Memory::new()), sources: Arc::default() };
        Self { common: Common::default(), state, first_error: Some(error) }
    }
}

impl CacheHouseBuilder {
    pub(crate) fn new() -> Self {
        Self { common: Common::default(), state: WantsTopology::default(), first_error: None }
    }
}

/// Where to cache: exactly one of these.
impl<S> CacheHouseBuilder<S> {
    /// One Redis or Valkey server, version 6 or later. Anything that makes an [`Endpoint`] names it.
    ///
    /// ```
    /// # use cache_house::CacheHouse;
    /// CacheHouse::builder().standalone("localhost").build()?;
    /// CacheHouse::builder().standalone(("10.0.0.7", 6380)).build()?;
    /// CacheHouse::builder().standalone("redis://app:s3cret@cache.example/2").build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn standalone<E>(mut self, endpoint: E) -> CacheHouseBuilder<Standalone>
    where
        S: OwesTopology,
        E: TryInto<Endpoint>,
        E::Error: Into<Error>,
    {
        let endpoint = self.endpoint("standalone", endpoint);
        self.enter(Standalone::new(endpoint))
    }

    /// A Redis or Valkey cluster, version 6 or later, of which this is a node; more of them, by [`node`](Self::node), are tried in turn
    /// where this one is down. The others are learnt from the cluster itself.
    ///
    /// All nodes share credentials and TLS. A database in the URL is an error of `build()`.
    ///
    /// ```
    /// # use cache_house::CacheHouse;
    /// let cache = CacheHouse::builder().cluster("10.0.0.1:7000").node("10.0.0.2:7000").build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn cluster<E>(mut self, first_node: E) -> CacheHouseBuilder<Cluster>
    where
        S: OwesTopology,
        E: TryInto<Endpoint>,
        E::Error: Into<Error>,
    {
        let endpoint = self.endpoint("cluster", first_node);
        self.enter(Cluster::new(endpoint))
    }

    /// A server or a cluster, whichever answers: told apart at each connect, so that one may be replaced by the other.
    ///
    /// A database in the URL is an error of `build()`, since a cluster may be found.
    ///
    /// ```
    /// # use cache_house::CacheHouse;
    /// let cache = CacheHouse::builder().autodetect("localhost:6379").build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn autodetect<E>(mut self, endpoint: E) -> CacheHouseBuilder<Autodetect>
    where
        S: OwesTopology,
        E: TryInto<Endpoint>,
        E::Error: Into<Error>,
    {
        let endpoint = self.endpoint("autodetect", endpoint);
        self.enter(Autodetect::new(endpoint))
    }

    /// The embedded cache, with no server: entries live in this process alone.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    ///
    /// assert_eq!(cache.cached(opts!("answer"), || 42), 42);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn memory(self) -> CacheHouseBuilder<Memory>
    where
        S: OwesTopology,
    {
        self.enter(Memory::new())
    }
}

/// Options that every topology has.
///
/// ```
/// use cache_house::codec::Json;
/// use cache_house::{CacheHouse, opts};
/// use std::time::Duration;
///
/// let cache = CacheHouse::builder()
///     .key_prefix("shop")
///     .namespace("v2")
///     .expire(Duration::from_secs(60))
///     .codec(Json)
///     .fallback_to_memory(true)
///     .memory_max_entries(1_000)
///     .memory_max_bytes(8 * 1024 * 1024)
///     .max_value_bytes(1024 * 1024)
///     .memory()
///     .build()?;
/// assert!(cache.key(&opts!("price", 7))?.starts_with("shop:v2:"));
/// # Ok::<(), cache_house::Error>(())
/// ```
impl<S> CacheHouseBuilder<S> {
    /// The namespace of calls that name none: `main`. Any text of at least one character; in keys, `:`, `%`, `{`, `}` and what isn't
    /// printable ASCII are percent-escaped. So braces are no hash tag: a cluster spreads the keys of each namespace over all shards.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.common.namespace = namespace.into();
        self
    }

    /// What every key begins with: `cachehouse`. Any text of at least one character, escaped in keys as the
    /// [namespace](Self::namespace) is.
    pub fn key_prefix(mut self, key_prefix: impl Into<String>) -> Self {
        self.common.key_prefix = key_prefix.into();
        self
    }

    /// How long values live whose call doesn't say: 180 s. At least a millisecond; zero, "don't store", is for
    /// single calls.
    pub fn expire(mut self, expire: Duration) -> Self {
        self.common.expire = expire;
        self
    }

    /// The format of values whose call doesn't say: [`Json`](crate::codec::Json).
    pub fn codec(mut self, codec: impl Codec) -> Self {
        self.common.codec = SharedCodec::new(codec);
        self
    }

    /// What calls of this namespace have in common, over the handle's defaults; what a call says itself wins. The namespace is
    /// meant as calls name it, under whatever key prefix. Given again, what is set the second time wins.
    ///
    /// ```
    /// use cache_house::{CacheHouse, NamespaceOptions};
    /// use std::time::Duration;
    ///
    /// let short = NamespaceOptions::default().expire(Duration::from_secs(5));
    /// let cache = CacheHouse::builder().namespace_options("sessions", short).memory().build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn namespace_options(mut self, namespace: impl Into<String>, options: NamespaceOptions) -> Self {
        let entry = self.common.namespaces.entry(namespace.into().into()).or_default();
        *entry = options.or(std::mem::take(entry));
        self
    }

    /// Makes the keys of calls that bring no key builder of their own, in place of the SHA-1 over module, name and
    /// arguments.
    ///
    /// ```
    /// use cache_house::{CacheHouse, KeyContext, opts};
    ///
    /// let by_name = |cx: &KeyContext<'_>| cx.scoped(cx.name());
    /// let cache = CacheHouse::builder().key_builder(by_name).memory().build()?;
    /// assert_eq!(cache.key(&opts!("settings"))?, "cachehouse:main:settings");
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn key_builder(mut self, key_builder: impl KeyBuilder + 'static) -> Self {
        self.common.key_builder = Some(Builder(Arc::new(key_builder)));
        self
    }

    /// Whether memory serves while the server is away: on. Off, an outage means that the work runs each time, and
    /// no value is kept in this process. Without a server it means nothing.
    pub fn fallback_to_memory(mut self, on: bool) -> Self {
        self.common.fallback_to_memory = on;
        self
    }

    /// How many entries memory holds at most: 10,000; from 1 to 2³².
    pub fn memory_max_entries(mut self, entries: u64) -> Self {
        self.common.memory.max_entries = entries;
        self
    }

    /// How many bytes memory holds at most: 64 MiB; from 1 KiB to 2⁵⁰ bytes. Counted are keys, decoded values, beside a server encoded
    /// ones too, and what an entry costs beside them. What a decoded value takes up is [estimated](Self::memory_weight).
    pub fn memory_max_bytes(mut self, bytes: u64) -> Self {
        self.common.memory.max_bytes = bytes;
        self
    }

    /// How many bytes decoded values of this type take up in memory, in place of an estimate.
    ///
    /// That is the size of the type, and of what serde shows of its heap: texts, lists, maps. It doesn't see spare capacity, what
    /// `Serialize` leaves out, or that an `Arc` is shared; and of a type with functions in place of serde, all it knows is the encoded
    /// length, which a decoded value is taken to have at least. Called once a type; of two, the last counts.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// // A mebibyte of heap that JSON writes as a few bytes.
    /// let cache = CacheHouse::builder().memory_weight(|text: &String| text.capacity() as u64 + 40).memory().build()?;
    /// cache.insert(opts!("log"), &String::with_capacity(1 << 20))?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn memory_weight<T: 'static>(mut self, bytes: impl Fn(&T) -> u64 + Send + Sync + 'static) -> Self {
        self.common.memory.weighers.add(bytes);
        self
    }

    /// The largest encoded value that is stored: 16 MiB, without a server less if memory has less room; from 1 byte to 512 MiB, the
    /// server's own limit. A larger one is returned to its caller and not stored. An error of `build()` where memory has no room for it.
    pub fn max_value_bytes(mut self, bytes: u64) -> Self {
        self.common.memory.max_value_bytes = Some(bytes);
        self
    }

    /// The clock by which memory expires its entries, for tests: see [`ManualClock`](crate::ManualClock).
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.common.clock = clock.into();
        self
    }
}

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
    pub fn read_from_replicas(mut self, on: bool) -> Self
    where
        S: ReadsFromReplicas,
    {
        self.state.set_read_from_replicas(on);
        self
    }
}

/// Connection options.
///
/// ```
/// use cache_house::{CacheHouse, Reconnect};
/// use std::time::Duration;
///
/// let cache = CacheHouse::builder()
///     .autodetect("localhost:6379")
///     .username("app")
///     .password("s3cret")
///     .connect_timeout(Duration::from_secs(2))
///     .command_timeout(Duration::from_millis(100))
///     .pool_size(2)
///     .max_in_flight(1_000)
///     .reconnect(Reconnect::default().max_delay(Duration::from_secs(10)))
///     .build()?;
///
/// let error = CacheHouse::builder().standalone("localhost").pool_size(100).build().unwrap_err();
/// assert_eq!(error.to_string(), "pool_size: is 100; accepts 1 to 64");
/// # Ok::<(), cache_house::Error>(())
/// ```
impl<S> CacheHouseBuilder<S> {
    /// The user to log in as; needs a password.
    pub fn username(mut self, username: impl Into<String>) -> Self
    where
        S: Connects,
    {
        self.state.connection().username = Some(username.into());
        self
    }

    /// The password to log in with; without a user name, that of the server's default user. In place of a
    /// [`password_file`](Self::password_file) set before.
    pub fn password(mut self, password: impl Into<Secret>) -> Self
    where
        S: Connects,
    {
        self.state.connection().password = Some(Password::Given(password.into()));
        self
    }

    /// A file that holds the password, in place of a [`password`](Self::password) set before. It's read at each connect, so that a
    /// rotated one works without a restart: UTF-8, up to 64 KiB, taken as it is but for one line break (`\n` or `\r\n`) at its end.
    ///
    /// A file that can't be read within [`connect_timeout`](Self::connect_timeout) is an error of `build()`; later it makes the handle
    /// `Degraded`, until it can.
    ///
    /// ```no_run
    /// # use cache_house::CacheHouse;
    /// let cache = CacheHouse::builder().standalone("localhost").password_file("/run/secrets/redis").build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn password_file(mut self, path: impl Into<PathBuf>) -> Self
    where
        S: Connects,
    {
        self.state.connection().password = Some(Password::File(path.into()));
        self
    }

    /// Encrypts the connection; a `rediss://` endpoint does so too, with the system's root certificates.
    pub fn tls(mut self, tls: Tls) -> Self
    where
        S: Connects,
    {
        self.state.connection().tls = Some(tls);
        self
    }

    /// How long one attempt to connect may take: 5 s; from 1 ms to 10 minutes. No call waits for it.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self
    where
        S: Connects,
    {
        self.state.connection().connect_timeout = Some(timeout);
        self
    }

    /// How long a call may wait for one operation of the server: 250 ms; from 1 ms to one minute. It's what the cache may
    /// cost a call in an outage, until three in a row open the circuit.
    pub fn command_timeout(mut self, timeout: Duration) -> Self
    where
        S: Connects,
    {
        self.state.connection().command_timeout = Some(timeout);
        self
    }

    /// Connections to each server: 1; from 1 to 64. Commands are pipelined, so one is fastest unless values are large.
    pub fn pool_size(mut self, connections: usize) -> Self
    where
        S: Connects,
    {
        self.state.connection().pool_size = Some(connections);
        self
    }

    /// How many operations may wait for a server at once, for each node of a cluster: 4,096; from 1 to 2²⁰. Beyond it calls go to
    /// memory or to their work rather than queue.
    pub fn max_in_flight(mut self, operations: usize) -> Self
    where
        S: Connects,
    {
        self.state.connection().max_in_flight = Some(operations);
        self
    }

    /// The delays between attempts to reconnect.
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self
    where
        S: Connects,
    {
        self.state.connection().reconnect = Some(reconnect);
        self
    }
}

impl<S> CacheHouseBuilder<S> {
    pub(super) fn into_state(self) -> S {
        self.state
    }

    pub(super) fn shared_codec(mut self, codec: SharedCodec) -> Self {
        self.common.codec = codec;
        self
    }

    /// What is wrong with the bounds of memory, if it's beside a server or not; and the largest value that is stored.
    pub(super) fn check_memory(&self, has_server: bool) -> Result<u64, Error> {
        let tier = Tier::of(has_server, self.common.fallback_to_memory);
        self.common.memory.clone().check(tier).map(|memory| memory.max_value_bytes)
    }

    pub(crate) fn sources(&self) -> Option<Arc<Sources>>
    where
        S: Buildable,
    {
        self.state.sources()
    }

    pub(super) fn enter<T>(self, state: T) -> CacheHouseBuilder<T> {
        CacheHouseBuilder { common: self.common, state, first_error: self.first_error }
    }

    fn endpoint<E>(&mut self, setter: &str, endpoint: E) -> Option<Endpoint>
    where
        E: TryInto<Endpoint>,
        E::Error: Into<Error>,
    {
        endpoint.try_into().map_err(|error| self.keep(error.into().within(setter))).ok()
    }

    fn keep(&mut self, error: Error) {
        self.first_error.get_or_insert(error);
    }

    /// Checks the whole.
    pub(crate) fn into_config(self) -> Result<Checked, Error>
    where
        S: Buildable,
    {
        if let Some(error) = self.first_error {
            return Err(error);
        }
        let common = self.common;
        check_expire("expire", common.expire)?;
        for (namespace, options) in &common.namespaces {
            if namespace.is_empty() {
                return Err(Error::config("namespace_options", "names an empty namespace, which no call has"));
            }
            options.expire.map_or(Ok(()), |expire| check_expire("namespace_options", expire))?;
        }
        let mut problems = Vec::new();
        let topology = self.state.into_topology(&mut problems);
        if let Some(first) = problems.into_iter().next() {
            return Err(first);
        }
        let topology = topology.ok_or_else(|| Error::config("build", "has no topology"))?.0;
        let memory =
            common.memory.check(Tier::of(matches!(topology, Topology::Server(_)), common.fallback_to_memory))?;
        Ok(Checked {
            scope: Scope::new(&common.key_prefix, &common.namespace)?,
            expire: common.expire,
            codec: common.codec,
            namespaces: common.namespaces,
            key_builder: common.key_builder,
            fallback_to_memory: common.fallback_to_memory,
            memory,
            clock: common.clock,
            topology,
        })
    }
}

fn check_expire(option: &str, expire: Duration) -> Result<(), Error> {
    if EXPIRE.contains(&expire) {
        return Ok(());
    }
    let problem = "is zero, so nothing would ever be stored; accepts any longer time (zero is for single calls)";
    Err(Error::config(option, problem))
}

impl<S: fmt::Debug> fmt::Debug for CacheHouseBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHouseBuilder")
            .field("common", &self.common)
            .field("state", &self.state)
            .field("first_error", &self.first_error)
            .finish()
    }
}

#[cfg(test)]
mod tests;
