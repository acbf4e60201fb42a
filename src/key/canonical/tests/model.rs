//! The canonical text beside a second writer that is slow and plain, over values of every kind that serde knows.

use proptest::prelude::*;
use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTupleVariant};
use serde::{Serialize, Serializer};

use super::text;
use crate::fuzz::Input;

/// A value, by the call of `Serializer` that writes it.
#[derive(Clone, Debug)]
enum Any {
    Unit,
    UnitStruct,
    None,
    Some(Box<Any>),
    Bool(bool),
    Small(u8),
    Large(i64),
    Float(f64),
    Char(char),
    Str(String),
    Bytes(Vec<u8>),
    Newtype(Box<Any>),
    Seq(Vec<Any>),
    Map(Vec<(Any, Any)>),
    Struct(Vec<(&'static str, Any)>),
    UnitVariant(&'static str),
    NewtypeVariant(&'static str, Box<Any>),
    TupleVariant(&'static str, Vec<Any>),
    StructVariant(&'static str, Vec<(&'static str, Any)>),
}

impl Serialize for Any {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unit => serializer.serialize_unit(),
            Self::UnitStruct => serializer.serialize_unit_struct("U"),
            Self::None => serializer.serialize_none(),
            Self::Some(value) => serializer.serialize_some(value),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Small(value) => serializer.serialize_u8(*value),
            Self::Large(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Char(value) => serializer.serialize_char(*value),
            Self::Str(value) => serializer.serialize_str(value),
            Self::Bytes(value) => serializer.serialize_bytes(value),
            Self::Newtype(value) => serializer.serialize_newtype_struct("N", value),
            Self::Seq(elements) => {
                let mut seq = serializer.serialize_seq(None)?;
                elements.iter().try_for_each(|element| seq.serialize_element(element))?;
                seq.end()
            }
            Self::Map(members) => {
                let mut map = serializer.serialize_map(None)?;
                members.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
            Self::Struct(fields) => {
                let mut out = serializer.serialize_struct("S", fields.len())?;
                fields.iter().try_for_each(|(name, value)| out.serialize_field(name, value))?;
                out.end()
            }
            Self::UnitVariant(name) => serializer.serialize_unit_variant("E", 0, name),
            Self::NewtypeVariant(name, value) => serializer.serialize_newtype_variant("E", 0, name, value),
            Self::TupleVariant(name, elements) => {
                let mut out = serializer.serialize_tuple_variant("E", 0, name, elements.len())?;
                elements.iter().try_for_each(|element| out.serialize_field(element))?;
                out.end()
            }
            Self::StructVariant(name, fields) => {
                let mut out = serializer.serialize_struct_variant("E", 0, name, fields.len())?;
                fields.iter().try_for_each(|(name, value)| out.serialize_field(name, value))?;
                out.end()
            }
        }
    }
}

/// What a value means: two arguments are equal where this is.
#[derive(Clone, Debug, PartialEq)]
enum Meaning {
    Nothing,
    /// `Some`, so many times, of nothing.
    SomeNothing(usize),
    Bool(bool),
    Integer(i64),
    Float(u64),
    Str(String),
    List(Vec<Meaning>),
    /// Sorted by text.
    Object(Vec<(Meaning, Meaning)>),
}

impl Meaning {
    fn of(value: &Any) -> Self {
        match value {
            Any::Unit | Any::UnitStruct | Any::None => Self::Nothing,
            Any::Some(value) => match Self::of(value) {
                Self::Nothing => Self::SomeNothing(1),
                Self::SomeNothing(times) => Self::SomeNothing(times + 1),
                other => other,
            },
            Any::Bool(value) => Self::Bool(*value),
            Any::Small(value) => Self::Integer((*value).into()),
            Any::Large(value) => Self::Integer(*value),
            Any::Float(value) => Self::Float(value.to_bits()),
            Any::Char(value) => Self::Str(value.to_string()),
            Any::Str(value) => Self::Str(value.clone()),
            Any::Bytes(value) => Self::List(value.iter().map(|&byte| Self::Integer(byte.into())).collect()),
            Any::Newtype(value) => Self::of(value),
            Any::Seq(elements) => Self::list(elements),
            Any::Map(members) => {
                Self::object(members.iter().map(|(key, value)| (Self::of(key), Self::of(value))).collect())
            }
            Any::Struct(fields) => Self::fields(fields),
            Any::UnitVariant(name) => Self::Str((*name).to_owned()),
            Any::NewtypeVariant(name, value) => Self::variant(name, Self::of(value)),
            Any::TupleVariant(name, elements) => Self::variant(name, Self::list(elements)),
            Any::StructVariant(name, fields) => Self::variant(name, Self::fields(fields)),
        }
    }

    fn list(elements: &[Any]) -> Self {
        Self::List(elements.iter().map(Self::of).collect())
    }

    fn fields(fields: &[(&'static str, Any)]) -> Self {
        Self::object(fields.iter().map(|(name, value)| (Self::Str((*name).to_owned()), Self::of(value))).collect())
    }

    fn variant(name: &str, content: Self) -> Self {
        Self::object(vec![(Self::Str(name.to_owned()), content)])
    }

    fn object(mut members: Vec<(Self, Self)>) -> Self {
        members.sort_by_key(|(key, value)| member(key, value));
        Self::Object(members)
    }

    /// The second writer.
    fn text(&self) -> String {
        match self {
            Self::Nothing => "null".to_owned(),
            Self::SomeNothing(times) => format!("{}null", "?".repeat(*times)),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Float(bits) => serde_json::to_string(&f64::from_bits(*bits)).expect("a float has JSON"),
            Self::Str(value) => serde_json::to_string(value).expect("a text has JSON"),
            Self::List(elements) => format!("[{}]", elements.iter().map(Self::text).collect::<Vec<_>>().join(",")),
            Self::Object(members) => {
                format!("{{{}}}", members.iter().map(|(key, value)| member(key, value)).collect::<Vec<_>>().join(","))
            }
        }
    }
}

fn member(key: &Meaning, value: &Meaning) -> String {
    format!("{}:{}", key.text(), value.text())
}

/// Values of few enough kinds that two are often equal, or look alike.
fn any_value() -> impl Strategy<Value = Any> {
    let name = prop_oneof![Just("1"), Just("null"), Just("a")];
    let leaf = prop_oneof![
        Just(Any::Unit),
        Just(Any::UnitStruct),
        Just(Any::None),
        any::<bool>().prop_map(Any::Bool),
        (0..2_u8).prop_map(Any::Small),
        (-1..2_i64).prop_map(Any::Large),
        prop_oneof![Just(1.0), Just(-0.0), Just(1e-7), Just(1e300)].prop_map(Any::Float),
        prop_oneof![Just('1'), Just('a')].prop_map(Any::Char),
        prop_oneof!["1", "a", "null", r"\?null", "true", r#"[\[\]{}:,"\\?]{0,3}"#].prop_map(Any::Str),
        prop::collection::vec(0..2_u8, 0..2).prop_map(Any::Bytes),
        name.clone().prop_map(Any::UnitVariant),
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let list = prop::collection::vec(inner.clone(), 0..3);
        let fields = prop::collection::vec((name.clone(), inner.clone()), 0..3);
        prop_oneof![
            3 => boxed.clone().prop_map(Any::Some),
            1 => boxed.clone().prop_map(Any::Newtype),
            2 => list.clone().prop_map(Any::Seq),
            2 => prop::collection::vec((inner.clone(), inner), 0..3).prop_map(Any::Map),
            1 => fields.clone().prop_map(Any::Struct),
            1 => (name.clone(), boxed).prop_map(|(name, value)| Any::NewtypeVariant(name, value)),
            1 => (name.clone(), list).prop_map(|(name, elements)| Any::TupleVariant(name, elements)),
            1 => (name.clone(), fields).prop_map(|(name, fields)| Any::StructVariant(name, fields)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_second_writer_writes_the_same(value in any_value()) {
        prop_assert_eq!(text(&value), Meaning::of(&value).text());
    }

    #[test]
    fn texts_are_equal_exactly_where_the_arguments_are(one in any_value(), two in any_value()) {
        let some = |value: &Any| Any::Some(Box::new(value.clone()));
        let as_key = |key: &Any| Any::Map(vec![(key.clone(), Any::None)]);
        for (one, two) in [(one.clone(), two.clone()), (some(&one), two.clone()), (as_key(&one), as_key(&two))] {
            prop_assert_eq!(text(&one) == text(&two), Meaning::of(&one) == Meaning::of(&two));
        }
    }
}

/// A value that a fuzzer chooses.
fn value_of(input: &mut Input<'_>, depth: u8) -> Any {
    const NAMES: [&str; 3] = ["1", "null", "a"];
    let inner = |input: &mut Input<'_>| Box::new(value_of(input, depth - 1));
    let list = |input: &mut Input<'_>| (0..input.byte() % 4).map(|_| value_of(input, depth - 1)).collect::<Vec<_>>();
    let fields = |input: &mut Input<'_>| {
        (0..input.byte() % 4).map(|_| (input.pick(&NAMES), value_of(input, depth - 1))).collect::<Vec<_>>()
    };
    match input.byte() % if depth == 0 { 11 } else { 19 } {
        0 => Any::Unit,
        1 => Any::UnitStruct,
        2 => Any::None,
        3 => Any::Bool(input.byte().is_multiple_of(2)),
        4 => Any::Small(input.byte()),
        5 => Any::Large(input.number()),
        // What has no text, because it equals nothing, has tests of its own.
        6 => Any::Float(Some(f64::from_bits(input.number() as u64)).filter(|float| float.is_finite()).unwrap_or(0.5)),
        7 => Any::Char(input.text().chars().next().unwrap_or('a')),
        8 => Any::Str(input.text()),
        9 => Any::Bytes(input.bytes().to_vec()),
        10 => Any::UnitVariant(input.pick(&NAMES)),
        11 => Any::Some(inner(input)),
        12 => Any::Newtype(inner(input)),
        13 => Any::Seq(list(input)),
        14 => Any::Map((0..input.byte() % 4).map(|_| (*inner(input), *inner(input))).collect()),
        15 => Any::Struct(fields(input)),
        16 => Any::NewtypeVariant(input.pick(&NAMES), inner(input)),
        17 => Any::TupleVariant(input.pick(&NAMES), list(input)),
        _ => Any::StructVariant(input.pick(&NAMES), fields(input)),
    }
}

#[test]
fn any_two_arguments_have_one_text_exactly_where_they_are_equal() {
    bolero::check!().for_each(|data: &[u8]| {
        let mut input = Input::new(data);
        let (one, two) = (value_of(&mut input, 3), value_of(&mut input, 3));
        assert_eq!(text(&one), Meaning::of(&one).text());
        assert_eq!(text(&one) == text(&two), Meaning::of(&one) == Meaning::of(&two), "{one:?} {two:?}");
    });
}
