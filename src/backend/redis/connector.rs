//! From the settings to a connection: logging in, and finding out what kind of server it is.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error as FredError, ErrorKind};
use fred::prelude::ClientLike;
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, Server as FredServer, ServerConfig, TcpConfig};
use fred::types::{ConnectHandle, RespVersion};
use futures_util::future::Either;
use tokio::time::{Instant, timeout_at};

use super::command::Command;
use super::connection::Connection;
use super::mask::{self, Mask};
use super::names::Names;
use super::pool::{Ended, Pool};
use super::reply::{self, ErrorReply};
use super::role::{Mode, Role};
use super::tls;
use super::wire::{SendError, Wire};
use crate::config::{Address, ConnectionSettings, Expected, Login};
use crate::error::Error;
use crate::health::{Reason, ReasonKind};

/// What it takes to connect to any node; made once by `build()`, which reports what is wrong with it.
#[derive(Clone)]
pub(super) struct Recipe {
    config: Config,
    options: ConnectionConfig,
    pool_size: usize,
    /// How many reports of changed keys may wait to be taken in.
    most_reports: usize,
    pub(super) connect_timeout: Duration,
    database: u8,
    /// Read at each connect.
    login: Option<Login>,
    /// Of the password that was read last.
    mask: Mask,
    /// Also what is known of their addresses, from one attempt to the next.
    names: Arc<Names>,
}

/// How many reports of changed keys may wait at once; beyond it all near copies go.
const MOST_REPORTS: usize = 1024;

/// What it takes to connect to one node.
pub(super) struct Connector {
    recipe: Arc<Recipe>,
    address: Address,
    role: Role,
    probe_key: Bytes,
}

impl Recipe {
    pub(super) fn new(settings: &ConnectionSettings) -> Result<Self, Error> {
        let tls = settings.tls.as_ref().map(|tls| tls::connector(tls, settings.connect_timeout)).transpose()?;
        let login = settings.login.clone();
        let config = Config {
            fail_fast: true,
            version: RespVersion::RESP3,
            username: login.as_ref().and_then(|login| login.username.as_deref()).map(mask::inline),
            #[cfg(feature = "tls")]
            tls,
            ..Config::default()
        };
        #[cfg(not(feature = "tls"))]
        let _: Option<std::convert::Infallible> = tls;
        let options = ConnectionConfig {
            connection_timeout: settings.connect_timeout,
            internal_command_timeout: settings.connect_timeout,
            // A command that was in flight when its connection broke may have been executed: never twice.
            max_command_attempts: 1,
            auto_client_setname: false,
            tcp: TcpConfig {
                nodelay: Some(true),
                #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
                user_timeout: Some(USER_TIMEOUT),
                ..TcpConfig::default()
            },
            ..ConnectionConfig::default()
        };
        let database = match settings.expected {
            Expected::Standalone { database } => database,
            Expected::Cluster { .. } | Expected::Either => 0,
        };
        let (pool_size, connect_timeout) = (settings.pool_size, settings.connect_timeout);
        Ok(Self {
            config,
            options,
            pool_size,
            most_reports: 1,
            connect_timeout,
            database,
            login,
            mask: Mask::default(),
            names: Arc::default(),
        })
    }

    /// The database of a standalone server.
    #[cfg(feature = "operate")]
    pub(super) fn database(&self) -> u8 {
        self.database
    }

    /// With the password as it is now.
    async fn with_password(&self) -> Result<Self, Reason> {
        let Some(login) = self.login.clone() else { return Ok(self.clone()) };
        let unreadable = |problem: String| {
            Reason::new(ReasonKind::Authentication, format!("the password file {problem}; it's tried again"))
        };
        let password = login.password.read_async(self.connect_timeout).await.map_err(unreadable)?;
        let config = Config { password: Some(mask::inline(password.expose())), ..self.config.clone() };
        Ok(Self { config, mask: Mask::of(password.expose()), ..self.clone() })
    }
}

impl Connector {
    pub(super) fn new(recipe: &Arc<Recipe>, address: &Address, role: Role, probe_key: Bytes) -> Self {
        Self { recipe: Arc::clone(recipe), address: address.clone(), role, probe_key }
    }

    /// One attempt; the reason carries no secret.
    pub(super) async fn connect(&self) -> Result<(Pool, Ended), Reason> {
        let recipe = Arc::new(self.recipe.with_password().await?);
        Self { recipe, address: self.address.clone(), role: self.role, probe_key: self.probe_key.clone() }
            .attempt()
            .await
    }

    /// The same for one connection on which the server reports changed keys.
    pub(super) fn reporting(&self) -> Self {
        let recipe = Recipe { pool_size: 1, most_reports: MOST_REPORTS, ..(*self.recipe).clone() };
        Self::new(&Arc::new(recipe), &self.address, self.role, self.probe_key.clone())
    }

    /// Has the next attempt begin with another of the host's addresses than the last, if there is one.
    pub(super) fn pass_over(&self) {
        if let Address::Tcp { host, port } = &self.address {
            self.recipe.names.pass_over(host, *port);
        }
    }

    async fn attempt(&self) -> Result<(Pool, Ended), Reason> {
        let limit = self.recipe.connect_timeout;
        let deadline = Instant::now() + limit;
        let unreachable = |problem: String| Reason::new(ReasonKind::Unreachable, problem);
        let late = || format!("no answer within connect_timeout = {limit:?}");
        let connecting = match &self.address {
            Address::Unix(path) => Either::Left(self.connect_to(ServerConfig::Unix { path: path.clone() })),
            Address::Tcp { host, port } => {
                let found = timeout_at(deadline, self.recipe.names.addresses(host, *port)).await;
                let found = found.unwrap_or_else(|_| Err(late()));
                let found = found.map_err(|problem| unreachable(format!("the host isn't resolved: {problem}")))?;
                Either::Right(self.connect_to_any(host, found, deadline))
            }
        };
        timeout_at(deadline, connecting).await.unwrap_or_else(|_| Err(unreachable(late())))
    }

    /// To the first of the host's addresses that answers. One that never does takes all the time, and is the last at the next attempt.
    async fn connect_to_any(
        &self,
        host: &str,
        addresses: Vec<SocketAddr>,
        deadline: Instant,
    ) -> Result<(Pool, Ended), Reason> {
        let mut last = Reason::new(ReasonKind::Unreachable, "the host has no address");
        for address in addresses {
            self.recipe.names.tries(host, address);
            match self.connect_to(server_at(host, address)).await {
                Ok(connected) => {
                    self.recipe.names.worked(host, address);
                    return Ok(connected);
                }
                Err(reason) => last = reason,
            }
            // fred's own timeout may be what ended it; and one that says what is wrong with it is the server.
            if Instant::now() >= deadline || last.kind() != ReasonKind::Unreachable {
                break;
            }
        }
        Err(last)
    }

    /// Connects the whole pool to one address: only one server keeps the order of the commands that are sent to it.
    async fn connect_to(&self, server: ServerConfig) -> Result<(Pool, Ended), Reason> {
        let (mut connections, mut tasks) = (Vec::new(), Vec::new());
        for _ in 0..self.recipe.pool_size {
            let (connection, task) = self.connect_one(&server).await?;
            connections.push(connection);
            tasks.push(task);
        }
        let mode = self.detect(&connections[0]).await?;
        for connection in &mut connections {
            connection.identify().await;
            if self.role == Role::Replica {
                connection.allow_reading().await.map_err(|error| self.reason(&error))?;
            }
        }
        Ok((Pool::new(connections, mode, self.probe_key.clone()), Ended::new(tasks)))
    }

    async fn connect_one(&self, server: &ServerConfig) -> Result<(Connection, ConnectHandle), Reason> {
        let recipe = &*self.recipe;
        // Else nothing listens to fred's events, and a thousand places for them cost 740 KiB a connection.
        let capacity = recipe.most_reports;
        let performance = PerformanceConfig { broadcast_channel_capacity: capacity, ..PerformanceConfig::default() };
        let config = Config {
            server: server.clone(),
            database: (self.role == Role::Standalone && recipe.database != 0).then_some(recipe.database),
            ..recipe.config.clone()
        };
        let client = Client::new(config, Some(performance), Some(recipe.options.clone()), None);
        let outcome = client.wait_for_connect();
        let mut outcome = pin!(outcome);
        // Subscribed before the attempt begins, so that its outcome can't be missed.
        let early = poll_fn(|cx| Poll::Ready(outcome.as_mut().poll(cx))).await;
        let task = client.connect();
        let absent = (self.role == Role::Standalone).then(|| self.probe_key.clone());
        let connection = Connection::new(Wire::new(client.clone(), recipe.mask.clone()), task.abort_handle(), absent);
        let outcome = match early {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => outcome.await,
        };
        match outcome {
            Ok(()) => Ok((connection, task)),
            // fred reports a failure twice, and its channel has room for one. The task returns it too.
            Err(error) => {
                let error = match task.await {
                    Ok(Err(error)) => error,
                    _ => error,
                };
                Err(self.reason(&error))
            }
        }
    }

    /// What kind of server it is, from HELLO, which any user may run.
    async fn detect(&self, connection: &Connection) -> Result<Mode, Reason> {
        let mode = match connection.send(Command::Hello).await {
            Ok(hello) => reply::hello_field(&hello, "mode"),
            Err(SendError::Refused(_)) => None,
            Err(SendError::Lost(error)) => return Err(self.reason(&error)),
        };
        let found = match mode.as_deref() {
            Some("standalone") => Ok(Mode::Standalone),
            Some("cluster") => Ok(Mode::Cluster),
            Some(other) => Err(self.recipe.mask.masked(other)),
            None => connection.find_mode().await.map_err(|error| self.reason(&error)).map(Ok)?,
        };
        let wrong = |text: String| Err(Reason::new(ReasonKind::WrongTopology, text));
        match (found, self.role) {
            (Ok(mode), Role::Any) => Ok(mode),
            (Ok(Mode::Standalone), Role::Standalone) => Ok(Mode::Standalone),
            (Ok(Mode::Cluster), Role::Primary | Role::Replica) => Ok(Mode::Cluster),
            (Ok(Mode::Cluster), Role::Standalone) => {
                wrong("the server is a node of a cluster; configure `cluster` or `autodetect`".into())
            }
            (Ok(Mode::Standalone), Role::Primary | Role::Replica) => {
                wrong("the server isn't a node of a cluster; configure `standalone` or `autodetect`".into())
            }
            (Err(mode), _) => wrong(format!("the server runs in {mode} mode, which keeps no values")),
        }
    }

    /// The reason that an error of fred's stands for.
    fn reason(&self, error: &FredError) -> Reason {
        let mask = &self.recipe.mask;
        if let Some(reason) = ErrorReply::parse(error.details(), mask).reason() {
            return reason;
        }
        if error.details().contains("SELECT is not allowed in cluster mode") {
            let problem = format!("the server is a node of a cluster, which has no database {}", self.recipe.database);
            return Reason::new(ReasonKind::WrongTopology, problem);
        }
        let kind = match error.kind() {
            ErrorKind::Auth => ReasonKind::Authentication,
            #[cfg(feature = "tls")]
            ErrorKind::Tls => ReasonKind::Tls,
            // rustls reports through `io::Error`, which has no kind for it.
            ErrorKind::IO if self.uses_tls() && is_tls_trouble(error.details()) => ReasonKind::Tls,
            _ => ReasonKind::Unreachable,
        };
        Reason::new(kind, reply::readable(error.details(), mask))
    }

    fn uses_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.recipe.config.uses_tls();
        #[cfg(not(feature = "tls"))]
        false
    }
}

/// How long the kernel may hold sent bytes without an acknowledgement before it ends a connection: a host that is gone
/// without a word is noticed although nothing is read.
#[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
const USER_TIMEOUT: Duration = Duration::from_secs(1);

/// The server at one address of a host, which is held to the host's name by TLS.
fn server_at(host: &str, address: SocketAddr) -> ServerConfig {
    let at = match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => format!("{}%{}", address.ip(), address.scope_id()),
        address => address.ip().to_string(),
    };
    #[cfg(feature = "tls")]
    let server = FredServer::new_with_tls(at, address.port(), Some(host.to_owned()));
    #[cfg(not(feature = "tls"))]
    let (server, _) = (FredServer::new(at, address.port()), host);
    ServerConfig::Centralized { server }
}

fn is_tls_trouble(detail: &str) -> bool {
    ["certificate", "handshake", "corrupt message", "invalidmessage", "alert", "tls"]
        .iter()
        .any(|word| detail.to_lowercase().contains(word))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;
    use crate::config::{CacheHouseBuilder, Topology};

    /// Answers as a server that is empty.
    fn serve(client: TcpStream) -> Option<()> {
        let mut lines = BufReader::new(client.try_clone().ok()?).lines();
        let mut client = client;
        while let Some(Ok(line)) = lines.next() {
            let rest = line.strip_prefix('*').map_or(0, |count| 2 * count.parse().unwrap_or(0));
            let words: Vec<_> = lines.by_ref().take(rest).map_while(Result::ok).collect();
            let command = words.get(1).map_or(line.as_str(), String::as_str);
            let reply = match command.split(' ').next() {
                Some("HELLO") => "%1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n",
                Some("INFO") => "$0\r\n\r\n",
                _ => "+OK\r\n",
            };
            client.write_all(reply.as_bytes()).ok()?;
        }
        Some(())
    }

    fn connector(name: &str, port: u16, limit: Duration, names: Names) -> Connector {
        let builder = CacheHouseBuilder::new().standalone((name, port)).connect_timeout(limit);
        let Topology::Server(settings) = builder.into_config().expect("it's right").topology else { unreachable!() };
        let recipe = Recipe { names: Arc::new(names), ..Recipe::new(&settings).expect("it's right") };
        Connector::new(&Arc::new(recipe), &settings.seeds[0].address, Role::Standalone, "probe".into())
    }

    fn local(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port))
    }

    #[tokio::test]
    async fn an_address_that_swallows_all_hides_the_others_for_one_attempt_only() {
        let server = TcpListener::bind(local(1, 0)).expect("there is a free port");
        let port = server.local_addr().expect("it's bound").port();
        let (_silent, _silent_too) = (TcpListener::bind(local(2, port)), TcpListener::bind(local(3, port)));
        std::thread::spawn(move || server.incoming().flatten().filter_map(serve).count());
        let resolve = |_: &str, port| Ok([2, 3, 1].map(|last| local(last, port)).to_vec());
        let connector = connector("swallows.example", port, Duration::from_secs(1), Names::by(resolve));
        let mut attempts = 0;
        while let Err(reason) = connector.connect().await {
            attempts += 1;
            assert_eq!(reason.kind(), ReasonKind::Unreachable, "{reason}");
            assert!(attempts < 10, "{attempts} attempts: {reason}");
        }
        assert!(attempts >= 2, "{attempts}");
        // What worked comes first: the others would take all the time.
        assert!(connector.connect().await.is_ok());
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_no_attempt() {
        let server = TcpListener::bind(local(1, 0)).expect("there is a free port");
        let port = server.local_addr().expect("it's bound").port();
        std::thread::spawn(move || server.incoming().flatten().filter_map(serve).count());
        let resolve = |_: &str, port| Ok([4, 5, 1].map(|last| local(last, port)).to_vec());
        let connector = connector("refuses.example", port, Duration::from_secs(20), Names::by(resolve));
        if let Err(reason) = connector.connect().await {
            panic!("{reason}");
        }
    }

    #[tokio::test]
    async fn a_resolver_that_hangs_or_fails_is_reported() {
        let hang = |_: &str, _| {
            std::thread::sleep(Duration::from_secs(2));
            Ok(Vec::new())
        };
        let report =
            async |name: &str, names| match connector(name, 1, Duration::from_millis(50), names).connect().await {
                Ok(_) => panic!("there is nothing"),
                Err(reason) => reason.to_string(),
            };
        let hanging = report("hangs.example", Names::by(hang)).await;
        assert!(hanging.contains("isn't resolved: no answer within connect_timeout = 50ms"), "{hanging}");
        let failing = report("fails.example", Names::by(|_, _| Err(std::io::Error::other("no such name")))).await;
        assert!(failing.ends_with("the host isn't resolved: no such name"), "{failing}");
        let empty = report("empty.example", Names::by(|_, _| Ok(Vec::new()))).await;
        assert!(empty.ends_with("the host has no address"), "{empty}");
    }

    #[cfg(feature = "tls")]
    #[test]
    fn tls_checks_the_name_and_not_the_address() {
        let ServerConfig::Centralized { server } = server_at("cache.example", local(1, 7)) else { unreachable!() };
        assert_eq!(
            (&*server.host, server.port, server.tls_server_name.as_deref()),
            ("127.0.0.1", 7, Some("cache.example"))
        );
    }
}
