//! The key of one call, as calls, flights and the memory tier have it.

use std::fmt;
use std::hash::{BuildHasher, Hasher};

use sha1_smol::Sha1;

use super::context::{KeyBuilder, KeyContext};
use super::framed::{CUSTOM, DEFAULT, KeyText, ServerKey, frame, quoted, server_key};
use super::kind::Kind;
use super::parts::CallParts;
use super::prefix::KeyPrefix;
use super::scope::Scope;
use crate::error::{Error, catching};

/// The key of one call: what the memory tier and the table of flights compare in full, and from which
/// the server's key follows.
///
/// A default key is the scope followed by the parts of the call, framed rather than escaped, because that's cheaper on every
/// hit; the canonical text and its SHA-1 are made of it only for a server. A key of the user's own making stands for itself.
#[derive(Clone)]
pub(crate) struct CallKey {
    /// [`DEFAULT`] or [`CUSTOM`], then the scope, then the rest.
    text: KeyText,
    /// Bytes of the scope that the key begins with; 0 for a custom key outside its call's scope.
    scope_len: usize,
    hash: u64,
}

/// Hexadecimal digits of the SHA-1 of a call's tokens that are appended to a key of the user's own making.
const TOKENS_DIGITS: usize = 20;

impl CallKey {
    /// None yet: to be written.
    #[inline]
    pub(crate) fn unwritten() -> Self {
        Self { text: KeyText::new(), scope_len: 0, hash: 0 }
    }

    /// Makes an unwritten key that of a call. In place, because it's large, and every hit makes one.
    #[inline]
    pub(crate) fn write(
        &mut self,
        parts: &CallParts<'_>,
        scope: &Scope,
        builder: Option<&dyn KeyBuilder>,
        hasher: &impl BuildHasher,
    ) -> Result<(), Error> {
        let Some(builder) = builder else {
            self.text.push(DEFAULT);
            self.text.extend_from_slice(scope.as_str().as_bytes());
            frame(&mut self.text, parts);
            self.finish(scope.as_str().len(), hasher);
            return Ok(());
        };
        let context = KeyContext::new(scope, parts)?;
        let mut custom =
            catching(|| builder.build_key(&context)).map_err(|_| Error::key("the key builder panicked"))?;
        if custom.is_empty() {
            return Err(Error::key("the key builder returned an empty text"));
        }
        if parts.version != 0 {
            custom += &format!(":v{}", parts.version);
        }
        if !parts.tokens.is_empty() {
            let digest = Sha1::from(quoted(parts.tokens)).digest().to_string();
            custom += &format!(":t{}", &digest[..TOKENS_DIGITS]);
        }
        let scope_len = if custom.starts_with(scope.as_str()) { scope.as_str().len() } else { 0 };
        self.write_verbatim(&custom, scope_len, hasher);
        Ok(())
    }

    /// Makes an unwritten key that of this text, as it stands; its first `scope_len` bytes are what it has in common with others of its
    /// kind.
    pub(crate) fn write_verbatim(&mut self, key: &str, scope_len: usize, hasher: &impl BuildHasher) {
        self.text.push(CUSTOM);
        self.text.extend_from_slice(key.as_bytes());
        self.finish(scope_len, hasher);
    }

    #[inline]
    fn finish(&mut self, scope_len: usize, hasher: &impl BuildHasher) {
        let mut state = hasher.build_hasher();
        state.write(&self.text);
        (self.scope_len, self.hash) = (scope_len, state.finish());
    }

    /// The key of a call, by itself.
    #[cfg(test)]
    pub(crate) fn new(
        parts: &CallParts<'_>,
        scope: &Scope,
        builder: Option<&dyn KeyBuilder>,
        hasher: &impl BuildHasher,
    ) -> Result<Self, Error> {
        let mut key = Self::unwritten();
        key.write(parts, scope, builder, hasher).map(|()| key)
    }

    #[cfg(test)]
    pub(crate) fn verbatim(text: &str, scope_len: usize, hasher: &impl BuildHasher) -> Self {
        let mut key = Self::unwritten();
        key.write_verbatim(text, scope_len, hasher);
        key
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The key as the server knows it.
    pub(crate) fn server_key(&self) -> ServerKey {
        server_key(&self.text, self.scope_len)
    }

    /// The escaped `{prefix}:{namespace}:` that the key begins with, if it does.
    pub(crate) fn scope(&self) -> Option<&str> {
        let scope = &self.text[1..=self.scope_len];
        // Both a scope and a custom key came from a `str`; the scope ends at an ASCII `:`.
        std::str::from_utf8(scope).ok().filter(|scope| !scope.is_empty())
    }

    /// What the key is to others that may be given the same text on the server.
    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        match self.text[0] {
            CUSTOM => Kind::of_custom(&self.text),
            _ => Kind::Default,
        }
    }

    pub(crate) fn matches(&self, prefix: &KeyPrefix) -> bool {
        prefix.matches_text(&self.text, self.scope_len)
    }

    /// A copy for a table.
    pub(crate) fn stored(&self) -> StoredKey {
        StoredKey { text: Box::from(&self.text[..]), scope_len: self.scope_len, hash: self.hash }
    }
}

impl fmt::Debug for CallKey {
    /// The hash form only: a key may contain arguments. That of a default key is what the server's key ends with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text[0] {
            CUSTOM => write!(f, "{}", Sha1::from(&self.text[1 + self.scope_len..]).digest()),
            _ => f.write_str(&String::from_utf8_lossy(&self.server_key()[self.scope_len..])),
        }
    }
}

/// A [`CallKey`] at rest in the memory tier.
pub(crate) struct StoredKey {
    text: Box<[u8]>,
    scope_len: usize,
    hash: u64,
}

impl StoredKey {
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn matches(&self, prefix: &KeyPrefix) -> bool {
        prefix.matches_text(&self.text, self.scope_len)
    }
}
