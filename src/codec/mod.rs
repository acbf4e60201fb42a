//! From values to the bytes that are stored, and back.
//!
//! A handle has one [`Codec`] for all types that implement serde; a call may bring another, or a pair
//! of functions for a type without serde. What is stored is exactly what the encoder wrote: no
//! envelope, so any client in any language can read it. For the same reason bytes of one format may happen to decode as another:
//! when you change the format of stored values, change their namespace or version too.
//!
//! Compression and encryption have an [`Envelope`]: as a codec around another (`Compressed`, `Encrypted`), or for all that a handle stores
//! on its server (`compression` and `encryption` on the builder).

#[cfg(not(all(feature = "encryption", feature = "lz4")))]
mod absent;
mod coder;
#[cfg(feature = "lz4")]
mod compressed;
#[cfg(feature = "lz4")]
mod compression;
mod decisions;
#[cfg(any(feature = "encryption", feature = "lz4"))]
mod detached;
#[cfg(feature = "encryption")]
mod encrypted;
#[cfg(feature = "encryption")]
mod encryption;
#[cfg(feature = "encryption")]
mod encryption_key;
mod envelope;
mod format;
mod functions;
mod heap;
#[cfg(feature = "messagepack")]
mod messagepack;
mod sealing;
mod shared;
mod value;
mod weighers;

#[doc(hidden)]
pub use coder::Coder;
#[cfg(feature = "lz4")]
pub use compressed::Compressed;
#[cfg(feature = "lz4")]
pub(crate) use compression::Compression;
pub use decisions::{ExpireBy, StoreIf};
#[doc(hidden)]
pub use decisions::{TakesCodec, TakesEncoder};
#[cfg(feature = "encryption")]
pub use encrypted::Encrypted;
#[cfg(feature = "encryption")]
pub use encryption_key::EncryptionKey;
pub use envelope::{Envelope, KeyId};
pub use erased_serde;
#[doc(hidden)]
pub use format::BuiltIn;
pub use format::{Codec, CodecError, Json};
pub use functions::from_fns;
#[cfg(feature = "messagepack")]
pub use messagepack::MessagePack;
pub(crate) use sealing::Sealing;
#[doc(hidden)]
pub use shared::{KeyOf, SharedCodec};
#[doc(hidden)]
pub use value::WantsDecoder;
pub use value::{EncoderDecoder, Inherited, ValueCodec};
pub(crate) use weighers::Weighers;

#[cfg(test)]
mod tests;
