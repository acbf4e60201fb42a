//! Values that decide how long they live and whether they are stored.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use super::coder::Coder;
use super::shared::{KeyOf, SharedCodec};
use super::value::sealed::Sealed;
use super::value::{Inherited, ValueCodec};
use crate::error::Error;

/// Options that compute the TTL from the value; made by [`CacheOptions::expire_by`](crate::CacheOptions::expire_by).
pub struct ExpireBy<C, T, F> {
    codec: C,
    expire_by: F,
    value: PhantomData<fn(T)>,
}

/// Options that decide from the value whether it's stored; made by [`CacheOptions::store_if`](crate::CacheOptions::store_if).
pub struct StoreIf<C, T, F> {
    codec: C,
    store_if: F,
    value: PhantomData<fn(T)>,
}

/// Options that use serde, of which a call may choose the codec.
#[diagnostic::on_unimplemented(
    message = "these options have a pair of functions, which does what a codec does",
    label = "a second way to encode the value",
    note = "leave out `.codec(…)`, or `.encoder(…)` and `.decoder(…)`"
)]
pub trait TakesCodec: Sealed {}

/// Options that may be given a pair of functions in place of serde.
#[diagnostic::on_unimplemented(
    message = "an encoder can't be given here",
    label = "too late for an encoder",
    note = "call `.encoder(…).decoder(…)` once, before `.expire_by(…)` and `.store_if(…)`"
)]
pub trait TakesEncoder: Sealed {}

impl<C, T, F> ExpireBy<C, T, F> {
    pub(crate) fn new(codec: C, expire_by: F) -> Self {
        Self { codec, expire_by, value: PhantomData }
    }
}

impl<C, T, F> StoreIf<C, T, F> {
    pub(crate) fn new(codec: C, store_if: F) -> Self {
        Self { codec, store_if, value: PhantomData }
    }
}

/// Encoding and decoding, which the options underneath do.
macro_rules! encodes_as_inner {
    () => {
        fn encode_value(&self, codec: &SharedCodec, key: KeyOf<'_>, value: &T) -> Result<Vec<u8>, Error> {
            self.codec.encode_value(codec, key, value)
        }

        fn decode_value(&self, codec: &SharedCodec, key: KeyOf<'_>, bytes: &[u8]) -> Result<T, Error> {
            self.codec.decode_value(codec, key, bytes)
        }

        fn heap_of(&self, value: &T) -> Option<u64> {
            self.codec.heap_of(value)
        }

        fn serde_codec<'a>(&'a self, codec: &'a SharedCodec) -> Option<&'a SharedCodec> {
            self.codec.serde_codec(codec)
        }

        fn coder(&self, codec: &SharedCodec) -> Option<Coder>
        where
            T: Any,
        {
            self.codec.coder(codec)
        }
    };
}

impl<C: ValueCodec<T>, T, F: Fn(&T) -> Duration> ValueCodec<T> for ExpireBy<C, T, F> {
    encodes_as_inner!();

    /// Of two, the one that was given last.
    fn ttl_of(&self, value: &T) -> Option<Duration> {
        Some((self.expire_by)(value))
    }

    fn stores(&self, value: &T) -> bool {
        self.codec.stores(value)
    }
}

impl<C: ValueCodec<T>, T, F: Fn(&T) -> bool> ValueCodec<T> for StoreIf<C, T, F> {
    encodes_as_inner!();

    fn ttl_of(&self, value: &T) -> Option<Duration> {
        self.codec.ttl_of(value)
    }

    /// Of two, both have to say so.
    fn stores(&self, value: &T) -> bool {
        self.codec.stores(value) && (self.store_if)(value)
    }
}

impl TakesCodec for Inherited {}
impl<C: TakesCodec, T, F> TakesCodec for ExpireBy<C, T, F> {}
impl<C: TakesCodec, T, F> TakesCodec for StoreIf<C, T, F> {}

impl TakesEncoder for Inherited {}

impl<C: Sealed, T, F> Sealed for ExpireBy<C, T, F> {}
impl<C: Sealed, T, F> Sealed for StoreIf<C, T, F> {}

// Not derived, which would ask the same of `T`.
impl<C: Clone, T, F: Clone> Clone for ExpireBy<C, T, F> {
    fn clone(&self) -> Self {
        Self::new(self.codec.clone(), self.expire_by.clone())
    }
}

impl<C: Clone, T, F: Clone> Clone for StoreIf<C, T, F> {
    fn clone(&self) -> Self {
        Self::new(self.codec.clone(), self.store_if.clone())
    }
}

impl<C: fmt::Debug, T, F> fmt::Debug for ExpireBy<C, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ExpireBy").field(&self.codec).finish()
    }
}

impl<C: fmt::Debug, T, F> fmt::Debug for StoreIf<C, T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreIf").field(&self.codec).finish()
    }
}
