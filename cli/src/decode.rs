//! What stored bytes are, as far as they show it.

use std::fmt;

use cache_house::codec::{Codec, Compressed, Envelope, Json, KeyId, MessagePack};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// The format that the bytes look like, and their value where it decodes.
#[derive(Debug, PartialEq)]
pub(crate) struct Guess {
    pub(crate) codec: &'static str,
    pub(crate) value: Option<Value>,
    pub(crate) is_compressed: bool,
    /// The key that is needed to read it, where the bytes name one.
    pub(crate) encrypted_by: Option<KeyId>,
}

impl Guess {
    pub(crate) fn of(codec: &'static str, value: Option<Value>) -> Self {
        Self { codec, value, is_compressed: false, encrypted_by: None }
    }
}

/// The envelope first, which has a mark. JSON, which is the default, before MessagePack: only a single digit is both.
pub(crate) fn guess(bytes: &[u8]) -> Guess {
    match Envelope::of(bytes) {
        Some(Envelope::Encrypted { key }) => return Guess { encrypted_by: key, ..Guess::of("encrypted", None) },
        Some(_) => return compressed(bytes),
        None => {}
    }
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Guess::of("json", Some(value));
    }
    match decoded(&MessagePack, bytes) {
        Some(value) => Guess::of("messagepack", Some(value)),
        None if !bytes.is_empty() && std::str::from_utf8(bytes).is_ok() => Guess::of("text", None),
        None => Guess::of("bytes", None),
    }
}

/// What was compressed; its value isn't shown if it's of another codec, or too large.
fn compressed(bytes: &[u8]) -> Guess {
    let (json, messagepack) = (Compressed::new(Json), Compressed::new(MessagePack));
    let guess = match decoded(&json, bytes) {
        Some(value) => Guess::of("json", Some(value)),
        None => match decoded(&messagepack, bytes) {
            Some(value) => Guess::of("messagepack", Some(value)),
            None => Guess::of("bytes", None),
        },
    };
    Guess { is_compressed: true, ..guess }
}

fn decoded(codec: &impl Codec, bytes: &[u8]) -> Option<Value> {
    let mut value = None;
    let decoded = codec.decode(bytes, &mut |deserializer| {
        value = Some(DEEPEST.deserialize(deserializer)?);
        Ok(())
    });
    value.filter(|_| decoded.is_ok())
}

/// Reads any value as JSON has it: bytes as hexadecimal text, the keys of maps as text. It may be nested so much deeper.
#[derive(Clone, Copy)]
struct Reader {
    depth: u8,
}

/// As deep as JSON is read, too: whoever may write to the server chooses the depth.
const DEEPEST: Reader = Reader { depth: 128 };

impl Reader {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("it's nested too deep"))?;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        // JSON has no numbers that aren't finite.
        Ok(if value.is_finite() { value.into() } else { value.to_string().into() })
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(hex(value).into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self.inner()?)
    }

    /// An extension of MessagePack: its type and its bytes.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self.inner()?)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let (inner, mut array) = (self.inner()?, Vec::new());
        while let Some(element) = elements.next_element_seed(inner)? {
            array.push(element);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let (inner, mut object) = (self.inner()?, Map::new());
        while let Some((key, value)) = members.next_entry_seed(inner, inner)? {
            let key = match key {
                Value::String(key) => key,
                key => key.to_string(),
            };
            object.insert(key, value);
        }
        Ok(object.into())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use cache_house::codec::{Encrypted, EncryptionKey};
    use serde_json::json;

    fn messagepack(value: &impl serde::Serialize) -> Vec<u8> {
        MessagePack.encode(value).expect("it can be encoded")
    }

    #[test]
    fn json_and_messagepack_are_told_apart() {
        let value = json!({"name": "Ada", "tags": ["a", null, -1, 0.5], "ok": true});
        assert_eq!(guess(value.to_string().as_bytes()), Guess::of("json", Some(value.clone())));
        assert_eq!(guess(&messagepack(&value)), Guess::of("messagepack", Some(value)));
        assert_eq!(guess(&messagepack(&7_u8)), Guess::of("messagepack", Some(json!(7))));
        assert_eq!(guess(b"7"), Guess::of("json", Some(json!(7))));
    }

    #[test]
    fn what_is_compressed_is_shown_and_what_is_encrypted_is_not() {
        let value = json!({"name": "Ada", "numbers": [1.5, null, -1], "text": "x".repeat(100)});
        let compressed = |guess| Guess { is_compressed: true, ..guess };
        let json = Compressed::new(Json).min_size(0).encode(&value).expect("it can be encoded");
        assert_eq!(guess(&json), compressed(Guess::of("json", Some(value.clone()))));
        let messagepack = Compressed::new(MessagePack).min_size(0).encode(&value).expect("it can be encoded");
        assert_eq!(guess(&messagepack), compressed(Guess::of("messagepack", Some(value.clone()))));
        assert_eq!(guess(&json[..json.len() - 1]), compressed(Guess::of("bytes", None)));

        let key = EncryptionKey::from_bytes([7; 32]);
        let (id, codec) = (key.id(), Encrypted::new(Json, key));
        let encrypted = codec.encode_for("k", &value).expect("it can be encrypted");
        assert_eq!(guess(&encrypted), Guess { encrypted_by: Some(id), ..Guess::of("encrypted", None) });
        assert_eq!(guess(&encrypted[..5]), Guess::of("encrypted", None));
    }

    #[test]
    fn what_json_lacks_is_shown_as_text() {
        let map = BTreeMap::from([(1_u8, f64::NAN)]);
        assert_eq!(guess(&messagepack(&map)).value, Some(json!({"1": "NaN"})));
        // Of MessagePack's type for bytes.
        assert_eq!(guess(&[0xc4, 2, 0xab, 0xcd]).value, Some(json!("abcd")));
        // An extension of type 5.
        assert_eq!(guess(&[0xd4, 5, 0xab]).value, Some(json!([5, "ab"])));
    }

    #[test]
    fn other_bytes_are_text_or_bytes() {
        for (bytes, codec) in [(&b"plain text"[..], "text"), (b"", "bytes"), (b"\xff\xfe{", "bytes"), (b"[1", "text")] {
            assert_eq!(guess(bytes), Guess::of(codec, None), "{bytes:?}");
        }
        // Deeper than any value; an error and no overflow.
        let deep = vec![0x91; 1_000_000];
        assert_eq!(guess(&deep).codec, "bytes");
        assert_eq!(guess("[".repeat(1_000_000).as_bytes()).codec, "text");
    }
}
