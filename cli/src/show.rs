//! `cachehouse show`: one key.

use std::time::Duration;

use cache_house::operate::{Expiry, KeyKind, KeyReport};
use serde::Serialize;
use serde_json::Value;

use crate::arguments::{Common, Show};
use crate::decode::{Guess, guess, hex};
use crate::failure::Failure;
use crate::output::{self, harmless, one_line};
use crate::session::Session;

/// Bytes that are shown of a value that doesn't decode.
const MOST_BYTES: usize = 256;

#[derive(Serialize)]
struct Shown<'a> {
    key: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    /// The key whose lease it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_of: Option<&'a str>,
    /// `null`: never, or it isn't known.
    expires_in_ms: Option<u64>,
    bytes: usize,
    codec: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    compressed: bool,
    /// The id of the key that it was encrypted with.
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted_by: Option<String>,
    value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// The first bytes of what isn't even text.
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

pub(crate) async fn run(common: &Common, show: &Show) -> Result<(), Failure> {
    let session = Session::open(common).await?;
    let read = session.operator.read(&show.key).await;
    let endpoint = session.endpoint.clone();
    session.close().await;
    let Some((report, bytes)) = read? else {
        return Err(Failure::finding(format!("there is no key {} on {endpoint}", one_line(&show.key))));
    };
    if show.raw {
        return output::print_bytes(&bytes);
    }
    let shown = shown(&report, &bytes);
    if common.json { output::print_json(&shown) } else { output::print(&text(&report, &shown)?) }
}

fn shown<'a>(report: &'a KeyReport, bytes: &'a [u8]) -> Shown<'a> {
    let (kind, namespace, tag, lease_of) = match &report.kind {
        KeyKind::Value { namespace } => ("value", namespace.as_deref(), None, None),
        KeyKind::Lease { of } => ("lease", None, None, Some(of.as_str())),
        KeyKind::Tag { tag } => ("tag", None, Some(tag.as_str()), None),
        KeyKind::NearCache => ("near cache", None, None, None),
        _ => ("another", None, None, None),
    };
    // What the cache stores for itself is of no codec, though some tokens look like numbers.
    let guess = match kind {
        "value" => guess(bytes),
        _ if std::str::from_utf8(bytes).is_ok() => Guess::of("text", None),
        _ => Guess::of("bytes", None),
    };
    let codec = guess.codec;
    let text = std::str::from_utf8(bytes).ok().filter(|_| codec == "text");
    let hex = (codec == "bytes").then(|| hex(&bytes[..bytes.len().min(MOST_BYTES)]));
    let expires_in_ms = match report.expiry {
        Expiry::In(left) => u64::try_from(left.as_millis()).ok(),
        _ => None,
    };
    Shown {
        key: &report.key,
        kind,
        namespace,
        tag,
        lease_of,
        expires_in_ms,
        bytes: bytes.len(),
        codec,
        compressed: guess.is_compressed,
        encrypted_by: guess.encrypted_by.map(|id| id.to_string()),
        value: guess.value,
        text,
        hex,
    }
}

fn text(report: &KeyReport, shown: &Shown<'_>) -> Result<String, Failure> {
    let kind = match &report.kind {
        KeyKind::Value { namespace: Some(namespace) } => format!("a value of the namespace {namespace}"),
        KeyKind::Value { namespace: None } => "a value under another key prefix than the configuration's".to_owned(),
        KeyKind::Lease { of } => format!("the lease of {of}: its value is being computed"),
        KeyKind::Tag { tag } => format!("the token of the tag {tag}, part of the keys of all calls with it"),
        KeyKind::NearCache => "what a near cache is checked by".to_owned(),
        _ => "of the cache's own".to_owned(),
    };
    let expiry = match report.expiry {
        Expiry::In(left) => format!("in {}", output::time(left.max(Duration::from_millis(1)))),
        Expiry::Never => "never: no call of cache-house stores so".to_owned(),
        _ => "unknown".to_owned(),
    };
    let value = match (&shown.value, shown.text, &shown.hex) {
        (Some(value), ..) => {
            serde_json::to_string_pretty(value).map_err(|error| Failure::finding(error.to_string()))?
        }
        (None, Some(text), _) => text.to_owned(),
        _ if shown.codec == "encrypted" => "not shown: the program that has the key reads it".to_owned(),
        (None, None, Some(hex)) if shown.bytes > MOST_BYTES => format!("{hex}… (--raw has all)"),
        (None, None, hex) => hex.clone().unwrap_or_default(),
    };
    let codec = match (&shown.encrypted_by, shown.compressed) {
        (Some(id), _) => format!("encrypted, by the key {id}"),
        (None, true) => format!("{}, compressed", shown.codec),
        (None, false) => shown.codec.to_owned(),
    };
    let lines = [
        ("key", one_line(shown.key)),
        ("kind", one_line(&kind)),
        ("expires", expiry),
        ("size", output::size(shown.bytes as f64)),
        ("codec", codec),
    ];
    let lines: String = lines.iter().map(|(name, text)| format!("{name:8} {text}\n")).collect();
    Ok(format!("{lines}\n{}", harmless(&value)))
}
