//! Reads of many keys of one server by one `MGET`.

use std::sync::Arc;

use bytes::Bytes;
use fred::types::Resp3Frame as Frame;
use futures_util::future::{join, try_join_all};

use super::super::server::{ReadReply, ServerError, Ttl};
use super::command::Command;
use super::node::{Failed, Node};
use super::pool::Pool;
use super::reply::{self, ErrorReply};
use super::wire::{SendError, Wire, out_of_step};
use crate::key::ServerKey;

/// What came back for one key: its value, and its TTL where that was asked.
struct Reply {
    value: Result<Frame, ErrorReply>,
    ttl: Option<Result<Frame, ErrorReply>>,
}

/// The values of all these keys, as one operation, and their remaining TTLs where they come with `true`; `None` where the user may not
/// run `MGET`.
pub(super) async fn get_many(node: &Arc<Node>, keys: Vec<(ServerKey, bool)>) -> Option<Vec<ReadReply>> {
    let count = keys.len();
    let all = |error: ServerError| Some((0..count).map(|_| Err(error.clone())).collect());
    let pool = match node.pool() {
        Ok(pool) if !pool.may_multi_get() => return None,
        Ok(pool) => pool,
        Err(error) => return all(error),
    };
    let parts = pool.parts(keys, |(key, _)| key);
    let (places, reads): (Vec<_>, Vec<_>) =
        parts.into_iter().map(|(places, keys, wire)| (places, read(&pool, wire, keys))).unzip();
    // Boxed: fred's futures have kilobytes.
    let replies = match node.watched(&pool, Box::pin(try_join_all(reads))).await {
        Ok(replies) => replies.into_iter().collect::<Option<Vec<_>>>()?,
        Err(Failed::Server(error)) => return all(error),
        Err(Failed::Redirected(_)) => return None,
    };
    let replies = replies.into_iter().flatten().map(|reply| understood(node, &pool, reply));
    let mut found: Vec<_> = places.into_iter().flatten().zip(replies).collect();
    found.sort_unstable_by_key(|(place, _)| *place);
    Some(found.into_iter().map(|(_, found)| found).collect())
}

/// Reads keys of one connection; `None` where the user may not run `MGET`. A key that it doesn't find is read again by `GET`, because
/// `MGET` also answers null for a key of another type.
async fn read(pool: &Pool, wire: &Wire, keys: Vec<(Bytes, bool)>) -> Result<Option<Vec<Reply>>, SendError> {
    let asked: Vec<_> = keys.iter().filter(|(_, ttl)| *ttl).map(|(key, _)| Command::Pttl(key.clone())).collect();
    let ttls = async {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        wire.send_all(asked).await
    };
    // Such an answer begins with null, see the batched reads.
    let names = [pool.probe_key()].into_iter().chain(keys.iter().map(|(key, _)| key)).cloned().collect();
    // Back to back, and the TTLs first: if another client replaces a value in between, no old one lives on.
    let (ttls, values) = join(ttls, wire.send(Command::MultiGet(names))).await;
    let values = match values {
        Ok(Frame::Array { data, .. }) if data.len() == 1 + keys.len() && matches!(data[0], Frame::Null) => data,
        Ok(_) => {
            pool.note_out_of_step();
            return Err(out_of_step().into());
        }
        Err(SendError::Refused(reply)) if !reply.is_not_ready() => {
            pool.refuses_multi_get();
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut ttls = ttls?.into_iter();
    let mut replies: Vec<_> = values
        .into_iter()
        .skip(1)
        .zip(&keys)
        .map(|(value, (_, ttl))| Reply { value: Ok(value), ttl: if *ttl { ttls.next() } else { None } })
        .collect();
    let lacking: Vec<_> = (0..keys.len()).filter(|&at| matches!(replies[at].value, Ok(Frame::Null))).collect();
    let again = lacking.iter().map(|&at| Command::Get(keys[at].0.clone())).collect();
    for (at, value) in lacking.into_iter().zip(send_in_line(wire, again).await?) {
        replies[at].value = value;
    }
    Ok(Some(replies))
}

/// Back to back. fred writes each command of a pipeline by itself unless something is queued behind it, so the last goes behind the
/// others.
async fn send_in_line(wire: &Wire, mut commands: Vec<Command>) -> Result<Vec<Result<Frame, ErrorReply>>, SendError> {
    let Some(last) = commands.pop() else { return Ok(Vec::new()) };
    let others = async { if commands.is_empty() { Ok(Vec::new()) } else { wire.send_all(commands).await } };
    let (others, last) = join(others, wire.send(last)).await;
    let mut replies = others?;
    replies.push(match last {
        Ok(frame) => Ok(frame),
        Err(SendError::Refused(reply)) => Err(reply),
        Err(lost) => return Err(lost),
    });
    Ok(replies)
}

fn understood(node: &Node, pool: &Arc<Pool>, reply: Reply) -> ReadReply {
    let value = node.noting_permission(true, node.judged(pool, reply.value))?;
    let Some(bytes) = node.read(reply::bytes(value))? else { return Ok(None) };
    let ttl = reply.ttl.and_then(|ttl| node.judged(pool, ttl).ok());
    let millis = ttl.and_then(|frame| node.read(reply::number(&frame)).ok());
    Ok(Some((bytes, Ttl::of_pttl(millis))))
}
