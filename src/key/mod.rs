//! From a call to its key: canonical text, scope, SHA-1.

mod canonical;
mod context;
mod kind;
mod number;
mod scope;
mod text;

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use sha1_smol::Sha1;

use crate::error::{Error, catching};
pub(crate) use canonical::{Text, Unkeyable, write, write_str};
pub use context::{KeyBuilder, KeyContext};
pub(crate) use kind::{Kind, Kinds};
pub(crate) use scope::Scope;

/// The parts of a call that make its key.
pub(crate) struct CallParts<'a> {
    pub(crate) module: Option<&'a str>,
    /// As the user wrote it.
    pub(crate) name: &'a [u8],
    /// Canonical JSON values, separated by commas.
    pub(crate) args: &'a [u8],
    /// Names and canonical JSON values, sorted by name.
    pub(crate) kwargs: &'a [(Box<str>, Box<[u8]>)],
}

/// 128 bytes hold most keys without an allocation.
type KeyText = text::Text<128>;

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

/// First byte of a key's text, so that a custom key can't be taken for a default one.
const DEFAULT: u8 = 0;
const CUSTOM: u8 = 1;

impl CallKey {
    #[inline]
    pub(crate) fn new(
        parts: &CallParts<'_>,
        scope: &Scope,
        builder: Option<&dyn KeyBuilder>,
        hasher: &impl BuildHasher,
    ) -> Result<Self, Error> {
        let Some(builder) = builder else {
            let mut text = KeyText::new();
            text.push(DEFAULT);
            text.extend_from_slice(scope.as_str().as_bytes());
            frame(&mut text, parts);
            return Ok(Self::hashed(text, scope.as_str().len(), hasher));
        };
        let context = KeyContext::new(scope, parts)?;
        let custom = catching(|| builder.build_key(&context)).map_err(|_| Error::key("the key builder panicked"))?;
        if custom.is_empty() {
            return Err(Error::key("the key builder returned an empty text"));
        }
        let scope_len = if custom.starts_with(scope.as_str()) { scope.as_str().len() } else { 0 };
        let mut text = KeyText::new();
        text.push(CUSTOM);
        text.extend_from_slice(custom.as_bytes());
        Ok(Self::hashed(text, scope_len, hasher))
    }

    #[inline]
    fn hashed(text: KeyText, scope_len: usize, hasher: &impl BuildHasher) -> Self {
        let mut state = hasher.build_hasher();
        state.write(&text);
        Self { hash: state.finish(), text, scope_len }
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

/// A key as the server knows it.
pub(crate) type ServerKey = Bytes;

/// What a clearing names: the key of exactly this text, and all keys that go on after it with `:`. It's looked up, and sorted, by its
/// bytes.
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

    /// Whether the server's key is named.
    pub(crate) fn matches(&self, server_key: &[u8]) -> bool {
        server_key.strip_prefix(self.0.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b':')
    }

    pub(crate) fn matches_key(&self, key: &CallKey) -> bool {
        self.matches_text(&key.text, key.scope_len)
    }

    fn matches_text(&self, text: &[u8], scope_len: usize) -> bool {
        let scope = &text[1..=scope_len];
        if text[0] == DEFAULT && self.0.len() >= scope.len() {
            // The prefix reaches into the hash, so only the hash can tell; skipped where the scope differs.
            return self.0.as_bytes().starts_with(scope) && self.matches(&server_key(text, scope_len));
        }
        self.matches(&text[1..])
    }
}

/// The parts of a call, one behind the other: the lengths of module and name, both, the arguments as the rest of a JSON array.
#[inline]
fn frame(text: &mut KeyText, parts: &CallParts<'_>) {
    let module = parts.module.unwrap_or_default().as_bytes();
    // No text in memory has 2^32 bytes that name a module or a call.
    let lengths = (module.len() as u64) << 32 | parts.name.len() as u64;
    text.extend_from_slice(&lengths.to_le_bytes());
    text.extend_from_slice(module);
    text.extend_from_slice(parts.name);
    write_arguments(text, parts);
}

/// `args],{kwargs}]`
fn write_arguments<const N: usize>(text: &mut text::Text<N>, parts: &CallParts<'_>) {
    text.extend_from_slice(parts.args);
    text.extend_from_slice(b"],{");
    for (index, (name, value)) in parts.kwargs.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        let mut quoted = Text::new();
        write_str(&mut quoted, name);
        text.extend_from_slice(&quoted);
        text.push(b':');
        text.extend_from_slice(value);
    }
    text.extend_from_slice(b"}]");
}

/// The canonical text of a framed call: `["module","name",[args],{kwargs}]`.
fn canonical_text(framed: &[u8]) -> Text {
    let mut text = Text::new();
    text.push(b'[');
    if let Some((lengths, rest)) = framed.split_first_chunk::<8>() {
        let lengths = u64::from_le_bytes(*lengths);
        let (module, rest) = rest.split_at((lengths >> 32) as usize);
        let (name, arguments) = rest.split_at((lengths & u64::from(u32::MAX)) as usize);
        if module.is_empty() {
            text.extend_from_slice(b"null");
        } else {
            write_str(&mut text, &String::from_utf8_lossy(module));
        }
        text.push(b',');
        write_str(&mut text, &String::from_utf8_lossy(name));
        text.extend_from_slice(b",[");
        text.extend_from_slice(arguments);
    }
    text
}

fn server_key(text: &[u8], scope_len: usize) -> ServerKey {
    if text[0] == CUSTOM {
        return Bytes::copy_from_slice(&text[1..]);
    }
    let (scope, call) = text[1..].split_at(scope_len);
    let mut key = Vec::with_capacity(scope.len() + 40);
    key.extend_from_slice(scope);
    for byte in Sha1::from(&canonical_text(call)[..]).digest().bytes() {
        key.push(canonical::HEX[usize::from(byte >> 4)]);
        key.push(canonical::HEX[usize::from(byte & 0xf)]);
    }
    key.into()
}

#[cfg(test)]
mod tests;
