//! The options of connections, whatever they lead to.

use std::path::PathBuf;
use std::time::Duration;

use super::CacheHouseBuilder;
use crate::config::reconnect::Reconnect;
use crate::config::secret::{Password, Secret};
use crate::config::state::Connects;
use crate::config::tls::Tls;

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
    /// Sets the user to log in as; needs a password.
    #[doc(alias("auth", "acl", "user"))]
    pub fn username(mut self, username: impl Into<String>) -> Self
    where
        S: Connects,
    {
        self.state.connection().username = Some(username.into());
        self
    }

    /// Sets the password to log in with; without a user name, that of the server's default user.
    ///
    /// Replaces a [`password_file`](Self::password_file) that was set before.
    #[doc(alias("auth", "credentials", "secret"))]
    pub fn password(mut self, password: impl Into<Secret>) -> Self
    where
        S: Connects,
    {
        self.state.connection().password = Some(Password::Given(password.into()));
        self
    }

    /// Sets a file that holds the password. It's read at each connect, so that a rotated password works without a restart.
    ///
    /// UTF-8, up to 64 KiB, taken literally, except for one line break (`\n` or `\r\n`) at its end. Replaces a [`password`](Self::password)
    /// that was set before.
    ///
    /// If the file can't be read within [`connect_timeout`](Self::connect_timeout), `build()` returns an error; at a later connect, the handle
    /// is `Degraded` until the file can be read.
    ///
    /// ```no_run
    /// # use cache_house::CacheHouse;
    /// let cache = CacheHouse::builder().standalone("localhost").password_file("/run/secrets/redis").build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("auth", "credentials", "secret", "rotation"))]
    pub fn password_file(mut self, path: impl Into<PathBuf>) -> Self
    where
        S: Connects,
    {
        self.state.connection().password = Some(Password::File(path.into()));
        self
    }

    /// Encrypts the connections. A `rediss://` endpoint does so too, with the system's root certificates. Default: off.
    ///
    /// Needs the feature `tls`. With a Unix socket it's an error of `build()`.
    #[doc(alias("ssl", "rediss", "certificate"))]
    pub fn tls(mut self, tls: Tls) -> Self
    where
        S: Connects,
    {
        self.state.connection().tls = Some(tls);
        self
    }

    /// Sets how long one attempt to connect may take. Default: 5 s; from 1 ms to 10 minutes. No call waits for it.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self
    where
        S: Connects,
    {
        self.state.connection().connect_timeout = Some(timeout);
        self
    }

    /// Sets how long a call may wait for one operation of the server. Default: 250 ms; from 1 ms to one minute.
    ///
    /// A frozen server costs a call this much for each of its operations; most calls have one. Three timeouts in a row open the circuit,
    /// and later calls don't wait. A command that a cluster redirects takes twice this at most; a removal sends up to three of them, one
    /// after the other, while the key's slot moves.
    #[doc(alias("timeout", "response_timeout", "circuit breaker"))]
    pub fn command_timeout(mut self, timeout: Duration) -> Self
    where
        S: Connects,
    {
        self.state.connection().command_timeout = Some(timeout);
        self
    }

    /// Sets the number of connections to each server. Default: 1; from 1 to 64. Commands are pipelined, so 1 is fastest unless values are large.
    #[doc(alias("connection pool", "max_connections"))]
    pub fn pool_size(mut self, connections: usize) -> Self
    where
        S: Connects,
    {
        self.state.connection().pool_size = Some(connections);
        self
    }

    /// Sets how many operations may wait for a server at once, for each node of a cluster. Default: 4,096; from 1 to 2²⁰.
    ///
    /// Further calls don't queue: they read memory or run their work.
    #[doc(alias("backpressure", "bulkhead", "load shedding", "queue"))]
    pub fn max_in_flight(mut self, operations: usize) -> Self
    where
        S: Connects,
    {
        self.state.connection().max_in_flight = Some(operations);
        self
    }

    /// Sets for how long after the server confirmed a copy, by a hit or a store, memory serves it in an outage. Default: for its
    /// remaining TTL; from 1 ms to a year.
    ///
    /// So it bounds for how long a process that is cut off serves values that other processes have invalidated. Needs
    /// [`fallback_to_memory`](Self::fallback_to_memory).
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().standalone("localhost").fallback_max_age(Duration::from_secs(60)).build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("outage", "max_stale", "grace"))]
    pub fn fallback_max_age(mut self, age: Duration) -> Self
    where
        S: Connects,
    {
        self.state.connection().fallback_max_age = Some(age);
        self
    }

    /// Serves hits from memory without asking the server, which reports changes (`CLIENT TRACKING`). Default: off.
    ///
    /// `max_staleness` is from 10 ms to an hour. An answer may be as old as this, whatever happens to the network; while the connection
    /// is alive it's one network hop. A call, a namespace or the handle may ask for newer answers by
    /// [`max_staleness`](Self::max_staleness); zero there asks the server.
    ///
    /// It needs Redis 7 or later, or Valkey, and the permission `client|tracking`. It needs
    /// [`fallback_to_memory`](Self::fallback_to_memory), because memory holds its copies. In a cluster it reads from primaries, also
    /// with [`read_from_replicas`](Self::read_from_replicas).
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().standalone("localhost").near_cache(Duration::from_secs(1)).build()?;
    ///
    /// let error = CacheHouse::builder().standalone("localhost").near_cache(Duration::ZERO).build().unwrap_err();
    /// assert_eq!(error.to_string(), "near_cache: is 0ns; accepts 10ms to 3600s");
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("client-side caching", "CLIENT TRACKING", "L1"))]
    pub fn near_cache(mut self, max_staleness: Duration) -> Self
    where
        S: Connects,
    {
        self.state.connection().near_cache = Some(max_staleness);
        self
    }

    /// How long the first call waits for the first connection: 0, which is not at all; up to 600 s. For programs that end soon, such as a
    /// command line: without it, their first calls come before the connection and compute what the server has.
    ///
    /// The wait happens once a handle. It begins with the first call that could use the server, and calls beside it wait along. It ends with the
    /// connection, after this time, or at once where waiting doesn't help: the password, a permission, TLS or the topology is wrong.
    /// While no connection is made, an attempt follows each [`reconnect`](Self::reconnect) delay. Later calls, in an outage too, never wait for a connection.
    ///
    /// ```
    /// use cache_house::CacheHouse;
    /// use std::time::Duration;
    ///
    /// let cache = CacheHouse::builder().standalone("localhost").wait_for_server(Duration::from_secs(2)).build()?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("ready", "startup", "lazy connect"))]
    pub fn wait_for_server(mut self, limit: Duration) -> Self
    where
        S: Connects,
    {
        self.state.connection().wait_for_server = Some(limit);
        self
    }

    /// Sets the delays between attempts to reconnect. Default: from 50 ms, doubling to 2 s.
    #[doc(alias("backoff", "retry"))]
    pub fn reconnect(mut self, reconnect: Reconnect) -> Self
    where
        S: Connects,
    {
        self.state.connection().reconnect = Some(reconnect);
        self
    }
}
