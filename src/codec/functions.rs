//! A format of two functions.

use serde::Deserializer;

use super::format::{Codec, CodecError};

/// A format of two functions, for all types that implement serde.
///
/// `encode` gets any value as [`erased_serde`]'s `Serialize`. `decode` returns what a value is read from: serde's `Deserializer`, which
/// `serde_json::Value` is, and `toml::Value` and others are. So each hit builds that first; a [`Codec`] of one's own needn't.
///
/// ```
/// use cache_house::codec::from_fns;
/// use cache_house::{CacheHouse, opts};
///
/// let indented = from_fns(
///     |value| Ok(serde_json::to_vec_pretty(value)?),
///     |bytes| Ok(serde_json::from_slice::<serde_json::Value>(bytes)?),
/// );
/// let cache = CacheHouse::builder().codec(indented).memory().build()?;
/// assert_eq!(cache.cached(opts!("numbers"), || vec![1, 2, 3]), [1, 2, 3]);
/// # Ok::<(), cache_house::Error>(())
/// ```
///
/// Errors and panics of either are those of a codec: a value that isn't encoded is returned and not stored, and bytes that aren't
/// decoded are a miss.
#[doc(alias("serializer", "encoder", "decoder"))]
pub fn from_fns<E, D, V>(encode: E, decode: D) -> impl Codec
where
    E: Fn(&dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> + Send + Sync + 'static,
    D: Fn(&[u8]) -> Result<V, CodecError> + Send + Sync + 'static,
    V: for<'de> Deserializer<'de> + 'static,
{
    Functions { encode, decode }
}

struct Functions<E, D> {
    encode: E,
    decode: D,
}

impl<E, D, V> Codec for Functions<E, D>
where
    E: Fn(&dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> + Send + Sync + 'static,
    D: Fn(&[u8]) -> Result<V, CodecError> + Send + Sync + 'static,
    V: for<'de> Deserializer<'de> + 'static,
{
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        (self.encode)(value)
    }

    fn decode<'de>(
        &self,
        bytes: &'de [u8],
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        let value = (self.decode)(bytes)?;
        read(&mut <dyn erased_serde::Deserializer<'de>>::erase(value))
    }
}
