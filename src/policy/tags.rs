//! Tags: names that calls have in common, by which they are invalidated together.

/// The longest tag, in bytes.
const MOST_BYTES: usize = 512;

/// Tags in order, each once: how they were given makes no difference.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tags(Vec<Box<str>>);

impl Tags {
    pub(crate) fn add(&mut self, tag: &str) {
        if let Err(at) = self.0.binary_search_by(|known| known.as_ref().cmp(tag)) {
            self.0.insert(at, tag.into());
        }
    }

    pub(crate) fn as_slice(&self) -> &[Box<str>] {
        &self.0
    }

    /// These and the others.
    pub(super) fn and(mut self, others: &Self) -> Self {
        others.0.iter().for_each(|tag| self.add(tag));
        self
    }
}

/// What is wrong with a tag. It isn't quoted, because it may be made of an argument.
pub(crate) fn problem_with_tag(tag: &str) -> Option<String> {
    match tag.len() {
        0 => Some(format!("is empty; accepts 1 to {MOST_BYTES} bytes")),
        1..=MOST_BYTES => None,
        bytes => Some(format!("has {bytes} bytes; accepts 1 to {MOST_BYTES}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_repetition_make_no_difference() {
        for given in [["b", "a", "b", "ab"], ["ab", "b", "b", "a"], ["a", "ab", "a", "b"]] {
            let mut tags = Tags::default();
            given.iter().for_each(|tag| tags.add(tag));
            assert_eq!(tags.as_slice(), ["a", "ab", "b"].map(Box::from), "{given:?}");
        }
    }

    #[test]
    fn a_tag_has_a_byte_at_least_and_512_at_most() {
        for tag in ["a", " ", "é", ":{}*\n\0", &"a".repeat(512)] {
            assert_eq!(problem_with_tag(tag), None, "{tag}");
        }
        assert_eq!(problem_with_tag("").as_deref(), Some("is empty; accepts 1 to 512 bytes"));
        assert_eq!(problem_with_tag(&"é".repeat(257)).as_deref(), Some("has 514 bytes; accepts 1 to 512"));
    }
}
