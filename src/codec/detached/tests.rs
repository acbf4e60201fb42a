//! Equal to decoding directly, whatever the value and the format.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;
use crate::codec::erased_serde;
use crate::codec::{Codec, Json};

#[cfg(feature = "messagepack")]
use crate::codec::MessagePack;

/// Hands on what another codec wrote, from a copy that ends with the call.
struct Copied<C>(C);

impl<C: Codec> Codec for Copied<C> {
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        self.0.encode(value)
    }

    fn decode<'de>(&self, bytes: &'de [u8], read: &mut Read<'_, 'de>) -> Result<(), CodecError> {
        let copy = bytes.to_vec();
        decode_detached(read, |read| self.0.decode(&copy, read))
    }
}

fn decode<T: DeserializeOwned>(codec: &impl Codec, bytes: &[u8]) -> Result<T, String> {
    let mut value = None;
    let decoded = codec.decode(bytes, &mut |deserializer| {
        value = Some(erased_serde::deserialize(deserializer)?);
        Ok(())
    });
    decoded.map_err(|error| error.to_string())?;
    Ok(value.expect("it was read"))
}

fn assert_alike<T>(codec: &(impl Codec + Copy), bytes: &[u8])
where
    T: DeserializeOwned + PartialEq + fmt::Debug,
{
    let direct = decode::<T>(codec, bytes);
    assert_eq!(decode::<T>(&Copied(*codec), bytes), direct);
    assert_eq!(decode::<T>(&Copied(Copied(*codec)), bytes), direct);
}

/// As each codec writes it, and cut and altered; the same error as directly, too.
fn assert_all_alike<T>(value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + fmt::Debug,
{
    fn check<T>(value: &T, codec: impl Codec + Copy)
    where
        T: Serialize + DeserializeOwned + PartialEq + fmt::Debug,
    {
        let mut bytes = codec.encode(value).expect("it can be encoded");
        assert_eq!(decode::<T>(&Copied(codec), &bytes).as_ref(), Ok(value));
        assert_alike::<T>(&codec, &bytes[..bytes.len() / 2]);
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        assert_alike::<T>(&codec, &bytes);
    }
    check(value, Json);
    #[cfg(feature = "messagepack")]
    check(value, MessagePack);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Newtype(Option<Box<Tree>>);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pair(u8, String);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Number(i64),
    Wide(u128, i128),
    Named { text: String, letter: char, unit: Unit },
    Many(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
    Numbered(BTreeMap<u16, Pair>),
    Boxed(Newtype),
}

/// What serde reads by way of a value of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(i32),
    Text(String),
    Nested { flag: bool, inner: Box<Untagged> },
    List(Vec<Untagged>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    A { number: f64 },
    B(BTreeMap<String, String>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    id: u32,
    #[serde(flatten)]
    rest: BTreeMap<String, Untagged>,
}

/// It skips what it doesn't know.
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Narrow {
    id: u32,
}

/// Bytes where the format isn't for people, and a text where it is.
#[derive(Clone, Debug, PartialEq)]
struct Bytes(Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let as_text = || self.0.iter().map(|byte| char::from(*byte)).collect::<String>();
        if serializer.is_human_readable() {
            as_text().serialize(serializer)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Owned;
        impl Visitor<'_> for Owned {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return Ok(Bytes(text.chars().map(|c| u8::try_from(c).unwrap_or_default()).collect()));
        }
        deserializer.deserialize_bytes(Owned)
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    let text = || ".{0,6}";
    let leaf = prop_oneof![
        Just(Tree::Leaf),
        any::<i64>().prop_map(Tree::Number),
        (any::<u64>(), any::<i64>()).prop_map(|(one, two)| Tree::Wide(one.into(), two.into())),
        (text(), any::<char>()).prop_map(|(text, letter)| Tree::Named { text, letter, unit: Unit }),
        prop::collection::btree_map(any::<u16>(), (any::<u8>(), text()).prop_map(|(n, t)| Pair(n, t)), 0..3)
            .prop_map(Tree::Numbered),
        Just(Tree::Boxed(Newtype(None))),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Tree::Many),
            prop::collection::btree_map(".{0,6}", inner.clone(), 0..4).prop_map(Tree::Map),
            inner.prop_map(|tree| Tree::Boxed(Newtype(Some(Box::new(tree))))),
        ]
    })
}

fn untagged() -> impl Strategy<Value = Untagged> {
    let leaf = prop_oneof![any::<i32>().prop_map(Untagged::Number), ".{0,6}".prop_map(Untagged::Text)];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            (any::<bool>(), inner.clone()).prop_map(|(flag, inner)| Untagged::Nested { flag, inner: Box::new(inner) }),
            prop::collection::vec(inner, 0..3).prop_map(Untagged::List),
        ]
    })
}

proptest! {
    #[test]
    fn nested_values_are_decoded_as_directly(tree in tree()) {
        assert_all_alike(&tree);
    }

    #[test]
    fn what_serde_buffers_is_decoded_as_directly(
        untagged in untagged(),
        id in any::<u32>(),
        rest in prop::collection::btree_map("[a-h]{1,3}", untagged(), 0..3),
        number in any::<i32>(),
        map in prop::collection::btree_map("[a-z]{0,3}", ".{0,6}", 0..3),
    ) {
        assert_all_alike(&untagged);
        assert_all_alike(&Flat { id, rest });
        assert_all_alike(&Tagged::A { number: number.into() });
        assert_all_alike(&Tagged::B(map));
    }

    #[test]
    fn bytes_options_and_tuples_are_decoded_as_directly(
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        value in any::<(bool, Option<f32>, (u8, i8, u16, i16), (u32, i32, u64), ())>(),
    ) {
        prop_assume!(value.1.is_none_or(f32::is_finite));
        assert_all_alike(&Bytes(bytes));
        assert_all_alike(&value);
    }
}

#[test]
fn what_is_not_known_is_skipped() {
    let bytes = br#"{"more":[{"a":1},"b",null],"id":7,"text":"x"}"#;
    assert_eq!(decode(&Copied(Json), bytes), Ok(Narrow { id: 7 }));
}

#[test]
fn a_value_that_may_borrow_owns_what_it_has() {
    let text: Cow<'static, str> = decode(&Copied(Json), b"\"plain\"").expect("it's a text");
    assert_eq!(text, "plain");
    assert!(matches!(text, Cow::Owned(_)));
}

/// It couldn't outlive the buffer, so it's an error, as with `serde_json::from_reader`.
#[test]
fn a_value_that_has_to_borrow_is_refused() {
    let bytes = b"\"plain\"".to_vec();
    let mut read = Vec::new();
    for codec in [&Json as &dyn Codec, &Copied(Json)] {
        let mut text: Option<&str> = None;
        let decoded = codec.decode(&bytes, &mut |deserializer| {
            text = Some(erased_serde::deserialize(deserializer)?);
            Ok(())
        });
        read.push((decoded.is_ok(), text.map(str::to_owned)));
    }
    assert_eq!(read, [(true, Some("plain".to_owned())), (false, None)]);
}
