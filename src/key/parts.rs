//! What a call's key is made of.

use super::canonical::{Text, write_str};
use super::text;

/// The parts of a call that make its key.
pub(crate) struct CallParts<'a> {
    pub(crate) module: Option<&'a str>,
    /// As the user wrote it.
    pub(crate) name: &'a [u8],
    /// Canonical JSON values, separated by commas.
    pub(crate) args: &'a [u8],
    /// Names and canonical JSON values, sorted by name.
    pub(crate) kwargs: &'a [(Box<str>, Box<[u8]>)],
    /// Of the value's type; 0 isn't part of the key.
    pub(crate) version: u32,
    /// Of the call's tags, in the order of the tags.
    pub(crate) tokens: &'a [Box<str>],
}

/// `args],{kwargs}`
pub(super) fn write_arguments<const N: usize>(text: &mut text::Text<N>, parts: &CallParts<'_>) {
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
    text.push(b'}');
}
