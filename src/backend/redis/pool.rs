//! The connections to one server that stand or fall together: one, or as many as `pool_size` says.

use std::future::{Future, poll_fn};
use std::hash::BuildHasher;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use bytes::Bytes;
use fred::error::Error as FredError;
use fred::types::{ConnectHandle, Resp3Frame as Frame};
use futures_util::future::join_all;
use tokio::sync::watch;

use super::command::Command;
use super::connection::{Connection, Identity};
use super::reply::ErrorReply;
use super::role::Mode;
use super::wire::{Operation, Reports, SendError, Sent, SentAll, Wire, out_of_step};
use crate::health::{Reason, ReasonKind};

/// Connections that have logged in, to a server of the right kind.
pub(super) struct Pool {
    /// One client, or as many as the pool has. A key always goes by the same one, so that the server sees the
    /// operations on it in the order in which they were sent.
    connections: Vec<Connection>,
    mode: Mode,
    /// A key that never exists, read by probes.
    probe_key: Bytes,
    over: AtomicBool,
    /// Set once a reply was seen that answers another command.
    out_of_step: AtomicBool,
    /// Whether the user may run `MGET`, as far as is known.
    may_multi_get: AtomicBool,
    /// Whether the server was found to refuse all writes, when that was looked into last.
    read_only: watch::Sender<bool>,
}

/// Resolves when a connection of the pool has ended.
pub(super) struct Ended(Vec<ConnectHandle>);

impl Pool {
    pub(super) fn new(connections: Vec<Connection>, mode: Mode, probe_key: Bytes) -> Self {
        let (over, out_of_step) = (AtomicBool::new(false), AtomicBool::new(false));
        let (may_multi_get, read_only) = (AtomicBool::new(true), watch::Sender::new(false));
        Self { connections, mode, probe_key, over, out_of_step, may_multi_get, read_only }
    }

    /// Sends a command that concerns `key`.
    pub(super) fn send(&self, key: &Bytes, command: Command) -> Operation {
        let wire = self.connection_of(key).wire().clone();
        // fred's futures have kilobytes, which every future of a caller would contain several times over.
        Box::pin(async move { wire.send(command).await })
    }

    /// Reads `key` together with concurrent reads of other keys.
    pub(super) fn get_together(&self, key: &Bytes) -> impl Future<Output = Sent> + Send + use<> {
        self.connection_of(key).get_together(key.clone())
    }

    /// The keys' places in the list, by the connection that each key goes by; no part is empty.
    pub(super) fn parts<'a>(&self, keys: impl Iterator<Item = &'a Bytes>) -> Vec<(Vec<usize>, &Wire)> {
        let mut parts: Vec<_> = self.connections.iter().map(|connection| (Vec::new(), connection.wire())).collect();
        for (place, key) in keys.enumerate() {
            parts[self.index_of(key)].0.push(place);
        }
        parts.retain(|(places, _)| !places.is_empty());
        parts
    }

    /// A key that never exists.
    pub(super) fn probe_key(&self) -> &Bytes {
        &self.probe_key
    }

    pub(super) fn may_multi_get(&self) -> bool {
        self.may_multi_get.load(Ordering::Relaxed)
    }

    /// The server has refused an `MGET`.
    pub(super) fn refuses_multi_get(&self) {
        self.may_multi_get.store(false, Ordering::Relaxed);
    }

    /// A reply was seen that answers another command.
    pub(super) fn note_out_of_step(&self) {
        self.out_of_step.store(true, Ordering::Relaxed);
    }

    /// Sends a command that concerns `key` to the node that is taking the key's slot over.
    pub(super) fn send_asking(&self, key: &Bytes, command: Command) -> Operation {
        let wire = self.connection_of(key).wire().clone();
        Box::pin(async move {
            let mut replies = wire.send_all(vec![Command::Asking, command]).await?;
            Ok(replies.pop().unwrap_or(Ok(Frame::Null))?)
        })
    }

    /// Sends commands back to back, on the connection of `key`.
    pub(super) fn send_together(
        &self,
        key: &Bytes,
        commands: Vec<Command>,
    ) -> Pin<Box<dyn Future<Output = SentAll> + Send>> {
        let wire = self.connection_of(key).wire().clone();
        Box::pin(async move { wire.send_all(commands).await })
    }

    /// A text of the server's, to be shown.
    pub(super) fn readable(&self, text: &str) -> String {
        self.connections[0].wire().readable(text)
    }

    /// What the server reports from here on, on the first connection.
    pub(super) fn reports(&self) -> Reports {
        self.connections[0].wire().reports()
    }

    /// Which node has which slots.
    pub(super) async fn cluster_slots(&self) -> Sent {
        self.connections[0].send(Command::ClusterSlots).await
    }

    /// What the node knows of all nodes, itself and its moving slots included.
    pub(super) fn cluster_nodes(&self) -> Operation {
        let wire = self.connections[0].wire().clone();
        Box::pin(async move { wire.send(Command::ClusterNodes).await })
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// Waits until the server has executed all that was sent on every connection before. Any reply to the probe shows that.
    pub(super) fn barrier(self: Arc<Self>) -> Operation {
        Box::pin(async move {
            match self.probe().await {
                Ok(_) | Err(SendError::Refused(_)) => Ok(Frame::Null),
                lost => lost,
            }
        })
    }

    /// Whether more than one connection has to be waited for by [`barrier`](Self::barrier).
    pub(super) fn has_several_connections(&self) -> bool {
        self.connections.len() > 1
    }

    /// Reads the key that never exists on every connection, by `GET`, so that an error reply is the one that a call would get.
    ///
    /// # Errors
    ///
    /// [`SendError::Lost`] also if the answer is a value: it belongs to another command.
    pub(super) async fn probe(&self) -> Sent {
        let answers = join_all(self.connections.iter().map(|connection| self.read_nothing(connection))).await;
        answers.into_iter().find(Result::is_err).unwrap_or(Ok(Frame::Null))
    }

    async fn read_nothing(&self, connection: &Connection) -> Sent {
        let answer = connection.send(Command::Get(self.probe_key.clone())).await?;
        if !matches!(answer, Frame::Null) {
            self.note_out_of_step();
            return Err(out_of_step().into());
        }
        Ok(answer)
    }

    /// Whether replies went to other commands than theirs: nothing that is read over this pool can be relied on.
    pub(super) fn is_out_of_step(&self) -> bool {
        self.out_of_step.load(Ordering::Relaxed)
            || self.connections.iter().any(|connection| connection.is_out_of_step())
    }

    /// Tries the essential commands without changing anything. Returns the reason of the first refusal that concerns the whole server.
    pub(super) async fn check_permissions(&self) -> Result<Option<Reason>, FredError> {
        if let Some(reason) = refusal(self.probe().await)?.and_then(|reply| reply.reason()) {
            return Ok(Some(reason));
        }
        for command in [Command::TrySet(self.probe_key.clone()), Command::Unlink(vec![self.probe_key.clone()])] {
            let refused = refusal(self.connections[0].send(command).await)?;
            let is_read_only = refused.as_ref().is_some_and(ErrorReply::is_read_only);
            self.read_only.send_if_modified(|known| std::mem::replace(known, is_read_only) != is_read_only);
            if let Some(reason) = refused.as_ref().and_then(|reply| self.trouble(reply)) {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    /// What an error reply says about the whole connection; `None` if it concerns only the one command.
    pub(super) fn trouble(&self, reply: &ErrorReply) -> Option<Reason> {
        reply.reason().or_else(|| self.another_kind(reply))
    }

    /// Why the server isn't the standalone server that it claims to be, if the reply shows that: only a node of a cluster redirects.
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

    /// Has the server end old connections of ours that it may not know to be dead yet, so that it executes nothing more of what was sent
    /// on them. Returns those for which it hasn't answered. Does nothing where the server or the user can't do that, and leaves
    /// connections alone that may be another client's.
    pub(super) async fn end_on_server(&self, mut gone: Vec<Identity>) -> Vec<Identity> {
        let own = self.connections[0].identity().and_then(Identity::run_id);
        gone.retain(|identity| identity.is_of(own));
        while let Some(identity) = gone.last() {
            match self.connections[0].send(identity.kill()).await {
                Ok(_) => {}
                Err(SendError::Refused(ErrorReply { code, .. })) => {
                    tracing::debug!(target: "cache_house", code, "an old connection couldn't be ended on the server");
                }
                Err(SendError::Lost(_)) => break,
            }
            gone.pop();
        }
        gone
    }

    pub(super) fn identities(&self) -> Vec<Identity> {
        self.connections.iter().filter_map(Connection::identity).cloned().collect()
    }

    /// Whether it has been aborted.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Ends the connections. What is in flight may wait indefinitely: once a client has ended, fred drops neither the commands that it has
    /// nor those that it's sent from then on.
    pub(super) fn abort(&self) {
        self.over.store(true, Ordering::SeqCst);
        for connection in &self.connections {
            connection.abort();
        }
    }

    fn connection_of(&self, key: &Bytes) -> &Connection {
        &self.connections[self.index_of(key)]
    }

    fn index_of(&self, key: &Bytes) -> usize {
        match self.connections.len() {
            1 => 0,
            connections => (foldhash::fast::FixedState::default().hash_one(key) % connections as u64) as usize,
        }
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

/// The server's refusal, if that's the answer.
fn refusal(sent: Sent) -> Result<Option<ErrorReply>, FredError> {
    match sent {
        Ok(_) => Ok(None),
        Err(SendError::Refused(reply)) => Ok(Some(reply)),
        Err(SendError::Lost(error)) => Err(error),
    }
}
