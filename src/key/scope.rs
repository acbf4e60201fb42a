//! `{prefix}:{namespace}:`, the part of a key that says whose it is.

use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::error::Error;

/// What can't stand for itself in a prefix or a namespace: `:` separates the parts of a key, `%`
/// begins an escape, braces would be a hash tag, by which a cluster keeps all keys of the scope in one slot, and what isn't
/// printable ASCII (the library adds all that isn't ASCII).
const ESCAPED: &AsciiSet = &CONTROLS.add(b':').add(b'%').add(b'{').add(b'}');

/// An escaped `{prefix}:{namespace}:`; two different pairs never have the same text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    text: Arc<str>,
    prefix: Arc<str>,
    namespace: Arc<str>,
}

impl Scope {
    /// # Errors
    ///
    /// Where either part is empty.
    pub(crate) fn new(prefix: &str, namespace: &str) -> Result<Self, Error> {
        let (escaped_prefix, escaped_namespace) = (escape("key_prefix", prefix)?, escape("namespace", namespace)?);
        Ok(Self {
            text: format!("{escaped_prefix}:{escaped_namespace}:").into(),
            prefix: prefix.into(),
            namespace: namespace.into(),
        })
    }

    /// The same scope where neither part is overridden.
    pub(crate) fn overridden(&self, prefix: Option<&str>, namespace: Option<&str>) -> Result<Self, Error> {
        match (prefix, namespace) {
            (None, None) => Ok(self.clone()),
            _ => Self::new(prefix.unwrap_or(&self.prefix), namespace.unwrap_or(&self.namespace)),
        }
    }

    /// This key prefix with another namespace. An empty one makes a scope that [`check`](Self::check) refuses. Its key prefix is that
    /// of the others, because its calls may name a namespace: their tags' tokens are everyone's.
    pub(crate) fn with_namespace(&self, namespace: &str) -> Self {
        Self::new(&self.prefix, namespace).unwrap_or_else(|_| Self {
            text: format!("{}:", self.key_prefix()).into(),
            prefix: Arc::clone(&self.prefix),
            namespace: "".into(),
        })
    }

    /// # Errors
    ///
    /// Where the namespace was empty.
    #[inline]
    pub(crate) fn check(&self) -> Result<&Self, Error> {
        if self.namespace.is_empty() { Err(Error::key("the namespace is empty")) } else { Ok(self) }
    }

    /// With the trailing `:`.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The first part, as keys have it.
    pub(crate) fn key_prefix(&self) -> &str {
        self.text.split(':').next().unwrap_or_default()
    }

    /// As the user wrote it.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// As the user wrote it.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn escape<'a>(option: &str, part: &'a str) -> Result<std::borrow::Cow<'a, str>, Error> {
    if part.is_empty() {
        return Err(Error::config(option, "is empty; accepts a text of at least one character"));
    }
    Ok(utf8_percent_encode(part, ESCAPED).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(prefix: &str, namespace: &str) -> String {
        Scope::new(prefix, namespace).expect("both parts are given").as_str().to_owned()
    }

    #[test]
    fn printable_parts_stand_for_themselves() {
        assert_eq!(text("cachehouse", "main"), "cachehouse:main:");
        assert_eq!(text("my app", "users*[a]?"), "my app:users*[a]?:");
    }

    #[test]
    fn separators_escapes_and_unprintables_are_escaped() {
        assert_eq!(text("a:b", "c"), "a%3Ab:c:");
        assert_eq!(text("a%3Ab", "c"), "a%253Ab:c:");
        assert_eq!(text("a\n\0", "é"), "a%0A%00:%C3%A9:");
        assert_eq!(text("{a}", "b}{"), "%7Ba%7D:b%7D%7B:");
    }

    #[test]
    fn an_empty_part_names_its_option() {
        let message = |result: Result<Scope, Error>| result.expect_err("a part is empty").to_string();
        assert!(message(Scope::new("", "main")).starts_with("key_prefix: is empty"));
        assert!(message(Scope::new("p", "")).starts_with("namespace: is empty"));
    }
}
