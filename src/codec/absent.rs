//! Stand-ins for what features would bring that are off: there is no value of them.

#[cfg(not(feature = "lz4"))]
use std::borrow::Cow;

use super::format::CodecError;

/// In place of that of the feature `lz4`.
#[cfg(not(feature = "lz4"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {}

#[cfg(not(feature = "lz4"))]
impl Compression {
    pub(super) fn pack(self, _: Vec<u8>) -> Vec<u8> {
        match self {}
    }

    pub(super) fn unpack(self, _: &[u8]) -> Result<Cow<'_, [u8]>, CodecError> {
        match self {}
    }
}

/// In place of that of the feature `encryption`.
#[cfg(not(feature = "encryption"))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Encryption {}

#[cfg(not(feature = "encryption"))]
impl Encryption {
    pub(super) fn seal(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, CodecError> {
        match *self {}
    }

    pub(super) fn open(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, CodecError> {
        match *self {}
    }
}
