//! A Redis or Valkey server, through fred. The only folder that names it.
//!
//! fred carries commands; the promises are kept here: deadlines and the cap in [`in_flight`], the circuit in [`node`],
//! connecting, probing and rebuilding in [`supervisor`].

mod in_flight;
mod link;
mod node;
mod reply;
mod scan;
mod supervisor;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::types::Value;

use self::link::Connector;
use self::node::{Node, Stage};
use self::supervisor::Driver;
use super::journal::Journal;
use super::{Life, Server, ServerError};
use crate::config::Connection;
use crate::error::Error;
use crate::health::HealthBoard;
use crate::key::{KeyPrefix, Scope, ServerKey};
use crate::telemetry::Counters;

/// One server, and the driver that keeps a connection to it. The driver ends when this is dropped.
pub(crate) struct Redis {
    node: Arc<Node>,
}

impl Redis {
    /// Starts connecting, and returns at once.
    pub(crate) fn start(
        settings: &Connection,
        scope: &Scope,
        journal: Arc<Journal>,
        counters: Arc<Counters>,
        health: Arc<HealthBoard>,
    ) -> Result<Self, Error> {
        let probe_key = Bytes::from(format!("{}probe", scope.as_str()));
        let connector = Connector::new(settings, probe_key)?;
        let node = Node::new(settings.max_in_flight, settings.command_timeout, journal, counters, health);
        let node = Arc::new(node);
        let driver = Driver { node: Arc::clone(&node), connector, reconnect: settings.reconnect };
        driver.start().map_err(|error| Error::config("build", format!("can't start an I/O thread: {error}")))?;
        Ok(Self { node })
    }

    /// Ends the driver and its connections; done when they are gone.
    pub(crate) async fn close(&self) {
        if let Ok(link) = self.node.link()
            && self.node.journal.len() > 0
        {
            // What doesn't succeed now is lost with this process, as its memory is.
            let _ = scan::replay(&self.node, &link).await;
        }
        self.node.advance(Stage::Closing);
        self.node.reached(Stage::Closed).await;
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.node.advance(Stage::Closing);
    }
}

impl Server for Redis {
    fn is_available(&self) -> bool {
        self.node.is_available()
    }

    async fn get(&self, key: &ServerKey) -> Result<Option<Bytes>, ServerError> {
        let link = self.node.link()?;
        reply::bytes(self.node.noting_permission("GET", self.node.watched(&link, link.get(key)).await)?)
    }

    async fn get_with_life(&self, key: &ServerKey) -> Result<Option<(Bytes, Life)>, ServerError> {
        let link = self.node.link()?;
        let value = self.node.send(&link, key, "GET", vec![key.clone().into()]);
        let life = self.node.send(&link, key, "PTTL", vec![key.clone().into()]);
        // Sent back to back on one connection: one round trip.
        let (value, life) = tokio::join!(value, life);
        let Some(value) = reply::bytes(value?)? else { return Ok(None) };
        let life = match life.and_then(|frame| reply::number(&frame)) {
            Ok(-1) => Life::Endless,
            // The whole milliseconds that remain, so never more than does.
            Ok(millis) => {
                u64::try_from(millis).map_or(Life::Unknown, |millis| Life::Remaining(Duration::from_millis(millis)))
            }
            Err(_) => Life::Unknown,
        };
        Ok(Some((value, life)))
    }

    async fn contains(&self, key: &ServerKey) -> Result<bool, ServerError> {
        let link = self.node.link()?;
        node::is_positive(&self.node.send(&link, key, "EXISTS", vec![key.clone().into()]).await?)
    }

    async fn set(&self, key: &ServerKey, value: Bytes, life: Duration) -> Result<(), ServerError> {
        let link = self.node.link()?;
        let args = vec![key.clone().into(), Value::Bytes(value), "PX".into(), millis(life).into()];
        self.node.send(&link, key, "SET", args).await.map(|_| ())
    }

    async fn check_type(&self, key: &ServerKey) -> Result<(), ServerError> {
        let link = self.node.link()?;
        // Refused with WRONGTYPE for anything that isn't a string.
        self.node.send(&link, key, "STRLEN", vec![key.clone().into()]).await.map(|_| ())
    }

    async fn remove(&self, key: &ServerKey) -> Result<bool, ServerError> {
        let link = self.node.link()?;
        scan::unlink(&self.node, &link, vec![key.clone()]).await.map(|removed| removed > 0)
    }

    async fn clear(&self, prefix: &KeyPrefix) -> Result<u64, ServerError> {
        let link = self.node.link()?;
        scan::clear(&self.node, &link, prefix).await
    }
}

/// Whole milliseconds, at least one, at most what a server can add to the time.
fn millis(life: Duration) -> i64 {
    const LONGEST: u128 = 1_000_000_000_000_000;
    i64::try_from(life.as_nanos().div_ceil(1_000_000).clamp(1, LONGEST)).unwrap_or(i64::MAX)
}
