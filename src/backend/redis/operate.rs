//! What operators look at: the keys of a server with their expiry and size, page by page.

use std::sync::Arc;

use bytes::Bytes;

use super::super::server::{ServerError, Ttl, Unavailable};
use super::command::{Command, Scan};
use super::inner::Inner;
use super::layout::Layout;
use super::node::{Failed, Node};
use super::pool::Pool;
use super::reply;
use super::scan::{PAGE, escaped};
use crate::key::ServerKey;

/// Keys whose TTL and size are asked for at once: the replies to so many arrive well within `command_timeout`.
const AT_ONCE: usize = 100;

/// A walk over the keys of one primary under a prefix.
pub(crate) struct NodeWalk {
    node: Arc<Node>,
    prefix: Bytes,
    pattern: Bytes,
    /// `None` once all of them have been seen.
    cursor: Option<Bytes>,
    /// All keys of the database, those of others included; `None` where the user may not ask.
    pub(crate) total: Option<u64>,
}

/// A piece of a walk.
pub(crate) struct FoundPage {
    /// How many keys the server named.
    pub(crate) seen: u64,
    /// Those that are under the prefix and still there.
    pub(crate) found: Vec<Found>,
}

/// A key as a server has it.
pub(crate) struct Found {
    pub(crate) key: ServerKey,
    pub(crate) ttl: Ttl,
    /// Of its value; `None` where that isn't a string.
    pub(crate) bytes: Option<u64>,
}

/// A walk for each primary. Of a `sample` the server names all its keys, so that what was seen can be compared with its total.
pub(super) async fn walks(inner: &Inner, prefix: &str, sample: bool) -> Result<Vec<NodeWalk>, ServerError> {
    let nodes = match &*inner.layout.load_full() {
        Layout::Unknown => return Err(ServerError::Unavailable(Unavailable::NotConnected)),
        Layout::Single(node) => vec![Arc::clone(node)],
        Layout::Cluster(map) => map.slots_by_primary().into_iter().map(|(node, _)| node).collect(),
    };
    let prefix = format!("{prefix}:");
    let pattern = if sample { Bytes::from_static(b"*") } else { format!("{}*", escaped(&prefix)).into() };
    let mut walks = Vec::with_capacity(nodes.len());
    for node in nodes {
        let total = keys_of(inner, &node).await;
        let (prefix, pattern) = (Bytes::copy_from_slice(prefix.as_bytes()), pattern.clone());
        walks.push(NodeWalk { node, prefix, pattern, cursor: Some(Bytes::from_static(b"0")), total });
    }
    walks.sort_by_key(NodeWalk::endpoint);
    Ok(walks)
}

/// How many keys the database has.
async fn keys_of(inner: &Inner, node: &Node) -> Option<u64> {
    let pool = node.pool().ok()?;
    let info = node.send(&pool, &node.probe_key, Command::Info("keyspace")).await.ok()?;
    keys_in(&reply::text(&info)?, inner.recipe.database())
}

/// A database without keys isn't named.
fn keys_in(info: &str, database: u8) -> Option<u64> {
    let begin = format!("db{database}:keys=");
    match info.lines().find_map(|line| line.strip_prefix(&begin)) {
        Some(rest) => rest.split(',').next()?.trim().parse().ok(),
        None => info.contains("# Keyspace").then_some(0),
    }
}

impl NodeWalk {
    pub(crate) fn endpoint(&self) -> String {
        self.node.address.to_string()
    }

    /// The next piece, perhaps of no keys; `None` at the end. What fails may be asked again, and goes on where it was.
    pub(crate) async fn next_page(&mut self) -> Result<Option<FoundPage>, ServerError> {
        let Some(cursor) = self.cursor.clone() else { return Ok(None) };
        let pool = self.node.pool()?;
        let scan = Command::Scan(Box::new(Scan { cursor, pattern: self.pattern.clone(), count: PAGE }));
        let (next, mut keys) = reply::scan_page(self.node.send(&pool, &self.pattern, scan).await?)?;
        let seen = keys.len() as u64;
        keys.retain(|key| key.starts_with(&self.prefix));
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(AT_ONCE) {
            for (part, _) in pool.parts(keys.iter()) {
                describe(&self.node, &pool, part.into_iter().map(|at| keys[at].clone()).collect(), &mut found).await?;
            }
        }
        self.cursor = (next.as_ref() != b"0").then_some(next);
        Ok(Some(FoundPage { seen, found }))
    }
}

/// Adds what these keys of one connection are, but for those that are gone or have left for another node.
async fn describe(
    node: &Node,
    pool: &Arc<Pool>,
    keys: Vec<ServerKey>,
    found: &mut Vec<Found>,
) -> Result<(), ServerError> {
    let redirected = describe_asking(node, pool, keys, false, found).await?;
    if !redirected.is_empty() {
        // Of a slot that is on its way here, the node shows what has arrived to those alone that ask so.
        describe_asking(node, pool, redirected, true, found).await?;
    }
    Ok(())
}

/// The same, with ASKING before each command where `asking`; returns those that the node sends elsewhere.
async fn describe_asking(
    node: &Node,
    pool: &Arc<Pool>,
    keys: Vec<ServerKey>,
    asking: bool,
    found: &mut Vec<Found>,
) -> Result<Vec<ServerKey>, ServerError> {
    let mut commands = Vec::with_capacity(keys.len() * 4);
    for key in &keys {
        for command in [Command::Pttl(key.clone()), Command::Strlen(key.clone())] {
            commands.extend(asking.then_some(Command::Asking));
            commands.push(command);
        }
    }
    let replies = node.watched(pool, pool.send_together(&keys[0], commands)).await?;
    let wanted = replies.into_iter().skip(asking.into()).step_by(1 + usize::from(asking));
    let mut replies = wanted.map(|reply| node.judged(pool, reply));
    let mut redirected = Vec::new();
    for key in keys {
        let (Some(ttl), Some(bytes)) = (replies.next(), replies.next()) else { break };
        let (ttl, bytes) = match (ttl, bytes) {
            (Err(Failed::Redirected(_)), _) | (_, Err(Failed::Redirected(_))) => {
                redirected.push(key);
                continue;
            }
            (ttl, bytes) => (reply::number(&ttl?)?, bytes),
        };
        let bytes = match bytes {
            Ok(frame) => u64::try_from(reply::number(&frame)?).ok(),
            Err(Failed::Server(ServerError::WrongType)) => None,
            Err(failed) => return Err(failed.into()),
        };
        // As PTTL says of a key that isn't there.
        if ttl != -2 {
            found.push(Found { key, ttl: Ttl::of_pttl(Some(ttl)), bytes });
        }
    }
    Ok(redirected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_the_own_database_are_counted() {
        let info = "# Keyspace\r\ndb0:keys=12,expires=3,avg_ttl=0\r\ndb10:keys=7,expires=0,avg_ttl=0\r\n";
        assert_eq!([0, 1, 10].map(|database| keys_in(info, database)), [Some(12), Some(0), Some(7)]);
        assert_eq!(keys_in("", 0), None);
    }
}
