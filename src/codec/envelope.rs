//! What stored bytes are wrapped in, as their beginning shows it.

use std::fmt;

/// What stored bytes are wrapped in: compression or encryption, which mark what they write.
///
/// ```
/// use cache_house::codec::Envelope;
///
/// assert_eq!(Envelope::of(br#"{"name":"Ada"}"#), None);
/// assert_eq!(Envelope::of(b"\xc1chZ\x01"), Some(Envelope::Compressed));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Envelope {
    /// By the feature `lz4`.
    Compressed,
    /// By the feature `encryption`.
    Encrypted {
        /// Which key they were encrypted with; `None` where it isn't known, because the bytes are cut or of another version.
        key: Option<KeyId>,
    },
}

/// Which encryption key is meant: the first 8 bytes of a hash of it, so that equal keys have equal ids.
///
/// It says nothing about the key that helps to find it, and is shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub(super) [u8; KEY_ID]);

pub(super) const KEY_ID: usize = 8;

// Each begins with the byte that MessagePack never uses (its specification's "formats"), and that neither JSON nor any text in UTF-8
// has.
pub(super) const COMPRESSED: [u8; 4] = *b"\xc1chZ";
pub(super) const ENCRYPTED: [u8; 4] = *b"\xc1chE";

/// AES-256-GCM under a key that is derived for each value.
pub(super) const AES_256_GCM: u8 = 1;

impl Envelope {
    /// What `bytes` are wrapped in; `None`: nothing that this crate knows.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.starts_with(&COMPRESSED) {
            return Some(Self::Compressed);
        }
        let key = match bytes.strip_prefix(&ENCRYPTED)? {
            [AES_256_GCM, rest @ ..] => rest.first_chunk().copied().map(KeyId),
            _ => None,
        };
        Some(Self::Encrypted { key })
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_are_told_apart_and_nothing_else_is_one() {
        assert_eq!(Envelope::of(b"\xc1chZ"), Some(Envelope::Compressed));
        let bytes = b"\xc1chE\x01\x00\x01\x02\x03\x04\x05\x06\xff and the rest";
        let Some(Envelope::Encrypted { key: Some(key) }) = Envelope::of(bytes) else { panic!("it's encrypted") };
        assert_eq!(
            (key.to_string(), format!("{key:?}")),
            ("00010203040506ff".into(), "KeyId(00010203040506ff)".into())
        );
        for unknown in [&b"\xc1chE"[..], b"\xc1chE\x01short", b"\xc1chE\x02\x00\x01\x02\x03\x04\x05\x06\xff"] {
            assert_eq!(Envelope::of(unknown), Some(Envelope::Encrypted { key: None }), "{unknown:?}");
        }
        for other in [&b""[..], b"\xc1", b"\xc1ch", b"\xc1chX", b"chZ", b"{\xc1chE", b"[1]", b"\x93\x01\x02\x03"] {
            assert_eq!(Envelope::of(other), None, "{other:?}");
        }
    }
}
