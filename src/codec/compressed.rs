//! A codec whose large values are compressed.

use std::any::Any;
use std::borrow::Cow;

use super::compression::Compression;
use super::detached::{Read, decode_detached};
use super::format::{Codec, CodecError};

/// Compresses what another codec writes, from a size on, by LZ4.
///
/// For one namespace or call; [`compression`](crate::CacheHouseBuilder::compression) on the builder is for all that a handle stores on
/// its server. Both read what the other writes.
///
/// ```
/// use cache_house::codec::{Compressed, Json};
/// use cache_house::{CacheHouse, NamespaceOptions, opts};
///
/// let pages = NamespaceOptions::default().codec(Compressed::new(Json).min_size(4096));
/// let cache = CacheHouse::builder().namespace_options("pages", pages).memory().build()?;
/// assert_eq!(cache.cached(opts!("page", 1).namespace("pages"), || "text".repeat(4096)).len(), 16_384);
/// # Ok::<(), cache_house::Error>(())
/// ```
///
/// A value below [`min_size`](Self::min_size), or one that wouldn't shrink, is stored exactly as the inner codec writes it. So values from
/// before are read, and a codec without compression reads the small ones; a compressed one is a miss to it, counted by
/// [`Stats::decode_failures`](crate::Stats::decode_failures). A compressed value has 9 bytes before the block of LZ4: the mark `C1 63 68
/// 5A`, 1 for LZ4, and the value's length in four bytes, the lowest first.
///
/// Around [`Encrypted`](super) it does nothing, because what is encrypted doesn't shrink; put it inside.
#[doc(alias("lz4", "zstd", "gzip", "compress"))]
#[derive(Debug, Clone)]
pub struct Compressed<C> {
    inner: C,
    compression: Compression,
}

impl<C> Compressed<C> {
    /// Compresses what `codec` writes.
    pub fn new(codec: C) -> Self {
        Self { inner: codec, compression: Compression::of(Compression::DEFAULT_MIN_SIZE) }
    }

    /// Sets the smallest encoded size that is compressed, in bytes. Default: 1,024.
    ///
    /// Where it's larger than any value, values are stored as they are, and compressed ones are read: what a first step of a deployment
    /// needs.
    #[must_use]
    pub fn min_size(mut self, bytes: u64) -> Self {
        self.compression.min_size = bytes;
        self
    }

    /// Sets the largest encoded size that is compressed or decompressed, in bytes. Default: 64 MiB; the format has room for 4 GiB.
    ///
    /// A larger value is stored as it is. Bytes on the server that claim to be of a larger one are a miss, for which nothing is
    /// allocated.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.compression.max_size = bytes;
        self
    }
}

impl<C: Codec> Codec for Compressed<C> {
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        Ok(self.compression.pack(self.inner.encode(value)?))
    }

    fn decode<'de>(&self, bytes: &'de [u8], read: &mut Read<'_, 'de>) -> Result<(), CodecError> {
        match self.compression.unpack(bytes)? {
            Cow::Borrowed(plain) => self.inner.decode(plain, read),
            Cow::Owned(plain) => decode_detached(read, |read| self.inner.decode(&plain, read)),
        }
    }

    fn encode_for(&self, key: &str, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        Ok(self.compression.pack(self.inner.encode_for(key, value)?))
    }

    fn decode_for<'de>(&self, key: &str, bytes: &'de [u8], read: &mut Read<'_, 'de>) -> Result<(), CodecError> {
        match self.compression.unpack(bytes)? {
            Cow::Borrowed(plain) => self.inner.decode_for(key, plain, read),
            Cow::Owned(plain) => decode_detached(read, |read| self.inner.decode_for(key, &plain, read)),
        }
    }

    fn reads_like(&self, other: &dyn Codec) -> bool {
        let other = (other as &dyn Any).downcast_ref::<Self>();
        // From which size on values are compressed makes no difference to reading them.
        other.is_some_and(|other| {
            self.compression.max_size == other.compression.max_size && self.inner.reads_like(&other.inner)
        })
    }
}
