//! Prefixes of keys, which a clearing names.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

use super::framed::{DEFAULT, server_key};
use crate::error::Error;

/// Matches the key of exactly this text, and all keys that go on after it with `:`. Compared by its bytes.
#[derive(Clone, Debug)]
pub(crate) struct KeyPrefix {
    text: Arc<str>,
    /// It's the key prefix of the handle, under which are keys of the cache's own: those aren't meant.
    spares_own: bool,
}

impl PartialEq for KeyPrefix {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for KeyPrefix {}

impl PartialOrd for KeyPrefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyPrefix {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Borrow<[u8]> for KeyPrefix {
    fn borrow(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl KeyPrefix {
    /// `users` names `users` and `users:…` and spares `users2`; a trailing `:` is as good as none. `own` is the key prefix of the handle.
    ///
    /// # Errors
    ///
    /// Where nothing is left to go by, which would mean every key of the server.
    pub(crate) fn new(prefix: &str, own: &str) -> Result<Self, Error> {
        let prefix = prefix.strip_suffix(':').unwrap_or(prefix);
        if prefix.is_empty() {
            return Err(Error::config("clear_keys", "the prefix is empty; accepts the text that the keys begin with"));
        }
        Ok(Self { text: prefix.into(), spares_own: prefix == own })
    }

    /// All under a scope of the handle's, or under its key prefix.
    pub(crate) fn of_scope(scope: &str) -> Self {
        let text = scope.strip_suffix(':').unwrap_or(scope);
        Self { text: text.into(), spares_own: !text.contains(':') }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the server's key is named. Keys of the cache's own aren't, where the prefix is the handle's.
    pub(crate) fn matches(&self, server_key: &[u8]) -> bool {
        let is_named =
            server_key.strip_prefix(self.text.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b':');
        is_named && !self.spares(server_key)
    }

    /// Whether a key that begins with the prefix isn't meant all the same.
    pub(crate) fn spares(&self, server_key: &[u8]) -> bool {
        self.spares_own && is_own(server_key)
    }

    /// All keys of the first part that this prefix has: those of the cache's own where it's one of them, else the others.
    pub(crate) fn widest(&self) -> Self {
        let len = widest_of(self.text.as_bytes()).len();
        Self { text: self.text[..len].into(), spares_own: !is_own(self.text.as_bytes()) }
    }

    /// Whether the key of this [framed](super::framed) text is named.
    pub(super) fn matches_text(&self, text: &[u8], scope_len: usize) -> bool {
        let scope = &text[1..=scope_len];
        if text[0] == DEFAULT && self.text.len() >= scope.len() {
            // The prefix reaches into the hash, so the hash is needed. It's skipped where the scope differs.
            return self.text.as_bytes().starts_with(scope) && self.matches(&server_key(text, scope_len));
        }
        self.matches(&text[1..])
    }
}

/// What stands between the key prefix and the rest in keys of the cache's own. No scope can make it.
pub(crate) const TAG: &str = "::tag";
pub(crate) const NEAR: &str = "::near";

/// The text of the [widest](KeyPrefix::widest) prefix that names this key; [`KeyPrefix::of_scope`] makes the prefix of it.
pub(crate) fn widest_of(key: &[u8]) -> &[u8] {
    let first = key.iter().position(|byte| *byte == b':').unwrap_or(key.len());
    let own =
        is_own(key).then(|| [TAG, NEAR].into_iter().find(|own| key[first..].starts_with(own.as_bytes()))).flatten();
    &key[..first + own.map_or(0, str::len)]
}

/// Whether this is a key of the cache's own: a tag's token, or a near cache's sentinel. (Leases have their own walk.)
pub(super) fn is_own(key: &[u8]) -> bool {
    let Some(colon) = key.iter().position(|byte| *byte == b':') else { return false };
    [TAG, NEAR]
        .into_iter()
        .any(|mark| key[colon..].strip_prefix(mark.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b':'))
}
