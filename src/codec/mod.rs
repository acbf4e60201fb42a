//! From values to the bytes that are stored, and back.
//!
//! A handle has one [`Codec`] for all types that implement serde; a call may bring another, or a pair
//! of functions for a type without serde. What is stored is exactly what the encoder wrote: no
//! envelope, so any client in any language can read it. For the same reason bytes of one format may happen to decode as another:
//! when you change the format of stored values, change their namespace or version too.

mod decisions;
mod format;
mod functions;
mod heap;
#[cfg(feature = "messagepack")]
mod messagepack;
mod shared;
mod value;
mod weighers;

pub use decisions::{ExpireBy, StoreIf};
#[doc(hidden)]
pub use decisions::{TakesCodec, TakesEncoder};
pub use erased_serde;
#[doc(hidden)]
pub use format::BuiltIn;
pub use format::{Codec, CodecError, Json};
pub use functions::from_fns;
#[cfg(feature = "messagepack")]
pub use messagepack::MessagePack;
#[doc(hidden)]
pub use shared::SharedCodec;
#[doc(hidden)]
pub use value::WantsDecoder;
pub use value::{EncoderDecoder, Inherited, ValueCodec};
pub(crate) use weighers::Weighers;

#[cfg(test)]
mod tests;
