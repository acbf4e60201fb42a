//! From values to the bytes that are stored, and back.
//!
//! A handle has one [`Codec`] for all types that implement serde; a call may bring another, or a pair
//! of functions for a type without serde. What is stored is exactly what the encoder wrote: no
//! envelope, so any client in any language can read it. For the same reason bytes of one format may happen to decode as another:
//! whoever changes the format of values that are stored already changes their namespace too.

#[cfg(feature = "messagepack")]
mod messagepack;
mod value;

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{BoxError, Error, Kind, catching};

pub use erased_serde;
#[cfg(feature = "messagepack")]
pub use messagepack::MessagePack;
pub use value::{EncoderDecoder, Inherited, ValueCodec, WantsDecoder};

/// A format for all types that implement serde.
///
/// The built-in ones are [`Json`] (the default) and `MessagePack`. A format of your own takes two
/// functions; [`erased_serde`] is re-exported for them:
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
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuiltIn {
    Json,
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

/// A codec as handles, options and entries share it.
#[derive(Clone)]
pub enum SharedCodec {
    /// Called without erasure.
    BuiltIn(BuiltIn),
    /// The user's own; with its type where that is all there is to it, so that it may be made anew for each call.
    Custom(Arc<dyn Codec>, Option<TypeId>),
}

impl SharedCodec {
    pub(crate) fn new<C: Codec>(codec: C) -> Self {
        match codec.built_in() {
            Some(built_in) => Self::BuiltIn(built_in),
            None => Self::Custom(Arc::new(codec), (size_of::<C>() == 0).then(TypeId::of::<C>)),
        }
    }

    pub(crate) fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, Error> {
        guarded(Kind::Encode, || match self {
            Self::BuiltIn(BuiltIn::Json) => serde_json::to_vec(value).map_err(BoxError::from),
            #[cfg(feature = "messagepack")]
            Self::BuiltIn(BuiltIn::MessagePack) => messagepack::encode(value),
            Self::Custom(codec, _) => codec.encode(&value),
        })
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Error> {
        guarded(Kind::Decode, || match self {
            Self::BuiltIn(BuiltIn::Json) => serde_json::from_slice(bytes).map_err(BoxError::from),
            #[cfg(feature = "messagepack")]
            Self::BuiltIn(BuiltIn::MessagePack) => messagepack::decode(bytes),
            Self::Custom(codec, _) => decode_erased(codec.as_ref(), bytes),
        })
    }

    /// Whether the same bytes mean the same value to both.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::BuiltIn(one), Self::BuiltIn(two)) => one == two,
            (Self::Custom(_, Some(one)), Self::Custom(_, Some(two))) => one == two,
            (Self::Custom(one, _), Self::Custom(two, _)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }
}

impl Default for SharedCodec {
    fn default() -> Self {
        Self::BuiltIn(BuiltIn::Json)
    }
}

impl fmt::Debug for SharedCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(built_in) => built_in.fmt(f),
            Self::Custom(..) => f.write_str("Custom"),
        }
    }
}

/// Runs what is the user's of a codec, of which a panic is an error like any other.
fn guarded<R>(kind: Kind, code: impl FnOnce() -> Result<R, BoxError>) -> Result<R, Error> {
    let source = match catching(code) {
        Ok(Ok(output)) => return Ok(output),
        Ok(Err(source)) => source,
        Err(panicked) => panicked.into(),
    };
    Err(Error::with_source(kind, source))
}

fn decode_erased<T: DeserializeOwned>(codec: &dyn Codec, bytes: &[u8]) -> Result<T, BoxError> {
    let mut value = None;
    codec.decode(bytes, &mut |deserializer| {
        value = Some(erased_serde::deserialize(deserializer)?);
        Ok(())
    })?;
    value.ok_or_else(|| "the codec never called `read`".into())
}

#[cfg(test)]
mod tests;
