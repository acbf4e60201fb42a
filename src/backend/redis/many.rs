//! Reads of many keys of one server by one `MGET`.

use std::sync::Arc;

use bytes::Bytes;
use fred::types::{Resp3Frame as Frame, Value};
use futures_util::future::{join, try_join_all};

use super::super::server::{ReadReply, ServerError, Ttl, Unavailable};
use super::command::Command;
use super::node::{Failed, Node};
use super::pool::Pool;
use super::reply::{self, ErrorReply};
use super::wire::{SendError, Wire, out_of_step};
use crate::key::ServerKey;

/// The keys of a read, each with whether its TTL is asked for.
type Keys<'a> = &'a [(&'a ServerKey, bool)];

/// The values of all these keys, as one operation, and their remaining TTLs where they come with `true`; `None` where the user may not
/// run `MGET`.
pub(super) async fn get_many(node: &Arc<Node>, keys: Keys<'_>) -> Option<Vec<ReadReply>> {
    let all = |error: ServerError| -> Vec<ReadReply> { keys.iter().map(|_| Err(error.clone())).collect() };
    let pool = match node.pool() {
        Ok(pool) if !pool.may_multi_get() => return None,
        Ok(pool) => pool,
        Err(error) => return Some(all(error)),
    };
    let parts = pool.parts(keys.iter().map(|(key, _)| *key));
    // Boxed: fred's futures have kilobytes.
    let reads = parts.iter().map(|(places, wire)| Box::pin(read(node, &pool, wire, keys, places)));
    let replies = match node.watched(&pool, try_join_all(reads)).await {
        Ok(replies) => replies.into_iter().collect::<Option<Vec<_>>>()?,
        Err(Failed::Server(error)) => return Some(all(error)),
        Err(Failed::Redirected(_)) => return None,
    };
    let mut replies = replies.into_iter();
    if let [_] = &parts[..] {
        return replies.next();
    }
    let mut found = all(ServerError::Unavailable(Unavailable::ConnectionLost));
    for ((places, _), replies) in parts.iter().zip(replies) {
        places.iter().zip(replies).for_each(|(&place, reply)| found[place] = reply);
    }
    Some(found)
}

/// Reads keys of one connection; `None` where the user may not run `MGET`. A key of another type is null too, as in the batched reads.
async fn read(
    node: &Node,
    pool: &Arc<Pool>,
    wire: &Wire,
    keys: Keys<'_>,
    places: &[usize],
) -> Result<Option<Vec<ReadReply>>, SendError> {
    let keys = || places.iter().map(|&place| keys[place]);
    let asked: Vec<_> = keys().filter(|(_, ttl)| *ttl).map(|(key, _)| Command::Pttl(key.clone())).collect();
    let ttls = async {
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        Box::pin(wire.send_all(asked)).await
    };
    // Such an answer begins with null, see the batched reads.
    let names = [pool.probe_key()].into_iter().chain(keys().map(|(key, _)| key)).cloned().collect();
    // Back to back, and the TTLs first: if another client replaces a value in between, no old one lives on.
    let (ttls, values) = join(ttls, wire.multi_get(names)).await;
    let values = match values {
        Ok(Some(values)) if values.len() == 1 + places.len() && matches!(values[0], Value::Null) => values,
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
    let replies = values.into_iter().skip(1).zip(keys()).map(|(value, (_, asks_ttl))| {
        let ttl = if asks_ttl { ttls.next() } else { None };
        understood(node, pool, reply::bytes(reply::frame_of(value)), ttl)
    });
    Ok(Some(replies.collect()))
}

/// What came back for one key: its value, and its TTL where that was asked.
fn understood(
    node: &Node,
    pool: &Arc<Pool>,
    value: Result<Option<Bytes>, ServerError>,
    ttl: Option<Result<Frame, ErrorReply>>,
) -> ReadReply {
    let Some(bytes) = node.read(value)? else { return Ok(None) };
    let ttl = ttl.and_then(|ttl| node.judged(pool, ttl).ok());
    let millis = ttl.and_then(|frame| node.read(reply::number(&frame)).ok());
    Ok(Some((bytes, Ttl::of_pttl(millis))))
}
