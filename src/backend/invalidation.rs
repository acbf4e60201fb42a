//! What an invalidation names: one key, or all keys under a prefix.

use crate::key::{CallKey, KeyPrefix};

/// The values that must not be served again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Invalidation<K = CallKey> {
    Key(K),
    Matching(KeyPrefix),
}
