//! Reading what a fuzzer gives: bytes that become texts, choices and numbers.

use std::slice;

/// Bytes that are read one after the other; once they are used up, each further one is 0.
pub(crate) struct Input<'a>(slice::Iter<'a, u8>);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(0)
    }

    /// One of these.
    pub(crate) fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()].clone()
    }

    /// As many bytes as the next one says, and are left.
    pub(crate) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.as_slice().split_at(length);
        self.0 = rest.iter();
        taken
    }

    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    pub(crate) fn number(&mut self) -> i64 {
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(self.bytes()) {
            *to = *from;
        }
        i64::from_le_bytes(bytes)
    }
}
