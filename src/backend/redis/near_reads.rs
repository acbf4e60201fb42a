//! Reads over the near caches' connections, and what is known of these.

use super::super::server::{NearReply, ServerError, Ttl, Unavailable};
use super::command::Command;
use super::inner::Inner;
use super::near::Near;
use super::node::Failed;
use super::reply;
use crate::health::NearCache;
use crate::key::ServerKey;

impl Inner {
    /// Reads `key` over the line of its node; `None` where there is none, or it's lost meanwhile, or the key is elsewhere.
    pub(super) async fn get_near(
        &self,
        key: &ServerKey,
        asks_ttl: bool,
    ) -> Option<Result<Option<NearReply>, ServerError>> {
        let node = self.writer(key).ok()?;
        let near = node.near.as_ref()?;
        let line = near.line.load_full()?;
        // Before the read is sent, so that no report of a change after it is missed.
        let mark = line.marks.place(key);
        let ttl = async {
            match asks_ttl {
                // Sent before the value, as without a near cache.
                true => node.send_over(&line.in_flight, &line.pool, key, Command::Pttl(key.clone())).await.map(Some),
                false => Ok(None),
            }
        };
        let (ttl, value) = tokio::join!(ttl, node.get_over(&line.in_flight, &line.pool, key));
        let value = match value {
            Ok(frame) => node.read(reply::bytes(frame)),
            Err(Failed::Redirected(_)) => return None,
            Err(Failed::Server(ServerError::Unavailable(Unavailable::ConnectionLost))) => return None,
            Err(Failed::Server(error)) => Err(error),
        };
        let ttl = match ttl {
            Ok(Some(frame)) => Ttl::of_pttl(node.read(reply::number(&frame)).ok()),
            _ => Ttl::Unknown,
        };
        Some(value.map(|value| value.map(|value| (value, ttl, Some(mark)))))
    }

    /// The status of the near caches of all nodes: what is wrong, if anything is.
    pub(super) fn near_cache(&self) -> NearCache {
        if self.context.near.configured.is_none() {
            return NearCache::Off;
        }
        let nodes = self.layout.load_full().nodes();
        let all: Vec<_> = nodes.iter().filter_map(|node| node.near.as_ref()).map(Near::status).collect();
        let is_unavailable = |status: &&NearCache| matches!(status, NearCache::Unavailable { .. });
        let trouble = all.iter().find(is_unavailable).or_else(|| all.iter().find(|status| **status != NearCache::On));
        match trouble {
            Some(status) => status.clone(),
            None if all.is_empty() => NearCache::Connecting,
            None => NearCache::On,
        }
    }
}
