//! One connection to one server: a fresh fred client for each, or several where a pool is wanted.

use std::future::{Future, poll_fn};
use std::hash::BuildHasher;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use bytes::Bytes;
use fred::error::{Error as FredError, ErrorKind};
use fred::types::{ConnectHandle, Resp3Frame as Frame, Value};
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::batch::Batcher;
use super::reply::{self, ErrorReply};
use super::wire::{Command, Operation, Sent, SentAll, Wire, out_of_step};
use crate::health::{Reason, ReasonKind};

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

/// What kind of server a pool leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Standalone,
    Cluster,
}

/// A connection that has logged in, and is of the right kind.
pub(super) struct Pool {
    /// One client, or as many as the pool has. A key always goes by the same one, so that the server sees the
    /// operations on it in the order in which they were sent.
    connections: Vec<Connection>,
    mode: Mode,
    /// A key that never exists, to ask for when the server's health is in question.
    probe_key: Bytes,
    over: AtomicBool,
    /// Set once a reply was seen that answers another command.
    out_of_step: AtomicBool,
    /// Whether the server was found to refuse all writes, when that was looked into last.
    read_only: watch::Sender<bool>,
}

/// One connection of a pool.
pub(super) struct Connection {
    wire: Wire,
    reads: Batcher,
    task: AbortHandle,
    identity: Option<Identity>,
}

/// A connection as the server knows it. Numbers are given anew after a restart, so more is needed to tell it from a stranger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The server's own name for this run of it, where it may be asked.
    run_id: Option<String>,
    id: u64,
    /// Over a Unix socket, all connections have the same.
    address: String,
}

/// Resolves when a connection of the pool has ended.
pub(super) struct Ended(Vec<ConnectHandle>);

impl Pool {
    pub(super) fn new(connections: Vec<Connection>, mode: Mode, probe_key: Bytes) -> Self {
        let (over, out_of_step) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { connections, mode, probe_key, over, out_of_step, read_only: watch::Sender::new(false) }
    }

    /// Sends a command that concerns `key`.
    pub(super) fn send(&self, key: &Bytes, command: &'static str, args: Vec<Value>) -> Operation {
        let wire = self.connections[self.connection_of(key)].wire.clone();
        // fred's futures have kilobytes, which every future of a caller would contain several times over.
        Box::pin(async move { wire.send(command, args).await })
    }

    /// Asks for `key` together with those who ask for others.
    pub(super) fn get_together(&self, key: &Bytes) -> impl Future<Output = Sent> + Send + use<> {
        self.connections[self.connection_of(key)].reads.get(key.clone())
    }

    /// Sends a command that concerns `key` to the node that is taking the key's slot over.
    pub(super) fn send_asking(&self, key: &Bytes, command: &'static str, args: Vec<Value>) -> Operation {
        let wire = self.connections[self.connection_of(key)].wire.clone();
        Box::pin(async move {
            let replies = wire.send_all(vec![("ASKING", Vec::new()), (command, args)]).await?;
            Ok(replies.and_then(|mut replies| replies.pop().unwrap_or(Ok(Frame::Null))))
        })
    }

    /// Sends commands back to back, on the connection of `key`.
    pub(super) fn send_together(
        &self,
        key: &Bytes,
        commands: Vec<Command>,
    ) -> Pin<Box<dyn Future<Output = SentAll> + Send>> {
        let wire = self.connections[self.connection_of(key)].wire.clone();
        Box::pin(async move { wire.send_all(commands).await })
    }

    /// Which node has which slots.
    pub(super) async fn cluster_slots(&self) -> Sent {
        self.connections[0].send("CLUSTER", vec!["SLOTS".into()]).await
    }

    /// What the node knows of all nodes, itself and its moving slots included.
    pub(super) fn cluster_nodes(&self) -> Operation {
        let wire = self.connections[0].wire.clone();
        Box::pin(async move { wire.send("CLUSTER", vec!["NODES".into()]).await })
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Waits until the server has carried out all that was sent on every connection before: whatever it replies, it has come to it.
    pub(super) fn barrier(self: Arc<Self>) -> Operation {
        Box::pin(async move { self.probe().await.map(|_| Ok(Frame::Null)) })
    }

    /// Whether more than one connection has to be waited for by [`barrier`](Self::barrier).
    pub(super) fn has_several_connections(&self) -> bool {
        self.connections.len() > 1
    }

    /// Asks on every connection for the key that never exists, by the one command that a cache can't do without, so that any error reply tells
    /// how a call would fare.
    ///
    /// # Errors
    ///
    /// Where a connection is lost, and where the answer is a value: it's that to another command.
    pub(super) async fn probe(&self) -> Sent {
        let answers = join_all(self.connections.iter().map(|connection| self.ask_for_nothing(connection))).await;
        answers.into_iter().find(|answer| !matches!(answer, Ok(Ok(_)))).unwrap_or(Ok(Ok(Frame::Null)))
    }

    async fn ask_for_nothing(&self, connection: &Connection) -> Sent {
        let answer = connection.send("GET", vec![self.probe_key.clone().into()]).await?;
        if answer.as_ref().is_ok_and(|frame| !matches!(frame, Frame::Null)) {
            self.out_of_step.store(true, Ordering::Relaxed);
            return Err(out_of_step());
        }
        Ok(answer)
    }

    /// Whether replies went to other commands than theirs: nothing that is read over this pool can be relied on.
    pub(super) fn is_out_of_step(&self) -> bool {
        self.out_of_step.load(Ordering::Relaxed)
            || self.connections.iter().any(|connection| connection.reads.is_out_of_step())
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
            let refused = self.connections[0].send(command, args).await?.err();
            let is_read_only = refused.as_ref().is_some_and(ErrorReply::is_read_only);
            self.read_only.send_if_modified(|known| std::mem::replace(known, is_read_only) != is_read_only);
            if let Some(reason) = refused.as_ref().and_then(|reply| self.trouble(reply)) {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    /// The trouble that an error reply means for the whole connection; `None` where it's about the one command.
    pub(super) fn trouble(&self, reply: &ErrorReply) -> Option<Reason> {
        reply_reason(reply).or_else(|| self.another_kind(reply))
    }

    /// Why the server isn't what it calls itself, if that's what the reply shows: one that isn't of a cluster has no other node to redirect to.
    pub(super) fn another_kind(&self, reply: &ErrorReply) -> Option<Reason> {
        let problem = "the server redirects as a node of a cluster does; configure `cluster` or `autodetect`";
        let redirects = self.mode == Mode::Standalone && reply.is_redirect();
        redirects.then(|| Reason::new(ReasonKind::WrongTopology, problem))
    }

    /// Whether the server refuses all writes, as far as is known.
    pub(super) fn is_read_only(&self) -> bool {
        *self.read_only.borrow()
    }

    /// Waits until the server is known to refuse all writes.
    pub(super) async fn becomes_read_only(&self) {
        // Fails only when the sender is gone, and that is borrowed here.
        let _ = self.read_only.subscribe().wait_for(|read_only| *read_only).await;
    }

    /// Has the server end connections of ours that it may not know to be dead yet, so that nothing which was sent on
    /// them can be carried out any more; returns those of which it hasn't answered. A server or a user that can't do so is left
    /// alone, and so are connections that may be strangers'.
    pub(super) async fn end_on_server(&self, mut gone: Vec<Identity>) -> Vec<Identity> {
        let own = self.connections[0].identity.as_ref().and_then(|own| own.run_id.as_deref());
        gone.retain(|identity| identity.is_of(own));
        while let Some(Identity { id, address, .. }) = gone.last() {
            let args = vec!["KILL".into(), "ID".into(), id.to_string().into(), "ADDR".into(), address.as_str().into()];
            match self.connections[0].send("CLIENT", args).await {
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
        self.connections.iter().filter_map(|connection| connection.identity.clone()).collect()
    }

    /// Whether it has been aborted.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Ends the connections. What is in flight may wait for ever: fred drops neither what a client has been sent that has ended,
    /// nor what it's sent from then on.
    pub(super) fn abort(&self) {
        self.over.store(true, Ordering::SeqCst);
        for connection in &self.connections {
            connection.task.abort();
        }
    }

    /// The keys' places in the list, by the connection that each key goes by; no part is empty.
    pub(super) fn by_connection(&self, keys: &[Bytes]) -> Vec<Vec<usize>> {
        let mut connections = vec![Vec::new(); self.connections.len()];
        for (index, key) in keys.iter().enumerate() {
            connections[self.connection_of(key)].push(index);
        }
        connections.retain(|connection| !connection.is_empty());
        connections
    }

    fn connection_of(&self, key: &Bytes) -> usize {
        match self.connections.len() {
            1 => 0,
            connections => (foldhash::fast::FixedState::default().hash_one(key) % connections as u64) as usize,
        }
    }
}

impl Connection {
    /// `task` is fred's. `absent` is a key that never exists, where many may be asked for in one command.
    pub(super) fn new(wire: Wire, task: AbortHandle, absent: Option<Bytes>) -> Self {
        Self { reads: Batcher::start(wire.clone(), absent), wire, task, identity: None }
    }

    pub(super) async fn send(&self, command: &'static str, args: Vec<Value>) -> Sent {
        self.wire.send(command, args).await
    }

    /// Lets a replica answer for the slots of its primary.
    pub(super) async fn allow_reading(&self) -> Result<(), FredError> {
        match self.send("READONLY", Vec::new()).await? {
            Ok(_) => Ok(()),
            Err(reply) => Err(FredError::new(ErrorKind::Unknown, format!("{} {}", reply.code, reply.message))),
        }
    }

    /// For servers whose HELLO doesn't tell. Where a user may ask neither, it's taken for a standalone server.
    pub(super) async fn ask_for_mode(&self) -> Result<Mode, FredError> {
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

    /// Finds out who it is to the server, where that may be asked.
    pub(super) async fn identify(&mut self) {
        let questions = vec![("CLIENT", vec!["INFO".into()]), ("INFO", vec!["server".into()])];
        let Ok(Ok(replies)) = self.wire.send_all(questions).await else { return };
        let mut texts = replies.iter().map(|reply| reply.as_ref().ok().and_then(reply::text));
        let client = texts.next().flatten();
        let server = texts.next().flatten();
        self.identity = client.and_then(|client| Identity::new(&client, server.as_deref()));
    }
}

impl Identity {
    /// Of the replies to CLIENT INFO and to INFO.
    fn new(client: &str, server: Option<&str>) -> Option<Self> {
        let field = |name: &str| client.split_whitespace().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let address = field("addr").filter(|address| address.len() <= LONGEST_ADDRESS)?;
        let run_id = server.and_then(|info| info.lines().find_map(|line| line.strip_prefix("run_id:")));
        let run_id = run_id.map(str::trim).filter(|run_id| (1..=LONGEST_RUN_ID).contains(&run_id.len()));
        Some(Self { run_id: run_id.map(String::from), id: field("id")?.parse().ok()?, address: address.to_owned() })
    }

    /// Whether it's a connection to the server of this run, as far as can be known. What one run was told, no other can have read.
    fn is_of(&self, run_id: Option<&str>) -> bool {
        match (self.run_id.as_deref(), run_id) {
            (Some(own), Some(other)) => own == other,
            // An address of its own tells it from a stranger of the same number, and over a Unix socket there is none.
            _ => self.address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)),
        }
    }
}

/// Of a path of a Unix socket, or of a host and a port.
const LONGEST_ADDRESS: usize = 300;
/// It has 40 digits.
const LONGEST_RUN_ID: usize = 100;

impl Drop for Connection {
    /// fred's task and its connection would outlive the client.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ended {
    pub(super) fn new(tasks: Vec<ConnectHandle>) -> Self {
        Self(tasks)
    }

    /// Resolves when one connection has ended.
    pub(super) async fn any(&mut self) {
        poll_fn(|cx| {
            let any = self.0.iter_mut().any(|task| Pin::new(task).poll(cx).is_ready());
            if any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Resolves when all have, which takes an [`abort`](Pool::abort) to be sure.
    pub(super) async fn all(self) {
        for task in self.0 {
            // One that was seen to end must not be polled again.
            while !task.is_finished() {
                tokio::task::yield_now().await;
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(address: &str, run_id: Option<&str>) -> Identity {
        let client = format!("id=7 addr={address} laddr=127.0.0.1:6379 fd=8 name= age=0");
        let server = run_id.map(|run_id| format!("# Server\r\nredis_version:7.0.15\r\nrun_id:{run_id}\r\n"));
        Identity::new(&client, server.as_deref()).expect("it's told")
    }

    #[test]
    fn a_connection_is_known_by_the_run_of_its_server_else_by_its_address() {
        let (tcp, unix) = ("127.0.0.1:50000", "/run/redis.sock:0");
        assert_eq!(identity(tcp, Some("aa")), Identity { run_id: Some("aa".into()), id: 7, address: tcp.into() });
        for address in [tcp, unix, "[::1]:50000"] {
            assert!(identity(address, Some("aa")).is_of(Some("aa")));
            assert!(!identity(address, Some("aa")).is_of(Some("bb")), "it has ended with its server");
        }
        for (own, other) in [(None, None), (None, Some("aa")), (Some("aa"), None)] {
            assert!(identity(tcp, own).is_of(other));
            assert!(!identity(unix, own).is_of(other), "it may be a stranger's");
        }
    }

    #[test]
    fn what_makes_no_sense_is_no_identity() {
        for client in
            ["", "id=x addr=127.0.0.1:1", "addr=127.0.0.1:1", "id=7", &format!("id=7 addr={}", "x".repeat(301))]
        {
            assert_eq!(Identity::new(client, None), None);
        }
        assert_eq!(identity("127.0.0.1:1", Some("")).run_id, None);
        assert_eq!(identity("127.0.0.1:1", Some(&"x".repeat(101))).run_id, None);
    }
}
