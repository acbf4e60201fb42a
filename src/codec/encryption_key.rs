//! A key for values on the server.

use std::fmt;
use std::str::FromStr;

use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use ring::hmac;

use super::envelope::{KEY_ID, KeyId};
use crate::error::Error;

/// A key that values are encrypted with: 32 random bytes.
///
/// As text it's base64 or 64 hexadecimal digits, as `openssl rand -base64 32` and `openssl rand -hex 32` print it; white space around
/// it doesn't count. Its [`id`](Self::id) follows from it, so a key has no name to be given.
///
/// `Debug` shows its id alone. The bytes aren't kept: the key is held as the state of HMAC-SHA-256 after it, which isn't wiped from
/// memory when it's dropped.
///
/// ```
/// use cache_house::codec::EncryptionKey;
///
/// # let text = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// let key: EncryptionKey = text.parse()?; // of a variable or a file
/// assert_eq!(format!("{key:?}"), format!("EncryptionKey({})", key.id()));
/// assert!("too short".parse::<EncryptionKey>().is_err());
/// # Ok::<(), cache_house::Error>(())
/// ```
#[derive(Clone)]
pub struct EncryptionKey {
    key: hmac::Key,
    /// A hash of the key, of which the id is the beginning.
    hash: [u8; 32],
}

const BYTES: usize = 32;

/// Of each value's key; the rest of a value's nonce is that of AES-GCM.
pub(super) const SALT: usize = 12;

impl EncryptionKey {
    /// What a key is as text.
    pub(crate) const ACCEPTED: &str = "32 random bytes as base64 or as 64 hexadecimal digits";

    /// The key of these bytes, which have to be random: a password isn't a key.
    #[must_use]
    pub fn from_bytes(bytes: [u8; BYTES]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        let hash = hash(&key, b"cache-house key id");
        Self { key, hash }
    }

    /// Which key it is, as encrypted values say it: the first 8 bytes of a hash.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&self.hash[..KEY_ID]);
        KeyId(id)
    }

    /// The key of one value. It's that of NIST SP 800-108r1, section 4.1 (KDF in counter mode), by HMAC-SHA-256: one block, after the
    /// counter 1 a label, a zero, the context and the length in bits.
    pub(super) fn of_value(&self, salt: &[u8; SALT]) -> LessSafeKey {
        const LABEL: &[u8] = b"cache-house value";
        let input = [&1_u32.to_be_bytes()[..], LABEL, &[0], salt, &256_u32.to_be_bytes()].concat();
        let key = UnboundKey::new(&AES_256_GCM, &hash(&self.key, &input));
        LessSafeKey::new(key.expect("a SHA-256 is as long as a key of AES-256"))
    }
}

fn hash(key: &hmac::Key, input: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(hmac::sign(key, input).as_ref());
    hash
}

impl FromStr for EncryptionKey {
    type Err = Error;

    /// # Errors
    ///
    /// [`is_config`](Error::is_config): it's neither, or not 32 bytes. The text isn't shown.
    fn from_str(text: &str) -> Result<Self, Error> {
        bytes_of(text.trim()).map(Self::from_bytes).map_err(|problem| Error::config("encryption", problem))
    }
}

fn bytes_of(text: &str) -> Result<[u8; BYTES], String> {
    if text.len() == 2 * BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let mut bytes = [0; BYTES];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |digit: u8| (digit as char).to_digit(16).unwrap_or_default() as u8;
            *byte = digit(digits[0]) << 4 | digit(digits[1]);
        }
        return Ok(bytes);
    }
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    // Three bytes for four characters. What is longer than this isn't looked at.
    let mut bytes = [0; 96];
    let decoded = GeneralPurpose::new(&STANDARD, config).decode_slice(text, &mut bytes);
    let problem = match decoded {
        Ok(len) => match <[u8; BYTES]>::try_from(&bytes[..len]) {
            Ok(bytes) => return Ok(bytes),
            Err(_) => format!("is a key of {len} bytes (it isn't shown)"),
        },
        Err(_) => "isn't a key (it isn't shown)".to_owned(),
    };
    Err(format!("{problem}; accepts {}", EncryptionKey::ACCEPTED))
}

impl PartialEq for EncryptionKey {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for EncryptionKey {}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn bytes() -> [u8; 32] {
        std::array::from_fn(|at| at as u8)
    }

    #[test]
    fn one_key_has_several_texts() {
        let key = EncryptionKey::from_bytes(bytes());
        let no_padding = BASE64.trim_end_matches('=');
        for text in [HEX, &HEX.to_uppercase(), BASE64, no_padding, &format!(" {BASE64}\r\n"), &format!("{HEX}\n")] {
            assert_eq!(text.parse::<EncryptionKey>().expect("it's a key"), key, "{text:?}");
        }
        // Stored values name it, so it stays as it is. By another implementation: HMAC-SHA-256 over "cache-house key id".
        assert_eq!(key.id().to_string(), "2e7cd5ddefb8374b");
        assert_ne!(key, EncryptionKey::from_bytes([0; 32]));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let long = "A".repeat(1000);
        for (text, problem) in [
            ("", "is a key of 0 bytes (it isn't shown)"),
            ("hunter2", "isn't a key (it isn't shown)"),
            ("aHVudGVyMg==", "is a key of 7 bytes (it isn't shown)"),
            (&HEX[..60], "is a key of 45 bytes (it isn't shown)"),
            (&HEX.replace('f', "g"), "is a key of 48 bytes (it isn't shown)"),
            (&BASE64.replace('8', "*"), "isn't a key (it isn't shown)"),
            // Bits behind the last byte, which would make two texts of one key.
            (&BASE64.replace('8', "9"), "isn't a key (it isn't shown)"),
            (&long, "isn't a key (it isn't shown)"),
        ] {
            let error = text.parse::<EncryptionKey>().expect_err(text);
            let expected =
                format!("encryption: {problem}; accepts 32 random bytes as base64 or as 64 hexadecimal digits");
            assert_eq!((error.to_string(), error.is_config()), (expected, true), "{text}");
        }
    }

    #[test]
    fn debug_shows_the_id_alone() {
        let key = EncryptionKey::from_bytes(bytes());
        assert_eq!(format!("{key:?}"), format!("EncryptionKey({})", key.id()));
        assert_eq!(format!("{key:?}").len(), "EncryptionKey()".len() + 16);
    }
}
