//! Formats for all types that implement serde.

use std::any::Any;

use crate::error::BoxError;

/// A format for all types that implement serde.
///
/// The built-in ones are [`Json`] (the default) and `MessagePack`. A format of your own takes two
/// functions, as here, or as [`from_fns`](super::from_fns) takes them; [`erased_serde`] is re-exported for them:
///
/// ```
/// use cache_house::codec::{Codec, CodecError, erased_serde};
/// use cache_house::{CacheHouse, opts};
///
/// /// JSON with indentation, for people who read their cache.
/// struct Indented;
///
/// impl Codec for Indented {
///     fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
///         Ok(serde_json::to_vec_pretty(value)?)
///     }
///
///     fn decode<'de>(
///         &self,
///         bytes: &'de [u8],
///         read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
///     ) -> Result<(), CodecError> {
///         let mut json = serde_json::Deserializer::from_slice(bytes);
///         read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json))?;
///         Ok(json.end()?)
///     }
/// }
///
/// let cache = CacheHouse::builder().codec(Indented).memory().build()?;
/// assert_eq!(cache.cached(opts!("numbers"), || vec![1, 2, 3]), [1, 2, 3]);
/// # Ok::<(), cache_house::Error>(())
/// ```
#[doc(alias("serializer", "format"))]
pub trait Codec: Any + Send + Sync {
    /// The bytes to store for `value`.
    ///
    /// # Errors
    ///
    /// Any; the value is then returned to the caller and not stored.
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError>;

    /// Hands `read` a deserializer over `bytes`, once.
    ///
    /// # Errors
    ///
    /// Any, including what `read` returned; the entry then counts as a miss and is overwritten.
    fn decode<'de>(
        &self,
        bytes: &'de [u8],
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError>;

    /// Returns the bytes to store for `value` under `key`. The cache calls this. By default it calls [`encode`](Self::encode); a codec
    /// that needs the key, such as `Encrypted`, has its own.
    ///
    /// `key` is the server's, with its prefix: the same in every process. A codec around another hands this and
    /// [`decode_for`](Self::decode_for) on to it.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    fn encode_for(&self, key: &str, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        let _ = key;
        self.encode(value)
    }

    /// Hands `read` a deserializer over `bytes` that are stored under `key`, once. The cache calls this, and it calls
    /// [`decode`](Self::decode) unless a codec has a use for the key.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode).
    fn decode_for<'de>(
        &self,
        key: &str,
        bytes: &'de [u8],
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        let _ = key;
        self.decode(bytes, read)
    }

    /// Whether the same bytes mean the same value to `other`. Of a type without fields there is nothing that could be set up in another way.
    #[doc(hidden)]
    fn reads_like(&self, other: &dyn Codec) -> bool {
        size_of_val(self) == 0 && Any::type_id(self) == Any::type_id(other)
    }

    /// Which built-in format this is, so that calls need no erasure.
    #[doc(hidden)]
    fn built_in(&self) -> Option<BuiltIn> {
        None
    }
}

/// What a codec may fail with: any error, or a text. A panic in one is taken for an error too.
pub type CodecError = BoxError;

/// The formats that are called without erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuiltIn {
    /// [`Json`].
    Json,
    /// [`MessagePack`](super::MessagePack).
    #[cfg(feature = "messagepack")]
    MessagePack,
}

/// JSON text, the default: readable by any client in any language.
///
/// ```
/// use cache_house::codec::Json;
/// use cache_house::{CacheHouse, opts};
///
/// let cache = CacheHouse::builder().codec(Json).memory().build()?;
/// assert_eq!(cache.cached(opts!("numbers"), || vec![1, 2, 3]), [1, 2, 3]);
/// # Ok::<(), cache_house::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Json;

impl Codec for Json {
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        Ok(serde_json::to_vec(value)?)
    }

    fn decode<'de>(
        &self,
        bytes: &'de [u8],
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json))?;
        Ok(json.end()?)
    }

    fn built_in(&self) -> Option<BuiltIn> {
        Some(BuiltIn::Json)
    }
}
