//! Removing keys: from one node, and from whichever nodes of a cluster have them.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::super::lease::lease_key;
use super::super::server::{ServerError, Unavailable};
use super::command::Command;
use super::inner::Inner;
use super::node::Node;
use super::pool::Pool;
use super::{reply, wire};
use crate::key::ServerKey;

/// Takes the leases of keys away, so that no fill of them that has begun is stored. What isn't permitted isn't needed: then no fill has
/// a lease.
pub(super) async fn drop_leases(node: &Node, pool: &Arc<Pool>, keys: &[ServerKey]) -> Result<(), ServerError> {
    let leases: Vec<_> = keys.iter().filter_map(|key| lease_key(key, &node.key_prefix)).collect();
    match unlink(node, pool, &leases).await {
        Err(error) if matches!(error, ServerError::Unavailable(_)) || error.is_read_only() => Err(error),
        _ => Ok(()),
    }
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
        let dropped = self.remove_on(node, pool, names().flatten().collect()).await;
        let mut dropped = dropped.into_iter();
        // Of keys without a lease there is nothing to drop.
        let dropped: Vec<_> = names().map(|name| name.and_then(|_| dropped.next())).collect();
        let removed = self.remove_on(node, pool, keys).await;
        let both = removed.into_iter().zip(dropped).map(|(removed, dropped)| match dropped {
            Some(Err(error @ ServerError::Unavailable(_))) => Err(error),
            _ => removed,
        });
        both.collect()
    }

    /// Removes keys on `node`, and what it no longer has wherever that has gone; what came of each.
    pub(super) async fn remove_on(
        &self,
        node: &Node,
        pool: &Arc<Pool>,
        keys: Vec<ServerKey>,
    ) -> Vec<Result<u64, ServerError>> {
        // One command a key: two of one slot may be on either side while it moves. Each by its own connection, so that it can't
        // overtake a write that waits there.
        let send = |(indices, _): (Vec<usize>, _)| {
            let commands = indices.iter().map(|&index| Command::Unlink(vec![keys[index].clone()])).collect();
            let sent = pool.send_together(&keys[indices[0]], commands);
            async move { sent.await.map(|replies| indices.into_iter().zip(replies)) }
        };
        let operations: Vec<_> = pool.parts(keys.iter()).into_iter().map(send).collect();
        if operations.is_empty() {
            return Vec::new();
        }
        let all = async { wire::all(join_all(operations).await) };
        let mut replies = match node.watched(pool, all).await {
            Ok(connections) => connections.into_iter().flatten().collect::<Vec<_>>(),
            Err(failed) => return vec![Err(failed.into()); keys.len()],
        };
        replies.sort_unstable_by_key(|(index, _)| *index);
        let mut results = Vec::with_capacity(keys.len());
        for (key, (_, reply)) in keys.into_iter().zip(replies) {
            results.push(match reply {
                Ok(frame) => reply::number(&frame).map(|removed| u64::try_from(removed).unwrap_or(0)),
                Err(error) => match error.redirect(&node.address) {
                    Some(redirect) => {
                        let frame = self.follow(redirect, &key, Command::Unlink(vec![key.clone()])).await;
                        frame.and_then(|frame| reply::number(&frame)).map(|removed| u64::try_from(removed).unwrap_or(0))
                    }
                    None => Err(error.into()),
                },
            });
        }
        results
    }
}
