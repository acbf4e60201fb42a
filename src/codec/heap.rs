//! An estimate of how many bytes a value has on the heap, made by a serializer.
//!
//! serde hands a serializer each part of a value by reference, so the serializer knows the part's size. The kind of the container says
//! where the part is:
//!
//! - Elements of a list or a map are on the heap. Most lists hand over references to references; the largest element that was seen
//!   then counts for all.
//! - Fields of a struct are inside the struct. Fields that are larger than the struct must be behind a `Box`, on the heap.
//!
//! Not counted: spare capacity, and fields that `Serialize` skips. A shared `Arc` counts each time.

use std::any::type_name;
use std::fmt::{self, Display};

use serde::ser::{self, Serialize};
use serde_json::Value;

use crate::error::catching;

/// `None` where `Serialize` fails or panics.
pub(super) fn bytes_of<T: Serialize>(value: &T) -> Option<u64> {
    let mut heap = 0;
    let counted = catching(|| value.serialize(Counter { heap: &mut heap, own: Some(size_of::<T>()) }));
    matches!(counted, Ok(Ok(_))).then_some(heap)
}

/// What an allocator adds to an allocation.
const PIECE: usize = 16;

/// Counts a value's heap, and returns the bytes of the value itself that it has seen.
struct Counter<'a> {
    heap: &'a mut u64,
    /// Bytes of the value itself, where they are known.
    own: Option<usize>,
}

/// The elements of a list or a map, on the heap.
struct Elements<'a> {
    heap: &'a mut u64,
    keys: Inline,
    values: Inline,
}

/// The elements of a list, or the keys or values of a map.
#[derive(Default)]
struct Inline {
    count: usize,
    largest: usize,
}

/// The fields of a struct or a tuple: in the value itself, if there is room.
struct Parts<'a> {
    heap: &'a mut u64,
    own: Option<usize>,
    used: usize,
}

/// `Serialize` failed.
#[derive(Debug)]
struct Uncounted;

impl<'a> Counter<'a> {
    /// A value with one allocation of `len` bytes.
    fn holds(self, len: usize) -> Result<usize, Uncounted> {
        allocate(self.heap, len);
        Ok(size_of::<Vec<u8>>())
    }

    fn elements(self) -> Elements<'a> {
        Elements { heap: self.heap, keys: Inline::default(), values: Inline::default() }
    }

    fn parts(self) -> Parts<'a> {
        Parts { heap: self.heap, own: self.own, used: 0 }
    }
}

impl Elements<'_> {
    fn list(self) -> Result<usize, Uncounted> {
        allocate(self.heap, self.values.bytes());
        Ok(size_of::<Vec<u8>>())
    }

    /// Tree nodes and hash tables are about two thirds full, and have room for `least` entries at least.
    fn map(self, least: usize) -> Result<usize, Uncounted> {
        let count = self.keys.count;
        let room = if count == 0 { 0 } else { (count + count * 5 / 8).max(least) };
        allocate(self.heap, room * (self.keys.largest + self.values.largest));
        Ok(2 * size_of::<Vec<u8>>())
    }
}

impl Inline {
    /// Counts an element of size `own`, or of the size that was seen where that isn't known.
    fn add<T: Serialize + ?Sized>(&mut self, heap: &mut u64, value: &T, own: Option<usize>) -> Result<(), Uncounted> {
        let seen = value.serialize(Counter { heap, own })?;
        self.count += 1;
        self.largest = self.largest.max(own.unwrap_or(seen));
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.count * self.largest
    }
}

impl Parts<'_> {
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Uncounted> {
        let own = size_of_val(value);
        self.used += own;
        value.serialize(Counter { heap: self.heap, own: Some(own) })?;
        Ok(())
    }

    fn finish(self) -> Result<usize, Uncounted> {
        let is_boxed = self.own.is_some_and(|own| self.used > own);
        allocate(self.heap, if is_boxed { self.used } else { 0 });
        Ok(self.used)
    }
}

fn allocate(heap: &mut u64, len: usize) {
    if len > 0 {
        *heap += (len + PIECE) as u64;
    }
}

/// The size of an element where its type says more than its parts: a [`Value`] serializes as less than its size. The type is found by
/// its name; a wrong answer only makes the estimate worse.
fn known_size<T>() -> Option<usize> {
    (type_name::<T>().trim_start_matches('&') == type_name::<Value>()).then_some(size_of::<Value>())
}

/// Values without heap memory.
macro_rules! plain {
    ($($name:ident: $type:ty),*) => {
        $(fn $name(self, _: $type) -> Result<usize, Uncounted> {
            Ok(size_of::<$type>())
        })*
    };
}

impl<'a> ser::Serializer for Counter<'a> {
    type Ok = usize;
    type Error = Uncounted;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Elements<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    plain!(
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_f32: f32, serialize_f64: f64, serialize_char: char
    );

    fn serialize_str(self, value: &str) -> Result<usize, Uncounted> {
        self.holds(value.len())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<usize, Uncounted> {
        self.holds(value.len())
    }

    fn serialize_none(self) -> Result<usize, Uncounted> {
        Ok(0)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<usize, Uncounted> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<usize, Uncounted> {
        Ok(0)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<usize, Uncounted> {
        Ok(0)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<usize, Uncounted> {
        Ok(1)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<usize, Uncounted> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<usize, Uncounted> {
        let mut parts = self.parts();
        parts.part(value)?;
        parts.finish()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, Uncounted> {
        Ok(self.elements())
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'a>, Uncounted> {
        Ok(self.parts())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Uncounted> {
        Ok(self.parts())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Uncounted> {
        Ok(self.parts())
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Elements<'a>, Uncounted> {
        Ok(self.elements())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts<'a>, Uncounted> {
        Ok(self.parts())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Parts<'a>, Uncounted> {
        Ok(self.parts())
    }

    /// Here the items are references.
    fn collect_seq<I>(self, items: I) -> Result<usize, Uncounted>
    where
        I: IntoIterator,
        I::Item: Serialize,
    {
        let own = known_size::<I::Item>();
        let mut elements = self.elements();
        for item in items {
            elements.values.add(elements.heap, &item, own)?;
        }
        elements.list()
    }

    /// Here too.
    fn collect_map<K, V, I>(self, members: I) -> Result<usize, Uncounted>
    where
        K: Serialize,
        V: Serialize,
        I: IntoIterator<Item = (K, V)>,
    {
        let own = known_size::<V>();
        let mut elements = self.elements();
        for (key, value) in members {
            elements.keys.add(elements.heap, &key, None)?;
            elements.values.add(elements.heap, &value, own)?;
        }
        // Between the least node of a tree, for eleven, and the least table, for four.
        elements.map(7)
    }

    /// Addresses, identifiers and the like then show what they are, and not a text that they would have to make.
    fn is_human_readable(&self) -> bool {
        false
    }
}

impl ser::SerializeSeq for Elements<'_> {
    type Ok = usize;
    type Error = Uncounted;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Uncounted> {
        self.values.add(self.heap, value, Some(size_of_val(value)))
    }

    fn end(self) -> Result<usize, Uncounted> {
        self.list()
    }
}

impl ser::SerializeMap for Elements<'_> {
    type Ok = usize;
    type Error = Uncounted;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Uncounted> {
        self.keys.add(self.heap, key, Some(size_of_val(key)))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Uncounted> {
        self.values.add(self.heap, value, Some(size_of_val(value)))
    }

    /// Written member by member, it's most often a JSON object, which is a tree.
    fn end(self) -> Result<usize, Uncounted> {
        self.map(11)
    }
}

/// What has parts, by the names that serde has for adding one.
macro_rules! with_parts {
    ($($kind:ident: $method:ident($($name:ident)?)),*) => {
        $(impl ser::$kind for Parts<'_> {
            type Ok = usize;
            type Error = Uncounted;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: &'static str,)? value: &T) -> Result<(), Uncounted> {
                $(let _ = $name;)?
                self.part(value)
            }

            fn end(self) -> Result<usize, Uncounted> {
                self.finish()
            }
        })*
    };
}

with_parts!(
    SerializeTuple: serialize_element(),
    SerializeTupleStruct: serialize_field(),
    SerializeTupleVariant: serialize_field(),
    SerializeStruct: serialize_field(name),
    SerializeStructVariant: serialize_field(name)
);

impl ser::Error for Uncounted {
    fn custom<T: Display>(_: T) -> Self {
        Self
    }
}

impl Display for Uncounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value can't be serialized")
    }
}

impl std::error::Error for Uncounted {}

#[cfg(test)]
mod tests;
