//! MessagePack by `rmp-serde`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::format::{BuiltIn, Codec, CodecError};
use crate::error::BoxError;

/// MessagePack with field names: smaller than JSON and faster to decode, and fields may be added or
/// reordered between releases of a program.
///
/// ```
/// use cache_house::codec::MessagePack;
/// use cache_house::{CacheHouse, NamespaceOptions, opts};
///
/// // For one namespace, say; `.codec(MessagePack)` is for all, and on options for one call.
/// let pages = NamespaceOptions::default().codec(MessagePack);
/// let cache = CacheHouse::builder().namespace_options("pages", pages).memory().build()?;
/// assert_eq!(cache.cached(opts!("page", 1).namespace("pages"), || vec![1, 2, 3]), [1, 2, 3]);
/// # Ok::<(), cache_house::Error>(())
/// ```
#[doc(alias("msgpack", "rmp"))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MessagePack;

impl Codec for MessagePack {
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        encode(&value)
    }

    fn decode<'de>(
        &self,
        bytes: &'de [u8],
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        let mut messagepack = rmp_serde::Deserializer::from_read_ref(bytes);
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut messagepack))?;
        end(&mut messagepack)
    }

    fn built_in(&self) -> Option<BuiltIn> {
        Some(BuiltIn::MessagePack)
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, BoxError> {
    Ok(rmp_serde::to_vec_named(value)?)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BoxError> {
    let mut messagepack = rmp_serde::Deserializer::from_read_ref(bytes);
    let value = T::deserialize(&mut messagepack)?;
    end(&mut messagepack)?;
    Ok(value)
}

/// Refuses bytes that go on after the value: those of another format may begin with what is a value here, as JSON's `12`
/// begins with MessagePack's 49.
fn end(
    messagepack: &mut rmp_serde::Deserializer<rmp_serde::decode::ReadRefReader<'_, [u8]>>,
) -> Result<(), CodecError> {
    // Reads the first byte of a value and fails in this way only where there is none.
    match bool::deserialize(messagepack) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(()),
        _ => Err("the value is followed by something else".into()),
    }
}
