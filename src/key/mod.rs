//! From a call to its key: canonical text, scope, SHA-1.

mod call_key;
mod canonical;
mod context;
mod framed;
mod kind;
mod number;
mod parts;
mod prefix;
mod scope;
mod text;

pub(crate) use call_key::{CallKey, StoredKey};
pub(crate) use canonical::{Text, Unkeyable, write};
pub use context::{KeyBuilder, KeyContext};
pub(crate) use framed::ServerKey;
pub(crate) use kind::{Kind, Kinds};
pub(crate) use parts::CallParts;
pub(crate) use prefix::{KeyPrefix, NEAR, TAG, widest_of};
pub(crate) use scope::Scope;

#[cfg(test)]
mod tests;
