//! LZ4 around bytes that are stored, with a mark.

use std::borrow::Cow;

use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use super::envelope::COMPRESSED;
use super::format::CodecError;

/// From which size on values are compressed, and how large one may get that is decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compression {
    pub(super) min_size: u64,
    pub(super) max_size: u64,
}

/// What follows the mark: bytes as they are, which only begin like it.
const AS_THEY_ARE: u8 = 0;

/// What follows the mark: the length of the value in four bytes, the lowest first, and a block of LZ4.
const LZ4: u8 = 1;

/// Bytes before the block: the mark, the algorithm, the length.
const HEADER: usize = COMPRESSED.len() + 1 + 4;

/// A byte of a block stands for less than 255 bytes of the value ("LZ4 Block Format Description", the bytes that extend a match).
const MOST_PER_BYTE: u64 = 255;

impl Compression {
    pub(crate) const DEFAULT_MIN_SIZE: u64 = 1024;
    const DEFAULT_MAX_SIZE: u64 = 64 << 20;

    pub(super) fn of(min_size: u64) -> Self {
        Self { min_size, max_size: Self::DEFAULT_MAX_SIZE }
    }

    /// What to store in place of `bytes`: the same, where they are too few or too many, or wouldn't shrink.
    pub(super) fn pack(self, bytes: Vec<u8>) -> Vec<u8> {
        let len = bytes.len() as u64;
        if len >= self.min_size
            && len <= self.max_size
            && let Ok(length) = u32::try_from(len)
        {
            let mut packed = vec![0; HEADER + get_maximum_output_size(bytes.len())];
            if let Ok(block) = compress_into(&bytes, &mut packed[HEADER..])
                && HEADER + block < bytes.len()
            {
                packed.truncate(HEADER + block);
                packed[..COMPRESSED.len()].copy_from_slice(&COMPRESSED);
                packed[COMPRESSED.len()] = LZ4;
                packed[COMPRESSED.len() + 1..HEADER].copy_from_slice(&length.to_le_bytes());
                return packed;
            }
        }
        if bytes.starts_with(&COMPRESSED) {
            return [&COMPRESSED[..], &[AS_THEY_ARE], &bytes].concat();
        }
        bytes
    }

    /// What was packed. What has no mark is taken for bytes that were stored as they are.
    pub(super) fn unpack(self, bytes: &[u8]) -> Result<Cow<'_, [u8]>, CodecError> {
        let Some(rest) = bytes.strip_prefix(&COMPRESSED) else { return Ok(Cow::Borrowed(bytes)) };
        let block = match rest {
            [AS_THEY_ARE, bytes @ ..] => return Ok(Cow::Borrowed(bytes)),
            [LZ4, rest @ ..] => rest,
            _ => return Err("it's compressed in a way that isn't known".into()),
        };
        let (length, block) = block.split_first_chunk().ok_or("it's compressed, and cut")?;
        let length = u32::from_le_bytes(*length);
        // Both before anything is allocated: a client that may write to the server chooses the length.
        if u64::from(length) > self.max_size {
            return Err(
                format!("it's compressed, and has {length} bytes, more than max_size = {}", self.max_size).into()
            );
        }
        if u64::from(length) > MOST_PER_BYTE * block.len() as u64 {
            return Err("it's compressed, and too short for its length".into());
        }
        let mut plain = vec![0; length as usize];
        let written = decompress_into(block, &mut plain)?;
        if written != plain.len() { Err("it's compressed, and of another length".into()) } else { Ok(plain.into()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Compression = Compression { min_size: 0, max_size: 1 << 20 };

    fn packed(length: u32, block: &[u8]) -> Vec<u8> {
        [&COMPRESSED[..], &[LZ4], &length.to_le_bytes(), block].concat()
    }

    fn problem(compression: Compression, bytes: &[u8]) -> String {
        compression.unpack(bytes).expect_err("it's refused").to_string()
    }

    #[test]
    fn values_from_the_least_to_the_largest_size_are_compressed() {
        let bounds = Compression { min_size: 100, max_size: 200 };
        for (len, is_packed) in [(0, false), (99, false), (100, true), (200, true), (201, false)] {
            let stored = bounds.pack(vec![7; len]);
            assert_eq!(stored.starts_with(&COMPRESSED), is_packed, "{len}");
            assert_eq!(*bounds.unpack(&stored).expect("it was packed"), vec![7; len]);
        }
    }

    #[test]
    fn what_would_not_shrink_is_stored_as_it_is() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(ALL.pack(bytes.clone()), bytes);
        let (long, short) = (vec![7; 64], vec![7; 4]);
        assert!(ALL.pack(long.clone()).len() < long.len());
        assert_eq!(ALL.pack(short.clone()), short);
    }

    #[test]
    fn bytes_that_begin_like_the_mark_are_marked() {
        for own in [&b"\xc1chZ"[..], b"\xc1chZ\x00", b"\xc1chZ\x01\xff\xff\xff\xff"] {
            let stored = ALL.pack(own.to_vec());
            assert_ne!(stored, own);
            assert_eq!(*ALL.unpack(&stored).expect("it was packed"), *own);
        }
    }

    #[test]
    fn a_length_is_believed_only_within_its_bounds() {
        let block = lz4_flex::block::compress(&[7; 1000]);
        assert_eq!(*ALL.unpack(&packed(1000, &block)).expect("it's right"), [7; 1000]);
        assert_eq!(problem(ALL, &packed(1001, &block)), "it's compressed, and of another length");
        assert!(ALL.unpack(&packed(999, &block)).is_err());
        let small = Compression { max_size: 999, ..ALL };
        assert_eq!(
            problem(small, &packed(1000, &block)),
            "it's compressed, and has 1000 bytes, more than max_size = 999"
        );
        // Four gigabytes of eight bytes, which nothing is allocated for.
        let all = Compression { max_size: u64::MAX, ..ALL };
        assert_eq!(problem(all, &packed(u32::MAX, &[0; 8])), "it's compressed, and too short for its length");
        assert_eq!(problem(ALL, &packed(1 << 20, &[0; 4000])), "it's compressed, and too short for its length");
    }

    #[test]
    fn what_is_cut_or_of_another_kind_is_refused() {
        assert_eq!(problem(ALL, b"\xc1chZ"), "it's compressed in a way that isn't known");
        assert_eq!(problem(ALL, b"\xc1chZ\x02"), "it's compressed in a way that isn't known");
        assert_eq!(problem(ALL, b"\xc1chZ\x01\x00\x00"), "it's compressed, and cut");
        let stored = ALL.pack(vec![7; 1000]);
        for len in 5..stored.len() {
            assert!(ALL.unpack(&stored[..len]).is_err(), "{len}");
        }
    }

    /// The bound in [`MOST_PER_BYTE`] refuses nothing that was packed.
    #[test]
    fn what_shrinks_most_is_unpacked() {
        let bytes = vec![0; 16 << 20];
        let all = Compression { min_size: 0, max_size: u64::MAX };
        assert!(all.unpack(&all.pack(bytes.clone())).expect("it was packed") == bytes);
    }

    proptest! {
        #[test]
        fn all_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..200), times in 1_usize..20) {
            let bytes = bytes.repeat(times);
            let stored = ALL.pack(bytes.clone());
            prop_assert!(stored.len() <= bytes.len() + 5);
            prop_assert_eq!(&*ALL.unpack(&stored).expect("it was packed"), &bytes);
        }

        #[test]
        fn no_bytes_make_it_panic_or_give_more_than_is_allowed(mut bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0_u32..4096) {
            bytes.splice(0..0, packed(length, &[]));
            if let Ok(plain) = ALL.unpack(&bytes) {
                prop_assert_eq!(plain.len(), length as usize);
            }
        }
    }
}
