use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;

#[cfg(feature = "messagepack")]
use crate::golden;

#[cfg(all(feature = "encryption", feature = "lz4"))]
mod wrapping;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    balance: f64,
    tags: Vec<String>,
    manager: Option<Box<User>>,
    role: Role,
    limits: BTreeMap<u16, i64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Role {
    Guest,
    Member(char),
    Admin { since: i32, all: bool },
}

/// JSON written backwards: a format that no built-in codec can be taken for.
struct Backwards;

impl Codec for Backwards {
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        let mut bytes = serde_json::to_vec(value)?;
        bytes.reverse();
        Ok(bytes)
    }

    fn decode<'de>(
        &self,
        bytes: &'de [u8],
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        let forwards: Vec<u8> = bytes.iter().rev().copied().collect();
        let mut json = serde_json::Deserializer::from_reader(forwards.as_slice());
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut json))
    }
}

/// A codec whose failures the test chooses.
struct Broken(&'static str);

impl Codec for Broken {
    fn encode(&self, _: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        Err(self.0.into())
    }

    fn decode<'de>(
        &self,
        _: &'de [u8],
        _: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0.into()) }
    }
}

/// A built-in codec as one of a user's own, so that it's called through erasure.
struct Erased<C>(C);

impl<C: Codec> Codec for Erased<C> {
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        self.0.encode(value)
    }

    fn decode<'de>(
        &self,
        bytes: &'de [u8],
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        self.0.decode(bytes, read)
    }
}

/// What values are stored under, where it makes no difference.
const KEY: KeyOf<'static> = &|| bytes::Bytes::from_static(b"app:main:0a");

fn json() -> SharedCodec {
    SharedCodec::new(Json)
}

/// Every codec that there is, each called directly and through erasure.
fn all() -> Vec<SharedCodec> {
    vec![
        json(),
        SharedCodec::new(Erased(Json)),
        SharedCodec::new(Backwards),
        #[cfg(feature = "messagepack")]
        SharedCodec::new(MessagePack),
        #[cfg(feature = "messagepack")]
        SharedCodec::new(Erased(MessagePack)),
    ]
}

fn ada() -> User {
    let boss = User {
        id: u64::MAX,
        name: "Bøss \"B\"\n".into(),
        balance: -0.5,
        tags: Vec::new(),
        manager: None,
        role: Role::Guest,
        limits: BTreeMap::new(),
    };
    User {
        id: 7,
        name: "Ada".into(),
        balance: 1234.5,
        tags: vec!["a".into(), String::new()],
        manager: Some(Box::new(User { role: Role::Member('é'), ..boss })),
        role: Role::Admin { since: -1, all: true },
        limits: BTreeMap::from([(1, i64::MIN), (300, 0)]),
    }
}

#[track_caller]
fn assert_round_trips<T>(value: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + fmt::Debug,
{
    for codec in all() {
        let bytes = codec.encode(KEY, value).expect("the value can be encoded");
        assert_eq!(&codec.decode::<T>(KEY, &bytes).expect("its bytes can be decoded"), value, "{codec:?}");
    }
}

#[test]
fn what_is_stored_stays_readable_by_other_releases() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let line = |name: &str, codec: SharedCodec| {
        format!("{name} {}\n", hex(codec.encode(KEY, &ada()).expect("the value can be encoded")))
    };
    let expected = include_str!("../../tests/golden/wire.txt");
    let json_line = line("json", json());
    #[cfg(feature = "messagepack")]
    golden::assert_golden("wire.txt", &(json_line + &line("messagepack", SharedCodec::new(MessagePack))));
    #[cfg(not(feature = "messagepack"))]
    assert_eq!(expected.lines().next().map(|line| format!("{line}\n")), Some(json_line));
    for line in expected.lines() {
        let (name, hex) = line.split_once(' ').expect("a name and bytes");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("two hex digits");
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let codec = match name {
            "json" => json(),
            #[cfg(feature = "messagepack")]
            "messagepack" => SharedCodec::new(MessagePack),
            _ => continue,
        };
        assert_eq!(codec.decode::<User>(KEY, &bytes).expect("stored bytes can be decoded"), ada(), "{name}");
    }
}

#[test]
fn values_that_say_nothing_are_values() {
    assert_round_trips(&0);
    assert_round_trips(&String::new());
    assert_round_trips(&false);
    assert_round_trips(&None::<u8>);
    assert_round_trips(&Vec::<u8>::new());
    assert_round_trips(&());
}

#[test]
fn json_is_plain_text_without_an_envelope() {
    assert_eq!(json().encode(KEY, &("a", 1)).expect("a pair has JSON"), br#"["a",1]"#);
    assert_eq!(json().decode::<(String, u8)>(KEY, b" [\"a\", 1]\n").expect("white space is fine"), ("a".into(), 1));
}

#[test]
fn fields_may_be_added_and_reordered_between_releases() {
    #[derive(Serialize)]
    struct Old {
        id: u8,
        name: &'static str,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct New {
        name: String,
        #[serde(default)]
        age: u8,
        id: u8,
    }
    for codec in all() {
        let bytes = codec.encode(KEY, &Old { id: 1, name: "Ada" }).expect("the value can be encoded");
        let new: New = codec.decode(KEY, &bytes).expect("an old value can be read");
        assert_eq!(new, New { name: "Ada".into(), age: 0, id: 1 }, "{codec:?}");
    }
}

#[test]
fn erasure_changes_no_byte() {
    let bytes = |codec: SharedCodec| codec.encode(KEY, &ada()).expect("the value can be encoded");
    assert_eq!(bytes(json()), bytes(SharedCodec::new(Erased(Json))));
    #[cfg(feature = "messagepack")]
    assert_eq!(bytes(SharedCodec::new(MessagePack)), bytes(SharedCodec::new(Erased(MessagePack))));
}

#[test]
fn codecs_are_the_same_if_nothing_can_tell_them_apart() {
    assert!(matches!(json(), SharedCodec::BuiltIn(BuiltIn::Json)));
    assert!(json().same_as(&SharedCodec::default()), "JSON is the default");
    let (one, two) = (SharedCodec::new(Backwards), SharedCodec::new(Backwards));
    assert!(one.same_as(&one.clone()));
    assert!(one.same_as(&two), "there is nothing to set up");
    assert!(!one.same_as(&SharedCodec::new(Erased(Json))), "another type");
    let (one, two) = (SharedCodec::new(Broken("one way")), SharedCodec::new(Broken("another")));
    assert!(one.same_as(&one.clone()));
    assert!(!one.same_as(&two), "two codecs of one type may be set up differently");
    assert!(!one.same_as(&json()) && !json().same_as(&one));
    #[cfg(feature = "messagepack")]
    {
        let messagepack = SharedCodec::new(MessagePack);
        assert!(messagepack.same_as(&SharedCodec::new(MessagePack)));
        assert!(!messagepack.same_as(&json()) && !json().same_as(&messagepack));
    }
}

#[test]
fn bytes_that_do_not_decode_are_an_error_that_does_not_show_them() {
    for codec in all() {
        let wrong_type = codec.encode(KEY, &"hunter2").expect("a text can be encoded");
        let truncated = &codec.encode(KEY, &ada()).expect("the value can be encoded")[..9];
        for (bytes, cause) in [(wrong_type.as_slice(), "a wrong type"), (truncated, "half a value"), (b"", "nothing")] {
            let error = codec.decode::<User>(KEY, bytes).expect_err(cause);
            assert!(error.is_codec(), "{codec:?} {cause}: {error:?}");
            assert!(error.source().is_some(), "{codec:?} {cause}: the cause is kept");
            assert_eq!(error.to_string(), "the stored bytes could not be decoded");
            assert!(!format!("{error:?}").contains("hunter2"), "{codec:?} {cause}: {error:?}");
        }
    }
}

#[test]
fn json_followed_by_something_else_is_not_decoded() {
    for codec in [json(), SharedCodec::new(Erased(Json))] {
        assert!(codec.decode::<u8>(KEY, b"1 2").expect_err("two values").is_codec(), "{codec:?}");
    }
}

#[cfg(feature = "messagepack")]
#[test]
fn bytes_of_one_codec_are_not_read_by_another() {
    let messagepack = SharedCodec::new(MessagePack);
    let bytes = json().encode(KEY, &ada()).expect("the value can be encoded");
    assert!(messagepack.decode::<User>(KEY, &bytes).expect_err("JSON isn't MessagePack").is_codec());
    let bytes = messagepack.encode(KEY, &ada()).expect("the value can be encoded");
    assert!(json().decode::<User>(KEY, &bytes).expect_err("MessagePack isn't JSON").is_codec());
}

#[cfg(feature = "messagepack")]
#[test]
fn messagepack_followed_by_something_else_is_not_decoded() {
    for codec in [SharedCodec::new(MessagePack), SharedCodec::new(Erased(MessagePack))] {
        // What JSON writes for 12 begins with MessagePack's 49.
        for bytes in [b"12".as_slice(), &[1, 0xc0], &[1, 0xc1], &[1, 0x91], &[1, 0xcd], &[1, 0xd4, 1]] {
            assert!(codec.decode::<u8>(KEY, bytes).expect_err("more than a value").is_codec(), "{codec:?} {bytes:?}");
        }
    }
}

#[test]
fn a_failing_codec_is_an_error_that_keeps_the_cause_to_itself() {
    let codec = SharedCodec::new(Broken("hunter2"));
    for error in [codec.encode(KEY, &1).expect_err("it fails"), codec.decode::<u8>(KEY, b"1").expect_err("it fails")] {
        assert!(error.is_codec());
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        assert_eq!(error.source().map(ToString::to_string), Some("hunter2".into()));
    }
}

#[test]
fn a_codec_that_reads_nothing_is_an_error() {
    let error = SharedCodec::new(Broken("")).decode::<u8>(KEY, b"1").expect_err("there is no value");
    assert_eq!(error.source().map(ToString::to_string), Some("the codec never called `read`".into()));
}

#[test]
fn a_value_that_refuses_to_serialize_is_an_error_that_does_not_show_it() {
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("hunter2"))
        }
    }
    for codec in all() {
        let error = codec.encode(KEY, &Refuses).expect_err("it refuses");
        assert!(error.is_codec(), "{codec:?}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{codec:?}: {error:?}");
    }
}

#[test]
fn options_with_serde_use_the_codec_in_effect() {
    let (json, own, inherited) = (json(), SharedCodec::new(Backwards), Inherited::default());
    assert_eq!(inherited.encode_value(&json, KEY, &12).expect("a number"), b"12");
    assert!(ValueCodec::<u8>::serde_codec(&inherited, &json).is_some_and(|codec| codec.same_as(&json)));
    assert_eq!(inherited.encode_value(&own, KEY, &12).expect("a number"), b"21");
    assert_eq!(ValueCodec::<u8>::decode_value(&inherited, &own, KEY, b"21").expect("a number"), 12);
    assert!(ValueCodec::<u8>::serde_codec(&inherited, &own).is_some_and(|codec| !codec.same_as(&json)));
}

#[test]
fn a_pair_stores_exactly_what_its_encoder_returned() {
    #[derive(Debug, PartialEq)]
    struct Celsius(u8);
    let pair = WantsDecoder::new(|v: &Celsius| if v.0 < 100 { Ok(vec![v.0, 0xff]) } else { Err("hunter2") })
        .with(|bytes: &[u8]| bytes.first().map(|&degrees| Celsius(degrees)).ok_or("hunter2"));
    assert_eq!(pair.encode_value(&json(), KEY, &Celsius(3)).expect("cold enough"), [3, 0xff]);
    assert_eq!(pair.decode_value(&json(), KEY, &[3, 0xff]).expect("not empty"), Celsius(3));
    assert!(pair.serde_codec(&json()).is_none());
    for error in [
        pair.encode_value(&json(), KEY, &Celsius(100)).expect_err("too hot"),
        pair.decode_value(&json(), KEY, b"").expect_err("empty"),
    ] {
        assert!(error.is_codec());
        assert!(!format!("{error} {error:?} {pair:?}").contains("hunter2"), "{error:?}");
        assert_eq!(error.source().map(ToString::to_string), Some("hunter2".into()));
    }
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        Just(Role::Guest),
        any::<char>().prop_map(Role::Member),
        any::<(i32, bool)>().prop_map(|(since, all)| Role::Admin { since, all }),
    ]
}

fn user() -> impl Strategy<Value = User> {
    let plain = (
        any::<u64>(),
        any::<String>(),
        any::<i32>().prop_map(|eighths| f64::from(eighths) / 8.0),
        prop::collection::vec(".{0,5}", 0..3),
        role(),
        prop::collection::btree_map(any::<u16>(), any::<i64>(), 0..3),
    )
        .prop_map(|(id, name, balance, tags, role, limits)| User {
            id,
            name,
            balance,
            tags,
            manager: None,
            role,
            limits,
        });
    plain.prop_recursive(3, 4, 1, |inner| {
        (inner.clone(), inner).prop_map(|(user, boss)| User { manager: Some(Box::new(boss)), ..user })
    })
}

proptest! {
    #[test]
    fn every_value_comes_back_as_it_was(value in user()) {
        for codec in all() {
            let bytes = codec.encode(KEY, &value).expect("the value can be encoded");
            let back: User = codec.decode(KEY, &bytes).expect("its bytes can be decoded");
            prop_assert_eq!(&back, &value, "{:?}", codec);
        }
    }

    #[test]
    fn floats_come_back_to_the_last_bit(float in any::<f64>().prop_filter("finite", |f| f.is_finite())) {
        for codec in all() {
            let bytes = codec.encode(KEY, &float).expect("a float can be encoded");
            let back: f64 = codec.decode(KEY, &bytes).expect("its bytes can be decoded");
            prop_assert_eq!(back.to_bits(), float.to_bits(), "{:?}", codec);
        }
    }

    #[test]
    fn no_bytes_make_a_codec_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for codec in all() {
            if let Err(error) = codec.decode::<User>(KEY, &bytes) {
                prop_assert!(error.is_codec());
            }
        }
    }
}

#[test]
fn any_bytes_are_refused_or_decode_to_what_encodes_alike() {
    bolero::check!().for_each(|data: &[u8]| {
        for codec in all() {
            let Ok(user) = codec.decode::<User>(KEY, data) else { continue };
            let encoded = codec.encode(KEY, &user).expect("what was decoded can be encoded");
            let again: User = codec.decode(KEY, &encoded).expect("and decoded again");
            assert_eq!(codec.encode(KEY, &again).expect("and encoded"), encoded, "{codec:?}");
        }
    });
}
