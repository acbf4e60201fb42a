//! Codecs around codecs: what is stored, and what of it is read.

use super::*;
use crate::error::Error;

fn key(seed: u8) -> EncryptionKey {
    EncryptionKey::from_bytes([seed; 32])
}

const OTHER_KEY: KeyOf<'static> = &|| bytes::Bytes::from_static(b"app:main:0b");

fn cause(error: Error) -> String {
    error.source().map(ToString::to_string).expect("there is a cause")
}

/// Of all types, in every order.
fn all() -> Vec<SharedCodec> {
    vec![
        SharedCodec::new(Compressed::new(Json).min_size(0)),
        SharedCodec::new(Compressed::new(Compressed::new(Backwards).min_size(0)).min_size(0)),
        SharedCodec::new(Encrypted::new(Json, key(1))),
        SharedCodec::new(Encrypted::new(Compressed::new(Json).min_size(0), key(1))),
        SharedCodec::new(Compressed::new(Encrypted::new(Backwards, key(1))).min_size(0)),
        SharedCodec::new(Encrypted::new(Encrypted::new(Json, key(1)), key(2)).previous(key(3))),
        #[cfg(feature = "messagepack")]
        SharedCodec::new(Compressed::new(MessagePack).min_size(0)),
        #[cfg(feature = "messagepack")]
        SharedCodec::new(Encrypted::new(Compressed::new(MessagePack).min_size(0), key(1))),
    ]
}

#[test]
fn a_large_value_is_compressed_and_a_small_one_is_plain() {
    let codec = SharedCodec::new(Compressed::new(Json).min_size(100));
    let small = codec.encode(KEY, &"x".repeat(97)).expect("a text");
    assert_eq!(small, json().encode(KEY, &"x".repeat(97)).expect("a text"));
    let large = codec.encode(KEY, &"x".repeat(98)).expect("a text");
    assert!(large.len() < 40 && Envelope::of(&large) == Some(Envelope::Compressed), "{large:?}");
    for (stored, len) in [(&small, 97), (&large, 98)] {
        assert_eq!(codec.decode::<String>(KEY, stored).expect("it was stored").len(), len);
    }
    // What was stored before compression, and by another codec that reads the same.
    let plain = json().encode(KEY, &"x".repeat(1000)).expect("a text");
    assert_eq!(codec.decode::<String>(KEY, &plain).expect("it was stored").len(), 1000);
    assert!(json().decode::<String>(KEY, &large).expect_err("it's compressed").is_codec());
    #[cfg(feature = "messagepack")]
    assert!(SharedCodec::new(MessagePack).decode::<String>(KEY, &large).expect_err("it's compressed").is_codec());
}

#[test]
fn an_encrypted_value_is_read_by_its_codec_under_its_key_alone() {
    let codec = SharedCodec::new(Encrypted::new(Compressed::new(Json), key(1)));
    let stored = codec.encode(KEY, &ada()).expect("it can be encrypted");
    assert_eq!(codec.decode::<User>(KEY, &stored).expect("it's ours"), ada());
    assert!(!stored.windows(3).any(|part| part == b"Ada"));
    assert!(codec.decode::<User>(OTHER_KEY, &stored).expect_err("it was moved").is_codec());
    let plain = json().encode(KEY, &ada()).expect("it has JSON");
    assert_eq!(cause(codec.decode::<User>(KEY, &plain).expect_err("it's plain")), "it isn't encrypted");
    let mut others = vec![SharedCodec::new(Encrypted::new(Compressed::new(Json), key(2))), json()];
    others.push(SharedCodec::new(Compressed::new(Json)));
    #[cfg(feature = "messagepack")]
    others.push(SharedCodec::new(MessagePack));
    for other in others {
        assert!(other.decode::<User>(KEY, &stored).expect_err("it's encrypted").is_codec(), "{other:?}");
    }
    let rotated = SharedCodec::new(Encrypted::new(Compressed::new(Json), key(2)).previous(key(1)));
    assert_eq!(rotated.decode::<User>(KEY, &stored).expect("its key is known"), ada());
}

/// A codec of a user's own that forgets the key.
#[test]
fn nothing_is_encrypted_without_its_key() {
    let around = SharedCodec::new(Erased(Encrypted::new(Json, key(1))));
    for error in [
        around.encode(KEY, &1).expect_err("there is no key"),
        around.decode::<u8>(KEY, b"1").expect_err("there is no key"),
    ] {
        assert!(cause(error).contains("hand on `encode_for`"));
    }
}

#[test]
fn codecs_around_codecs_are_the_same_if_they_read_the_same() {
    let compressed = |min, max| SharedCodec::new(Compressed::new(Json).min_size(min).max_size(max));
    assert!(compressed(1, 9).same_as(&compressed(2, 9)));
    assert!(!compressed(1, 9).same_as(&compressed(1, 8)));
    assert!(!compressed(1, 9).same_as(&json()) && !json().same_as(&compressed(1, 9)));
    assert!(!compressed(1, 9).same_as(&SharedCodec::new(Compressed::new(Backwards).min_size(1).max_size(9))));

    let encrypted = |seed| Encrypted::new(Json, key(seed));
    let one = SharedCodec::new(encrypted(1));
    assert!(one.same_as(&SharedCodec::new(encrypted(1))), "created for each call");
    assert!(!one.same_as(&SharedCodec::new(encrypted(2))), "another key");
    assert!(!one.same_as(&SharedCodec::new(encrypted(1).previous(key(2)))), "one reads more");
    assert!(!one.same_as(&SharedCodec::new(Encrypted::new(Backwards, key(1)))), "another format");
    assert!(!one.same_as(&json()) && !one.same_as(&SharedCodec::new(Compressed::new(Json))));

    // Inside, too: what has fields is only the same as itself.
    let broken = |what| SharedCodec::new(Compressed::new(Broken(what)));
    assert!(!broken("one way").same_as(&broken("another")));
    let own = broken("one way");
    assert!(own.same_as(&own.clone()));
}

#[test]
fn no_key_is_shown() {
    let text = "c2VjcmV0IGh1bnRlcjIgaHVudGVyMiBodW50ZXIyISE=";
    let key: EncryptionKey = text.parse().expect("it's a key");
    let codec = Encrypted::new(Json, key.clone()).previous(key.clone());
    let shown = format!("{codec:?} {key:?}");
    assert_eq!(shown.matches(&format!("EncryptionKey({})", key.id())).count(), 3);
    assert!(!shown.contains("hunter2") && !shown.contains("c2Vj") && !shown.contains("104"), "{shown}");
}

proptest! {
    #[test]
    fn values_come_back_through_codecs_around_codecs(value in user()) {
        for codec in all() {
            let bytes = codec.encode(KEY, &value).expect("the value can be encoded");
            let back: User = codec.decode(KEY, &bytes).expect("its bytes can be decoded");
            prop_assert_eq!(&back, &value, "{:?}", codec);
        }
    }
}
