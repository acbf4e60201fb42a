//! Sending by slot: a command goes to the node that has its key, and follows `MOVED` and `ASK` from there.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fred::types::Resp3Frame as Frame;

use super::super::server::{ServerError, Unavailable};
use super::command::Command;
use super::inner::Inner;
use super::node::{Failed, Node};
use super::pool::Pool;
use super::reply::Redirect;
use super::role::Role;
use crate::config::Address;

/// How often one operation may be redirected. A slot that moves back and forth isn't chased indefinitely.
const MAX_HOPS: usize = 4;

impl Inner {
    /// Sends one command about `key` to the node that has it.
    pub(super) async fn send(&self, key: &Bytes, command: Command) -> Result<Frame, ServerError> {
        let node = self.writer(key)?;
        self.send_to(&node, key, command).await
    }

    /// Sends one command about `key` to `node`, and follows redirects from there.
    pub(super) async fn send_to(&self, node: &Arc<Node>, key: &Bytes, command: Command) -> Result<Frame, ServerError> {
        let pool = node.pool()?;
        let again = (node.role != Role::Standalone).then(|| (command.clone(), Instant::now()));
        match (node.send(&pool, key, command).await, again) {
            (Err(Failed::Redirected(redirect)), Some((command, begun))) => {
                self.follow(redirect, key, command, begun).await
            }
            (reply, _) => Ok(reply?),
        }
    }

    /// Sends one command to where it has been redirected, and on from there. `begun`: when it was sent first. Boxed: few calls need it,
    /// and the futures of all would contain it.
    pub(super) fn follow<'a>(
        &'a self,
        redirect: Redirect,
        key: &'a Bytes,
        command: Command,
        begun: Instant,
    ) -> Pin<Box<dyn Future<Output = Result<Frame, ServerError>> + Send + 'a>> {
        Box::pin(self.chase(redirect, key, command, begun))
    }

    async fn chase(
        &self,
        mut redirect: Redirect,
        key: &Bytes,
        command: Command,
        begun: Instant,
    ) -> Result<Frame, ServerError> {
        // Each hop is an operation of its own, with its own deadline; none begins after that of the first.
        let in_time = || match begun.elapsed() <= self.context.command_timeout {
            true => Ok(()),
            false => Err(self.not_followed(ServerError::Unavailable(Unavailable::TimedOut))),
        };
        for _ in 0..MAX_HOPS {
            in_time()?;
            if !redirect.asking {
                self.requests.refresh.notify_one();
                if let Some(map) = self.layout.load().map() {
                    if !map.is_failover(redirect.slot, &redirect.address) {
                        map.moved(redirect.slot, &redirect.address);
                    } else if command.is_read() && self.recent_invalidations.is_repeated(key) {
                        // The new primary may not know of it. The map that names this one has all others repeated; until then, each read of
                        // its slots comes by here.
                        self.context.journal.add_server_key(key.clone());
                        return Err(ServerError::Unavailable(Unavailable::NotReady));
                    }
                }
            }
            let reached = self.reach(&redirect.address).await;
            let (node, pool) = reached.map_err(|error| self.not_followed(error))?;
            // It may have taken long to connect.
            in_time()?;
            let operation = match redirect.asking {
                true => pool.send_asking(key, command.clone()),
                false => pool.send(key, command.clone()),
            };
            match node.noting_permission(command.is_essential(), node.watched(&pool, operation).await) {
                Err(Failed::Redirected(next)) => redirect = next,
                reply => return Ok(reply?),
            }
        }
        Err(self.not_followed(ServerError::Unavailable(Unavailable::NotReady)))
    }

    /// Counts an operation that ends here, because its redirect isn't followed. For its caller the server is away, and no circuit shows it.
    fn not_followed(&self, error: ServerError) -> ServerError {
        let counters = &self.context.counters;
        match error {
            ServerError::Unavailable(Unavailable::TimedOut) => counters.server_timeouts.add_one(),
            ServerError::Unavailable(Unavailable::Shed) => counters.shed.add_one(),
            _ => counters.server_errors.add_one(),
        }
        error
    }

    /// The primary at `address`. One that isn't known yet is connected to, and waited for.
    async fn reach(&self, address: &Address) -> Result<(Arc<Node>, Arc<Pool>), ServerError> {
        let node = self.layout.load().map().and_then(|map| map.primary_at(address).cloned());
        if let Some(node) = node
            && !self.node_health.is_connecting(node.id)
        {
            let pool = node.pool()?;
            return Ok((node, pool));
        }
        if !self.requests.add(address) {
            return Err(ServerError::Unavailable(Unavailable::NotConnected));
        }
        let Some(permit) = self.waiting.enter() else { return Err(ServerError::Unavailable(Unavailable::Shed)) };
        let connected = async {
            loop {
                let changed = self.node_health.changed.notified();
                let layout = self.layout.load_full();
                let Some(map) = layout.map() else { return Err(ServerError::Unavailable(Unavailable::NotConnected)) };
                if let Some(node) = map.primary_at(address) {
                    match node.pool() {
                        Ok(pool) => return Ok((Arc::clone(node), pool)),
                        Err(error) if !self.node_health.is_connecting(node.id) => return Err(error),
                        Err(_) => {}
                    }
                }
                changed.await;
            }
        };
        let timed_out = Err(ServerError::Unavailable(Unavailable::TimedOut));
        permit.run(connected).await.unwrap_or(timed_out)
    }

    /// Waits until the map has been looked at again.
    pub(super) async fn refreshed(&self) {
        let changed = self.node_health.changed.notified();
        self.requests.refresh.notify_one();
        if let Some(permit) = self.waiting.enter() {
            let _ = permit.run(changed).await;
        }
    }
}
