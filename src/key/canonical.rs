//! Arguments as canonical text: JSON, extended where JSON writes different values alike.
//!
//! The text of equal arguments is the same in every process and build: members of objects are
//! sorted, there is no white space, numbers have one spelling, and nothing depends on the features
//! that another crate turns on in `serde_json`.
//!
//! Arguments that differ have different texts. JSON alone would write `None` and `Some(None)` alike, so a `?` precedes what is
//! `Some` of a null: `Some(None)` is `?null`. And JSON's keys are text, so a map's key `1` would be its key `"1"`: a key that
//! isn't text is written as the value that it is, `{1:true}`.

pub(super) mod json;

use serde::ser::{self, Serialize};
use std::fmt::{self, Display};

use super::number;
use crate::error::{Panicked, catching};

/// The text of a call's arguments; 64 bytes hold most of them without an allocation.
pub(crate) type Text = super::text::Text<64>;

/// Why a value has no canonical text.
#[derive(Debug)]
pub(crate) enum Unkeyable {
    /// With the message of the value's own `Serialize`, which may quote the value: callers must not log it.
    Refused(String),
    /// The value's `Serialize` panicked.
    Panicked,
}

/// Appends the canonical text of `value`; on an error `out` is left as it was.
pub(crate) fn write<T: Serialize + ?Sized>(out: &mut Text, value: &T) -> Result<(), Unkeyable> {
    let start = out.len();
    let result = catching(|| value.serialize(Writer { out })).unwrap_or(Err(Unkeyable::Panicked));
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Appends `text` as a JSON string.
pub(super) fn write_str(out: &mut Text, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    // Most texts need no escape.
    if any_needs_escape(bytes) {
        for &byte in bytes {
            if needs_escape(byte) { write_escape(out, byte) } else { out.push(byte) }
        }
    } else {
        out.extend_from_slice(bytes);
    }
    out.push(b'"');
}

/// Eight bytes at a time: a byte is below `n` where subtracting `n` borrows from its highest bit (Anderson, "Bit Twiddling Hacks").
#[inline]
fn any_needs_escape(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGHEST: u64 = ONES * 0x80;
    let any_below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word & HIGHEST;
    let any_is = |word: u64, byte: u8| any_below(word ^ (ONES * u64::from(byte)), 1);
    let escapes = |word: u64| (any_below(word, 0x20) | any_is(word, b'"') | any_is(word, b'\\')) != 0;
    let (words, rest) = bytes.as_chunks::<8>();
    // The rest is looked at in a word of its own, filled with what needs no escape.
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().any(|word| escapes(u64::from_le_bytes(*word))) || escapes(u64::from_le_bytes(last))
}

fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

fn write_escape(out: &mut Text, byte: u8) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 0xf)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

pub(super) const HEX: &[u8; 16] = b"0123456789abcdef";

/// Precedes the text of what is `Some` of a null, or of another such `Some`.
const SOME_NULL: u8 = b'?';

/// serde_json marks these two with private struct names; its own serializer unwraps them, so ours must.
const ARBITRARY_PRECISION: &str = "$serde_json::private::Number";
const RAW_VALUE: &str = "$serde_json::private::RawValue";

struct Writer<'a> {
    out: &'a mut Text,
}

impl<'a> Writer<'a> {
    fn integer(self, value: impl itoa::Integer) -> Result<(), Unkeyable> {
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        Ok(())
    }

    fn float(self, value: impl zmij::Float + Into<f64> + Copy) -> Result<(), Unkeyable> {
        let finite = number::write_float(self.out, value);
        finite.ok_or_else(|| ser::Error::custom("a float that isn't finite has no JSON text"))
    }

    fn elements(self, open: &[u8], close: &'static [u8]) -> Elements<'a> {
        self.out.extend_from_slice(open);
        Elements { out: self.out, first: true, close }
    }

    fn members(self, close: &'static [u8]) -> Members<'a> {
        Members::new(self.out, close)
    }

    /// `{"Variant":`
    fn variant(&mut self, name: &str) {
        self.out.push(b'{');
        write_str(self.out, name);
        self.out.push(b':');
    }
}

impl<'a> ser::Serializer for Writer<'a> {
    type Ok = ();
    type Error = Unkeyable;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Elements<'a>;
    type SerializeTupleStruct = Elements<'a>;
    type SerializeTupleVariant = Elements<'a>;
    type SerializeMap = Members<'a>;
    type SerializeStruct = StructMembers<'a>;
    type SerializeStructVariant = StructMembers<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Unkeyable> {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Unkeyable> {
        self.integer(value)
    }

    fn serialize_i16(self, value: i16) -> Result<(), Unkeyable> {
        self.integer(value)
    }

    fn serialize_i32(self, value: i32) -> Result<(), Unkeyable> {
        self.integer(value)
    }

    fn serialize_i64(self, value: i64) -> Result<(), Unkeyable> {
        self.integer(value)
    }

    fn serialize_i128(self, value: i128) -> Result<(), Unkeyable> {
        self.integer(value)
    }

    fn serialize_u8(self, value: u8) -> Result<(), Unkeyable> {
        self.integer(value)
    }

    fn serialize_u16(self, value: u16) -> Result<(), Unkeyable> {
        self.integer(value)
    }

    fn serialize_u32(self, value: u32) -> Result<(), Unkeyable> {
        self.integer(value)
    }

    fn serialize_u64(self, value: u64) -> Result<(), Unkeyable> {
        self.integer(value)
    }

    fn serialize_u128(self, value: u128) -> Result<(), Unkeyable> {
        self.integer(value)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Unkeyable> {
        self.float(value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Unkeyable> {
        self.float(value)
    }

    fn serialize_char(self, value: char) -> Result<(), Unkeyable> {
        write_str(self.out, value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Unkeyable> {
        write_str(self.out, value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Unkeyable> {
        use ser::SerializeSeq;
        let mut elements = self.elements(b"[", b"]");
        for byte in value {
            elements.serialize_element(byte)?;
        }
        elements.end()
    }

    fn serialize_none(self) -> Result<(), Unkeyable> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unkeyable> {
        let start = self.out.len();
        value.serialize(Writer { out: self.out })?;
        // `null` is the only text that begins with an `n`.
        if matches!(self.out.get(start), Some(&(b'n' | SOME_NULL))) {
            let null: Text = Text::from(&self.out[start..]);
            self.out.truncate(start);
            self.out.push(SOME_NULL);
            self.out.extend_from_slice(&null);
        }
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Unkeyable> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unkeyable> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Unkeyable> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Unkeyable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Unkeyable> {
        self.variant(variant);
        value.serialize(Writer { out: self.out })?;
        self.out.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, Unkeyable> {
        Ok(self.elements(b"[", b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Elements<'a>, Unkeyable> {
        Ok(self.elements(b"[", b"]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Elements<'a>, Unkeyable> {
        Ok(self.elements(b"[", b"]"))
    }

    fn serialize_tuple_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Elements<'a>, Unkeyable> {
        self.variant(variant);
        Ok(self.elements(b"[", b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Members<'a>, Unkeyable> {
        Ok(self.members(b"}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<StructMembers<'a>, Unkeyable> {
        Ok(match name {
            ARBITRARY_PRECISION => StructMembers::Number(self.out),
            RAW_VALUE => StructMembers::Raw(self.out),
            _ => StructMembers::Object(self.members(b"}")),
        })
    }

    fn serialize_struct_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<StructMembers<'a>, Unkeyable> {
        self.variant(variant);
        Ok(StructMembers::Object(self.members(b"}}")))
    }
}

/// The elements of an array.
struct Elements<'a> {
    out: &'a mut Text,
    first: bool,
    close: &'static [u8],
}

impl ser::SerializeSeq for Elements<'_> {
    type Ok = ();
    type Error = Unkeyable;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unkeyable> {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        value.serialize(Writer { out: self.out })
    }

    fn end(self) -> Result<(), Unkeyable> {
        self.out.extend_from_slice(self.close);
        Ok(())
    }
}

impl ser::SerializeTuple for Elements<'_> {
    type Ok = ();
    type Error = Unkeyable;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unkeyable> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Unkeyable> {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeTupleStruct for Elements<'_> {
    type Ok = ();
    type Error = Unkeyable;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unkeyable> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Unkeyable> {
        ser::SerializeSeq::end(self)
    }
}

impl ser::SerializeTupleVariant for Elements<'_> {
    type Ok = ();
    type Error = Unkeyable;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unkeyable> {
        ser::SerializeSeq::serialize_element(self, value)
    }

    fn end(self) -> Result<(), Unkeyable> {
        ser::SerializeSeq::end(self)
    }
}

/// The members of an object, each `"key":value` written where it came and sorted at the end.
struct Members<'a> {
    out: &'a mut Text,
    start: usize,
    /// Start and end of each member in `out`, without its comma.
    spans: Vec<(usize, usize)>,
    sorted: bool,
    close: &'static [u8],
}

impl<'a> Members<'a> {
    fn new(out: &'a mut Text, close: &'static [u8]) -> Self {
        out.push(b'{');
        Self { start: out.len(), out, spans: Vec::new(), sorted: true, close }
    }

    /// Begins a member; its end is noted by the next one or by [`finish`](Self::finish).
    fn begin(&mut self) {
        self.close_member();
        if !self.spans.is_empty() {
            self.out.push(b',');
        }
        self.spans.push((self.out.len(), 0));
    }

    fn close_member(&mut self) {
        let end = self.out.len();
        let Some(((start, open_end), before)) = self.spans.split_last_mut() else { return };
        *open_end = end;
        if let Some(&(previous, previous_end)) = before.last() {
            self.sorted &= self.out[previous..previous_end] <= self.out[*start..end];
        }
    }

    fn finish(mut self) {
        self.close_member();
        if !self.sorted {
            let unsorted: Text = Text::from(&self.out[self.start..]);
            let member = |span: (usize, usize)| &unsorted[span.0 - self.start..span.1 - self.start];
            self.spans.sort_by(|&a, &b| member(a).cmp(member(b)));
            self.out.truncate(self.start);
            for &span in &self.spans {
                if self.out.len() > self.start {
                    self.out.push(b',');
                }
                self.out.extend_from_slice(member(span));
            }
        }
        self.out.extend_from_slice(self.close);
    }
}

impl ser::SerializeMap for Members<'_> {
    type Ok = ();
    type Error = Unkeyable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unkeyable> {
        self.begin();
        key.serialize(Writer { out: self.out })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unkeyable> {
        self.out.push(b':');
        value.serialize(Writer { out: self.out })
    }

    fn end(self) -> Result<(), Unkeyable> {
        self.finish();
        Ok(())
    }
}

/// A struct's fields: an object, or one of serde_json's two marked structs.
enum StructMembers<'a> {
    Object(Members<'a>),
    Number(&'a mut Text),
    Raw(&'a mut Text),
}

impl ser::SerializeStruct for StructMembers<'_> {
    type Ok = ();
    type Error = Unkeyable;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unkeyable> {
        match self {
            Self::Object(members) => {
                members.begin();
                write_str(members.out, name);
                members.out.push(b':');
                value.serialize(Writer { out: members.out })
            }
            Self::Number(out) => {
                let start = out.len();
                value.serialize(Writer { out })?;
                let quoted: Text = Text::from(&out[start..]);
                out.truncate(start);
                let digits = quoted.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
                let digits = std::str::from_utf8(digits.unwrap_or(&quoted)).map_err(ser::Error::custom)?;
                number::write_decimal(out, digits);
                Ok(())
            }
            // Kept as the text it is: re-parsing it would depend on serde_json's features.
            Self::Raw(out) => value.serialize(Writer { out }),
        }
    }

    fn end(self) -> Result<(), Unkeyable> {
        if let Self::Object(members) = self {
            members.finish();
        }
        Ok(())
    }
}

impl ser::SerializeStructVariant for StructMembers<'_> {
    type Ok = ();
    type Error = Unkeyable;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Unkeyable> {
        ser::SerializeStruct::serialize_field(self, name, value)
    }

    fn end(self) -> Result<(), Unkeyable> {
        ser::SerializeStruct::end(self)
    }
}

impl ser::Error for Unkeyable {
    fn custom<T: Display>(message: T) -> Self {
        Self::Refused(message.to_string())
    }
}

impl Display for Unkeyable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(message) => f.write_str(message),
            Self::Panicked => Panicked.fmt(f),
        }
    }
}

impl std::error::Error for Unkeyable {}

#[cfg(test)]
mod tests;
