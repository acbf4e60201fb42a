//! A server whose answers a test holds back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::backend::lease::{Lease, Proof, Stored, Terms, lease_key};
use crate::backend::server::{Epoch, ReadReply, Server, ServerError, Ttl, Unavailable, UnderWay};
use crate::key::{CallKey, KeyPrefix, ServerKey};

/// A server in this process.
#[derive(Clone, Default)]
pub(super) struct Fake(pub(super) Arc<State>);

#[derive(Default)]
pub(super) struct State {
    pub(super) values: Mutex<HashMap<ServerKey, Bytes>>,
    /// What remains of the keys' TTLs, which stand still.
    pub(super) ttls: Mutex<HashMap<ServerKey, Duration>>,
    /// How long the last lease was to last.
    pub(super) lease_limit: Mutex<Option<Duration>>,
    /// What it was asked, in order.
    pub(super) log: Mutex<Vec<&'static str>>,
    /// The operation that is held back until another is named, or none.
    pub(super) held: Mutex<Option<&'static str>>,
    pub(super) released: Notify,
    /// Whether no node of it is available.
    pub(super) is_away: AtomicBool,
    /// How an operation fails.
    pub(super) failing: Mutex<HashMap<&'static str, ServerError>>,
}

impl Fake {
    pub(super) fn hold(&self, operation: &'static str) {
        *self.0.held.lock() = Some(operation);
    }

    pub(super) fn release(&self) {
        *self.0.held.lock() = None;
        self.0.released.notify_waiters();
    }

    pub(super) fn fail(&self, operation: &'static str, error: ServerError) {
        self.0.failing.lock().insert(operation, error);
    }

    pub(super) fn mend(&self) {
        self.0.failing.lock().clear();
    }

    pub(super) fn has(&self, key: &CallKey) -> Option<String> {
        let value = self.0.values.lock().get(&key.server_key()).cloned();
        value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(super) fn count(&self, operation: &str) -> usize {
        self.0.log.lock().iter().filter(|done| **done == operation).count()
    }
}

impl State {
    /// Does `operation` with the values now, and answers once it's no longer held back.
    async fn answer<T>(
        &self,
        operation: &'static str,
        act: impl FnOnce(&mut HashMap<ServerKey, Bytes>) -> T,
    ) -> Result<T, ServerError> {
        self.log.lock().push(operation);
        let failing = self.failing.lock().get(operation).cloned();
        let answer = failing.map_or_else(|| Ok(act(&mut self.values.lock())), Err);
        loop {
            let released = self.released.notified();
            if *self.held.lock() != Some(operation) {
                return answer;
            }
            released.await;
        }
    }
}

impl Server for Fake {
    fn is_available(&self, _: &CallKey) -> bool {
        !self.0.is_away.load(Ordering::SeqCst)
    }

    fn is_available_for_all(&self) -> bool {
        !self.0.is_away.load(Ordering::SeqCst)
    }

    async fn get(&self, key: &ServerKey) -> Result<Option<Bytes>, ServerError> {
        self.0.answer("get", |values| values.get(key).cloned()).await
    }

    async fn get_with_ttl(&self, key: &ServerKey) -> Result<Option<(Bytes, Ttl)>, ServerError> {
        self.0.log.lock().push("ttl");
        let value = self.get(key).await?;
        let ttl = self.0.ttls.lock().get(key).copied().unwrap_or(Duration::from_secs(60));
        Ok(value.map(|bytes| (bytes, Ttl::Remaining(ttl))))
    }

    async fn get_many(&self, keys: &[(&ServerKey, bool)]) -> Option<Vec<ReadReply>> {
        let mut replies = Vec::new();
        for (key, _) in keys {
            replies.push(self.get_with_ttl(key).await);
        }
        Some(replies)
    }

    async fn contains(&self, key: &ServerKey) -> Result<bool, ServerError> {
        self.0.answer("contains", |values| values.contains_key(key)).await
    }

    async fn check_type(&self, key: &ServerKey) -> Result<(), ServerError> {
        let lease = lease_key(key, "p").expect("it has one");
        self.0.answer("check_type", |values| _ = values.remove(&lease)).await
    }

    async fn take_lease(&self, key: &ServerKey, limit: Option<Duration>) -> Result<Option<Lease>, ServerError> {
        *self.0.lease_limit.lock() = limit;
        let lease = lease_key(key, "p").expect("it has one");
        let own = Bytes::from(self.count("lease").to_string());
        let take = |values: &mut HashMap<ServerKey, Bytes>| values.entry(lease.clone()).or_insert(own).clone();
        let before = self.0.values.lock().contains_key(&lease);
        let token = self.0.answer("lease", take).await?;
        Ok(Some(Lease { proof: Proof { lease, token }, is_shared: before, renewal: Box::new(()) }))
    }

    async fn release_lease(&self, proof: &Proof) -> Result<(), ServerError> {
        self.0.answer("release", |values| _ = values.remove(&proof.lease)).await
    }

    async fn set(
        &self,
        key: &ServerKey,
        value: Bytes,
        ttl: Duration,
        terms: Terms,
        mut under_way: impl UnderWay,
    ) -> Result<Stored, ServerError> {
        let (state, key) = (Arc::clone(&self.0), key.clone());
        let stored = tokio::spawn(async move {
            let ttls = &state.ttls;
            let set = |values: &mut HashMap<ServerKey, Bytes>| {
                if let Terms::Fenced(Proof { lease, token }) = terms {
                    if values.get(&lease) != Some(&token) {
                        return Stored::Refused;
                    }
                    values.remove(&lease);
                }
                ttls.lock().insert(key.clone(), ttl);
                values.insert(key, value);
                Stored::Kept
            };
            let stored = state.answer("set", set).await;
            under_way.end(&stored);
            stored
        });
        stored.await.unwrap_or(Err(ServerError::Unavailable(Unavailable::ConnectionLost)))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn replaced(&self, _: &ServerKey, _: Epoch) {}

    async fn remove(&self, key: &ServerKey) -> Result<bool, ServerError> {
        let lease = lease_key(key, "p").expect("it has one");
        let remove = |values: &mut HashMap<ServerKey, Bytes>| (values.remove(&lease), values.remove(key)).1.is_some();
        self.0.answer("remove", remove).await
    }

    async fn clear(&self, prefix: &KeyPrefix) -> Result<u64, ServerError> {
        let clear = |values: &mut HashMap<ServerKey, Bytes>| values.extract_if(|key, _| prefix.matches(key)).count();
        self.0.answer("clear", clear).await.map(|count| count as u64)
    }
}
