//! Leases and fills: taking a lease, storing under it, and renewing it while its work runs.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fred::types::Resp3Frame as Frame;
use tokio::time::sleep;

use super::super::lease::{Lease, Proof, Stored};
use super::super::script::{Script, ScriptReply};
use super::super::server::{ServerError, Unavailable, if_permitted};
use super::command::{Command, Set, millis};
use super::inner::Inner;
use super::leases::{Leases, RENEWED_AFTER};
use super::node::Failed;
use super::reply::{self, Redirect};
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

/// Stores a value under `$key` while `$lease` holds the token, unless another program has a value of another type there: a read of several
/// keys finds nothing in its place. A user who may not run `STRLEN` may run `GET`.
macro_rules! fill {
    ($lease:literal, $key:literal) => {
        Script::new(concat!(
            "local lease, key = ",
            $lease,
            ", ",
            $key,
            "
if redis.call('GET', lease) ~= ARGV[1] then return 0 end
local there = redis.pcall('STRLEN', key)
if type(there) == 'table' and string.sub(there.err, 1, 9) ~= 'WRONGTYPE' then there = redis.pcall('GET', key) end
if type(there) == 'table' and string.sub(there.err, 1, 9) == 'WRONGTYPE' then
  redis.call('UNLINK', lease)
  return there
end
redis.call('SET', key, ARGV[2], 'PX', ARGV[3])
redis.call('UNLINK', lease)
return 1"
        ))
    };
}

static FILL: Script = fill!("KEYS[2]", "KEYS[1]");

/// In a cluster the lease alone is named: while a slot moves, a node refuses (`TRYAGAIN`) to run a script over two keys of which it has one.
/// Both are in one slot.
static FILL_IN_CLUSTER: Script = fill!("KEYS[1]", "ARGV[4]");

/// Takes a lease away while it holds the token.
static RELEASE: Script = Script::new(
    "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('UNLINK', KEYS[1]) end
return 1",
);

/// Has a lease renewed while it's kept.
struct Renewal {
    leases: Arc<Leases>,
    number: u64,
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.leases.let_go(self.number);
    }
}

impl Inner {
    /// Takes the lease of `key`, or shares the one that is there; `None` where the key or the server has none.
    pub(super) async fn take_lease(
        &self,
        key: &ServerKey,
        limit: Option<Duration>,
    ) -> Result<Option<Lease>, ServerError> {
        let Some(name) = self.leases.name(key).filter(|_| !self.leases.are_refused()) else { return Ok(None) };
        let token = self.leases.token();
        let found = match self.try_lease(key, &name, &token, limit.unwrap_or(TTL)).await {
            Err(error) if error.is_not_permitted() => {
                self.leases.note_refusal(&error);
                return Ok(None);
            }
            found => found?,
        };
        let is_shared = found.is_some();
        let proof = Proof { lease: name.clone(), token: found.unwrap_or(token) };
        let renewal: Box<dyn Any + Send + Sync> = match limit {
            Some(_) => Box::new(()),
            None => {
                let number = self.leases.hold(key.clone(), name);
                Box::new(Renewal { leases: Arc::clone(&self.leases), number })
            }
        };
        Ok(Some(Lease { proof, is_shared, renewal }))
    }

    /// The token that another holder has put there.
    async fn try_lease(
        &self,
        key: &ServerKey,
        name: &ServerKey,
        token: &Bytes,
        ttl: Duration,
    ) -> Result<Option<Bytes>, ServerError> {
        if !self.leases.by_script.load(Ordering::Relaxed) {
            let set = Command::SetOrGet(Box::new(Set { key: name.clone(), value: token.clone(), ttl }));
            match self.send(key, set).await {
                // A syntax error, of a server before 7.0.
                Err(ServerError::Refused { code, message })
                    if code == "ERR" && message.to_ascii_lowercase().contains("syntax") =>
                {
                    self.leases.by_script.store(true, Ordering::Relaxed);
                }
                reply => return reply::bytes(reply?),
            }
        }
        let args = vec![token.clone(), millis(ttl).to_string().into()];
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
        let millis = millis(ttl).to_string();
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
            Err(error) if error.is_not_permitted() => {
                self.leases.note_refusal(&error);
                self.send_set(key, Command::SetString(Box::new(Set { key: key.clone(), value, ttl }))).await
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a `SET` without a fence.
    pub(super) async fn send_set(&self, key: &ServerKey, set: Command) -> Result<Stored, ServerError> {
        self.send(key, set).await.map(|_| Stored::Kept)
    }

    /// Takes a lease away, if it's still this one.
    pub(super) async fn release_lease(&self, proof: &Proof) -> Result<(), ServerError> {
        self.run_script(&RELEASE, std::slice::from_ref(&proof.lease), vec![proof.token.clone()]).await.map(|_| ())
    }

    /// Takes the lease of `key` away and then sends `command` about it, back to back and as one operation. In this order, a fill in between
    /// is refused; in the other it would be stored behind a removal.
    ///
    /// What isn't permitted of a lease isn't needed: then no fill has one.
    pub(super) async fn send_after_lease(&self, key: &ServerKey, command: Command) -> Result<Frame, ServerError> {
        let Some(lease) = self.leases.name(key) else { return self.send(key, command).await };
        let (node, is_essential) = (self.writer(key)?, command.is_essential());
        let pool = node.pool()?;
        let drop_lease = Command::Unlink(vec![lease]);
        let both = pool.send_together(key, vec![drop_lease.clone(), command.clone()]);
        let mut replies = node.watched(&pool, both).await?.into_iter();
        let mut next = || replies.next().unwrap_or(Ok(Frame::Null));
        let (dropped, sent) = (next(), next());
        let mut moving = None;
        let dropped = match node.judged(&pool, dropped) {
            Err(Failed::Redirected(redirect)) => {
                moving = redirect.asking.then(|| redirect.clone());
                self.follow(redirect, key, drop_lease, Instant::now()).await
            }
            dropped => dropped.map_err(ServerError::from),
        };
        if_permitted(dropped)?;
        match node.noting_permission(is_essential, node.judged(&pool, sent)) {
            Err(Failed::Redirected(redirect)) => self.follow(redirect, key, command, Instant::now()).await,
            sent => {
                let sent = sent?;
                if let Some(moving) = moving {
                    self.remove_second_copy(moving, key).await?;
                }
                Ok(sent)
            }
        }
    }

    /// Removes `key` from where its slot is moving, once its lease there is gone. The key itself hasn't moved yet; but a lease is taken and
    /// filled where the slot is moving, so a fill may have stored a second copy there, which would be read once the first is gone.
    pub(super) async fn remove_second_copy(&self, moving: Redirect, key: &ServerKey) -> Result<(), ServerError> {
        self.follow(moving, key, Command::Unlink(vec![key.clone()]), Instant::now()).await.map(|_| ())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_command_that_is_not_there_or_not_permitted_ends_the_fence() {
        let refused = |code: &str, message: &str| ServerError::Refused { code: code.into(), message: message.into() };
        let running = "Error running script (call to f_1): @user_script:2: ";
        for (code, message, ends) in [
            ("NOPERM", "this user has no permissions to run the 'evalsha' command".to_owned(), true),
            ("ERR", "unknown command 'EVALSHA', with args beginning with: ".to_owned(), true),
            ("ERR", format!("{running}-OOM command not allowed when used memory > 'maxmemory'."), false),
            ("ERR", format!("{running}-READONLY You can't write against a read only replica."), false),
            ("NOREPLICAS", "Not enough good replicas to write.".to_owned(), false),
            ("OOM", "command not allowed when used memory > 'maxmemory'.".to_owned(), false),
            ("READONLY", "You can't write against a read only replica.".to_owned(), false),
        ] {
            assert_eq!(refused(code, &message).is_not_permitted(), ends, "{code} {message}");
        }
    }
}
