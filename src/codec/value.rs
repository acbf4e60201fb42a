//! How the value of one call is encoded: by serde, or by the call's own pair of functions.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::coder::Coder;
use super::format::CodecError;
use super::heap;
use super::shared::{KeyOf, SharedCodec, guarded};
use crate::error::{Error, Kind};
use sealed::Sealed;

/// Encodes and decodes the `T` of one call; what `CacheOptions` carry.
///
/// Sealed: the states of `CacheOptions` are its only implementors. Name it as a bound to write a function
/// that takes any options for a type.
///
/// ```
/// use cache_house::codec::ValueCodec;
/// use cache_house::{CacheHandle, CacheHouse, CacheOptions, opts};
///
/// fn length(cache: &CacheHandle, options: CacheOptions<impl ValueCodec<String>>) -> Option<usize> {
///     cache.get(options).map(|text| text.len())
/// }
///
/// let cache = CacheHouse::builder().memory().build()?;
/// cache.insert(opts!("motd"), &"Hei".to_string())?;
/// assert_eq!(length(&cache, opts!("motd")), Some(3));
/// # Ok::<(), cache_house::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "these options can't store a `{T}`",
    label = "needs a way to encode and to decode `{T}`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it and all that it holds,",
    note = "or give the call both halves of a pair: `.encoder(|v: &{T}| …).decoder(|b: &[u8]| …)`;",
    note = "for async work, whose result is a future, call `cached_async` or `try_cached_async`"
)]
pub trait ValueCodec<T>: Sealed {
    /// `codec` is the serde codec that is in effect for the call, and `key` what the value is stored under; a pair of functions has no use
    /// for them.
    #[doc(hidden)]
    fn encode_value(&self, codec: &SharedCodec, key: KeyOf<'_>, value: &T) -> Result<Vec<u8>, Error>;

    #[doc(hidden)]
    fn decode_value(&self, codec: &SharedCodec, key: KeyOf<'_>, bytes: &[u8]) -> Result<T, Error>;

    /// Bytes that a decoded value has on the heap, as far as serde shows them; `None` where it doesn't.
    #[doc(hidden)]
    fn heap_of(&self, value: &T) -> Option<u64>;

    /// The serde codec that reads and writes the bytes; `None` for a pair, which has no identity.
    #[doc(hidden)]
    fn serde_codec<'a>(&'a self, codec: &'a SharedCodec) -> Option<&'a SharedCodec>;

    /// What encodes the value once its type is forgotten, to be read as another; `None` for a pair, which is the call's own.
    #[doc(hidden)]
    fn coder(&self, codec: &SharedCodec) -> Option<Coder>
    where
        T: Any;

    /// The value's own TTL, in place of the call's `expire`; `None` where nothing says it. It's the user's code and may panic.
    #[doc(hidden)]
    fn ttl_of(&self, _value: &T) -> Option<Duration> {
        None
    }

    /// Whether the value is to be stored. It's the user's code and may panic.
    #[doc(hidden)]
    fn stores(&self, _value: &T) -> bool {
        true
    }
}

/// Options that use serde: with the codec that `.codec(c)` set, else with that of the namespace or of the handle.
#[derive(Clone, Default)]
pub struct Inherited(());

// So that the message is that of `ValueCodec`, and there is one for both traits.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> ValueCodec<T> for Inherited {
    fn encode_value(&self, codec: &SharedCodec, key: KeyOf<'_>, value: &T) -> Result<Vec<u8>, Error> {
        codec.encode(key, value)
    }

    fn decode_value(&self, codec: &SharedCodec, key: KeyOf<'_>, bytes: &[u8]) -> Result<T, Error> {
        codec.decode(key, bytes)
    }

    fn heap_of(&self, value: &T) -> Option<u64> {
        heap::bytes_of(value)
    }

    fn serde_codec<'a>(&'a self, codec: &'a SharedCodec) -> Option<&'a SharedCodec> {
        Some(codec)
    }

    fn coder(&self, codec: &SharedCodec) -> Option<Coder>
    where
        T: Any,
    {
        Some(Coder::of::<T>(codec.clone()))
    }
}

/// Options that have an encoder and still owe its decoder.
#[derive(Clone)]
pub struct WantsDecoder<T, F, E> {
    pub(crate) encoder: F,
    value: PhantomData<fn(T) -> E>,
}

/// Options with a pair of functions for a type that needs no serde.
#[derive(Clone)]
pub struct EncoderDecoder<T, F, E, G, D> {
    encoder: F,
    decoder: G,
    value: PhantomData<fn(T) -> (E, D)>,
}

impl<T, F, E> WantsDecoder<T, F, E> {
    pub(crate) fn new(encoder: F) -> Self {
        Self { encoder, value: PhantomData }
    }

    pub(crate) fn with<G, D>(self, decoder: G) -> EncoderDecoder<T, F, E, G, D> {
        EncoderDecoder { encoder: self.encoder, decoder, value: PhantomData }
    }
}

impl<T, F, E, G, D> ValueCodec<T> for EncoderDecoder<T, F, E, G, D>
where
    F: Fn(&T) -> Result<Vec<u8>, E>,
    G: Fn(&[u8]) -> Result<T, D>,
    E: Into<CodecError>,
    D: Into<CodecError>,
{
    fn encode_value(&self, _: &SharedCodec, _: KeyOf<'_>, value: &T) -> Result<Vec<u8>, Error> {
        guarded(Kind::Encode, || (self.encoder)(value).map_err(Into::into))
    }

    fn decode_value(&self, _: &SharedCodec, _: KeyOf<'_>, bytes: &[u8]) -> Result<T, Error> {
        guarded(Kind::Decode, || (self.decoder)(bytes).map_err(Into::into))
    }

    fn heap_of(&self, _: &T) -> Option<u64> {
        None
    }

    fn serde_codec<'a>(&'a self, _: &'a SharedCodec) -> Option<&'a SharedCodec> {
        None
    }

    fn coder(&self, _: &SharedCodec) -> Option<Coder>
    where
        T: Any,
    {
        None
    }
}

impl fmt::Debug for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inherited")
    }
}

impl<T, F, E> fmt::Debug for WantsDecoder<T, F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WantsDecoder")
    }
}

impl<T, F, E, G, D> fmt::Debug for EncoderDecoder<T, F, E, G, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EncoderDecoder")
    }
}

/// What only this folder implements.
pub(super) mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Inherited {}
    impl<T, F, E, G, D> Sealed for super::EncoderDecoder<T, F, E, G, D> {}
}
