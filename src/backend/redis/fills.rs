//! Leases and fills: taking a lease, storing under it, and renewing it while its work runs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::super::lease::{Lease, Proof, Stored};
use super::super::script::{Script, ScriptReply};
use super::super::server::{ServerError, Unavailable};
use super::command::{Command, Set};
use super::inner::Inner;
use super::leases::RENEWED_AFTER;
use super::reply;
use crate::key::ServerKey;

/// How long a lease outlives its holder. Work that takes longer has it renewed.
const TTL: Duration = Duration::from_secs(60);

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

/// The same in a cluster, where the lease alone is named: while a slot moves, a node refuses (`TRYAGAIN`) to run a script over two keys of
/// which it has one. Both are in one slot.
static FILL_IN_CLUSTER: Script = Script::new(
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', ARGV[4], ARGV[2], 'PX', ARGV[3])
redis.call('UNLINK', KEYS[1])
return 1",
);

/// Takes a lease away while it holds the token.
static RELEASE: Script = Script::new(
    "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('UNLINK', KEYS[1]) end
return 1",
);

/// Whether a refusal is about the commands of a fence, rather than about the server's state.
fn is_not_permitted(error: &ServerError) -> bool {
    matches!(error, ServerError::Refused { code, .. } if code == "NOPERM" || code == "ERR")
}

impl Inner {
    /// Takes the lease of `key`, or shares the one that is there; `None` where the key or the server has none.
    pub(super) async fn take_lease(&self, key: &ServerKey) -> Result<Option<Lease>, ServerError> {
        let Some(name) = self.leases.name(key).filter(|_| !self.leases.are_refused()) else { return Ok(None) };
        let token = self.leases.token();
        let found = match self.try_lease(key, &name, &token).await {
            Err(error) if is_not_permitted(&error) => {
                self.leases.note_refusal(&error);
                return Ok(None);
            }
            found => found?,
        };
        let is_shared = found.is_some();
        let proof = Proof { lease: name.clone(), token: found.unwrap_or(token) };
        Ok(Some(Lease { proof, is_shared, renewal: self.leases.hold(key.clone(), name) }))
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
        let mut args = vec![proof.token.clone(), value.clone(), millis.into()];
        let filled = if self.layout.load().map().is_some() {
            args.push(key.clone());
            self.run_script(&FILL_IN_CLUSTER, std::slice::from_ref(&proof.lease), args).await
        } else {
            self.run_script(&FILL, &[key.clone(), proof.lease.clone()], args).await
        };
        match filled {
            Ok(ScriptReply::Integer(1)) => Ok(Stored::Kept),
            Ok(_) => Ok(Stored::Refused),
            // The slot is moving: the lease is still here, and the key's place is there already.
            Err(ServerError::Refused { message, .. }) if message.contains("non local key") => {
                Err(ServerError::Unavailable(Unavailable::NotReady))
            }
            Err(error) if is_not_permitted(&error) => {
                self.leases.note_refusal(&error);
                let set = Command::Set(Box::new(Set { key: key.clone(), value, ttl }));
                self.send(key, set).await.map(|_| Stored::Kept)
            }
            Err(error) => Err(error),
        }
    }

    /// Takes a lease away, if it's still this one.
    pub(super) async fn release_lease(&self, proof: &Proof) -> Result<(), ServerError> {
        self.run_script(&RELEASE, std::slice::from_ref(&proof.lease), vec![proof.token.clone()]).await.map(|_| ())
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
        for (key, lease) in inner.leases.due() {
            // One that is gone isn't brought back by this.
            let _ = inner.send(&key, Command::Pexpire(Box::new((lease, TTL)))).await;
        }
    }
}
