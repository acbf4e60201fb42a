mod model;

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;

use proptest::prelude::*;
use serde::ser::{Error as _, SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::*;

fn text<T: Serialize + ?Sized>(value: &T) -> String {
    let mut out = Text::new();
    write(&mut out, value).expect("the value has a canonical text");
    String::from_utf8(out.to_vec()).expect("canonical text is UTF-8")
}

fn problem<T: Serialize + ?Sized>(value: &T) -> String {
    write(&mut Text::new(), value).expect_err("the value has no canonical text").to_string()
}

/// A map that serializes its members in the order they stand in.
struct InOrder<K, V>(Vec<(K, V)>);

impl<K: Serialize, V: Serialize> Serialize for InOrder<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// What `serde_json` hands over for a number under `arbitrary_precision`.
struct ArbitraryPrecision(String);

impl Serialize for ArbitraryPrecision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut number = serializer.serialize_struct(ARBITRARY_PRECISION, 1)?;
        number.serialize_field(ARBITRARY_PRECISION, &self.0)?;
        number.end()
    }
}

fn decimal(digits: &str) -> String {
    text(&ArbitraryPrecision(digits.to_owned()))
}

/// The same decimal number with a zero more and another exponent.
fn respelled(plain: &str) -> String {
    let (digits, exponent) = plain.split_once('e').unwrap_or((plain, "0"));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let exponent: i64 = exponent.parse().expect("an exponent");
    format!("{whole}{fraction}0E{}", exponent - fraction.len() as i64 - 1)
}

struct Refuses;

impl Serialize for Refuses {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("refuses"))
    }
}

#[test]
fn integers_of_every_width_have_the_same_text() {
    assert_eq!([text(&7_u8), text(&7_i16), text(&7_u64), text(&7_i128)], ["7"; 4]);
    assert_eq!(text(&i64::MIN), "-9223372036854775808");
    assert_eq!(text(&u128::MAX), "340282366920938463463374607431768211455");
}

#[test]
fn floats_have_their_shortest_text_and_stay_apart_from_integers() {
    assert_eq!([text(&1.0_f64), text(&1.0_f32), text(&1)], ["1.0", "1.0", "1"]);
    assert_eq!([text(&0.1_f64), text(&0.1_f32)], ["0.1", "0.1"]);
    assert_eq!([text(&0.0_f64), text(&-0.0_f64)], ["0.0", "-0.0"]);
    assert_ne!(text(&(0.1_f64 + 0.2)), text(&0.3_f64));
}

#[test]
fn floats_that_are_not_finite_are_unkeyable_wherever_they_stand() {
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(problem(&float), "a float that isn't finite has no JSON text");
        problem(&(float as f32));
        problem(&[1.0, float]);
        problem(&Some(float));
        problem(&BTreeMap::from([("a", float)]));
        problem(&InOrder(vec![(float, 1)]));
    }
}

#[test]
fn what_refuses_to_serialize_leaves_no_trace() {
    let mut out = Text::new();
    out.extend_from_slice(b"before");
    for value in [
        &[None, Some(Refuses)] as &dyn ErasedWrite,
        &("written", BTreeMap::from([("member", Refuses)])),
        &("longer than what the stack holds ".repeat(9), Refuses),
        &InOrder(vec![(1, Refuses)]),
    ] {
        assert_eq!(value.write_to(&mut out).expect_err("it refuses").to_string(), "refuses");
        assert_eq!(out[..], *b"before");
    }
}

/// [`write`] for values of several types in one list.
trait ErasedWrite {
    fn write_to(&self, out: &mut Text) -> Result<(), Unkeyable>;
}

impl<T: Serialize> ErasedWrite for T {
    fn write_to(&self, out: &mut Text) -> Result<(), Unkeyable> {
        write(out, self)
    }
}

#[test]
fn every_kind_of_type_has_the_text_that_json_gives_it() {
    #[derive(Serialize)]
    struct Unit;
    #[derive(Serialize)]
    struct Newtype(u8);
    #[derive(Serialize)]
    struct Pair(u8, char);
    #[derive(Serialize)]
    enum Shape {
        Unit,
        Newtype(Newtype),
        Tuple(u8, u8),
        Struct { b: u8, a: u8 },
        Empty {},
    }
    assert_eq!(text(&()), "null");
    assert_eq!(text(&Unit), "null");
    assert_eq!(text(&None::<u8>), "null");
    assert_eq!(text(&Some(Newtype(1))), "1");
    assert_eq!(text(&Pair(1, 'é')), r#"[1,"é"]"#);
    assert_eq!(text(&Shape::Unit), r#""Unit""#);
    assert_eq!(text(&Shape::Newtype(Newtype(1))), r#"{"Newtype":1}"#);
    assert_eq!(text(&Shape::Tuple(1, 2)), r#"{"Tuple":[1,2]}"#);
    assert_eq!(text(&Shape::Struct { b: 1, a: 2 }), r#"{"Struct":{"a":2,"b":1}}"#);
    assert_eq!(text(&Shape::Empty {}), r#"{"Empty":{}}"#);
    assert_eq!(text(&(true, [[0; 0]; 2])), "[true,[[],[]]]");
}

#[test]
fn bytes_are_a_list_of_numbers() {
    struct Bytes(&'static [u8]);
    impl Serialize for Bytes {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }
    assert_eq!(text(&Bytes(b"")), "[]");
    assert_eq!(text(&Bytes(&[0, 255])), "[0,255]");
}

#[test]
fn members_are_sorted_also_inside_of_others() {
    let inner = || InOrder(vec![("b", 1), ("a", 2)]);
    assert_eq!(text(&InOrder(vec![("z", inner()), ("y", inner())])), r#"{"y":{"a":2,"b":1},"z":{"a":2,"b":1}}"#);
    let many = InOrder((0..20).rev().map(|n| (format!("{n:02}"), n)).collect());
    let sorted: Vec<String> = (0..20).map(|n| format!("\"{n:02}\":{n}")).collect();
    assert_eq!(text(&many), format!("{{{}}}", sorted.join(",")));
}

#[test]
fn sorting_moves_nothing_but_the_members() {
    let mut out = Text::new();
    out.extend_from_slice(b"[9,");
    write(&mut out, &InOrder(vec![("b", "}{"), ("a", "\",")])).expect("a map of texts");
    assert_eq!(out[..], *br#"[9,{"a":"\",","b":"}{"}"#);
}

#[test]
fn keys_that_are_not_text_are_written_as_what_they_are() {
    #[derive(Serialize)]
    enum Color {
        Red,
    }
    assert_eq!(text(&InOrder(vec![(10, 'a'), (9, 'b')])), r#"{10:"a",9:"b"}"#);
    assert_eq!(text(&InOrder(vec![(true, 1)])), "{true:1}");
    assert_eq!(text(&InOrder(vec![('x', 1)])), r#"{"x":1}"#);
    assert_eq!(text(&InOrder(vec![(Color::Red, 1)])), r#"{"Red":1}"#);
    assert_eq!(text(&InOrder(vec![(Some(1.5), 1), (None, 2)])), "{1.5:1,null:2}");
    assert_eq!(text(&InOrder(vec![(("a", 1), 2)])), r#"{["a",1]:2}"#);
    assert_eq!(text(&InOrder(vec![(InOrder(vec![("b", 1), ("a", 2)]), 3)])), r#"{{"a":2,"b":1}:3}"#);
}

#[test]
fn something_that_is_null_differs_from_nothing() {
    #[derive(Serialize)]
    struct Unit;
    #[derive(Serialize)]
    struct Newtype(Option<u8>);
    #[derive(Serialize)]
    struct Patch {
        name: Option<Option<&'static str>>,
    }
    assert_eq!(text(&None::<Option<u32>>), "null");
    assert_eq!(text(&Some(None::<u32>)), "?null");
    assert_eq!(text(&Some(Some(None::<u32>))), "??null");
    assert_eq!(text(&Some(Some(3))), "3");
    assert_eq!(
        [text(&Some(())), text(&Some(Unit)), text(&Some(Value::Null)), text(&Some(Newtype(None)))],
        ["?null"; 4]
    );
    assert_eq!([text(&Some("null")), text(&Some("?null"))], [r#""null""#, r#""?null""#]);
    assert_eq!(text(&[Some(None), None, Some(Some(1))]), "[?null,null,1]");
    assert_eq!(text(&Patch { name: Some(None) }), r#"{"name":?null}"#);
    assert_eq!(text(&InOrder(vec![(Some(None::<u8>), 1), (None, 2)])), "{?null:1,null:2}");
}

#[test]
fn numbers_of_arbitrary_precision_have_the_text_of_plain_ones() {
    for (digits, plain) in [
        ("0", "0"),
        ("-0", "-0.0"),
        ("-7", "-7"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("1.0", "1.0"),
        ("1.500", "1.5"),
        ("0e5", "0.0"),
        ("1e2", "100.0"),
        ("1E+2", "100.0"),
        ("0.00001e7", "100.0"),
    ] {
        assert_eq!(decimal(digits), plain, "{digits}");
    }
    assert_eq!(decimal("1e300"), text(&1e300));
}

#[test]
fn numbers_beyond_64_bits_keep_every_digit_and_have_one_spelling() {
    assert_eq!(decimal("18446744073709551616"), "18446744073709551616e0");
    assert_ne!(decimal("18446744073709551616"), decimal("18446744073709551617"));
    assert_ne!(decimal("0.10000000000000000001"), decimal("0.1"));
    assert_eq!(decimal("1e400"), "1e400");
    assert_eq!(decimal("10.00e399"), decimal("1e400"));
    assert_ne!(decimal("1e400"), decimal("-1e400"));
    assert_ne!(decimal("1e-400"), decimal("0.0"));
}

#[test]
fn raw_json_differs_where_its_text_differs() {
    struct Raw(&'static str);
    impl Serialize for Raw {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut raw = serializer.serialize_struct(RAW_VALUE, 1)?;
            raw.serialize_field(RAW_VALUE, self.0)?;
            raw.end()
        }
    }
    assert_eq!(text(&Raw("[1]")), text(&Raw("[1]")));
    assert_ne!(text(&Raw("[1]")), text(&Raw("[2]")));
    // Still JSON, whatever stands in it.
    serde_json::from_str::<Value>(&text(&Raw("[1, \"a\"]"))).expect("the text is JSON");
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|n| Value::from(f64::from(n) / 8.0)),
        ".{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(".{0,3}", inner, 0..5).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_escaped_as_json_escapes_it(value in any::<String>()) {
        prop_assert_eq!(text(&value), serde_json::to_string(&value).expect("a text has JSON"));
    }

    #[test]
    fn any_json_reads_back_as_itself(value in json()) {
        prop_assert_eq!(serde_json::from_str::<Value>(&text(&value)).expect("canonical text is JSON"), value);
    }

    #[test]
    fn the_order_of_a_map_makes_no_difference(
        members in prop::collection::hash_map("[ !\"a-c\\\\]{0,3}", json(), 0..12),
        seed in any::<u64>(),
    ) {
        let sorted: BTreeMap<_, _> = members.clone().into_iter().collect();
        let mut shuffled: Vec<_> = members.clone().into_iter().collect();
        shuffled.sort_by_key(|(name, _)| foldhash::fast::FixedState::with_seed(seed).hash_one(name));
        let object: serde_json::Map<String, Value> = shuffled.clone().into_iter().collect();
        let hashed: HashMap<_, _> = members;
        let expected = text(&sorted);
        prop_assert_eq!(text(&hashed), expected.as_str());
        prop_assert_eq!(text(&object), expected.as_str());
        prop_assert_eq!(text(&InOrder(shuffled)), expected.as_str());
    }

    #[test]
    fn floats_have_one_text_whatever_carries_them(float in any::<f64>().prop_filter("finite", |f| f.is_finite())) {
        let plain = text(&float);
        prop_assert_eq!(text(&Value::from(float)), plain.as_str());
        prop_assert_eq!(decimal(&plain), plain.as_str());
        prop_assert_eq!(decimal(&respelled(&plain)), plain.as_str());
        prop_assert_eq!(plain.parse::<f64>(), Ok(float));
    }

    #[test]
    fn integers_have_one_text_whatever_carries_them(signed in any::<i64>(), unsigned in any::<u64>()) {
        prop_assert_eq!(decimal(&signed.to_string()), text(&signed));
        prop_assert_eq!(decimal(&unsigned.to_string()), text(&unsigned));
        prop_assert_eq!(text(&Value::from(unsigned)), text(&unsigned));
    }
}
