//! Prefixes of keys, which a clearing names.

use std::borrow::Borrow;
use std::sync::Arc;

use super::framed::{DEFAULT, server_key};
use crate::error::Error;

/// Matches the key of exactly this text, and all keys that go on after it with `:`. Compared by its bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyPrefix(Arc<str>);

impl Borrow<[u8]> for KeyPrefix {
    fn borrow(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl KeyPrefix {
    /// `users` names `users` and `users:…` and spares `users2`; a trailing `:` is as good as none.
    ///
    /// # Errors
    ///
    /// Where nothing is left to go by, which would mean every key of the server.
    pub(crate) fn new(prefix: &str) -> Result<Self, Error> {
        let prefix = prefix.strip_suffix(':').unwrap_or(prefix);
        if prefix.is_empty() {
            return Err(Error::config("clear_keys", "the prefix is empty; accepts the text that the keys begin with"));
        }
        Ok(Self(prefix.into()))
    }

    pub(crate) fn of_scope(scope: &str) -> Self {
        Self(scope.strip_suffix(':').unwrap_or(scope).into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the server's key is named. Keys of the cache's own aren't, unless the prefix is one of theirs.
    pub(crate) fn matches(&self, server_key: &[u8]) -> bool {
        let is_named =
            server_key.strip_prefix(self.0.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b':');
        is_named && !self.spares(server_key)
    }

    /// Whether a key that begins with the prefix isn't meant all the same.
    pub(crate) fn spares(&self, server_key: &[u8]) -> bool {
        is_own(server_key) && !is_own(self.0.as_bytes())
    }

    /// All keys of the first part that this prefix has: those of the cache's own where it's one of them, else the others.
    pub(crate) fn widest(&self) -> Self {
        let first = self.0.split(':').next().unwrap_or_default();
        let own = if is_own(self.0.as_bytes()) {
            [TAG, NEAR].into_iter().find(|own| self.0[first.len()..].starts_with(own))
        } else {
            None
        };
        Self(format!("{first}{}", own.unwrap_or_default()).into())
    }

    /// Whether the key of this [framed](super::framed) text is named.
    pub(super) fn matches_text(&self, text: &[u8], scope_len: usize) -> bool {
        let scope = &text[1..=scope_len];
        if text[0] == DEFAULT && self.0.len() >= scope.len() {
            // The prefix reaches into the hash, so the hash is needed. It's skipped where the scope differs.
            return self.0.as_bytes().starts_with(scope) && self.matches(&server_key(text, scope_len));
        }
        self.matches(&text[1..])
    }
}

/// What stands between the key prefix and the rest in keys of the cache's own. No scope can make it.
pub(crate) const TAG: &str = "::tag";
pub(crate) const NEAR: &str = "::near";

/// Whether this is a key of the cache's own: a tag's token, or a near cache's sentinel. (Leases have their own walk.)
fn is_own(key: &[u8]) -> bool {
    let Some(colon) = key.iter().position(|byte| *byte == b':') else { return false };
    [TAG, NEAR]
        .into_iter()
        .any(|mark| key[colon..].strip_prefix(mark.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b':'))
}
