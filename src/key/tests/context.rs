use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::{call, golden, key, keyed, on_server, text_of, value_cases};
use crate::options::CacheOptions;

fn shared(builder: impl KeyBuilder + 'static) -> Arc<dyn KeyBuilder> {
    Arc::new(builder)
}

/// The context that a key builder gets for the call, as `see` writes it.
fn seen(options: CacheOptions, see: impl Fn(&KeyContext<'_>) -> String + Send + Sync + 'static) -> String {
    on_server(&options.key_builder(see))
}

/// Arguments nested `depth` lists deep.
fn nested(depth: usize) -> Value {
    (0..depth).fold(Value::Null, |inner, _| json!([inner]))
}

#[test]
fn a_builder_gets_every_part_of_the_call() {
    let options = CacheOptions::new("get \"user\"")
        .module("app::users")
        .arg(7)
        .arg(("x", 1.5, None::<u8>))
        .kwarg("lang", "nø")
        .kwarg("fields", ["a", "b"])
        .key_prefix("my:app")
        .namespace("a b:é");
    let builder = |cx: &KeyContext<'_>| {
        assert_eq!(cx.module(), "app::users");
        assert_eq!(cx.name(), "get \"user\"");
        assert_eq!(cx.args(), [json!(7), json!(["x", 1.5, null])]);
        let kwargs = BTreeMap::from([("fields".into(), json!(["a", "b"])), ("lang".into(), json!("nø"))]);
        assert_eq!(cx.kwargs(), &kwargs);
        assert_eq!((cx.prefix(), cx.namespace()), ("my:app", "a b:é"));
        cx.scoped("rest:7")
    };
    assert_eq!(seen(options, builder), "my%3Aapp:a b%3A%C3%A9:rest:7");
}

#[test]
fn a_call_without_module_and_arguments_has_empty_ones() {
    let see = |cx: &KeyContext<'_>| format!("{:?} {} {:?} {:?}", cx.module(), cx.name(), cx.args(), cx.kwargs());
    assert_eq!(seen(CacheOptions::new("f"), see), r#""" f [] {}"#);
}

#[test]
fn a_builder_of_the_call_goes_before_that_of_the_handle() {
    let handle = shared(|_: &KeyContext<'_>| "of the handle".to_owned());
    let own = call("f").key_builder(|_: &KeyContext<'_>| "of the call".to_owned());
    let text = |options: &CacheOptions| text_of(&keyed(options, Some(&handle)).expect("the call has a key"));
    assert_eq!(text(&call("f")), "of the handle");
    assert_eq!(text(&own), "of the call");
}

#[test]
fn calls_that_are_given_one_key_share_it() {
    let by_name = |options: CacheOptions| key(&options.key_builder(|cx: &KeyContext<'_>| cx.scoped(cx.name())));
    assert_eq!(by_name(call("f").arg(1)).as_bytes(), by_name(call("f").arg(2)).as_bytes());
    assert_ne!(by_name(call("f")).as_bytes(), by_name(call("g")).as_bytes());
}

#[test]
fn a_key_of_the_users_own_making_is_never_taken_for_a_default_one_in_memory() {
    let plain = key(&call("f").arg(1));
    let frame = plain.as_bytes().to_vec();
    let text = String::from_utf8(frame[1..].to_vec()).expect("these parts are short enough to be text");
    let custom = key(&call("f").key_builder(move |_: &KeyContext<'_>| text.clone()));
    assert_eq!(custom.as_bytes()[1..], frame[1..]);
    assert_ne!(custom.as_bytes(), frame);
    let text = text_of(&plain);
    assert_ne!(key(&call("f").key_builder(move |_: &KeyContext<'_>| text.clone())).as_bytes(), frame);
}

#[test]
fn an_empty_key_is_no_key() {
    let error = keyed(&call("f").key_builder(|_: &KeyContext<'_>| String::new()), None).expect_err("the key is empty");
    assert!(error.is_key());
    assert_eq!(error.to_string(), "the call has no key: the key builder returned an empty text");
}

#[test]
fn a_call_that_cannot_be_serialized_asks_no_builder() {
    let builder = shared(|_: &KeyContext<'_>| unreachable!("there is nothing to make a key of"));
    assert!(keyed(&call("f").arg(f64::NAN), Some(&builder)).expect_err("NaN has no key").is_key());
}

#[test]
fn a_builder_sees_deeply_nested_arguments_or_the_call_has_no_key() {
    let builder = shared(|cx: &KeyContext<'_>| cx.scoped(&format!("{}:{}", cx.name(), cx.args()[0])));
    for depth in [1, 100, 120, 130, 1_000] {
        match keyed(&call("f").arg(nested(depth)), Some(&builder)) {
            Ok(key) => assert_eq!(text_of(&key), format!("cachehouse:main:f:{}", nested(depth))),
            Err(error) => assert!(error.is_key() && depth > 100, "{depth}: {error:?}"),
        }
    }
}

#[test]
fn a_builder_sees_keys_that_are_not_text_as_text() {
    let see = |cx: &KeyContext<'_>| format!("{} {:?}", cx.args()[0], cx.kwargs());
    let map = BTreeMap::from([(9, "x"), (10, "y")]);
    assert_eq!(seen(call("f").arg(map), see), r#"{"10":"y","9":"x"} {}"#);
    let nested = BTreeMap::from([((1, BTreeMap::from([(2, "{\"}")])), 3)]);
    assert_eq!(seen(call("f").arg(nested), see), r#"{"[1,{\"2\":\"{\\\"}\"}]":3} {}"#);
    // The order of the names by themselves, and of the names in their quotes.
    let kwargs = call("f").arg(1).kwarg("a", 1).kwarg("a b", None::<u8>);
    assert_eq!(seen(kwargs, see), r#"1 {"a": Number(1), "a b": Null}"#);
}

/// That a builder is shown `float`, and what another carrier of the same number would be shown as.
fn assert_shown(float: f32) {
    let see = |cx: &KeyContext<'_>| cx.args()[0].to_string();
    let shown = seen(call("f").arg(float), see);
    assert_eq!(shown.parse::<f32>(), Ok(float), "{shown}");
    // As the `f64` of the same text; where two texts are as short and as near, the standard library may choose the other.
    let decimal: f64 = shown.parse().expect("a number");
    assert_eq!(shown, seen(call("f").arg(decimal), see));
    assert_eq!(seen(call("f").kwarg("n", [Some(float)]), |cx| cx.kwargs()["n"][0].to_string()), shown);
}

proptest! {
    #[test]
    fn a_builder_sees_every_float_that_is_finite(float in any::<f32>().prop_filter("finite", |f| f.is_finite())) {
        assert_shown(float);
    }
}

#[test]
fn a_builder_sees_floats_at_the_ends_of_their_notations() {
    for float in
        [1e-6, 1e-5, 1e-4, 0.1, 1.0, 16_777_216.0, 1e9, 1e15, 1e16, 1e17, f32::MIN_POSITIVE, f32::MAX, -1e-7, -0.0]
    {
        assert_shown(float);
    }
}

#[test]
fn an_integer_beyond_64_bits_is_shown_to_no_builder() {
    for number in [u128::from(u64::MAX) + 1, 10_u128.pow(30), u128::MAX] {
        let options = call("f").arg(number).key_builder(|_: &KeyContext<'_>| "one for all".to_owned());
        assert!(keyed(&options, None).expect_err("it would be shown rounded").is_key());
    }
}

#[test]
fn an_argument_that_json_cannot_tell_from_another_is_shown_to_no_builder() {
    #[derive(serde::Serialize, PartialEq, Eq, PartialOrd, Ord)]
    #[serde(untagged)]
    enum Id {
        Number(u8),
        Text(&'static str),
    }
    let unreadable = |options: CacheOptions| {
        let options = options.key_builder(|_: &KeyContext<'_>| "one for all".to_owned());
        let error = keyed(&options, None).expect_err("the builder can't be shown it");
        assert!(error.is_key() && error.to_string().contains("`Some` of what JSON writes as `null`"), "{error}");
    };
    unreadable(call("f").arg(Some(None::<u8>)));
    unreadable(call("f").kwarg("patch", [Some(Value::Null)]));
    unreadable(call("f").arg(BTreeMap::from([(Some(None::<u8>), 1)])));
    unreadable(call("f").arg(BTreeMap::from([(Id::Number(1), "a"), (Id::Text("1"), "b")])));
}

#[test]
fn debug_shows_no_argument() {
    let options = call("f").arg("hunter2").kwarg("token", "hunter2").namespace("users");
    let shown = seen(options, |cx| format!("{cx:?}"));
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("users") && shown.contains("\"f\""), "{shown}");
}

#[test]
fn a_builder_sees_json_values_whatever_features_serde_json_has() {
    // `tests/feature_unification` compares the same values with the same file, with more features turned on.
    let mut text = String::new();
    for (name, value) in value_cases::values() {
        let key = seen(call("f").arg(value), |cx| cx.scoped(&cx.args()[0].to_string()));
        writeln!(text, "{name}\t{key}").expect("a String takes any text");
    }
    golden::assert_golden("custom_keys_of_values.txt", &text);
}
