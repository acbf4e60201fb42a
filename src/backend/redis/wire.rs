//! One connection as fred has it: commands go in, replies come out.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use fred::clients::Client;
use fred::error::{Error as FredError, ErrorKind};
use fred::interfaces::{ClientLike, TrackingInterface};
use fred::types::client::Invalidation;
use fred::types::{Resp3Frame as Frame, Value};
use tokio::sync::broadcast;

use super::command::Command;
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
pub(super) type Sent = Result<Frame, SendError>;

/// What came back from commands that were sent together: a reply for each.
pub(super) type SentAll = Result<Vec<Result<Frame, ErrorReply>>, SendError>;

/// What the server reports of changed keys.
pub(super) type Reports = broadcast::Receiver<Invalidation>;

/// Why a command that was sent has no result.
#[derive(Debug)]
pub(super) enum SendError {
    /// The server answered with an error.
    Refused(ErrorReply),
    /// There is no answer: the connection is lost, or what came is no reply.
    Lost(FredError),
}

impl From<FredError> for SendError {
    fn from(error: FredError) -> Self {
        Self::Lost(error)
    }
}

impl From<ErrorReply> for SendError {
    fn from(reply: ErrorReply) -> Self {
        Self::Refused(reply)
    }
}

impl Wire {
    pub(super) fn new(client: Client, mask: Mask) -> Self {
        Self { client, mask }
    }

    pub(super) async fn send(&self, command: Command) -> Sent {
        if command.is_batched() {
            return Ok(self.reply(command.call(&self.client).await)??);
        }
        let (command, args) = command.into_custom();
        let reply = self.client.custom_raw(command, args).await;
        Ok(reply::checked(reply.map_err(|error| reply::masked(error, &self.mask))?, &self.mask)?)
    }

    /// The values of these keys by one `MGET`; `None` where what came is no answer to it.
    pub(super) async fn multi_get(&self, keys: Vec<Bytes>) -> Result<Option<Vec<Value>>, SendError> {
        match Command::MultiGet(keys).call(&self.client).await {
            Ok(Value::Array(values)) => Ok(Some(values)),
            Ok(_) => Ok(None),
            Err(error) => Err(ErrorReply::of(error, &self.mask)?.into()),
        }
    }

    /// A text of the server's, to be shown.
    pub(super) fn readable(&self, text: &str) -> String {
        reply::readable(text, &self.mask)
    }

    /// What the server reports from here on.
    pub(super) fn reports(&self) -> Reports {
        self.client.invalidation_rx()
    }

    /// Sends the commands back to back.
    pub(super) async fn send_all(&self, commands: Vec<Command>) -> SentAll {
        let pipeline = self.client.pipeline();
        let expected = commands.len();
        for command in commands {
            // Queued, not sent.
            command.call(&pipeline).await?;
        }
        let mut replies = Vec::with_capacity(expected);
        for result in pipeline.try_all::<Value>().await {
            replies.push(self.reply(result)?);
        }
        if replies.len() == expected {
            return Ok(replies);
        }
        let problem = format!("{} replies to {expected} commands", replies.len());
        Err(FredError::new(ErrorKind::Protocol, problem).into())
    }

    fn reply(&self, result: Result<Value, FredError>) -> Result<Result<Frame, ErrorReply>, FredError> {
        match result {
            Ok(value) => Ok(Ok(reply::frame_of(value))),
            Err(error) => ErrorReply::of(error, &self.mask).map(Err),
        }
    }
}

/// The results of several connections. A lost connection counts before a refusal: it concerns all of them.
pub(super) fn all<T>(results: Vec<Result<T, SendError>>) -> Result<Vec<T>, SendError> {
    let (mut all, mut refused) = (Vec::with_capacity(results.len()), None);
    for result in results {
        match result {
            Ok(output) => all.push(output),
            Err(SendError::Lost(error)) => return Err(SendError::Lost(error)),
            Err(SendError::Refused(reply)) => _ = refused.get_or_insert(reply),
        }
    }
    refused.map_or(Ok(all), |reply| Err(SendError::Refused(reply)))
}

/// The error in place of a reply that answers another command.
pub(super) fn out_of_step() -> FredError {
    FredError::new(ErrorKind::Protocol, "a reply answers another command than it came to")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_counts_before_a_refusal() {
        let refused = || SendError::Refused(ErrorReply::parse("NOPERM no", &Mask::default()));
        assert!(matches!(all(vec![Ok(1), Ok(2)]), Ok(both) if both == [1, 2]));
        assert!(matches!(all(vec![Ok(1), Err(refused())]), Err(SendError::Refused(_))));
        assert!(matches!(all(vec![Err(refused()), Ok(1), Err(out_of_step().into())]), Err(SendError::Lost(_))));
    }
}
