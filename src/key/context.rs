//! Keys of the user's own making.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use serde_json::Value;

use super::scope::Scope;

/// Makes the key of a call, in place of the default `{prefix}:{namespace}:{sha1}`.
///
/// What it returns is the key on the server, byte for byte, and is compared in full in memory too.
/// Two calls that are given the same key share one entry. Start with
/// [`KeyContext::scoped`], so that clearing a namespace finds the key.
///
/// Closures implement it:
///
/// ```
/// use cache_house::{CacheHouse, KeyContext, opts};
///
/// let cache = CacheHouse::builder()
///     .key_builder(|cx: &KeyContext<'_>| cx.scoped(&format!("{}:{}", cx.name(), cx.args()[0])))
///     .memory()
///     .build()?;
/// assert_eq!(cache.key(&opts!("user", 7))?, "cachehouse:main:user:7");
/// # Ok::<(), cache_house::Error>(())
/// ```
///
/// An empty key makes the call run uncached, with a warning.
pub trait KeyBuilder: Send + Sync {
    /// The key of the call that `cx` describes.
    fn build_key(&self, cx: &KeyContext<'_>) -> String;
}

impl<F> KeyBuilder for F
where
    F: Fn(&KeyContext<'_>) -> String + Send + Sync,
{
    fn build_key(&self, cx: &KeyContext<'_>) -> String {
        self(cx)
    }
}

/// The call that a [`KeyBuilder`] makes a key for.
pub struct KeyContext<'a> {
    scope: &'a Scope,
    /// The canonical text of the call, read only when the builder asks for a part of it.
    canonical: &'a [u8],
    call: OnceLock<Call>,
}

#[derive(Default, serde::Deserialize)]
struct Call(Option<String>, String, Vec<Value>, BTreeMap<String, Value>);

impl<'a> KeyContext<'a> {
    pub(super) fn new(scope: &'a Scope, canonical: &'a [u8]) -> Self {
        Self { scope, canonical, call: OnceLock::new() }
    }

    fn call(&self) -> &Call {
        self.call.get_or_init(|| {
            // The text is JSON of this very shape, written by `CallKey`. Only a number beyond
            // 64 bits may be refused, and then the builder sees no arguments.
            serde_json::from_slice(self.canonical).unwrap_or_default()
        })
    }

    /// The module of the call; empty where none was given.
    #[must_use]
    pub fn module(&self) -> &str {
        self.call().0.as_deref().unwrap_or_default()
    }

    /// The name of the call.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.call().1
    }

    /// The positional arguments.
    #[must_use]
    pub fn args(&self) -> &[Value] {
        &self.call().2
    }

    /// The keyword arguments by name.
    #[must_use]
    pub fn kwargs(&self) -> &BTreeMap<String, Value> {
        &self.call().3
    }

    /// The key prefix of the call, as the user wrote it.
    #[must_use]
    pub fn prefix(&self) -> &str {
        self.scope.prefix()
    }

    /// The namespace of the call, as the user wrote it.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.scope.namespace()
    }

    /// `{prefix}:{namespace}:{rest}`, with prefix and namespace escaped as in a default key.
    #[must_use]
    pub fn scoped(&self, rest: &str) -> String {
        format!("{}{rest}", self.scope.as_str())
    }
}

impl fmt::Debug for KeyContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments may be secrets.
        f.debug_struct("KeyContext").field("scope", &self.scope).field("name", &self.name()).finish_non_exhaustive()
    }
}
