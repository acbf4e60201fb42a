//! Which calls may be given one key on the server, and yet have two in memory.

use std::sync::atomic::{AtomicBool, Ordering};

use super::canonical::HEX;
use super::prefix::is_own;

/// Kinds of keys: only a default one and a custom one that looks like it can be the same on the server and differ in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Default,
    Custom,
    /// Of the user's own making, and it ends as a default key does.
    LikeDefault,
}

/// The kinds that have been seen: where one of the two is missing, no key has a twin.
#[derive(Default)]
pub(crate) struct Kinds {
    default: AtomicBool,
    like_default: AtomicBool,
}

impl Kind {
    /// The kind of a key of the user's own making: whether it ends with `:` and a hash.
    ///
    /// The token of a tag that is itself such a hash, a commit's name say, is none: no scope can make its key. Taken for one, it would
    /// have each invalidation look for twins among all keys.
    pub(super) fn of_custom(text: &[u8]) -> Self {
        let ends_like_default = text
            .split_last_chunk::<41>()
            .is_some_and(|(_, [colon, hash @ ..])| *colon == b':' && hash.iter().all(|byte| HEX.contains(byte)));
        if ends_like_default && !is_own(&text[1..]) { Self::LikeDefault } else { Self::Custom }
    }
}

impl Kinds {
    #[inline]
    pub(crate) fn note(&self, kind: Kind) {
        let seen = match kind {
            Kind::Default => &self.default,
            Kind::LikeDefault => &self.like_default,
            Kind::Custom => return,
        };
        // Read before written: the line stays shared between cores.
        if !seen.load(Ordering::Relaxed) {
            seen.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a key of this kind may have twins among those that were noted.
    #[inline]
    pub(crate) fn may_have_twins(&self, kind: Kind) -> bool {
        kind != Kind::Custom && self.default.load(Ordering::Relaxed) && self.like_default.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_that_is_a_hash_has_no_token_that_looks_like_a_default_key() {
        let of = |key: &str| Kind::of_custom(format!("\u{1}{key}").as_bytes());
        let hash = "d2298082902d75cb4bedea1c84f4ba3a72db97b6";
        assert_eq!(of(&format!("cachehouse:app:{hash}")), Kind::LikeDefault);
        assert_eq!(of(&format!("cachehouse::tag:{hash}")), Kind::Custom);
        assert_eq!(of(&format!("cachehouse:app:{}", &hash[1..])), Kind::Custom);
    }

    #[test]
    fn only_a_default_key_and_one_that_looks_like_it_have_twins() {
        const ALL: [Kind; 3] = [Kind::Default, Kind::Custom, Kind::LikeDefault];
        let have_twins = |noted: &[Kind]| {
            let kinds = Kinds::default();
            noted.iter().for_each(|kind| kinds.note(*kind));
            ALL.map(|kind| kinds.may_have_twins(kind))
        };
        for without_twins in [&[][..], &[Kind::Default, Kind::Custom], &[Kind::Custom, Kind::LikeDefault]] {
            assert_eq!(have_twins(without_twins), [false; 3], "{without_twins:?}");
        }
        assert_eq!(have_twins(&[Kind::Default, Kind::LikeDefault]), [true, false, true]);
    }
}
