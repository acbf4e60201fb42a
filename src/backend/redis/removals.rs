//! Removing keys: from one node, and from whichever nodes of a cluster have them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use fred::types::Resp3Frame as Frame;
use futures_util::future::join_all;

use super::super::lease::lease_key;
use super::super::server::{ServerError, Unavailable, if_permitted};
use super::command::Command;
use super::inner::Inner;
use super::node::{Failed, Node};
use super::pool::Pool;
use super::reply::{self, ErrorReply, Redirect};
use super::wire;
use crate::key::ServerKey;

/// Takes the leases of keys away, so that no fill of them that has begun is stored. What isn't permitted isn't needed: then no fill has
/// a lease.
pub(super) async fn drop_leases(node: &Node, pool: &Arc<Pool>, keys: &[ServerKey]) -> Result<(), ServerError> {
    let leases: Vec<_> = keys.iter().filter_map(|key| lease_key(key, &node.key_prefix)).collect();
    unlink_permitted(node, pool, &leases).await
}

/// Removes those of these keys that the user may remove.
pub(super) async fn unlink_permitted(node: &Node, pool: &Arc<Pool>, keys: &[ServerKey]) -> Result<(), ServerError> {
    if if_permitted(unlink(node, pool, keys).await)?.is_some() {
        return Ok(());
    }
    // One of them may be the reason why none has gone.
    let replies = unlink_each(node, pool, keys).await?;
    replies.into_iter().try_for_each(|reply| if_permitted(reply.map_err(ServerError::from)).map(drop))
}

/// Removes keys by one command each. Each by its own connection, so that it can't overtake a write that waits there.
async fn unlink_each(
    node: &Node,
    pool: &Arc<Pool>,
    keys: &[ServerKey],
) -> Result<Vec<Result<Frame, ErrorReply>>, Failed> {
    let send = |(indices, _): (Vec<usize>, _)| {
        let commands = indices.iter().map(|&index| Command::Unlink(vec![keys[index].clone()])).collect();
        let sent = pool.send_together(&keys[indices[0]], commands);
        async move { sent.await.map(|replies| indices.into_iter().zip(replies)) }
    };
    let operations: Vec<_> = pool.parts(keys.iter()).into_iter().map(send).collect();
    if operations.is_empty() {
        return Ok(Vec::new());
    }
    let all = async { wire::all(join_all(operations).await) };
    let mut replies: Vec<_> = node.watched(pool, all).await?.into_iter().flatten().collect();
    replies.sort_unstable_by_key(|(index, _)| *index);
    Ok(replies.into_iter().map(|(_, reply)| reply).collect())
}

/// Removes keys in one command on each connection; how many there were. A key goes by its own connection, so that the removal can't
/// overtake a write that waits there.
pub(super) async fn unlink(node: &Node, pool: &Arc<Pool>, keys: &[ServerKey]) -> Result<u64, ServerError> {
    let send = |(indices, _): (Vec<usize>, _)| {
        let part = indices.iter().map(|&index| keys[index].clone()).collect();
        pool.send(&keys[indices[0]], Command::Unlink(part))
    };
    let operations: Vec<_> = pool.parts(keys.iter()).into_iter().map(send).collect();
    if operations.is_empty() {
        return Ok(0);
    }
    // One operation to the node, so that there is room for it wherever there is room for one.
    let all = async { wire::all(join_all(operations).await) };
    let replies = node.noting_permission(true, node.watched(pool, all).await)?;
    replies.iter().map(|reply| Ok(u64::try_from(reply::number(reply)?).unwrap_or(0))).sum()
}

impl Inner {
    /// Removes keys of any slots, together as far as they share a node; what came of each.
    pub(super) async fn remove_all(&self, keys: &[ServerKey]) -> Vec<Result<u64, ServerError>> {
        let mut by_node: HashMap<_, (Arc<Node>, Vec<usize>)> = HashMap::new();
        let mut results = vec![Err(ServerError::Unavailable(Unavailable::NotConnected)); keys.len()];
        for (index, key) in keys.iter().enumerate() {
            if let Ok(node) = self.writer(key) {
                by_node.entry(node.id).or_insert_with(|| (node, Vec::new())).1.push(index);
            }
        }
        let parts = by_node.into_values().map(|(node, indices)| async move {
            let part = indices.iter().map(|&index| keys[index].clone()).collect();
            let removed = match node.pool() {
                Ok(pool) => self.remove_with_leases(&node, &pool, part).await,
                Err(error) => vec![Err(error); indices.len()],
            };
            indices.into_iter().zip(removed)
        });
        for (index, result) in join_all(parts).await.into_iter().flatten() {
            results[index] = result;
        }
        results
    }

    /// Removes keys on `node`, and before them their leases; what came of each.
    async fn remove_with_leases(
        &self,
        node: &Node,
        pool: &Arc<Pool>,
        keys: Vec<ServerKey>,
    ) -> Vec<Result<u64, ServerError>> {
        let names = || keys.iter().map(|key| self.leases.name(key));
        let dropped = self.remove_each(node, pool, &names().flatten().collect::<Vec<_>>()).await;
        let mut dropped = dropped.into_iter();
        // Of keys without a lease there is nothing to drop.
        let dropped: Vec<_> = names().map(|name| name.and_then(|_| dropped.next())).collect();
        let removed = self.remove_each(node, pool, &keys).await;
        let mut results = Vec::with_capacity(keys.len());
        for ((key, dropped), removed) in keys.iter().zip(dropped).zip(removed) {
            results.push(match (dropped, removed) {
                (Some((Err(error), _)), _) if !error.is_not_permitted() => Err(error),
                (Some((_, Some(moving))), (Ok(number), None)) if moving.asking => {
                    self.remove_second_copy(moving, key).await.map(|()| number)
                }
                (_, (removed, _)) => removed,
            });
        }
        results
    }

    /// Removes keys on `node`, and what it no longer has wherever that has gone; what came of each.
    pub(super) async fn remove_on(
        &self,
        node: &Node,
        pool: &Arc<Pool>,
        keys: Vec<ServerKey>,
    ) -> Vec<Result<u64, ServerError>> {
        self.remove_each(node, pool, &keys).await.into_iter().map(|(removed, _)| removed).collect()
    }

    /// The same; also returns where each was redirected to first.
    async fn remove_each(
        &self,
        node: &Node,
        pool: &Arc<Pool>,
        keys: &[ServerKey],
    ) -> Vec<(Result<u64, ServerError>, Option<Redirect>)> {
        let count = |frame: &Frame| reply::number(frame).map(|removed| u64::try_from(removed).unwrap_or(0));
        // One command a key: two of one slot may be on either side while it moves.
        let replies = match unlink_each(node, pool, keys).await {
            Ok(replies) => replies,
            Err(failed) => return vec![(Err(failed.into()), None); keys.len()],
        };
        let mut results = Vec::with_capacity(keys.len());
        for (key, reply) in keys.iter().zip(replies) {
            results.push(match reply {
                Ok(frame) => (count(&frame), None),
                Err(error) => match error.redirect(&node.address) {
                    Some(redirect) => {
                        let unlink = Command::Unlink(vec![key.clone()]);
                        let frame = self.follow(redirect.clone(), key, unlink, Instant::now()).await;
                        (frame.and_then(|frame| count(&frame)), Some(redirect))
                    }
                    None => (Err(error.into()), None),
                },
            });
        }
        results
    }
}
