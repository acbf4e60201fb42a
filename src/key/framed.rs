//! The text of a key as memory compares it, and the server's key that follows from it.

use bytes::Bytes;
use sha1_smol::Sha1;

use super::canonical::{HEX, Text, write_str};
use super::parts::{CallParts, write_arguments};
use super::text;

/// 128 bytes hold most keys without an allocation.
pub(super) type KeyText = text::Text<128>;

/// A key as the server knows it.
pub(crate) type ServerKey = Bytes;

/// First byte of a key's text, so that a custom key can't be taken for a default one.
pub(super) const DEFAULT: u8 = 0;
pub(super) const CUSTOM: u8 = 1;

/// The parts of a call, one behind the other: the lengths of module and name, both, then arguments and version as the rest of a JSON
/// array.
#[inline]
pub(super) fn frame(text: &mut KeyText, parts: &CallParts<'_>) {
    let module = parts.module.unwrap_or_default().as_bytes();
    // No text in memory has 2^32 bytes that name a module or a call.
    let lengths = (module.len() as u64) << 32 | parts.name.len() as u64;
    text.extend_from_slice(&lengths.to_le_bytes());
    text.extend_from_slice(module);
    text.extend_from_slice(parts.name);
    write_arguments(text, parts);
    if parts.version != 0 {
        text.push(b',');
        text.extend_from_slice(parts.version.to_string().as_bytes());
    }
    if !parts.tokens.is_empty() {
        text.extend_from_slice(b",[");
        text.extend_from_slice(quoted(parts.tokens).as_bytes());
        text.push(b']');
    }
    text.push(b']');
}

/// The tokens as JSON strings. They are hexadecimal digits.
pub(super) fn quoted(tokens: &[Box<str>]) -> String {
    tokens.iter().map(|token| format!("\"{token}\"")).collect::<Vec<_>>().join(",")
}

/// The server's key of a text: [`DEFAULT`] or [`CUSTOM`], then a scope of `scope_len` bytes, then the rest.
pub(super) fn server_key(text: &[u8], scope_len: usize) -> ServerKey {
    if text[0] == CUSTOM {
        return Bytes::copy_from_slice(&text[1..]);
    }
    let (scope, call) = text[1..].split_at(scope_len);
    let mut key = Vec::with_capacity(scope.len() + 40);
    key.extend_from_slice(scope);
    for byte in Sha1::from(&canonical_text(call)[..]).digest().bytes() {
        key.push(HEX[usize::from(byte >> 4)]);
        key.push(HEX[usize::from(byte & 0xf)]);
    }
    key.into()
}

/// The canonical text of a framed call: `["module","name",[args],{kwargs}]`; before the end `,version` where that isn't 0, and the
/// array of the tags' tokens where there are tags.
pub(super) fn canonical_text(framed: &[u8]) -> Text {
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
