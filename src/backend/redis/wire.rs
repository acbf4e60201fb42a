//! Commands to a server, and what comes back.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error as FredError, ErrorKind};
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::{ClusterHash, CustomCommand, Key, Resp3Frame as Frame, Value};

use super::mask::Mask;
use super::reply::{self, ErrorReply};

/// One connection, to send commands on. Clones are the same connection.
#[derive(Clone)]
pub(super) struct Wire {
    client: Client,
    /// Cuts the password out of all that comes back and isn't a value.
    mask: Mask,
}

/// A command on its way.
pub(super) type Operation = Pin<Box<dyn Future<Output = Sent> + Send>>;

/// What came back from a command that was sent.
pub(super) type Sent = Result<Result<Frame, ErrorReply>, FredError>;

/// A command with its arguments.
pub(super) type Command = (&'static str, Vec<Value>);

/// What came back from commands that were sent together: a reply for each.
pub(super) type SentAll = Result<Result<Vec<Result<Frame, ErrorReply>>, ErrorReply>, FredError>;

impl Wire {
    pub(super) fn new(client: Client, mask: Mask) -> Self {
        Self { client, mask }
    }

    pub(super) async fn send(&self, command: &'static str, args: Vec<Value>) -> Sent {
        match command {
            "GET" | "PTTL" | "UNLINK" => self.reply(call(&self.client, command, args).await),
            _ => {
                let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
                let reply = self.client.custom_raw(command, args).await;
                Ok(reply::checked(reply.map_err(|error| reply::told(error, &self.mask))?, &self.mask))
            }
        }
    }

    /// The values of all keys, in one command.
    pub(super) async fn multi_get(&self, keys: Vec<Bytes>) -> Sent {
        self.reply(self.client.mget(keys.into_iter().map(Key::from).collect::<Vec<_>>()).await)
    }

    /// Sends the commands back to back.
    pub(super) async fn send_all(&self, commands: Vec<Command>) -> SentAll {
        let pipeline = self.client.pipeline();
        let expected = commands.len();
        for (command, args) in commands {
            // Queued, not sent.
            call(&pipeline, command, args).await?;
        }
        let mut replies = Vec::with_capacity(expected);
        for result in pipeline.try_all::<Value>().await {
            replies.push(self.reply(result)?);
        }
        if replies.len() == expected {
            return Ok(Ok(replies));
        }
        let problem = format!("{} replies to {expected} commands", replies.len());
        Err(FredError::new(ErrorKind::Protocol, problem))
    }

    fn reply(&self, result: Result<Value, FredError>) -> Sent {
        Ok(match result {
            Ok(value) => Ok(reply::frame_of(value)),
            Err(error) => Err(ErrorReply::of(error, &self.mask)?),
        })
    }
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

/// The text in place of a reply that answers another command.
pub(super) fn out_of_step() -> FredError {
    FredError::new(ErrorKind::Protocol, "a reply answers another command than it came to")
}
