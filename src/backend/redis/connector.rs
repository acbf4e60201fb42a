//! From the settings to a connection: logging in, and finding out what kind of server it is.

use std::future::{Future, poll_fn};
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

use super::link::{Ended, Lane, Link, Mode, Role, reply_reason};
use super::mask::{self, Mask};
use super::reply::{self, ErrorReply};
use super::tls;
use super::wire::Wire;
use crate::config::{Address, Connection, Expected, Login};
use crate::error::Error;
use crate::health::{Reason, ReasonKind};

/// What it takes to connect to any node; made once by `build()`, which reports what is wrong with it.
#[derive(Clone)]
pub(super) struct Recipe {
    config: Config,
    connection: ConnectionConfig,
    lanes: usize,
    connect_timeout: Duration,
    database: u8,
    /// Asked at each connect.
    login: Option<Login>,
    /// Of the password that was asked for last.
    mask: Mask,
}

/// What it takes to connect to one node.
pub(super) struct Connector {
    recipe: Arc<Recipe>,
    server: ServerConfig,
    role: Role,
    probe_key: Bytes,
}

impl Recipe {
    pub(super) fn new(settings: &Connection) -> Result<Self, Error> {
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
        let connection = ConnectionConfig {
            connection_timeout: settings.connect_timeout,
            internal_command_timeout: settings.connect_timeout,
            // A command that was in flight when its connection broke may have been carried out: never twice.
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
        let (lanes, connect_timeout) = (settings.pool_size, settings.connect_timeout);
        Ok(Self { config, connection, lanes, connect_timeout, database, login, mask: Mask::default() })
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
        let server = match address {
            Address::Tcp { host, port } => ServerConfig::Centralized { server: FredServer::new(host.as_str(), *port) },
            Address::Unix(path) => ServerConfig::Unix { path: path.clone() },
        };
        Self { recipe: Arc::clone(recipe), server, role, probe_key }
    }

    /// One attempt; the reason carries no secret.
    pub(super) async fn connect(&self) -> Result<(Link, Ended), Reason> {
        let recipe = Arc::new(self.recipe.with_password().await?);
        Self { recipe, server: self.server.clone(), role: self.role, probe_key: self.probe_key.clone() }.attempt().await
    }

    async fn attempt(&self) -> Result<(Link, Ended), Reason> {
        let all = async {
            let (mut lanes, mut tasks) = (Vec::new(), Vec::new());
            for _ in 0..self.recipe.lanes {
                let (lane, task) = self.connect_lane().await?;
                lanes.push(lane);
                tasks.push(task);
            }
            let mode = self.detect(&lanes[0]).await?;
            for lane in &mut lanes {
                lane.identify().await;
                if self.role == Role::Replica {
                    lane.allow_reading().await.map_err(|error| self.reason(&error))?;
                }
            }
            Ok((Link::new(lanes, mode, self.probe_key.clone()), Ended::new(tasks)))
        };
        match tokio::time::timeout(self.recipe.connect_timeout, all).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Reason::new(
                ReasonKind::Unreachable,
                format!("no answer within connect_timeout = {:?}", self.recipe.connect_timeout),
            )),
        }
    }

    async fn connect_lane(&self) -> Result<(Lane, ConnectHandle), Reason> {
        // Nothing listens to fred's events, and a thousand places for them cost 740 KiB a connection.
        let performance = PerformanceConfig { broadcast_channel_capacity: 1, ..PerformanceConfig::default() };
        let recipe = &*self.recipe;
        let config = Config {
            server: self.server.clone(),
            database: (self.role == Role::Standalone && recipe.database != 0).then_some(recipe.database),
            ..recipe.config.clone()
        };
        let client = Client::new(config, Some(performance), Some(recipe.connection.clone()), None);
        let outcome = client.wait_for_connect();
        let mut outcome = pin!(outcome);
        // Subscribed before the attempt begins, so that its outcome can't be missed.
        let early = poll_fn(|cx| Poll::Ready(outcome.as_mut().poll(cx))).await;
        let task = client.connect();
        let absent = (self.role == Role::Standalone).then(|| self.probe_key.clone());
        let lane = Lane::new(Wire::new(client.clone(), recipe.mask.clone()), task.abort_handle(), absent);
        let outcome = match early {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => outcome.await,
        };
        match outcome {
            Ok(()) => Ok((lane, task)),
            // fred tells of a failure twice, and there's place for one: the task knows it too.
            Err(error) => {
                let error = match task.await {
                    Ok(Err(error)) => error,
                    _ => error,
                };
                Err(self.reason(&error))
            }
        }
    }

    /// What kind of server it is: its own word, which any user may ask for.
    async fn detect(&self, lane: &Lane) -> Result<Mode, Reason> {
        let hello = lane.send("HELLO", Vec::new()).await.map_err(|error| self.reason(&error))?;
        let mode = hello.ok().and_then(|hello| reply::hello_field(&hello, "mode"));
        let found = match mode.as_deref() {
            Some("standalone") => Ok(Mode::Standalone),
            Some("cluster") => Ok(Mode::Cluster),
            Some(other) => Err(self.recipe.mask.masked(other)),
            None => lane.ask_for_mode().await.map_err(|error| self.reason(&error)).map(Ok)?,
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

    /// What kind of trouble an error of fred's is.
    fn reason(&self, error: &FredError) -> Reason {
        let mask = &self.recipe.mask;
        if let Some(reason) = reply_reason(&ErrorReply::parse(error.details(), mask)) {
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

fn is_tls_trouble(detail: &str) -> bool {
    ["certificate", "handshake", "corrupt message", "invalidmessage", "alert", "tls"]
        .iter()
        .any(|word| detail.to_lowercase().contains(word))
}
