//! What a handle does with all bytes that it stores on its server, whichever codec wrote them.

use std::borrow::Cow;

#[cfg(not(feature = "lz4"))]
use super::absent::Compression;
#[cfg(not(feature = "encryption"))]
use super::absent::Encryption;
#[cfg(feature = "lz4")]
use super::compression::Compression;
#[cfg(feature = "encryption")]
use super::encryption::Encryption;
#[cfg(feature = "encryption")]
use super::encryption_key::EncryptionKey;
use super::shared::{KeyOf, guarded};
use crate::error::{Error, Kind};

/// Compression and encryption, in this order; either may be off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sealing {
    compression: Option<Compression>,
    encryption: Option<Encryption>,
}

impl Sealing {
    #[cfg(feature = "lz4")]
    pub(crate) fn compress(&mut self, min_size: u64) {
        self.compression = Some(Compression::of(min_size));
    }

    #[cfg(feature = "encryption")]
    pub(crate) fn encrypt(&mut self, key: EncryptionKey, previous: impl IntoIterator<Item = EncryptionKey>) {
        self.encryption = Some(Encryption::of(key, previous));
    }

    /// What to store under `key` in place of `bytes`.
    pub(crate) fn seal(&self, key: KeyOf<'_>, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
        if self.is_off() {
            return Ok(bytes);
        }
        guarded(Kind::Encode, || {
            let bytes = match self.compression {
                Some(compression) => compression.pack(bytes),
                None => bytes,
            };
            match &self.encryption {
                Some(encryption) => encryption.seal(&String::from_utf8_lossy(&key()), &bytes),
                None => Ok(bytes),
            }
        })
    }

    /// What was sealed.
    pub(crate) fn open<'a>(&self, key: KeyOf<'_>, sealed: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
        if self.is_off() {
            return Ok(sealed.into());
        }
        guarded(Kind::Decode, || {
            let opened = match &self.encryption {
                Some(encryption) => Cow::Owned(encryption.open(&String::from_utf8_lossy(&key()), sealed)?),
                None => Cow::Borrowed(sealed),
            };
            match (self.compression, opened) {
                (None, opened) => Ok(opened),
                (Some(compression), Cow::Borrowed(bytes)) => compression.unpack(bytes),
                (Some(compression), Cow::Owned(bytes)) => Ok(Cow::Owned(compression.unpack(&bytes)?.into_owned())),
            }
        })
    }

    fn is_off(&self) -> bool {
        self.compression.is_none() && self.encryption.is_none()
    }
}
