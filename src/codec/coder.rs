//! The codec of a value whose type isn't known any more.

use std::any::Any;
use std::fmt;

use serde::Serialize;

use super::shared::{KeyOf, SharedCodec};

/// What relates a value in memory and its bytes.
#[derive(Clone)]
pub struct Coder {
    codec: SharedCodec,
    encode: fn(&SharedCodec, KeyOf<'_>, &dyn Any) -> Option<Vec<u8>>,
}

impl Coder {
    pub(super) fn of<T: Any + Serialize>(codec: SharedCodec) -> Self {
        Self { codec, encode: |codec, key, value| codec.encode(key, value.downcast_ref::<T>()?).ok() }
    }

    pub(crate) fn codec(&self) -> &SharedCodec {
        &self.codec
    }

    /// The bytes of the value that this was made for; `None` where it can't be encoded.
    pub(crate) fn encode(&self, key: KeyOf<'_>, value: &dyn Any) -> Option<Vec<u8>> {
        (self.encode)(&self.codec, key, value)
    }
}

impl fmt::Debug for Coder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.codec.fmt(f)
    }
}
