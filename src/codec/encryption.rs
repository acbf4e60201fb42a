//! AES-256-GCM around bytes that are stored.

use ring::aead::{Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce};
use ring::rand::{SecureRandom, SystemRandom};

use super::encryption_key::{EncryptionKey, SALT};
use super::envelope::{self, ENCRYPTED, Envelope, KEY_ID};
use super::format::CodecError;

/// The key that encrypts, and all that decrypt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encryption {
    current: EncryptionKey,
    previous: Vec<EncryptionKey>,
}

/// Bytes before the encrypted ones: the mark, the version, the key's id, and 24 random ones, of which the first 12 make the value's key
/// and the others are its nonce.
const HEADER: usize = BEFORE_NONCE + SALT + NONCE_LEN;
const BEFORE_NONCE: usize = ENCRYPTED.len() + 1 + KEY_ID;

impl Encryption {
    pub(super) fn of(current: EncryptionKey, previous: impl IntoIterator<Item = EncryptionKey>) -> Self {
        Self { current, previous: previous.into_iter().collect() }
    }

    pub(super) fn add_previous(&mut self, key: EncryptionKey) {
        self.previous.push(key);
    }

    /// Encrypts what is stored under `key`.
    pub(super) fn seal(&self, key: &str, plain: &[u8]) -> Result<Vec<u8>, CodecError> {
        let mut nonce = [0; SALT + NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| "the system has no random numbers")?;
        let mut sealed = Vec::with_capacity(HEADER + plain.len() + MAX_TAG_LEN);
        sealed.extend_from_slice(&ENCRYPTED);
        sealed.push(envelope::AES_256_GCM);
        sealed.extend_from_slice(&self.current.id().0);
        sealed.extend_from_slice(&nonce);
        let (cipher, nonce) = of_value(&self.current, &nonce);
        let additional = additional(&sealed, key);
        sealed.extend_from_slice(plain);
        let tag = cipher.seal_in_place_separate_tag(nonce, Aad::from(additional), &mut sealed[HEADER..]);
        sealed.extend_from_slice(tag.map_err(|_| "the value is too large to be encrypted")?.as_ref());
        Ok(sealed)
    }

    /// Decrypts what was encrypted under `key`; nothing else is let through.
    pub(super) fn open(&self, key: &str, sealed: &[u8]) -> Result<Vec<u8>, CodecError> {
        let id = match Envelope::of(sealed) {
            Some(Envelope::Encrypted { key: Some(id) }) => id,
            Some(Envelope::Encrypted { key: None }) => {
                return Err("it's encrypted, and cut or of another version".into());
            }
            _ => return Err("it isn't encrypted".into()),
        };
        let (header, encrypted) = sealed.split_at_checked(HEADER).ok_or("it's encrypted, and cut")?;
        let nonce = header.last_chunk().ok_or("it's encrypted, and cut")?;
        let mut keys = std::iter::once(&self.current).chain(&self.previous);
        let known = keys.find(|key| key.id() == id);
        let (cipher, nonce) = of_value(known.ok_or_else(|| format!("it's encrypted by the unknown key {id}"))?, nonce);
        let mut opened = encrypted.to_vec();
        let plain = cipher.open_in_place(nonce, Aad::from(additional(header, key)), &mut opened);
        let len = plain.map_err(|_| "it's encrypted, and was altered or is that of another key of the cache")?.len();
        opened.truncate(len);
        Ok(opened)
    }
}

fn of_value(key: &EncryptionKey, nonce: &[u8; SALT + NONCE_LEN]) -> (LessSafeKey, Nonce) {
    let (mut salt, mut own) = ([0; SALT], [0; NONCE_LEN]);
    salt.copy_from_slice(&nonce[..SALT]);
    own.copy_from_slice(&nonce[SALT..]);
    (key.of_value(&salt), Nonce::assume_unique_for_key(own))
}

/// What is authenticated beside the value: the header, which is as long for each, and the key that it's stored under.
fn additional(header: &[u8], key: &str) -> Vec<u8> {
    [header, key.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> EncryptionKey {
        EncryptionKey::from_bytes([seed; 32])
    }

    fn seal(bytes: &[u8]) -> Vec<u8> {
        Encryption::of(key(1), []).seal("app:users:1", bytes).expect("it can be encrypted")
    }

    fn problem(encryption: &Encryption, key: &str, sealed: &[u8]) -> String {
        encryption.open(key, sealed).expect_err("it's refused").to_string()
    }

    #[test]
    fn an_encrypted_value_shows_its_key_s_id_and_its_length() {
        let sealed = seal(b"the answer is 42");
        assert_eq!(Envelope::of(&sealed), Some(Envelope::Encrypted { key: Some(key(1).id()) }));
        assert_eq!(sealed.len(), 16 + 53);
        assert!(!sealed.windows(6).any(|part| part == b"answer"));
        assert_ne!(seal(b"the answer is 42")[BEFORE_NONCE..], sealed[BEFORE_NONCE..], "each has a nonce of its own");
    }

    /// Made by other implementations of HMAC-SHA-256 and AES-256-GCM.
    #[test]
    fn values_of_other_releases_are_read() {
        let sealed = include_str!("../../tests/golden/encrypted.txt").trim();
        let byte = |at: usize| u8::from_str_radix(&sealed[at..at + 2], 16).expect("two hex digits");
        let sealed: Vec<u8> = (0..sealed.len()).step_by(2).map(byte).collect();
        let own = EncryptionKey::from_bytes(std::array::from_fn(|at| at as u8));
        let plain = Encryption::of(own, []).open("cachehouse:main:0a", &sealed);
        assert_eq!(plain.expect("it's ours"), br#"{"name":"Ada"}"#);
    }

    #[test]
    fn each_previous_key_opens_and_the_current_one_encrypts() {
        let old = seal(b"7");
        let mut rotated = Encryption::of(key(3), []);
        assert_eq!(
            problem(&rotated, "app:users:1", &old),
            format!("it's encrypted by the unknown key {}", key(1).id())
        );
        rotated.add_previous(key(2));
        rotated.add_previous(key(1));
        assert_eq!(rotated.open("app:users:1", &old).expect("its key is known"), b"7");
        let new = rotated.seal("app:users:1", b"8").expect("it can be encrypted");
        assert_eq!(Encryption::of(key(3), []).open("app:users:1", &new).expect("it's the current key's"), b"8");
        assert!(Encryption::of(key(1), []).open("app:users:1", &new).is_err());
    }

    #[test]
    fn a_value_opens_under_its_own_key_of_the_cache_alone() {
        let encryption = Encryption::of(key(1), []);
        let sealed = seal(b"7");
        for other in ["", "app:users:2", "app:users:", "app:users:11", "\u{0}app:users:1"] {
            let expected = "it's encrypted, and was altered or is that of another key of the cache";
            assert_eq!(problem(&encryption, other, &sealed), expected, "{other}");
        }
    }

    #[test]
    fn what_is_not_encrypted_or_cut_is_refused() {
        let encryption = Encryption::of(key(1), []);
        for plain in [&b""[..], b"7", br#"{"name":"Ada"}"#, b"\xc1chZ\x00 7"] {
            assert_eq!(problem(&encryption, "k", plain), "it isn't encrypted");
        }
        let sealed = seal(b"7");
        for len in ENCRYPTED.len()..sealed.len() {
            assert!(encryption.open("app:users:1", &sealed[..len]).is_err(), "{len}");
        }
        let mut other = sealed;
        other[ENCRYPTED.len()] = 2;
        assert_eq!(problem(&encryption, "app:users:1", &other), "it's encrypted, and cut or of another version");
    }

    proptest! {
        #[test]
        fn all_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..300), name in ".{0,20}") {
            let encryption = Encryption::of(key(1), []);
            let sealed = encryption.seal(&name, &bytes).expect("it can be encrypted");
            prop_assert_eq!(encryption.open(&name, &sealed).expect("it was encrypted"), bytes);
        }

        #[test]
        fn no_bytes_are_taken_for_a_value(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let sealed = [&ENCRYPTED[..], &[1], &key(1).id().0, &bytes].concat();
            prop_assert!(Encryption::of(key(1), []).open("k", &sealed).is_err());
        }
    }

    #[test]
    fn a_value_with_any_bit_flipped_is_refused() {
        let encryption = Encryption::of(key(1), []);
        let sealed = seal(b"{\"name\":\"Ada\"}");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(encryption.open("app:users:1", &flipped).is_err(), "{bit}");
        }
        assert!(encryption.open("app:users:1", &sealed).is_ok());
    }
}
