//! The fence between processes: a lease beside a key says that a fill which began before an invalidation mustn't be stored.
//!
//! A lease is a key of its own in the slot of the key that it fences, and holds a token. A miss takes it before the work begins, or shares
//! the one that is there. A fill is stored only while the lease holds its token, and takes the lease away. An invalidation takes the
//! lease away, too, so whatever was computed from before it is refused.

use std::any::Any;

use bytes::Bytes;

use super::slots::tag_of;
use crate::key::ServerKey;

/// Stands between the key prefix and the fenced key. No scope can make it.
const MARK: &str = "::lease:";

/// The right to store one value.
pub(crate) struct Lease {
    pub(crate) proof: Proof,
    /// Another caller has taken it before, in this process or in another. The first to store its value does.
    pub(crate) is_shared: bool,
    /// While it's kept, the lease is renewed.
    pub(crate) renewal: Box<dyn Any + Send + Sync>,
}

/// What a lease holds while nothing has invalidated its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) lease: ServerKey,
    pub(crate) token: Bytes,
}

/// What a miss may do with the value of its work.
pub(crate) enum Fill {
    /// Nothing: the server was unavailable, another program owns the key, or the value isn't to be stored.
    Withheld,
    /// Stored without a fence: it's off, or the server doesn't permit it.
    Unfenced {
        /// Whether the key is known to be free, or to hold what may be replaced.
        is_checked: bool,
    },
    Fenced(Lease),
}

/// On which terms a server stores a value.
pub(crate) enum Terms {
    /// Only while the lease holds its token, and no other program's value of another type is there.
    Fenced(Proof),
    /// Only if no other program's value of another type is there: a read of several keys finds nothing where such a value is.
    Unfenced,
    /// Whatever is there.
    Unconditional,
}

/// What came of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    Kept,
    /// The key was invalidated after the lease had been taken.
    Refused,
}

/// The key of the lease of `key`; `None` where its braces leave no name in the same slot.
///
/// `default_prefix` is for keys whose first part has braces, or that have but one part.
pub(crate) fn lease_key(key: &[u8], default_prefix: &str) -> Option<ServerKey> {
    let prefix = prefix_of(key).unwrap_or(default_prefix.as_bytes());
    let (open, close): (&[u8], &[u8]) = match tag_of(key) {
        Some(_) => (b"", b""),
        None if !key.contains(&b'}') => (b"{", b"}"),
        None => return None,
    };
    Some([prefix, MARK.as_bytes(), open, key, close].concat().into())
}

/// The part that a key's lease begins with, where the key gives one.
fn prefix_of(key: &[u8]) -> Option<&[u8]> {
    let end = key.iter().position(|byte| *byte == b':')?;
    let first = &key[..end];
    (!first.is_empty() && !first.iter().any(|byte| matches!(byte, b'{' | b'}'))).then_some(first)
}

/// The text that the leases of all keys under `prefix` begin with; empty where there is none.
pub(crate) fn lease_prefix(prefix: &str, default_prefix: &str) -> String {
    let whole = format!("{prefix}:");
    let first = prefix_of(whole.as_bytes()).unwrap_or(default_prefix.as_bytes());
    format!("{}{MARK}", String::from_utf8_lossy(first))
}

/// The keys that a lease of this name may be of; none if it's no lease. A wrapped key and one with the same hash tag look alike.
pub(crate) fn fenced_by(lease: &[u8]) -> impl Iterator<Item = &[u8]> {
    // The mark stands behind the first part: further on it's a part of some call's key.
    let first = lease.iter().position(|byte| *byte == b':');
    let key = first.and_then(|at| lease[at..].strip_prefix(MARK.as_bytes()));
    let inner = key.and_then(|key| key.strip_prefix(b"{")?.strip_suffix(b"}"));
    key.into_iter().chain(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::slots::slot_of;

    fn of(key: &str) -> Option<String> {
        lease_key(key.as_bytes(), "p").map(|lease| String::from_utf8(lease.to_vec()).expect("it's text"))
    }

    #[test]
    fn a_lease_is_in_its_keys_slot_under_the_keys_prefix() {
        assert_eq!(of("p:n:1").as_deref(), Some("p::lease:{p:n:1}"));
        assert_eq!(of("other:n:1").as_deref(), Some("other::lease:{other:n:1}"));
        assert_eq!(of("p:n:{7}:x").as_deref(), Some("p::lease:p:n:{7}:x"));
        assert_eq!(of("{user:7}:x").as_deref(), Some("p::lease:{user:7}:x"));
        assert_eq!(of("lone").as_deref(), Some("p::lease:{lone}"));
        assert_eq!(of("a{b").as_deref(), Some("p::lease:{a{b}"));
        assert_eq!(of("a:{}b"), None);
        assert_eq!(of("a}b"), None);
        for key in ["p:n:1", "p:n:{7}:x", "{user:7}:x", "lone", "a{b", "a:{b", "x:}{y}"] {
            let Some(lease) = of(key) else { continue };
            assert_eq!(slot_of(lease.as_bytes()), slot_of(key.as_bytes()), "{key}");
            assert!(fenced_by(lease.as_bytes()).any(|fenced| fenced == key.as_bytes()), "{key}");
        }
        for key in ["p:n:1", "p:n::lease:{p:n:1}", "lone"] {
            assert_eq!(fenced_by(key.as_bytes()).count(), 0, "{key}");
        }
    }

    #[test]
    fn the_leases_of_a_prefix_begin_alike() {
        for (prefix, key) in [("p", "p:n:1"), ("p:n", "p:n:1"), ("{a}:b", "{a}:b:c"), ("lone", "lone:x")] {
            let begins = lease_prefix(prefix, "d");
            let lease = lease_key(key.as_bytes(), "d").expect("it has one");
            assert!(lease.starts_with(begins.as_bytes()), "{prefix}");
        }
    }
}
