mod context;
mod prefix;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use proptest::prelude::*;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::framed::canonical_text;
use super::*;
use crate::error::Error;
use crate::options::CacheOptions;

use crate::golden;
#[path = "../../tests/golden/value_cases.rs"]
mod value_cases;

fn scope() -> Scope {
    Scope::new("cachehouse", "main").expect("both parts are given")
}

/// The key of a call on a handle with default options; the same hashes each time.
fn key(options: &CacheOptions) -> CallKey {
    keyed(options, None).expect("the call has a key")
}

fn keyed(options: &CacheOptions, builder: Option<&Arc<dyn KeyBuilder>>) -> Result<CallKey, Error> {
    key_in(&scope(), options, builder)
}

fn key_in(scope: &Scope, options: &CacheOptions, builder: Option<&Arc<dyn KeyBuilder>>) -> Result<CallKey, Error> {
    let mut key = CallKey::unwritten();
    options.write_key(&mut key, scope, builder, 0, None, &BuildHasherDefault::<DefaultHasher>::default())?;
    Ok(key)
}

fn on_server(options: &CacheOptions) -> String {
    text_of(&key(options))
}

fn text_of(key: &CallKey) -> String {
    String::from_utf8(key.server_key().to_vec()).expect("keys are text")
}

fn call(name: &str) -> CacheOptions {
    CacheOptions::new(name).module("app")
}

#[track_caller]
fn assert_differ(one: &CacheOptions, two: &CacheOptions) {
    assert_ne!(key(one).as_bytes(), key(two).as_bytes(), "in memory");
    assert_ne!(on_server(one), on_server(two), "on the server");
}

#[track_caller]
fn assert_same(one: &CacheOptions, two: &CacheOptions) {
    assert_eq!(key(one).as_bytes(), key(two).as_bytes(), "in memory");
    assert_eq!(key(one).hash(), key(two).hash(), "their hashes");
    assert_eq!(on_server(one), on_server(two), "on the server");
}

#[derive(Serialize)]
struct Query {
    text: &'static str,
    page: Option<Page>,
    tags: Vec<&'static str>,
}

#[derive(Serialize)]
struct Page {
    size: u16,
    after: Option<i64>,
}

#[derive(Serialize)]
enum Sort {
    Newest,
    Field(&'static str),
    Weighted(f64, f32),
    Near { longitude: f64, latitude: f64 },
}

struct Bytes(&'static [u8]);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[test]
fn a_version_is_part_of_the_key_unless_its_zero() {
    let options = || call("f").arg(1);
    assert_eq!(on_server(&options()), on_server(&options().version(0)));
    let all: BTreeSet<String> = (0..4).chain([u32::MAX]).map(|n| on_server(&options().version(n))).collect();
    assert_eq!(all.len(), 5);
    // No arguments look like one.
    assert_ne!(on_server(&options().version(7)), on_server(&options().arg(7)));

    let builder: Arc<dyn KeyBuilder> = Arc::new(|cx: &KeyContext<'_>| cx.scoped(&format!("f{}", cx.version())));
    let custom = |n| text_of(&keyed(&options().version(n), Some(&builder)).expect("it has a key"));
    assert_eq!((custom(0), custom(3)), ("cachehouse:main:f0".into(), "cachehouse:main:f3:v3".into()));
}

#[test]
fn keys_of_running_programs_stay_what_they_are() {
    let query = Query { text: "a", page: Some(Page { size: 20, after: None }), tags: vec!["x", "y"] };
    let cases = [
        ("no module, no arguments", CacheOptions::new("f")),
        ("a module", call("f")),
        ("integers", call("f").arg(0).arg(-1_i8).arg(u64::MAX).arg(i64::MIN).arg(u128::MAX)),
        ("floats", call("f").arg(0.1).arg(-0.0).arg(1.0).arg(0.1_f32).arg(1e16).arg(1e300).arg(5e-324)),
        ("texts with escapes", call("f \"g\"").arg("\"\\/\u{8}\t\n\u{c}\r\0\u{1f}\u{7f}").arg('\'')),
        ("texts in Unicode", call("søk").arg("blåbær").arg("🦀").arg("\u{2028}")),
        ("truth, nothing, something", call("f").arg(true).arg(()).arg(None::<u8>).arg(Some(1)).arg(Some("None"))),
        (
            "something that is nothing",
            call("f").arg(Some(())).arg(Some(None::<u8>)).arg([Some(Some(None::<u8>))]).kwarg("a", Some(Value::Null)),
        ),
        ("nested structs", call("f").arg(query)),
        ("enums", call("f").arg(Sort::Newest).arg(Sort::Field("name"))),
        (
            "enums with fields",
            call("f").arg(Sort::Weighted(1.5, 2.5)).arg(Sort::Near { longitude: 5.3, latitude: 60.4 }),
        ),
        ("maps with text keys", call("f").arg(HashMap::from([("b", 1), ("a", 2), ("a!", 3), ("a b", 4)]))),
        (
            "maps with other keys",
            call("f").arg(BTreeMap::from([(9, "x"), (10, "y")])).arg(HashMap::from([((1, 'a'), 2)])),
        ),
        (
            "maps with nothing and truth for keys",
            call("f").arg(BTreeMap::from([(None, 1), (Some(2.5.to_string()), 2)])).arg(HashMap::from([(true, 1)])),
        ),
        ("tuples and lists", call("f").arg((1, "two", [3.0])).arg([[1, 2], [3, 4]]).arg([0; 0])),
        ("bytes", call("f").arg(Bytes(&[0, 127, 255])).arg(b"ab")),
        ("keyword arguments", call("f").arg(1).kwarg("z", "last").kwarg("a", [1]).kwarg("é\"", None::<u8>)),
        ("a version", call("f").arg(1).kwarg("a", 2).version(7)),
        ("another scope", call("f").arg(1).key_prefix("my app").namespace("a:b%c é")),
    ];
    let mut text = String::new();
    for (what, options) in cases {
        let key = key(&options);
        let canonical =
            String::from_utf8(canonical_text(&key.as_bytes()[1 + key.scope().map_or(0, str::len)..]).to_vec())
                .expect("it's UTF-8");
        writeln!(text, "# {what}\n{canonical}\n{}\n", text_of(&key)).expect("a String takes any text");
    }
    golden::assert_golden("keys.txt", &text);
}

#[test]
fn keys_of_json_values_do_not_depend_on_features_of_serde_json() {
    // `tests/feature_unification` compares the same values with the same file, with those features turned on.
    let mut text = String::new();
    for (name, value) in value_cases::values() {
        writeln!(text, "{name}\t{}", on_server(&call("f").arg(value))).expect("a String takes any text");
    }
    golden::assert_golden("keys_of_values.txt", &text);
}

#[test]
fn a_default_key_is_the_scope_and_the_sha1_of_the_canonical_text() {
    // The SHA-1 of `["app","f",[1],{"k":"v"}]`, computed by another program.
    let expected = "cachehouse:main:42174d6ad5c24da504ebb4f82953be28fc0e255d";
    assert_eq!(on_server(&call("f").arg(1).kwarg("k", "v")), expected);
}

#[test]
fn modules_names_and_arguments_make_different_keys() {
    assert_differ(&call("f"), &call("g"));
    assert_differ(&call("f"), &call("f").module("other"));
    assert_differ(&call("f"), &CacheOptions::new("f"));
    assert_differ(&CacheOptions::new("f"), &CacheOptions::new("f").module("null"));
    assert_same(&CacheOptions::new("f"), &CacheOptions::new("f").module(""));
    assert_differ(&CacheOptions::new("fg").module("e"), &CacheOptions::new("g").module("ef"));
    assert_differ(&call("f"), &call("f").arg(()));
    assert_differ(&call("f").arg(1), &call("f").arg(2));
}

#[test]
fn arguments_do_not_flow_into_their_neighbours() {
    assert_differ(&call("f").arg("ab").arg("c"), &call("f").arg("a").arg("bc"));
    assert_differ(&call("f").arg("a,b"), &call("f").arg("a").arg("b"));
    assert_differ(&call("f").arg("a\",\"b"), &call("f").arg("a").arg("b"));
    assert_differ(&call("f").arg([1, 2]), &call("f").arg(1).arg(2));
    assert_differ(&call("f").arg((1, 2)), &call("f").arg(((1,), 2)));
    assert_differ(&call("f").arg(1).arg(23), &call("f").arg(12).arg(3));
    assert_differ(&call("f\",[1").arg(2), &call("f").arg(1).arg(2));
}

#[test]
fn arguments_of_different_types_make_different_keys() {
    assert_differ(&call("f").arg(1), &call("f").arg("1"));
    assert_differ(&call("f").arg(1), &call("f").arg(1.0));
    assert_differ(&call("f").arg(1), &call("f").arg(true));
    assert_differ(&call("f").arg(()), &call("f").arg("null"));
    assert_differ(&call("f").arg([0; 0]), &call("f").arg(BTreeMap::<String, u8>::new()));
    assert_differ(&call("f").arg("a"), &call("f").arg(["a"]));
}

#[test]
fn arguments_that_json_writes_alike_make_different_keys() {
    #[derive(Serialize, PartialEq, Eq, Hash)]
    #[serde(untagged)]
    enum Id {
        Number(u8),
        Text(&'static str),
        Missing,
    }
    let map = |id| call("f").arg(HashMap::from([(id, true)]));
    assert_differ(&call("f").arg(None::<Option<u32>>), &call("f").arg(Some(None::<u32>)));
    assert_differ(&call("f").arg(Some(None::<Option<()>>)), &call("f").arg(Some(Some(None::<()>))));
    assert_differ(&call("f").arg(None::<()>), &call("f").arg(Some(())));
    assert_differ(&call("f").arg(None::<Value>), &call("f").arg(Some(Value::Null)));
    assert_differ(&call("f").kwarg("a", None::<Value>), &call("f").kwarg("a", Some(Value::Null)));
    assert_differ(&map(Id::Number(1)), &map(Id::Text("1")));
    assert_differ(&map(Id::Missing), &map(Id::Text("null")));
    assert_same(&call("f").arg(Some(3)), &call("f").arg(3));
    assert_same(&call("f").arg(None::<u32>), &call("f").arg(Value::Null));
}

#[test]
fn positional_and_keyword_arguments_make_different_keys() {
    assert_differ(&call("f").arg(1), &call("f").kwarg("n", 1));
    assert_differ(&call("f").kwarg("n", 1), &call("f").kwarg("m", 1));
    assert_differ(&call("f").arg(BTreeMap::from([("n", 1)])), &call("f").kwarg("n", 1));
    assert_differ(&call("f").kwarg("a\":1,\"b", 2), &call("f").kwarg("a", 1).kwarg("b", 2));
}

#[test]
fn the_order_of_keyword_arguments_makes_no_difference_and_the_last_of_one_name_counts() {
    assert_same(&call("f").kwarg("a", 1).kwarg("b", 2), &call("f").kwarg("b", 2).kwarg("a", 1));
    assert_same(&call("f").kwarg("a", 1).kwarg("a", 2), &call("f").kwarg("a", 2));
    assert_differ(&call("f").arg(1).arg(2), &call("f").arg(2).arg(1));
}

#[test]
fn a_prefix_is_never_taken_for_a_namespace() {
    let under = |prefix: &str, namespace: &str| call("f").key_prefix(prefix).namespace(namespace);
    assert_differ(&under("a:b", "c"), &under("a", "b:c"));
    assert_differ(&under("a%3Ab", "c"), &under("a:b", "c"));
    assert_differ(&under("a", "%"), &under("a", "%25"));
    assert_differ(&under("ab", "c"), &under("a", "bc"));
    assert_differ(&under("a", "b"), &under("b", "a"));
    assert_same(&under("cachehouse", "main"), &call("f"));
}

#[test]
fn options_override_the_scope_of_the_handle_part_by_part() {
    assert!(on_server(&call("f").namespace("users")).starts_with("cachehouse:users:"));
    assert!(on_server(&call("f").key_prefix("app")).starts_with("app:main:"));
    assert_eq!(key(&call("f").namespace("a:b")).scope(), Some("cachehouse:a%3Ab:"));
}

#[test]
fn what_cannot_be_serialized_makes_the_call_unkeyable_and_is_not_quoted() {
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("hunter2"))
        }
    }
    let message = |options: CacheOptions| {
        let error = keyed(&options, None).expect_err("the call is unkeyable");
        assert!(error.is_key(), "{error:?}");
        assert!(!format!("{error} {error:?} {options:?}").contains("hunter2"), "{error:?} {options:?}");
        assert!(std::error::Error::source(&error).is_none(), "the source would quote the value");
        error.to_string()
    };
    let positional = "the call has no key: a positional argument can't be serialized";
    assert_eq!(message(call("f").arg(Refuses)), positional);
    assert_eq!(message(call("f").arg(("hunter2", Refuses))), positional);
    assert_eq!(message(call("f").arg(1).arg(f64::NAN).arg(2)), positional);
    assert_eq!(message(call("f").arg(Some(f32::INFINITY))), positional);
    let keyword = "the call has no key: the argument `limit` can't be serialized";
    assert_eq!(message(call("f").kwarg("limit", f64::NEG_INFINITY)), keyword);
    assert_eq!(message(call("f").kwarg("limit", Refuses).kwarg("limit", 1)), keyword);
    let tag = "the call has no key: a tag is empty; accepts 1 to 512 bytes";
    assert_eq!(message(call("f").tag("").arg(f64::NAN)), tag, "the first problem is told");
    let tag = "the call has no key: a tag has 513 bytes; accepts 1 to 512";
    assert_eq!(message(call("f").tags(["a", &format!("{:.>513}", "hunter2"), "b"])), tag);
}

#[test]
fn an_empty_scope_of_a_call_makes_it_unkeyable() {
    for (options, part) in [(call("f").namespace(""), "namespace"), (call("f").key_prefix(""), "key_prefix")] {
        let error = keyed(&options, None).expect_err("a part is empty");
        assert!(error.is_key(), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let unnamed = scope().with_namespace("");
    assert!(key_in(&unnamed, &call("f"), None).expect_err("no namespace").is_key());
    key_in(&unnamed, &call("f").namespace("main"), None).expect("the call names one itself");
}

#[test]
fn debug_shows_no_argument() {
    let options = call("f").arg("hunter2").kwarg("token", "hunter2").arg(BTreeMap::from([("hunter2", 1)]));
    let shown = format!("{options:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("token"), "names of arguments are shown: {shown}");
    let shown = format!("{:?}", key(&options));
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(format!("cachehouse:main:{shown}"), on_server(&options), "a key is shown as its hash");

    let custom = options.key_builder(|cx: &KeyContext<'_>| cx.scoped(&cx.args()[0].to_string()));
    assert!(on_server(&custom).contains("hunter2"));
    let shown = format!("{:?} {custom:?}", key(&custom));
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn opts_takes_positional_then_keyword_arguments_by_reference() {
    let (page, lang) = (3, String::from("no"));
    let long = || CacheOptions::new("f").module(module_path!());
    assert_same(&crate::opts!("f"), &long());
    assert_same(&crate::opts!("f", page, &lang), &long().arg(3).arg("no"));
    assert_same(&crate::opts!("f", page, lang = lang, n = page + 1,), &long().arg(3).kwarg("lang", "no").kwarg("n", 4));
    assert_same(&crate::opts!("f", lang = lang).namespace("n"), &long().kwarg("lang", "no").namespace("n"));
}

/// A call, of few enough kinds that two are often equal or almost.
#[derive(Clone, Debug, PartialEq)]
struct AnyCall {
    module: Option<String>,
    name: String,
    args: Vec<Value>,
    kwargs: BTreeMap<String, Value>,
    scope: (String, String),
}

impl AnyCall {
    fn options(&self) -> CacheOptions {
        let mut options = CacheOptions::new(&self.name).key_prefix(&self.scope.0).namespace(&self.scope.1);
        if let Some(module) = &self.module {
            options = options.module(module.clone());
        }
        for arg in &self.args {
            options = options.arg(arg);
        }
        // Backwards, as the order makes no difference.
        for (name, value) in self.kwargs.iter().rev() {
            options = options.kwarg(name, value);
        }
        options
    }
}

fn any_call() -> impl Strategy<Value = AnyCall> {
    let leaf = prop_oneof![
        Just(Value::Null),
        (0..2_i32).prop_map(Value::from),
        Just(Value::from(1.0)),
        "[1,\"]{0,2}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab\"]{0,1}", inner, 0..3).prop_map(|map| map.into_iter().collect()),
        ]
    });
    let args = prop::collection::vec(value.clone(), 0..3);
    let kwargs = prop::collection::btree_map("[ab\"]{0,1}", value, 0..3);
    let scope = ("[a:%]{1,2}", "[a:%]{1,2}");
    (prop::option::of("[fm,\"]{1,2}"), "[f,\"]{0,2}", args, kwargs, scope)
        .prop_map(|(module, name, args, kwargs, scope)| AnyCall { module, name, args, kwargs, scope })
}

/// Two calls that differ in one part at most.
fn near_calls() -> impl Strategy<Value = (AnyCall, AnyCall)> {
    (any_call(), any_call(), 0..5).prop_map(|(one, other, part)| {
        let mut two = one.clone();
        match part {
            0 => two.module = other.module,
            1 => two.name = other.name,
            2 => two.args = other.args,
            3 => two.kwargs = other.kwargs,
            _ => two.scope = other.scope,
        }
        (one, two)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn calls_have_one_key_exactly_where_they_are_equal((one, two) in near_calls()) {
        let (one_key, two_key) = (key(&one.options()), key(&two.options()));
        prop_assert_eq!(one_key.as_bytes() == two_key.as_bytes(), one == two);
        prop_assert_eq!(one_key.server_key() == two_key.server_key(), one == two);
        prop_assert_eq!(one_key.hash() == two_key.hash(), one == two);
    }
}

#[test]
fn a_custom_key_that_ends_as_a_default_one_is_known_for_it() {
    let default = key(&call("f").arg(1));
    assert_eq!(default.kind(), Kind::Default);
    let text = text_of(&default);
    let kind = |text: &str| {
        let text = text.to_owned();
        key(&call("f").key_builder(move |_: &KeyContext<'_>| text.clone())).kind()
    };
    assert_eq!(kind(&text), Kind::LikeDefault);
    for other in [&text[1..], &text[..text.len() - 1], &text.to_uppercase(), &text.replace(':', "-"), "x"] {
        let like = if other == &text[1..] { Kind::LikeDefault } else { Kind::Custom };
        assert_eq!(kind(other), like, "{other}");
    }
}
