//! One connection to one server: a fresh fred client.

use bytes::Bytes;
use fred::error::{Error as FredError, ErrorKind};
use tokio::task::AbortHandle;

use super::batch::Batcher;
use super::command::Command;
use super::reply;
use super::role::Mode;
use super::wire::{SendError, Sent, Wire};

/// One connection of a pool.
pub(super) struct Connection {
    wire: Wire,
    reads: Batcher,
    task: AbortHandle,
    identity: Option<Identity>,
}

/// A connection as the server knows it. A restarted server counts from 1 again, so the number alone may be another client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The server's `run_id`, if the user may read it.
    run_id: Option<String>,
    id: u64,
    /// Over a Unix socket, all connections have the same.
    address: String,
}

impl Connection {
    /// `task` is fred's. `absent` is a key that never exists; with it, reads may be batched into one `MGET`.
    pub(super) fn new(wire: Wire, task: AbortHandle, absent: Option<Bytes>) -> Self {
        Self { reads: Batcher::start(wire.clone(), absent), wire, task, identity: None }
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    pub(super) async fn send(&self, command: Command) -> Sent {
        self.wire.send(command).await
    }

    /// Reads `key` together with concurrent reads of other keys.
    pub(super) fn get_together(&self, key: Bytes) -> impl Future<Output = Sent> + Send + use<> {
        self.reads.get(key)
    }

    /// Whether a reply was seen that answers another command.
    pub(super) fn is_out_of_step(&self) -> bool {
        self.reads.is_out_of_step()
    }

    /// What the server knows it by, if the user may read that.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    pub(super) fn abort(&self) {
        self.task.abort();
    }

    /// Lets a replica answer for the slots of its primary.
    pub(super) async fn allow_reading(&self) -> Result<(), FredError> {
        match self.send(Command::ReadOnly).await {
            Ok(_) => Ok(()),
            Err(SendError::Lost(error)) => Err(error),
            Err(SendError::Refused(reply)) => {
                Err(FredError::new(ErrorKind::Unknown, format!("{} {}", reply.code, reply.message)))
            }
        }
    }

    /// The mode of a server whose HELLO doesn't report it. If the user may run neither INFO nor CLUSTER INFO, it counts as standalone.
    pub(super) async fn find_mode(&self) -> Result<Mode, FredError> {
        if let Some(info) = self.text_of(Command::Info("cluster")).await? {
            return Ok(if info.contains("cluster_enabled:1") { Mode::Cluster } else { Mode::Standalone });
        }
        let info = self.text_of(Command::ClusterInfo).await?;
        let is_cluster = info.is_some_and(|info| info.contains("cluster_state:"));
        Ok(if is_cluster { Mode::Cluster } else { Mode::Standalone })
    }

    /// The reply's text; `None` if it has none or the server refuses.
    async fn text_of(&self, command: Command) -> Result<Option<String>, FredError> {
        match self.send(command).await {
            Ok(frame) => Ok(reply::text(&frame)),
            Err(SendError::Refused(_)) => Ok(None),
            Err(SendError::Lost(error)) => Err(error),
        }
    }

    /// Reads the connection's identity from the server, if the user may.
    pub(super) async fn identify(&mut self) {
        let questions = vec![Command::ClientInfo, Command::Info("server")];
        let Ok(replies) = self.wire.send_all(questions).await else { return };
        let mut texts = replies.iter().map(|reply| reply.as_ref().ok().and_then(reply::text));
        let client = texts.next().flatten();
        let server = texts.next().flatten();
        self.identity = client.and_then(|client| Identity::new(&client, server.as_deref()));
    }
}

impl Identity {
    pub(super) fn run_id(&self) -> Option<&str> {
        self.run_id.as_deref()
    }

    /// The command that has the server end this connection.
    pub(super) fn kill(&self) -> Command {
        Command::ClientKill { id: self.id, address: Some(self.address.clone()) }
    }

    /// Of the replies to CLIENT INFO and to INFO.
    fn new(client: &str, server: Option<&str>) -> Option<Self> {
        let field = |name: &str| client.split_whitespace().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let address = field("addr").filter(|address| address.len() <= LONGEST_ADDRESS)?;
        let run_id = server.and_then(|info| info.lines().find_map(|line| line.strip_prefix("run_id:")));
        let run_id = run_id.map(str::trim).filter(|run_id| (1..=LONGEST_RUN_ID).contains(&run_id.len()));
        Some(Self { run_id: run_id.map(String::from), id: field("id")?.parse().ok()?, address: address.to_owned() })
    }

    /// Whether it's a connection to this run of the server, as far as is known. A new run reads nothing of what was sent to the last.
    pub(super) fn is_of(&self, run_id: Option<&str>) -> bool {
        match (self.run_id.as_deref(), run_id) {
            (Some(own), Some(other)) => own == other,
            // Its own port distinguishes it from another client's connection with the same number. A Unix socket has none.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(address: &str, run_id: Option<&str>) -> Identity {
        let client = format!("id=7 addr={address} laddr=127.0.0.1:6379 fd=8 name= age=0");
        let server = run_id.map(|run_id| format!("# Server\r\nredis_version:7.0.15\r\nrun_id:{run_id}\r\n"));
        Identity::new(&client, server.as_deref()).expect("the reply names it")
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
