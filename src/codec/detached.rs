//! A deserializer of a value that borrows nothing from its input.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::format::CodecError;

/// What a codec hands a deserializer to.
pub(super) type Read<'r, 'de> = dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError> + 'r;

/// Has `decode` hand a deserializer to `read`, over bytes that end sooner than those which `read` is meant for.
pub(super) fn decode_detached<'a, 'de>(
    read: &mut Read<'_, 'de>,
    decode: impl FnOnce(&mut Read<'_, 'a>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    decode(&mut |deserializer| read(&mut <dyn erased_serde::Deserializer<'de>>::erase(Detached::new(deserializer))))
}

/// One of serde's traits for an input of the lifetime `'a`, as the same trait for any other lifetime. Text and bytes that the input would
/// lend are only shown: a value that has to borrow them fails, and one that owns all it has doesn't notice.
struct Detached<'a, T> {
    inner: T,
    lifetime: PhantomData<&'a ()>,
}

impl<T> Detached<'_, T> {
    fn new(inner: T) -> Self {
        Self { inner, lifetime: PhantomData }
    }
}

/// Each method hands its visitor on.
macro_rules! handed_on {
    ($($method:ident($($argument:ident: $kind:ty),*);)*) => {
        $(fn $method<V: Visitor<'de>>(self, $($argument: $kind,)* visitor: V) -> Result<V::Value, Self::Error> {
            self.inner.$method($($argument,)* Detached::new(visitor))
        })*
    };
}

impl<'a, 'de, D: Deserializer<'a>> Deserializer<'de> for Detached<'a, D> {
    type Error = D::Error;

    handed_on! {
        deserialize_any();
        deserialize_bool();
        deserialize_i8();
        deserialize_i16();
        deserialize_i32();
        deserialize_i64();
        deserialize_i128();
        deserialize_u8();
        deserialize_u16();
        deserialize_u32();
        deserialize_u64();
        deserialize_u128();
        deserialize_f32();
        deserialize_f64();
        deserialize_char();
        deserialize_str();
        deserialize_string();
        deserialize_bytes();
        deserialize_byte_buf();
        deserialize_option();
        deserialize_unit();
        deserialize_unit_struct(name: &'static str);
        deserialize_newtype_struct(name: &'static str);
        deserialize_seq();
        deserialize_tuple(len: usize);
        deserialize_tuple_struct(name: &'static str, len: usize);
        deserialize_map();
        deserialize_struct(name: &'static str, fields: &'static [&'static str]);
        deserialize_enum(name: &'static str, variants: &'static [&'static str]);
        deserialize_identifier();
        deserialize_ignored_any();
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

/// Each method hands a value on as it is.
macro_rules! visited {
    ($($method:ident($kind:ty);)*) => {
        $(fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
            self.inner.$method(value)
        })*
    };
}

impl<'a, 'de, V: Visitor<'de>> Visitor<'a> for Detached<'de, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visited! {
        visit_bool(bool);
        visit_i8(i8);
        visit_i16(i16);
        visit_i32(i32);
        visit_i64(i64);
        visit_i128(i128);
        visit_u8(u8);
        visit_u16(u16);
        visit_u32(u32);
        visit_u64(u64);
        visit_u128(u128);
        visit_f32(f32);
        visit_f64(f64);
        visit_char(char);
        visit_str(&str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_byte_buf(Vec<u8>);
    }

    fn visit_borrowed_str<E: Error>(self, value: &'a str) -> Result<V::Value, E> {
        self.inner.visit_str(value)
    }

    fn visit_borrowed_bytes<E: Error>(self, value: &'a [u8]) -> Result<V::Value, E> {
        self.inner.visit_bytes(value)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'a>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Detached::new(deserializer))
    }

    fn visit_newtype_struct<D: Deserializer<'a>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Detached::new(deserializer))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(Detached::new(access))
    }

    fn visit_map<A: MapAccess<'a>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Detached::new(access))
    }

    fn visit_enum<A: EnumAccess<'a>>(self, access: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(Detached::new(access))
    }
}

impl<'a, 'de, S: DeserializeSeed<'de>> DeserializeSeed<'a> for Detached<'de, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Detached::new(deserializer))
    }
}

impl<'a, 'de, A: SeqAccess<'a>> SeqAccess<'de> for Detached<'a, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_element_seed(Detached::new(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'a, 'de, A: MapAccess<'a>> MapAccess<'de> for Detached<'a, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        self.inner.next_key_seed(Detached::new(seed))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.next_value_seed(Detached::new(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'a, 'de, A: EnumAccess<'a>> EnumAccess<'de> for Detached<'a, A> {
    type Error = A::Error;
    type Variant = Detached<'a, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (variant, content) = self.inner.variant_seed(Detached::new(seed))?;
        Ok((variant, Detached::new(content)))
    }
}

impl<'a, 'de, A: VariantAccess<'a>> VariantAccess<'de> for Detached<'a, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.inner.newtype_variant_seed(Detached::new(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.inner.tuple_variant(len, Detached::new(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.inner.struct_variant(fields, Detached::new(visitor))
    }
}

#[cfg(test)]
mod tests;
