//! Leases on the server: taking one, storing under it, and renewing it while its work runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::super::lease::{Lease, Proof, Stored, lease_key};
use super::super::script::{Script, ScriptReply};
use super::super::server::ServerError;
use super::command::{Command, Set};
use super::inner::Inner;
use super::reply;
use crate::key::ServerKey;

/// How long a lease outlives its holder. Work that takes longer has it renewed.
const TTL: Duration = Duration::from_secs(60);
/// How old a lease is when it's renewed, and how often that's looked into: well before half its TTL.
const RENEWED_AFTER: Duration = Duration::from_secs(5);
/// Leases that are renewed; works beyond that, all of which take longer than [`TTL`], aren't stored.
const MOST_RENEWED: usize = 100_000;
/// How long no lease is taken where the server has refused one.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// Takes a lease, or reads the token of the one that is there; for servers before 7.0.
static TAKE: Script = Script::new(
    "local token = redis.call('GET', KEYS[1])
if token then return token end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false",
);

/// Stores a value while the lease holds the token.
static FILL: Script = Script::new(
    "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('UNLINK', KEYS[2])
return 1",
);

/// Takes a lease away while it holds the token.
static RELEASE: Script = Script::new(
    "if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('UNLINK', KEYS[2]) end
return 1",
);

/// The leases that this process holds.
pub(super) struct Leases {
    /// Of keys that give no prefix themselves.
    default_prefix: Arc<str>,
    held: Mutex<HashMap<u64, Held>>,
    next: AtomicU64,
    /// The server has no `SET` with `NX` and `GET`.
    by_script: AtomicBool,
    /// The server has refused what a lease takes.
    refused: Mutex<Option<Instant>>,
    is_refused: AtomicBool,
    warned: AtomicBool,
}

struct Held {
    key: ServerKey,
    lease: ServerKey,
    since: Instant,
}

/// Has a lease renewed for as long as it's kept.
struct Renewal {
    inner: Arc<Inner>,
    number: u64,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.inner.leases.held.lock().remove(&self.number);
    }
}

impl Leases {
    pub(super) fn new(default_prefix: Arc<str>) -> Self {
        Self {
            default_prefix,
            held: Mutex::default(),
            next: AtomicU64::new(0),
            by_script: AtomicBool::new(false),
            refused: Mutex::new(None),
            is_refused: AtomicBool::new(false),
            warned: AtomicBool::new(false),
        }
    }

    /// The name of the lease of `key`, if it can have one.
    pub(super) fn name(&self, key: &[u8]) -> Option<ServerKey> {
        lease_key(key, &self.default_prefix)
    }

    fn are_refused(&self) -> bool {
        if !self.is_refused.load(Ordering::Relaxed) {
            return false;
        }
        let mut refused = self.refused.lock();
        let still = refused.is_some_and(|since| since.elapsed() < REFUSED_FOR);
        if !still {
            *refused = None;
            self.is_refused.store(false, Ordering::Relaxed);
        }
        still
    }

    fn note_refusal(&self, error: &ServerError) {
        *self.refused.lock() = Some(Instant::now());
        self.is_refused.store(true, Ordering::Relaxed);
        if !self.warned.swap(true, Ordering::Relaxed) {
            let ServerError::Refused { code, message } = error else { return };
            tracing::warn!(
                target: "cache_house", code, message,
                "the server refuses what a fence takes, so a fill may be stored behind another process's invalidation; logged once"
            );
        }
    }
}

/// Whether a refusal is about the commands of a fence, rather than about the server's state.
fn is_not_permitted(error: &ServerError) -> bool {
    matches!(error, ServerError::Refused { code, .. } if code == "NOPERM" || code == "ERR")
}

impl Inner {
    /// Takes the lease of `key`, or shares the one that is there; `None` where the key or the server has none.
    pub(super) async fn take_lease(self: &Arc<Self>, key: &ServerKey) -> Result<Option<Lease>, ServerError> {
        let Some(name) = self.leases.name(key).filter(|_| !self.leases.are_refused()) else { return Ok(None) };
        let token = Bytes::from(format!("{:032x}", rand::random::<u128>()));
        let found = match self.try_lease(key, &name, &token).await {
            Err(error) if is_not_permitted(&error) => {
                self.leases.note_refusal(&error);
                return Ok(None);
            }
            found => found?,
        };
        let is_shared = found.is_some();
        let proof = Proof { lease: name.clone(), token: found.unwrap_or(token) };
        let number = self.leases.next.fetch_add(1, Ordering::Relaxed);
        let held = Held { key: key.clone(), lease: name, since: Instant::now() };
        {
            let mut all = self.leases.held.lock();
            if all.len() < MOST_RENEWED {
                all.insert(number, held);
            }
        }
        Ok(Some(Lease { proof, is_shared, renewal: Box::new(Renewal { inner: Arc::clone(self), number }) }))
    }

    /// The token that another holder has put there.
    async fn try_lease(&self, key: &ServerKey, name: &ServerKey, token: &Bytes) -> Result<Option<Bytes>, ServerError> {
        if !self.leases.by_script.load(Ordering::Relaxed) {
            let set = Command::SetOrGet(Box::new(Set { key: name.clone(), value: token.clone(), ttl: TTL }));
            match self.send(key, set).await {
                // A syntax error, of a server before 7.0.
                Err(ServerError::Refused { code, .. }) if code == "ERR" => {
                    self.leases.by_script.store(true, Ordering::Relaxed);
                }
                reply => return reply::bytes(reply?),
            }
        }
        let args = vec![token.clone(), TTL.as_millis().to_string().into()];
        match self.run_script(&TAKE, std::slice::from_ref(name), args).await? {
            ScriptReply::Bytes(token) => Ok(Some(token)),
            _ => Ok(None),
        }
    }

    /// Stores `value` if the lease still stands.
    pub(super) async fn fill(
        &self,
        key: &ServerKey,
        value: Bytes,
        ttl: Duration,
        proof: &Proof,
    ) -> Result<Stored, ServerError> {
        let millis = super::command::millis(ttl).to_string();
        let keys = [key.clone(), proof.lease.clone()];
        match self.run_script(&FILL, &keys, vec![proof.token.clone(), value.clone(), millis.into()]).await {
            Ok(ScriptReply::Integer(1)) => Ok(Stored::Kept),
            Ok(_) => Ok(Stored::Refused),
            Err(error) if is_not_permitted(&error) => {
                self.leases.note_refusal(&error);
                let set = Command::Set(Box::new(Set { key: key.clone(), value, ttl }));
                self.send(key, set).await.map(|_| Stored::Kept)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a lease away, if it's still this one.
    pub(super) async fn release_lease(&self, key: &ServerKey, proof: &Proof) -> Result<(), ServerError> {
        let keys = [key.clone(), proof.lease.clone()];
        self.run_script(&RELEASE, &keys, vec![proof.token.clone()]).await.map(|_| ())
    }

    /// Takes the lease of `key` away, so that no fill which has begun is stored. What isn't permitted isn't needed: then no fill has one.
    pub(super) async fn drop_lease(&self, key: &ServerKey) -> Result<(), ServerError> {
        let Some(name) = self.leases.name(key) else { return Ok(()) };
        match self.send(key, Command::Unlink(vec![name])).await {
            Err(error @ ServerError::Unavailable(_)) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Renews the leases of works that take long, so that these are stored too.
pub(super) async fn renew(inner: &Inner) {
    loop {
        sleep(RENEWED_AFTER).await;
        let due: Vec<_> = {
            let held = inner.leases.held.lock();
            let old = held.values().filter(|held| held.since.elapsed() >= RENEWED_AFTER);
            old.map(|held| (held.key.clone(), held.lease.clone())).collect()
        };
        for (key, lease) in due {
            // One that is gone isn't brought back by this.
            let _ = inner.send(&key, Command::Pexpire(Box::new((lease, TTL)))).await;
        }
    }
}
