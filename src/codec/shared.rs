//! A codec that is shared, whichever it is.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::format::{BuiltIn, Codec};
#[cfg(feature = "messagepack")]
use super::messagepack;
use crate::error::{BoxError, Error, Kind, catching};

/// A codec as handles, options and entries share it.
#[derive(Clone)]
pub enum SharedCodec {
    /// Called without erasure.
    BuiltIn(BuiltIn),
    /// Any other.
    Custom(Arc<dyn Codec>),
}

/// The key of a value as the server has it, made where it's needed: the built-in formats don't ask.
pub type KeyOf<'a> = &'a dyn Fn() -> Bytes;

impl SharedCodec {
    pub(crate) fn new<C: Codec>(codec: C) -> Self {
        match codec.built_in() {
            Some(built_in) => Self::BuiltIn(built_in),
            None => Self::Custom(Arc::new(codec)),
        }
    }

    pub(crate) fn encode<T: Serialize>(&self, key: KeyOf<'_>, value: &T) -> Result<Vec<u8>, Error> {
        guarded(Kind::Encode, || match self {
            Self::BuiltIn(BuiltIn::Json) => serde_json::to_vec(value).map_err(BoxError::from),
            #[cfg(feature = "messagepack")]
            Self::BuiltIn(BuiltIn::MessagePack) => messagepack::encode(value),
            // A key that isn't of our making was a `String`.
            Self::Custom(codec) => codec.encode_for(&String::from_utf8_lossy(&key()), &value),
        })
    }

    pub(crate) fn decode<T: DeserializeOwned>(&self, key: KeyOf<'_>, bytes: &[u8]) -> Result<T, Error> {
        guarded(Kind::Decode, || match self {
            Self::BuiltIn(BuiltIn::Json) => serde_json::from_slice(bytes).map_err(BoxError::from),
            #[cfg(feature = "messagepack")]
            Self::BuiltIn(BuiltIn::MessagePack) => messagepack::decode(bytes),
            Self::Custom(codec) => decode_erased(codec.as_ref(), &String::from_utf8_lossy(&key()), bytes),
        })
    }

    /// Whether the same bytes mean the same value to both.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::BuiltIn(one), Self::BuiltIn(two)) => one == two,
            // A codec may be created for each call.
            (Self::Custom(one), Self::Custom(two)) => Arc::ptr_eq(one, two) || one.reads_like(two.as_ref()),
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
pub(super) fn guarded<R>(kind: Kind, code: impl FnOnce() -> Result<R, BoxError>) -> Result<R, Error> {
    let source = match catching(code) {
        Ok(Ok(output)) => return Ok(output),
        Ok(Err(source)) => source,
        Err(panicked) => panicked.into(),
    };
    Err(Error::with_source(kind, source))
}

fn decode_erased<T: DeserializeOwned>(codec: &dyn Codec, key: &str, bytes: &[u8]) -> Result<T, BoxError> {
    let mut value = None;
    codec.decode_for(key, bytes, &mut |deserializer| {
        value = Some(erased_serde::deserialize(deserializer)?);
        Ok(())
    })?;
    value.ok_or_else(|| "the codec never called `read`".into())
}
