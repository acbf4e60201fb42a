//! Keys are those of `keys_of_values.txt` also where another crate turns on features of `serde_json`.

use std::fmt::Write;

use cache_house::{CacheHandle, CacheHouse, CacheOptions, KeyContext};
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[path = "../../golden/value_cases.rs"]
mod value_cases;

fn cache() -> CacheHandle {
    CacheHouse::builder().memory().build().expect("the defaults are valid")
}

fn call() -> CacheOptions {
    CacheOptions::new("f").module("app")
}

fn key(options: &CacheOptions) -> String {
    cache().key(options).expect("the call has a key")
}

#[test]
fn the_features_are_on() {
    assert_eq!(serde_json::to_string(&json!({"b": 1, "a": 2})).expect("JSON"), r#"{"b":1,"a":2}"#, "preserve_order");
    let digits = "0.10000000000000000000001";
    let value: Value = serde_json::from_str(digits).expect("JSON");
    assert_eq!(value.to_string(), digits, "arbitrary_precision");
}

#[test]
fn keys_of_json_values_are_those_of_a_build_without_the_features() {
    let mut text = String::new();
    for (name, value) in value_cases::values() {
        writeln!(text, "{name}\t{}", key(&call().arg(value))).expect("a String takes any text");
    }
    let expected = include_str!("../../golden/keys_of_values.txt");
    for (line, expected) in text.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(text, expected);
}

#[test]
fn a_value_has_the_key_of_the_plain_type() {
    let same = |value: Value, plain: CacheOptions| assert_eq!(key(&call().arg(&value)), key(&plain), "{value}");
    same(json!(7), call().arg(7));
    same(json!(-7), call().arg(-7));
    same(json!(0.1), call().arg(0.1));
    same(json!(1e300), call().arg(1e300));
    same(json!(u64::MAX), call().arg(u64::MAX));
    same(
        json!({"b": [1, 2.5], "a": null}),
        call().arg(std::collections::BTreeMap::from([("a", None), ("b", Some((1, 2.5)))])),
    );
}

#[test]
fn the_order_of_an_object_makes_no_difference_in_keyword_arguments_either() {
    let one = call().kwarg("filter", json!({"b": {"d": 1, "c": 2}, "a": 3}));
    let two = call().kwarg("filter", json!({"a": 3, "b": {"c": 2, "d": 1}}));
    assert_eq!(key(&one), key(&two));
}

#[test]
fn raw_values_have_keys_that_differ_where_they_do() {
    let raw = |text: &str| key(&call().arg(RawValue::from_string(text.to_owned()).expect("JSON")));
    assert_eq!(raw("[1]"), raw("[1]"));
    assert_ne!(raw("[1]"), raw("[2]"));
}

#[test]
fn a_key_builder_sees_numbers_and_objects_as_in_a_build_without_the_features() {
    let mut text = String::new();
    for (name, value) in value_cases::values() {
        let options = call().arg(value).key_builder(|cx: &KeyContext<'_>| cx.scoped(&cx.args()[0].to_string()));
        writeln!(text, "{name}\t{}", key(&options)).expect("a String takes any text");
    }
    let expected = include_str!("../../golden/custom_keys_of_values.txt");
    for (line, expected) in text.lines().zip(expected.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(text, expected);
}
