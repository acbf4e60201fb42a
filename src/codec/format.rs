//! Formats for all types that implement serde.

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
pub trait Codec: Send + Sync + 'static {
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
