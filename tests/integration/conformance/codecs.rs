//! How values become bytes.

use std::convert::Infallible;
use std::fmt;

use cache_house::CacheOptions;
use cache_house::codec::{EncoderDecoder, Json, MessagePack, ValueCodec};
use serde::{Deserialize, Serialize};

use super::{Fixture, Runs, call, over_every_backend};

over_every_backend!(
    a_value_is_kept_as_plain_json,
    a_handle_may_keep_messagepack,
    a_call_may_bring_another_codec,
    a_pair_of_functions_keeps_a_type_without_serde,
    a_decoder_that_fails_makes_a_miss,
    a_value_that_cant_be_encoded_is_returned_and_not_stored,
);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct User {
    id: u32,
    name: String,
    mail: Option<String>,
}

fn ada() -> User {
    User { id: 7, name: "Ada \"the first\" Lovelace".into(), mail: None }
}

const ADA_IN_JSON: &[u8] = br#"{"id":7,"name":"Ada \"the first\" Lovelace","mail":null}"#;
const ADA_IN_MESSAGEPACK: &[u8] = b"\x83\xa2id\x07\xa4name\xb8Ada \"the first\" Lovelace\xa4mail\xc0";

fn a_value_is_kept_as_plain_json(fixture: &impl Fixture) {
    let cache = fixture.build();
    let key = cache.key(&call("user")).expect("it has a key");
    assert_eq!(cache.cached(call("user"), ada), ada());
    fixture.assert_stored(&key, ADA_IN_JSON);
    assert_eq!(cache.get(call("user")), Some(ada()));
}

fn a_handle_may_keep_messagepack(fixture: &impl Fixture) {
    let cache = fixture.build_with(|builder| builder.codec(MessagePack));
    let key = cache.key(&call("user")).expect("it has a key");
    assert_eq!(cache.cached(call("user"), ada), ada());
    fixture.assert_stored(&key, ADA_IN_MESSAGEPACK);
    assert_eq!(cache.get(call("user")), Some(ada()));
}

fn a_call_may_bring_another_codec(fixture: &impl Fixture) {
    let json = fixture.build();
    json.insert(call("user").codec(MessagePack), &ada()).expect("it's stored");
    let key = json.key(&call("user")).expect("it has a key");
    fixture.assert_stored(&key, ADA_IN_MESSAGEPACK);
    assert_eq!(json.get(call("user").codec(MessagePack)), Some(ada()));

    let messagepack = fixture.build_with(|builder| builder.codec(MessagePack));
    messagepack.insert(call("user").codec(Json), &ada()).expect("it's stored");
    fixture.assert_stored(&key, ADA_IN_JSON);
    assert_eq!(messagepack.get(call("user").codec(Json)), Some(ada()));
}

/// A type that serde knows nothing of.
#[derive(Debug, Clone, PartialEq)]
struct Celsius(f64);

#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

fn in_bytes(name: &str) -> CacheOptions<impl ValueCodec<Celsius> + use<>> {
    call(name)
        .encoder(|value: &Celsius| Ok::<_, Infallible>(value.0.to_be_bytes().to_vec()))
        .decoder(|bytes: &[u8]| bytes.try_into().map(f64::from_be_bytes).map(Celsius))
}

fn a_pair_of_functions_keeps_a_type_without_serde(fixture: &impl Fixture) {
    let cache = fixture.build();
    let runs = Runs::default();
    for _ in 0..2 {
        assert_eq!(cache.cached(in_bytes("oslo"), runs.gives(Celsius(-3.5))), Celsius(-3.5));
    }
    assert_eq!(runs.count(), 1);
    let key = cache.key(&in_bytes("oslo")).expect("it has a key");
    fixture.assert_stored(&key, &(-3.5_f64).to_be_bytes());
    assert_eq!(key, cache.key(&call("oslo")).expect("it has a key"), "how it's encoded is no part of its key");
}

fn a_decoder_that_fails_makes_a_miss(fixture: &impl Fixture) {
    // Memory alone keeps the value itself, and has nothing to decode.
    let Some(server) = fixture.server() else { return };
    let cache = fixture.build();
    let key = cache.key(&in_bytes("oslo")).expect("it has a key");
    server.set(&key, b"not eight bytes");
    assert_eq!(cache.cached(in_bytes("oslo"), || Celsius(1.0)), Celsius(1.0));
    assert_eq!(cache.stats().decode_failures, 1);
    fixture.assert_stored(&key, &1.0_f64.to_be_bytes());
}

fn a_value_that_cant_be_encoded_is_returned_and_not_stored(fixture: &impl Fixture) {
    let cache = fixture.build();
    let options = || -> CacheOptions<EncoderDecoder<_, _, _, _, _>> {
        call("broken").encoder(|_: &Celsius| Err::<Vec<u8>, _>(Broken)).decoder(|_: &[u8]| Err::<Celsius, _>(Broken))
    };
    for n in 0..2 {
        assert_eq!(cache.cached(options(), || Celsius(f64::from(n))), Celsius(f64::from(n)));
    }
    assert_eq!(cache.stats().uncached, 2);
    let error = cache.insert(options(), &Celsius(0.0)).expect_err("it can't be encoded");
    assert!(error.is_codec(), "{error}");
    assert!(std::error::Error::source(&error).is_some_and(|source| source.to_string() == "broken"));
    fixture.assert_server_is_empty();
}
