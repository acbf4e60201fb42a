//! Arguments of type `serde_json::Value`, whose keys must be the same whatever features `serde_json` has.

use serde_json::{Value, json};

/// JSON texts, read by `serde_json` with whatever features it has.
const TEXTS: &[&str] = &[
    "null",
    "true",
    "0",
    "-0",
    "0.0",
    "-0.0",
    "0e5",
    "1",
    "-1",
    "1.0",
    "1.50",
    "0.1",
    "-0.1",
    "1e2",
    "1E+2",
    "100.0",
    "1e-7",
    "1e16",
    "1e21",
    "1e22",
    "1e300",
    "123456789.125",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    r#""1""#,
    r#""é \" \\ \n \u0000 \ud83e\udd80""#,
    "[]",
    "[1,1.0,\"1\",[1]]",
    "{}",
    r#"{"b":1,"a":2}"#,
    r#"{"a":2,"b":1}"#,
    r#"{ "z" : { "y" : [ { "b" : 0.10, "a" : 1e1 } ], "x" : null }, "A" : 1, "a" : 2, "a b" : 3, "a!" : 4, "é" : 5 }"#,
    r#"{"10":1,"9":2,"":3}"#,
];

/// Each value with a name for it that stands on one line. None is made of an `f32`, and none has more digits
/// than an `f64`: of those, `serde_json` itself makes another value under `arbitrary_precision`.
pub(crate) fn values() -> Vec<(String, Value)> {
    let read = TEXTS.iter().map(|text| (format!("text {text}"), serde_json::from_str(text).expect("the text is JSON")));
    let made = [
        ("made 1", json!(1)),
        ("made -1", json!(-1)),
        ("made 0.1", json!(0.1)),
        ("made -0.0", json!(-0.0)),
        ("made 1.0", json!(1.0)),
        ("made 1e300", json!(1e300)),
        ("made 5e-324", json!(5e-324)),
        ("made f64::MAX", json!(f64::MAX)),
        ("made 1/3", json!(1.0 / 3.0)),
        ("made u64::MAX", json!(u64::MAX)),
        ("made i64::MIN", json!(i64::MIN)),
        ("made object", json!({"b": {"d": 1e2, "c": [1, 2.5]}, "a": "x"})),
    ];
    read.chain(made.map(|(name, value)| (name.to_owned(), value))).collect()
}
