//! Keys of the user's own making.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::canonical::json::write_json;
use super::canonical::{Text, write};
use super::parts::{CallParts, write_arguments};
use super::scope::Scope;
use crate::error::Error;

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
/// An empty key makes the call run uncached, with a warning, and so does a panic.
#[doc(alias("custom key", "key_fn", "key_generator"))]
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
///
/// ```
/// use cache_house::{CacheHouse, CacheOptions, KeyContext};
///
/// let cache = CacheHouse::builder().memory().build()?;
/// let options = CacheOptions::new("page").module("shop").arg(3).kwarg("lang", "no").namespace("a:b");
/// let options = options.key_builder(|cx: &KeyContext<'_>| {
///     assert_eq!((cx.module(), cx.name(), cx.prefix(), cx.namespace()), ("shop", "page", "cachehouse", "a:b"));
///     assert_eq!(cx.args()[0], 3);
///     cx.scoped(&format!("{}:{}", cx.name(), cx.kwargs()["lang"]))
/// });
/// assert_eq!(cache.key(&options)?, r#"cachehouse:a%3Ab:page:"no""#);
/// # Ok::<(), cache_house::Error>(())
/// ```
pub struct KeyContext<'a> {
    scope: &'a Scope,
    parts: &'a CallParts<'a>,
    arguments: Arguments,
}

#[derive(serde::Deserialize)]
struct Arguments(Vec<Value>, BTreeMap<String, Value>);

impl<'a> KeyContext<'a> {
    /// # Errors
    ///
    /// For what `serde_json` doesn't read back as it was: a builder that didn't see it would give different calls one key.
    pub(super) fn new(scope: &'a Scope, parts: &'a CallParts<'a>) -> Result<Self, Error> {
        let mut arguments = Text::from(b"[[".as_slice());
        write_arguments(&mut arguments, parts);
        arguments.push(b']');
        let unreadable = || {
            let reason = "too large a number, too deep a nesting, or `Some` of what JSON writes as `null`";
            Error::key(format!("the key builder can't be shown an argument: {reason}"))
        };
        let mut json = Text::new();
        write_json(&mut json, &arguments).ok_or_else(unreadable)?;
        let mut arguments: Arguments = serde_json::from_slice(&json).map_err(|_| unreadable())?;
        // An integer beyond 64 bits comes back rounded, and two of them would be one to the builder.
        let mut shown = Text::new();
        write(&mut shown, &(&arguments.0, &arguments.1)).map_err(|_| unreadable())?;
        if shown[..] != json[..] {
            return Err(unreadable());
        }
        // With `serde_json/preserve_order` they'd stand as in the canonical text, whose order is another than that of a map.
        arguments.0.iter_mut().chain(arguments.1.values_mut()).for_each(Value::sort_all_objects);
        Ok(Self { scope, parts, arguments })
    }

    /// The module of the call; empty where none was given.
    #[must_use]
    pub fn module(&self) -> &str {
        self.parts.module.unwrap_or_default()
    }

    /// The name of the call.
    #[must_use]
    pub fn name(&self) -> &str {
        // It came as a `str`.
        std::str::from_utf8(self.parts.name).unwrap_or_default()
    }

    /// The positional arguments. The keys of JSON objects are text, so a map's key `1` is shown as `"1"`.
    #[must_use]
    pub fn args(&self) -> &[Value] {
        &self.arguments.0
    }

    /// The keyword arguments by name.
    #[must_use]
    pub fn kwargs(&self) -> &BTreeMap<String, Value> {
        &self.arguments.1
    }

    /// The version of the value's type, 0 by default. Another than 0 is appended to the built key as `:v{version}`.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.parts.version
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
