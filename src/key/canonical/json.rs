//! Canonical text as JSON, for key builders.

use super::super::number;
use super::{Members, SOME_NULL, Text, write_str};

/// Appends canonical `text` as JSON that `serde_json` reads: a key that isn't text becomes the text of its JSON, as `serde_json`
/// writes such keys. `None` for what JSON writes like another value, or what is nested deeper than `serde_json` reads.
pub(in super::super) fn write_json(out: &mut Text, text: &[u8]) -> Option<()> {
    Reader { rest: text }.value(out, DEEPEST)
}

/// As many levels as `serde_json` reads.
const DEEPEST: u8 = 128;

/// Goes through canonical text, which [`write`](super::write) has made; what it hasn't made is `None`.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn value(&mut self, out: &mut Text, levels: u8) -> Option<()> {
        match self.rest.first()? {
            b'"' => self.copy(out, string_end(self.rest)?),
            b'[' => self.elements(out, levels.checked_sub(1)?),
            b'{' => self.members(out, levels.checked_sub(1)?),
            &SOME_NULL => None,
            b'-' | b'0'..=b'9' => self.number(out),
            _ => self.copy(out, self.word_end()?),
        }
    }

    /// A number; a float as an `f64` would be written: an `f32` has exponents where that has zeros, and the reverse.
    fn number(&mut self, out: &mut Text) -> Option<()> {
        let end = self.word_end()?;
        let digits = std::str::from_utf8(self.rest.get(..end)?).ok()?;
        let before = out.len();
        if digits.contains(['.', 'e']) && number::write_decimal(out, digits) {
            return self.skip(digits.as_bytes());
        }
        // What 64 bits don't hold: whether it can be shown is seen by what `serde_json` makes of it.
        out.truncate(before);
        self.copy(out, end)
    }

    /// Where a number, `true`, `false` or `null` ends.
    fn word_end(&self) -> Option<usize> {
        self.rest.iter().position(|byte| b",:]}".contains(byte)).filter(|&end| end > 0)
    }

    fn elements(&mut self, out: &mut Text, levels: u8) -> Option<()> {
        self.copy(out, 1)?;
        while self.rest.first() != Some(&b']') {
            self.value(out, levels)?;
            if self.rest.first() == Some(&b',') {
                self.copy(out, 1)?;
            }
        }
        self.copy(out, 1)
    }

    fn members(&mut self, out: &mut Text, levels: u8) -> Option<()> {
        self.skip(b"{")?;
        // Keys that become text may belong in another order.
        let mut members = Members::new(out, b"}");
        while self.rest.first() != Some(&b'}') {
            members.begin();
            self.key(members.out, levels)?;
            self.skip(b":")?;
            members.out.push(b':');
            self.value(members.out, levels)?;
            if self.rest.first() == Some(&b',') {
                self.skip(b",")?;
            }
        }
        members.finish();
        self.skip(b"}")
    }

    fn key(&mut self, out: &mut Text, levels: u8) -> Option<()> {
        if self.rest.first() == Some(&b'"') {
            return self.value(out, levels);
        }
        let mut json = Text::new();
        self.value(&mut json, levels)?;
        // It's JSON, hence UTF-8.
        write_str(out, std::str::from_utf8(&json).ok()?);
        Some(())
    }

    fn copy(&mut self, out: &mut Text, len: usize) -> Option<()> {
        let (copied, rest) = self.rest.split_at_checked(len)?;
        out.extend_from_slice(copied);
        self.rest = rest;
        Some(())
    }

    fn skip(&mut self, text: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }
}

/// Where the string that `text` begins with ends, its quotes included.
fn string_end(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => 2,
            _ => 1,
        }
    }
}
