//! What is done with values that go to a server.

use super::CacheHouseBuilder;
#[cfg(feature = "encryption")]
use crate::codec::EncryptionKey;

/// What is done with values on their way to a server: whichever codec or pair of functions encodes them, and whichever namespace they
/// are of. Without a server it has no effect.
///
#[cfg_attr(all(feature = "encryption", feature = "lz4"), doc = "```")]
#[cfg_attr(not(all(feature = "encryption", feature = "lz4")), doc = "```ignore")]
/// use cache_house::CacheHouse;
/// use cache_house::codec::EncryptionKey;
///
/// # let text = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// let key: EncryptionKey = text.parse()?; // of a variable or a file
/// let cache = CacheHouse::builder()
///     .compression(1024) // bytes
///     .encryption(key, []) // no previous keys
///     .standalone("localhost:6379")
///     .build()?;
/// # Ok::<(), cache_house::Error>(())
/// ```
impl<S> CacheHouseBuilder<S> {
    /// Compresses values of at least so many bytes by LZ4. Default: off.
    ///
    /// A value is encoded first, and compressed before it's encrypted. [`Compressed`](crate::codec::Compressed) describes what is stored,
    /// and is for single namespaces and calls. A handle with compression reads values without it. To a handle without, a compressed value
    /// is a miss: in a first deployment, give a size that no value has, `u64::MAX`.
    ///
    /// 1,024 is a good size to begin with: smaller values gain little.
    #[cfg(feature = "lz4")]
    #[doc(alias("lz4", "zstd", "gzip", "compress"))]
    pub fn compression(mut self, min_size: u64) -> Self {
        self.common.sealing.compress(min_size);
        self
    }

    /// Encrypts values with `key`, by AES-256-GCM; `previous` keys are for reading alone. Default: off.
    ///
    /// [`Encrypted`](crate::codec::Encrypted) describes what is stored, and is for single namespaces and calls. Keys, tags and their tokens,
    /// and leases aren't encrypted.
    ///
    /// A value that isn't encrypted, or is by a key that isn't given here, is a miss, and is overwritten.
    #[cfg(feature = "encryption")]
    #[doc(alias("encrypt", "aes", "cipher", "rotation"))]
    pub fn encryption(mut self, key: EncryptionKey, previous: impl IntoIterator<Item = EncryptionKey>) -> Self {
        self.common.sealing.encrypt(key, previous);
        self
    }
}
