//! One connection to one server: a fresh fred client for each, or several where a pool is wanted.

use std::future::{Future, poll_fn};
use std::hash::BuildHasher;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error as FredError, ErrorKind};
use fred::prelude::{ClientLike, KeysInterface};
use fred::types::config::{Config, ConnectionConfig, PerformanceConfig, Server as FredServer, ServerConfig, TcpConfig};
use fred::types::{ClusterHash, ConnectHandle, CustomCommand, Key, Resp3Frame as Frame, RespVersion, Value};
use futures_util::future::join_all;
use tokio::task::AbortHandle;

use super::batch::Batcher;
use super::reply::{self, ErrorReply};
use super::tls;
use crate::config::{Address, Connection, Expected, Login, Password};
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
    /// What was asked for last. Never shown; here to be cut out of whatever the server says.
    password: Option<String>,
}

/// What it takes to connect to one node.
pub(super) struct Connector {
    recipe: Arc<Recipe>,
    server: ServerConfig,
    role: Role,
    probe_key: Bytes,
}

/// What a node is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// That's to be found out.
    Any,
    Standalone,
    Primary,
    /// Of a cluster, and read from.
    Replica,
}

/// What kind of server a link leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Standalone,
    Cluster,
}

/// A connection that has logged in, and is of the right kind.
pub(super) struct Link {
    /// One client, or as many as the pool has. A key always goes by the same one, so that the server sees the
    /// operations on it in the order in which they were sent.
    lanes: Vec<Lane>,
    mode: Mode,
    /// A key that never exists, to ask for when the server's health is in question.
    probe_key: Bytes,
    over: AtomicBool,
    /// Set once a reply was seen that answers another command.
    out_of_step: AtomicBool,
}

struct Lane {
    client: Client,
    reads: Batcher,
    task: AbortHandle,
    identity: Option<Identity>,
}

/// A connection as the server knows it: its number, and its address so that a restarted server's stranger of the
/// same number isn't taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    id: String,
    address: String,
}

/// Resolves when a connection of the link has ended.
pub(super) struct Ended(Vec<ConnectHandle>);

/// A command on its way.
pub(super) type Operation = Pin<Box<dyn Future<Output = Sent> + Send>>;

/// What came back from a command that was sent.
pub(super) type Sent = Result<Result<Frame, ErrorReply>, FredError>;

/// A command with its arguments.
pub(super) type Command = (&'static str, Vec<Value>);

/// What came back from commands that were sent together: a reply for each.
pub(super) type SentAll = Result<Result<Vec<Result<Frame, ErrorReply>>, ErrorReply>, FredError>;

impl Recipe {
    pub(super) fn new(settings: &Connection) -> Result<Self, Error> {
        let tls = settings.tls.as_ref().map(tls::connector).transpose()?;
        let login = settings.login.clone();
        let config = Config {
            fail_fast: true,
            version: RespVersion::RESP3,
            username: login.as_ref().and_then(|login| login.username.clone()),
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
        Ok(Self { config, connection, lanes, connect_timeout, database, login, password: None })
    }

    /// With the password as it is now.
    async fn with_password(&self) -> Result<Self, Reason> {
        let Some(login) = self.login.clone() else { return Ok(self.clone()) };
        // Reading a file may take its time, which other tasks of the runtime shouldn't have to wait for.
        let password = match login.password {
            Password::Given(password) => Ok(password),
            file @ Password::File(_) => {
                let reading = tokio::task::spawn_blocking(move || file.read());
                match tokio::time::timeout(self.connect_timeout, reading).await {
                    Ok(Ok(read)) => read,
                    _ => Err("wasn't read within connect_timeout".into()),
                }
            }
        };
        let unreadable = |problem: String| {
            Reason::new(ReasonKind::Authentication, format!("the password file {problem}; it's tried again"))
        };
        let password = Some(password.map_err(unreadable)?.expose().to_owned());
        Ok(Self { config: Config { password: password.clone(), ..self.config.clone() }, password, ..self.clone() })
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
        let (lanes, probe_key) = (self.recipe.lanes, self.probe_key.clone());
        let mut link = Link {
            lanes: Vec::with_capacity(lanes),
            mode: Mode::Standalone,
            probe_key,
            over: AtomicBool::new(false),
            out_of_step: AtomicBool::new(false),
        };
        let mut ended = Ended(Vec::with_capacity(lanes));
        let all = async {
            for _ in 0..lanes {
                let (lane, task) = self.connect_lane().await?;
                link.lanes.push(lane);
                ended.0.push(task);
            }
            link.mode = self.detect(&link.lanes[0]).await?;
            for lane in &mut link.lanes {
                lane.identity = lane.identify().await;
                if self.role == Role::Replica {
                    lane.allow_reading().await.map_err(|error| self.reason(&error))?;
                }
            }
            Ok(())
        };
        match tokio::time::timeout(self.recipe.connect_timeout, all).await {
            Ok(Ok(())) => Ok((link, ended)),
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err(Reason::new(
                ReasonKind::Unreachable,
                format!("no answer within connect_timeout = {:?}", self.recipe.connect_timeout),
            )),
        }
    }

    async fn connect_lane(&self) -> Result<(Lane, ConnectHandle), Reason> {
        let performance = PerformanceConfig { broadcast_channel_capacity: 1024, ..PerformanceConfig::default() };
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
        let reads = Batcher::start(client.clone(), (self.role == Role::Standalone).then(|| self.probe_key.clone()));
        let lane = Lane { client: client.clone(), reads, task: task.abort_handle(), identity: None };
        let outcome = match early {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => outcome.await,
        };
        outcome.map_err(|error| self.reason(&error))?;
        Ok((lane, task))
    }

    /// What kind of server it is: its own word, which any user may ask for.
    async fn detect(&self, lane: &Lane) -> Result<Mode, Reason> {
        let hello = lane.send("HELLO", Vec::new()).await.map_err(|error| self.reason(&error))?;
        let mode = hello.ok().and_then(|hello| reply::hello_field(&hello, "mode"));
        let found = match mode.as_deref() {
            Some("standalone") => Ok(Mode::Standalone),
            Some("cluster") => Ok(Mode::Cluster),
            Some(other) => Err(other.to_owned()),
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
        let reply = ErrorReply::parse(error.details());
        if let Some(reason) = reply_reason(&reply) {
            return reason;
        }
        let mut detail = readable(error.details());
        if detail.contains("SELECT is not allowed in cluster mode") {
            let problem = format!("the server is a node of a cluster, which has no database {}", self.recipe.database);
            return Reason::new(ReasonKind::WrongTopology, problem);
        }
        if let Some(password) = self.recipe.password.as_deref().filter(|password| !password.is_empty()) {
            detail = detail.replace(password, "***");
        }
        let kind = match error.kind() {
            ErrorKind::Auth => ReasonKind::Authentication,
            #[cfg(feature = "tls")]
            ErrorKind::Tls => ReasonKind::Tls,
            // rustls reports through `io::Error`, which has no kind for it.
            ErrorKind::IO if self.uses_tls() && is_tls_trouble(&detail) => ReasonKind::Tls,
            _ => ReasonKind::Unreachable,
        };
        Reason::new(kind, detail)
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

impl Link {
    /// Sends a command that concerns `key`.
    pub(super) fn send(&self, key: &Bytes, command: &'static str, args: Vec<Value>) -> Operation {
        let client = self.lanes[self.lane_of(key)].client.clone();
        // fred's futures have kilobytes, which every future of a caller would contain several times over.
        Box::pin(async move { send(&client, command, args).await })
    }

    /// Asks for `key` together with those who ask for others.
    pub(super) fn get_together(&self, key: &Bytes) -> impl Future<Output = Sent> + Send + use<> {
        self.lanes[self.lane_of(key)].reads.get(key.clone())
    }

    /// Sends a command that concerns `key` to the node that is taking the key's slot over.
    pub(super) fn send_asking(&self, key: &Bytes, command: &'static str, args: Vec<Value>) -> Operation {
        let client = self.lanes[self.lane_of(key)].client.clone();
        Box::pin(async move {
            let replies = send_all(&client, vec![("ASKING", Vec::new()), (command, args)]).await?;
            Ok(replies.and_then(|mut replies| replies.pop().unwrap_or(Ok(Frame::Null))))
        })
    }

    /// Sends commands back to back, on the connection of `key`.
    pub(super) fn send_together(
        &self,
        key: &Bytes,
        commands: Vec<Command>,
    ) -> Pin<Box<dyn Future<Output = SentAll> + Send>> {
        let client = self.lanes[self.lane_of(key)].client.clone();
        Box::pin(async move { send_all(&client, commands).await })
    }

    /// Which node has which slots.
    pub(super) async fn cluster_slots(&self) -> Sent {
        self.lanes[0].send("CLUSTER", vec!["SLOTS".into()]).await
    }

    /// What the node knows of all nodes, itself and its moving slots included.
    pub(super) fn cluster_nodes(&self) -> Operation {
        let client = self.lanes[0].client.clone();
        Box::pin(async move { send(&client, "CLUSTER", vec!["NODES".into()]).await })
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Waits until the server has carried out all that was sent on every lane before: whatever it replies, it has come to it.
    pub(super) fn barrier(self: Arc<Self>) -> Operation {
        Box::pin(async move { self.probe().await.map(|_| Ok(Frame::Null)) })
    }

    /// Whether more than one connection has to be waited for by [`barrier`](Self::barrier).
    pub(super) fn has_several_lanes(&self) -> bool {
        self.lanes.len() > 1
    }

    /// Asks on every lane for the key that never exists, by the one command that a cache can't do without, so that any error reply tells
    /// how a call would fare.
    ///
    /// # Errors
    ///
    /// Where a connection is lost, and where the answer is a value: it's that to another command.
    pub(super) async fn probe(&self) -> Sent {
        let answers = join_all(self.lanes.iter().map(|lane| self.ask_for_nothing(lane))).await;
        answers.into_iter().find(|answer| !matches!(answer, Ok(Ok(_)))).unwrap_or(Ok(Ok(Frame::Null)))
    }

    async fn ask_for_nothing(&self, lane: &Lane) -> Sent {
        let answer = lane.send("GET", vec![self.probe_key.clone().into()]).await?;
        if answer.as_ref().is_ok_and(|frame| !matches!(frame, Frame::Null)) {
            self.out_of_step.store(true, Ordering::Relaxed);
            return Err(out_of_step());
        }
        Ok(answer)
    }

    /// Whether replies went to other commands than theirs: nothing that is read over this link can be relied on.
    pub(super) fn is_out_of_step(&self) -> bool {
        self.out_of_step.load(Ordering::Relaxed) || self.lanes.iter().any(|lane| lane.reads.is_out_of_step())
    }

    /// Tries the commands that a cache can't do without, harmlessly, and tells of the first that says more about the server
    /// than about itself.
    pub(super) async fn check_permissions(&self) -> Result<Option<Reason>, FredError> {
        if let Err(reply) = self.probe().await?
            && let Some(reason) = reply_reason(&reply)
        {
            return Ok(Some(reason));
        }
        let key = || Value::from(self.probe_key.clone());
        // `XX` on a key that isn't there: nothing is set.
        let set = vec![key(), "".into(), "XX".into(), "PX".into(), 1.into()];
        for (command, args) in [("SET", set), ("UNLINK", vec![key()])] {
            if let Err(reply) = self.lanes[0].send(command, args).await?
                && let Some(reason) = reply_reason(&reply)
            {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    /// Has the server end connections of ours that it may not know to be dead yet, so that nothing which was sent on
    /// them can be carried out any more; returns those of which it hasn't answered. A server or a user that can't do so is left
    /// alone.
    pub(super) async fn end_on_server(&self, mut gone: Vec<Identity>) -> Vec<Identity> {
        while let Some(Identity { id, address }) = gone.last() {
            let args = ["KILL", "ID", id, "ADDR", address].map(Value::from).to_vec();
            match self.lanes[0].send("CLIENT", args).await {
                Ok(Ok(_)) => {}
                Ok(Err(ErrorReply { code, .. })) => {
                    tracing::debug!(target: "cache_house", code, "an old connection couldn't be ended on the server");
                }
                Err(_) => break,
            }
            gone.pop();
        }
        gone
    }

    pub(super) fn identities(&self) -> Vec<Identity> {
        self.lanes.iter().filter_map(|lane| lane.identity.clone()).collect()
    }

    /// Whether it has been aborted.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Ends the connections. What is in flight may wait for ever: fred drops neither what a client has been sent that has ended,
    /// nor what it's sent from then on.
    pub(super) fn abort(&self) {
        self.over.store(true, Ordering::SeqCst);
        for lane in &self.lanes {
            lane.task.abort();
        }
    }

    /// The keys' places in the list, by the connection that each key goes by; no part is empty.
    pub(super) fn by_lane(&self, keys: &[Bytes]) -> Vec<Vec<usize>> {
        let mut lanes = vec![Vec::new(); self.lanes.len()];
        for (index, key) in keys.iter().enumerate() {
            lanes[self.lane_of(key)].push(index);
        }
        lanes.retain(|lane| !lane.is_empty());
        lanes
    }

    fn lane_of(&self, key: &Bytes) -> usize {
        match self.lanes.len() {
            1 => 0,
            lanes => (foldhash::fast::FixedState::default().hash_one(key) % lanes as u64) as usize,
        }
    }
}

impl Lane {
    async fn send(&self, command: &'static str, args: Vec<Value>) -> Sent {
        send(&self.client, command, args).await
    }

    /// Lets a replica answer for the slots of its primary.
    async fn allow_reading(&self) -> Result<(), FredError> {
        match self.send("READONLY", Vec::new()).await? {
            Ok(_) => Ok(()),
            Err(reply) => Err(FredError::new(ErrorKind::Unknown, format!("{} {}", reply.code, reply.message))),
        }
    }

    /// For servers whose HELLO doesn't tell. Where a user may ask neither, it's taken for a standalone server.
    async fn ask_for_mode(&self) -> Result<Mode, FredError> {
        if let Ok(info) = self.send("INFO", vec!["cluster".into()]).await?
            && let Some(info) = reply::text(&info)
        {
            return Ok(if info.contains("cluster_enabled:1") { Mode::Cluster } else { Mode::Standalone });
        }
        let info = self.send("CLUSTER", vec!["INFO".into()]).await?;
        let is_cluster =
            info.ok().and_then(|info| reply::text(&info)).is_some_and(|info| info.contains("cluster_state:"));
        Ok(if is_cluster { Mode::Cluster } else { Mode::Standalone })
    }

    async fn identify(&self) -> Option<Identity> {
        let info = self.send("CLIENT", vec!["INFO".into()]).await.ok()?.ok()?;
        let info = reply::text(&info)?;
        let field = |name: &str| info.split_whitespace().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        Some(Identity { id: field("id")?.to_owned(), address: field("addr")?.to_owned() })
    }
}

pub(super) async fn send(client: &Client, command: &'static str, args: Vec<Value>) -> Sent {
    match command {
        "GET" | "PTTL" | "UNLINK" => Ok(match call(client, command, args).await {
            Ok(value) => Ok(reply::frame_of(value)),
            Err(error) => Err(ErrorReply::of(error)?),
        }),
        _ => {
            let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
            Ok(reply::checked(client.custom_raw(command, args).await?))
        }
    }
}

/// Sends the commands back to back.
pub(super) async fn send_all(client: &Client, commands: Vec<Command>) -> SentAll {
    let pipeline = client.pipeline();
    let expected = commands.len();
    for (command, args) in commands {
        // Queued, not sent.
        call(&pipeline, command, args).await?;
    }
    let mut replies = Vec::with_capacity(expected);
    for result in pipeline.try_all::<Value>().await {
        replies.push(match result {
            Ok(value) => Ok(reply::frame_of(value)),
            Err(error) => Err(ErrorReply::of(error)?),
        });
    }
    if replies.len() == expected {
        return Ok(Ok(replies));
    }
    let problem = format!("{} replies to {expected} commands", replies.len());
    Err(FredError::new(ErrorKind::Protocol, problem))
}

/// The commands that come in numbers by fred's own names for them: it writes those that it doesn't know to the socket at once, each
/// by itself, and lets the others wait for company.
async fn call<C: KeysInterface + Sync>(
    client: &C,
    command: &'static str,
    args: Vec<Value>,
) -> Result<Value, FredError> {
    let keys = || args.iter().filter_map(|arg| arg.as_bytes().map(Key::from)).collect::<Vec<_>>();
    match (command, args.as_slice()) {
        ("GET", [Value::Bytes(key)]) => client.get(key.clone()).await,
        ("PTTL", [Value::Bytes(key)]) => client.pttl(key.clone()).await,
        ("UNLINK", _) => client.unlink(keys()).await,
        _ => client.custom(CustomCommand::new_static(command, ClusterHash::FirstKey, false), args).await,
    }
}

impl Drop for Lane {
    /// fred's task and its connection would outlive the client.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ended {
    /// Resolves when one connection has ended.
    pub(super) async fn any(&mut self) {
        poll_fn(|cx| {
            let any = self.0.iter_mut().any(|task| Pin::new(task).poll(cx).is_ready());
            if any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Resolves when all have, which takes an [`abort`](Link::abort) to be sure.
    pub(super) async fn all(self) {
        for task in self.0 {
            // One that was seen to end must not be polled again.
            while !task.is_finished() {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// What is told in place of a reply that answers another command.
pub(super) fn out_of_step() -> FredError {
    FredError::new(ErrorKind::Protocol, "a reply answers another command than it came to")
}

/// The trouble that an error reply means for the whole connection; `None` where it's about the one command.
pub(super) fn reply_reason(reply: &ErrorReply) -> Option<Reason> {
    let kind = if reply.is_authentication() {
        ReasonKind::Authentication
    } else if reply.code == "NOPERM" {
        ReasonKind::Permission
    } else if reply.is_not_ready() {
        ReasonKind::NotReady
    } else {
        return None;
    };
    Some(Reason::new(kind, format!("{} {}", reply.code, reply.message)))
}

/// What fred says, without the Rust around the system's own words, and without what a server quotes of our arguments.
fn readable(details: &str) -> String {
    let details = details.split(", with args").next().unwrap_or_default();
    let quoted = details.split_once("message: \"").and_then(|(_, rest)| rest.split_once('"'));
    quoted.map_or(details, |(message, _)| message).to_owned()
}

fn is_tls_trouble(detail: &str) -> bool {
    ["certificate", "handshake", "corrupt message", "invalidmessage", "alert", "tls"]
        .iter()
        .any(|word| detail.to_lowercase().contains(word))
}
