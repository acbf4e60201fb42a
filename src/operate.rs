//! For operators: what is on the server under the handle's key prefix, looked at and removed key by key. With the feature `operate`.
//!
//! It uses the handle's connections, so passwords, TLS, clusters and deadlines are those of the configuration. The command `cachehouse`,
//! of the package `cache-house-cli`, is made of it.
//!
//! ```no_run
//! use cache_house::CacheHouse;
//! use cache_house::operate::Operator;
//! use std::time::Duration;
//!
//! # async fn run() -> Result<(), cache_house::Error> {
//! let cache = CacheHouse::load().build()?;
//! cache.ready(Duration::from_secs(5)).await;
//! for mut walk in Operator::new(&cache)?.walks().await? {
//!     while let Some(page) = walk.next_page().await? {
//!         for key in page.keys {
//!             println!("{}: {:?} bytes on {}", key.key, key.bytes, walk.endpoint());
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use bytes::Bytes;
use percent_encoding::percent_decode_str;

use crate::backend::lease::fenced_by;
use crate::backend::redis::Redis;
use crate::backend::redis::operate::{Found, NodeWalk};
use crate::backend::server::{Server, ServerError, Ttl};
use crate::error::Error;
use crate::handle::CacheHandle;
use crate::key::{NEAR, TAG};

/// Looks at the keys on the server of a handle, and removes them.
#[derive(Debug, Clone)]
pub struct Operator {
    cache: CacheHandle,
}

/// A key on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyReport {
    /// Its text; of a key that isn't UTF-8 with replacement characters.
    pub key: String,
    /// What is under it.
    pub kind: KeyKind,
    /// How much longer it lives.
    pub expiry: Expiry,
    /// Bytes of its value; `None` where that isn't a string, so another program owns the key.
    pub bytes: Option<u64>,
}

/// What is under a key, as its text has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyKind {
    /// The value of a call.
    Value {
        /// As the call or its handle names it; `None` where the key has none, or begins with another key prefix than the handle's.
        namespace: Option<String>,
    },
    /// The fence of a key whose value is being computed.
    Lease {
        /// The key of the value.
        of: String,
    },
    /// The token of a tag, which is part of the keys of all calls with it.
    Tag {
        /// As calls name it.
        tag: String,
    },
    /// What a near cache is checked by.
    NearCache,
}

/// How much longer a key lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expiry {
    /// So long, to the millisecond.
    In(Duration),
    /// Until it's removed: no call of this crate stores so.
    Never,
    /// The server didn't say.
    Unknown,
}

/// A walk over the keys of one server, or of one primary of a cluster.
pub struct Walk {
    nodes: NodeWalk,
    prefix: String,
}

/// A piece of a [`Walk`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// How many keys the server named. In a [sample](Operator::samples) those of other programs are counted too.
    pub seen: u64,
    /// The keys under the handle's prefix.
    pub keys: Vec<KeyReport>,
}

impl Operator {
    /// Over the connections of this handle.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) where the handle has no server.
    pub fn new(cache: &CacheHandle) -> Result<Self, Error> {
        match cache.redis() {
            Some(_) => Ok(Self { cache: cache.clone() }),
            None => Err(Error::config("memory", "there is no server whose keys could be looked at")),
        }
    }

    /// Walks over all keys under the handle's key prefix, one for each primary. The server looks at a few hundred entries a page, so that
    /// other clients aren't held up.
    ///
    /// Keys that come, go or move to another node meanwhile may be missed or seen twice.
    ///
    /// # Errors
    ///
    /// [`is_unavailable`](Error::is_unavailable) while there is no connection.
    pub async fn walks(&self) -> Result<Vec<Walk>, Error> {
        self.begin(false).await
    }

    /// Walks over the keys of all programs, in an order that is close to random. To estimate what all pages would show, scale what the
    /// first ones show by their share of [`Walk::total`].
    ///
    /// # Errors
    ///
    /// As [`walks`](Self::walks).
    pub async fn samples(&self) -> Result<Vec<Walk>, Error> {
        self.begin(true).await
    }

    async fn begin(&self, sample: bool) -> Result<Vec<Walk>, Error> {
        let prefix = self.cache.scope().key_prefix();
        let nodes = self.server()?.walks(prefix, sample).await.map_err(unanswered)?;
        Ok(nodes.into_iter().map(|nodes| Walk { nodes, prefix: prefix.to_owned() }).collect())
    }

    /// Reads `key`, also of another program, with the bytes of its value; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`is_unavailable`](Error::is_unavailable) where the server doesn't answer within `command_timeout`;
    /// [`is_refused`](Error::is_refused) where the user may not read the key, or its value isn't a string.
    pub async fn read(&self, key: &str) -> Result<Option<(KeyReport, Vec<u8>)>, Error> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let read = self.server()?.get_with_ttl(&key).await.map_err(unanswered)?;
        Ok(read.map(|(value, ttl)| {
            let found = Found { key, ttl, bytes: Some(value.len() as u64) };
            (KeyReport::of(&found, self.cache.scope().key_prefix()), value.to_vec())
        }))
    }

    /// Removes `key`, also of another program, and its lease: a value that is being computed for it isn't stored. Returns whether it was
    /// there.
    ///
    /// Copies that processes without a [near cache](crate::CacheHouseBuilder::near_cache) hold for outages stay, as after any removal by
    /// another process.
    ///
    /// # Errors
    ///
    /// [`is_unavailable`](Error::is_unavailable) where the server hasn't confirmed it: nothing is journalled, so try again.
    /// [`is_refused`](Error::is_refused) where the user may not remove the key.
    pub async fn remove(&self, key: &str) -> Result<bool, Error> {
        self.server()?.remove(&Bytes::copy_from_slice(key.as_bytes())).await.map_err(unanswered)
    }

    fn server(&self) -> Result<&Redis, Error> {
        self.cache.redis().ok_or_else(Error::closed)
    }
}

/// Unlike a call, an operator isn't served from memory.
fn unanswered(error: ServerError) -> Error {
    match error {
        ServerError::Unavailable(why) => Error::unanswered(why.as_str()),
        error => error.into(),
    }
}

impl Walk {
    /// The server, without credentials.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.nodes.endpoint()
    }

    /// How many keys the server's database has, those of other programs included; `None` where the user may not run `INFO`.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.nodes.total
    }

    /// The next keys, perhaps none; `None` at the end.
    ///
    /// # Errors
    ///
    /// As [`Operator::read`]. The walk is where it was: ask again.
    pub async fn next_page(&mut self) -> Result<Option<Page>, Error> {
        let page = self.nodes.next_page().await.map_err(unanswered)?;
        let report = |found: &Found| KeyReport::of(found, &self.prefix);
        Ok(page.map(|page| Page { seen: page.seen, keys: page.found.iter().map(report).collect() }))
    }
}

impl KeyReport {
    fn of(found: &Found, prefix: &str) -> Self {
        let expiry = match found.ttl {
            Ttl::Remaining(left) => Expiry::In(left),
            Ttl::Endless => Expiry::Never,
            Ttl::Unknown => Expiry::Unknown,
        };
        let key = String::from_utf8_lossy(&found.key).into_owned();
        Self { kind: KeyKind::of(&key, prefix), key, expiry, bytes: found.bytes }
    }
}

impl KeyKind {
    fn of(key: &str, prefix: &str) -> Self {
        // A key in the braces of its lease is what is meant, whatever else may be.
        if let Some(of) = fenced_by(key.as_bytes()).last() {
            return Self::Lease { of: String::from_utf8_lossy(of).into_owned() };
        }
        let first = key.find(':').unwrap_or(key.len());
        let rest = &key[first..];
        if let Some(tag) = rest.strip_prefix(TAG).and_then(|rest| rest.strip_prefix(':')) {
            return Self::Tag { tag: decoded(tag) };
        }
        if rest.strip_prefix(NEAR).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')) {
            return Self::NearCache;
        }
        let namespace = rest.strip_prefix(':').and_then(|rest| rest.split_once(':')).map(|(namespace, _)| namespace);
        let is_ours = key[..first] == *prefix;
        Self::Value { namespace: namespace.filter(|namespace| is_ours && !namespace.is_empty()).map(decoded) }
    }
}

/// Without the escapes of a namespace or a tag.
fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::lease::lease_key;
    use crate::key::Scope;

    #[test]
    fn the_kind_of_a_key_is_read_from_its_text() {
        let value = |namespace: Option<&str>| KeyKind::Value { namespace: namespace.map(String::from) };
        assert_eq!(KeyKind::of("p:main:0123", "p"), value(Some("main")));
        assert_eq!(KeyKind::of("p:main:a:b", "p"), value(Some("main")));
        for foreign in ["other:main:0123", "p", "p:", "p:main", "", ":a:b"] {
            assert_eq!(KeyKind::of(foreign, "p"), value(None), "{foreign}");
        }
        assert_eq!(KeyKind::of("p::tag:team:7%25", "p"), KeyKind::Tag { tag: "team:7%".into() });
        assert_eq!(KeyKind::of("p::near:00", "p"), KeyKind::NearCache);
        for fenced in ["p:main:0123", "p:main:{7}:x"] {
            let lease = lease_key(fenced.as_bytes(), "p").expect("it has one");
            let lease = String::from_utf8_lossy(&lease).into_owned();
            assert_eq!(KeyKind::of(&lease, "p"), KeyKind::Lease { of: fenced.into() });
        }
    }

    #[test]
    fn a_namespace_is_shown_as_calls_name_it() {
        let scope = Scope::new("a:b", "{é}: %").expect("both parts are given");
        let key = format!("{}0123", scope.as_str());
        assert_eq!(KeyKind::of(&key, scope.key_prefix()), KeyKind::Value { namespace: Some("{é}: %".into()) });
    }
}
