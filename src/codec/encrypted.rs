//! A codec whose values are encrypted.

use std::any::Any;

use super::detached::{Read, decode_detached};
use super::encryption::Encryption;
use super::encryption_key::EncryptionKey;
use super::format::{Codec, CodecError};

/// Encrypts what another codec writes, by AES-256-GCM.
///
/// For one namespace or call; [`encryption`](crate::CacheHouseBuilder::encryption) on the builder is for all that a handle stores on its
/// server. Both write alike.
///
/// ```
/// use cache_house::codec::{Encrypted, EncryptionKey, Json};
/// use cache_house::{CacheHouse, NamespaceOptions, opts};
///
/// # let text = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// let key: EncryptionKey = text.parse()?; // of a variable or a file
/// let patients = NamespaceOptions::default().codec(Encrypted::new(Json, key));
/// let cache = CacheHouse::builder().namespace_options("patients", patients).memory().build()?;
/// assert_eq!(cache.cached(opts!("patient", 7).namespace("patients"), || "Ada".to_string()), "Ada");
/// # Ok::<(), cache_house::Error>(())
/// ```
///
/// A value opens only under the key of the cache that it was stored under, and with one of the codec's encryption keys. All else is a
/// miss, counted by [`Stats::decode_failures`](crate::Stats::decode_failures): a value that was altered, moved to another key, encrypted
/// with a key that isn't known, or not encrypted. Memory has the decoded values as they are. `SECURITY.md` says what encryption protects
/// against.
///
/// `encode` and `decode` are errors: a value is bound to its key, which [`encode_for`](Codec::encode_for) and
/// [`decode_for`](Codec::decode_for) have. A codec around this one has to hand both on.
///
/// To compress as well, encrypt what is compressed: `Encrypted::new(Compressed::new(Json), key)`.
///
/// A stored value has 53 bytes more than the inner codec wrote: the mark `C1 63 68 45`, 1 for this format, the
/// [id](EncryptionKey::id) of the encryption key, 24 random bytes, and behind the value the tag. The random bytes are 12 that a key of
/// the value's own is derived from (NIST SP 800-108r1, section 4.1, by HMAC-SHA-256) and 12 that are its nonce. Without the derivation, a
/// key would be good for 2^32 values (NIST SP 800-38D, section 8.3), which a busy cache stores in weeks; with it, for more than any cache
/// stores.
#[doc(alias("encrypt", "aes", "cipher", "secret"))]
#[derive(Debug, Clone)]
pub struct Encrypted<C> {
    inner: C,
    encryption: Encryption,
}

impl<C> Encrypted<C> {
    /// Encrypts what `codec` writes with `key`.
    pub fn new(codec: C, key: EncryptionKey) -> Self {
        Self { inner: codec, encryption: Encryption::of(key, []) }
    }

    /// Adds a key that values are read with, but not written: an old one, until what it encrypted has expired, or a new one, until
    /// all processes know it.
    #[must_use]
    pub fn previous(mut self, key: EncryptionKey) -> Self {
        self.encryption.add_previous(key);
        self
    }
}

impl<C: Codec> Codec for Encrypted<C> {
    fn encode(&self, _: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        Err(WITHOUT_KEY.into())
    }

    fn decode<'de>(&self, _: &'de [u8], _: &mut Read<'_, 'de>) -> Result<(), CodecError> {
        Err(WITHOUT_KEY.into())
    }

    fn encode_for(&self, key: &str, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        self.encryption.seal(key, &self.inner.encode_for(key, value)?)
    }

    fn decode_for<'de>(&self, key: &str, bytes: &'de [u8], read: &mut Read<'_, 'de>) -> Result<(), CodecError> {
        let plain = self.encryption.open(key, bytes)?;
        decode_detached(read, |read| self.inner.decode_for(key, &plain, read))
    }

    fn reads_like(&self, other: &dyn Codec) -> bool {
        let other = (other as &dyn Any).downcast_ref::<Self>();
        other.is_some_and(|other| self.encryption == other.encryption && self.inner.reads_like(&other.inner))
    }
}

const WITHOUT_KEY: &str =
    "an encrypted value is bound to its key: a codec around `Encrypted` has to hand on `encode_for` and `decode_for`";
