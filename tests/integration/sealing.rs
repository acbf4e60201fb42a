//! Compression and encryption: what is on the server, and what of it is read.

use std::cell::Cell;
use std::collections::HashMap;

use cache_house::codec::{Compressed, Encrypted, EncryptionKey, Envelope, Json, MessagePack, ValueCodec};
use cache_house::figment::providers::{Format, Toml};
use cache_house::{CacheHandle, CacheHouse, CacheHouseBuilder, CacheOptions, NamespaceOptions};
use serde::{Deserialize, Serialize};

use crate::conformance::{Fixture, Runs, call, over_every_backend};
use crate::support::{Server, connect, connected, standalone, until_connected, until_degraded};

over_every_backend!(
    no_value_is_on_the_server_in_plain,
    a_large_value_is_compressed_on_the_server_and_a_small_one_is_not,
    a_codec_seals_the_values_of_its_calls,
    what_another_key_encrypted_is_a_miss_and_overwritten,
    what_was_altered_or_moved_is_a_miss,
);

const SECRET: &str = "Lovelace";

fn key(seed: u8) -> EncryptionKey {
    EncryptionKey::from_bytes([seed; 32])
}

fn encrypted<S>(seed: u8) -> impl FnOnce(CacheHouseBuilder<S>) -> CacheHouseBuilder<S> {
    move |builder| builder.encryption(key(seed), [])
}

fn envelope(bytes: &[u8]) -> Option<Envelope> {
    assert!(!bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{bytes:?}");
    Envelope::of(bytes)
}

fn by(seed: u8) -> Option<Envelope> {
    Some(Envelope::Encrypted { key: Some(key(seed).id()) })
}

fn key_of<C>(cache: &CacheHandle, options: &CacheOptions<C>) -> String {
    cache.key(options).expect("it has a key")
}

/// As it is, by functions of its own.
fn as_it_is(name: &str) -> CacheOptions<impl ValueCodec<String> + use<>> {
    let encoder = |text: &String| Ok::<_, std::convert::Infallible>(text.clone().into_bytes());
    call(name).encoder(encoder).decoder(|bytes: &[u8]| String::from_utf8(bytes.to_vec()))
}

fn no_value_is_on_the_server_in_plain(fixture: &impl Fixture) {
    let pages = NamespaceOptions::default().codec(MessagePack);
    let build = || {
        let pages = pages.clone();
        fixture.build_with(|builder| builder.compression(1024).encryption(key(1), []).namespace_options("pages", pages))
    };
    let cache = build();
    let value = || format!("{SECRET} {}", "x".repeat(5000));
    cache.cached(call("inherited"), value);
    cache.cached(call("of a namespace").namespace("pages"), value);
    cache.cached(call("own").codec(MessagePack), value);
    cache.cached(as_it_is("pair"), value);
    cache.cached(call("tagged").tag("t"), value);
    cache.insert(call("inserted"), &value()).expect("it's stored");
    let work = |missing: Vec<u8>| missing.into_iter().map(|n| (n, value())).collect::<HashMap<_, _>>();
    assert_eq!(cache.cached_many([1_u8, 2], |n| call("many").arg(n), work).len(), 2);

    // Another process, which has no copies.
    let other = build();
    assert_eq!(other.get(call("inherited")), fixture.server().map(|_| value()));
    assert_eq!(other.get(call("of a namespace").namespace("pages")), fixture.server().map(|_| value()));
    assert_eq!(other.get(call("own").codec(MessagePack)), fixture.server().map(|_| value()));
    assert_eq!(other.get(as_it_is("pair")), fixture.server().map(|_| value()));
    assert_eq!(other.get(call("tagged").tag("t")), fixture.server().map(|_| value()));
    assert_eq!(other.get(call("many").arg(2_u8)), fixture.server().map(|_| value()));
    assert_eq!(other.stats().decode_failures, 0);

    let Some(server) = fixture.server() else { return };
    let keys = server.keys();
    // Beside the token of the tag, which is no value.
    let values: Vec<_> = keys.iter().filter(|key| !key.contains("::")).collect();
    assert_eq!(values.len(), 8, "{keys:?}");
    for key in values {
        let bytes = server.get(key).expect("it's there");
        assert_eq!(envelope(&bytes), by(1), "{key}");
        assert!(bytes.len() < 500, "{key} isn't compressed");
    }
}

fn a_large_value_is_compressed_on_the_server_and_a_small_one_is_not(fixture: &impl Fixture) {
    let Some(server) = fixture.server() else { return };
    let (plain, packed) = (fixture.build(), fixture.build_with(|builder| builder.compression(1000)));
    let (small, large) = ("x".repeat(997), "x".repeat(998));
    packed.insert(call("small"), &small).expect("it's stored");
    packed.insert(call("large"), &large).expect("it's stored");
    plain.insert(call("before"), &large).expect("it's stored");
    let stored = |name| server.get(&key_of(&plain, &call(name))).expect("it's stored");
    assert_eq!(stored("small"), format!("\"{small}\"").into_bytes());
    assert_eq!((Envelope::of(&stored("large")), Envelope::of(&stored("before"))), (Some(Envelope::Compressed), None));
    assert!(stored("large").len() < 100);

    let other = fixture.build_with(|builder| builder.compression(u64::MAX));
    for cache in [&packed, &other] {
        assert_eq!(cache.get(call("small")), Some(small.clone()));
        assert_eq!(cache.get(call("large")), Some(large.clone()));
        assert_eq!(cache.get(call("before")), Some(large.clone()));
        assert_eq!(cache.stats().decode_failures, 0);
    }
    assert_eq!(plain.get(call("small")), Some(small));
    assert_eq!(plain.get::<String>(call("large")), None);
    assert_eq!(plain.stats().decode_failures, 1);
    assert_eq!(plain.cached(call("large"), || large.clone()), large);
    assert_eq!(stored("large"), format!("\"{large}\"").into_bytes(), "the miss was overwritten");
    assert_eq!(packed.get(call("large")), Some(large));
}

fn a_codec_seals_the_values_of_its_calls(fixture: &impl Fixture) {
    let build = || {
        let secret = NamespaceOptions::default().codec(Encrypted::new(Compressed::new(MessagePack), key(1)));
        fixture.build_with(|builder| builder.namespace_options("secret", secret))
    };
    let cache = build();
    let own = || call("own").codec(Encrypted::new(Json, key(2)));
    let value = || format!("{SECRET} {}", "x".repeat(5000));
    cache.cached(call("of a namespace").namespace("secret"), value);
    cache.cached(own(), value);
    cache.cached(call("plain"), || 7);
    let of_namespace = || call("of a namespace").namespace("secret");
    assert_eq!((cache.get(of_namespace()), cache.get(own())), (Some(value()), Some(value())));
    assert_eq!(cache.stats().decode_failures, 0);
    let Some(server) = fixture.server() else { return };
    let other = build();
    assert_eq!((other.get(of_namespace()), other.get(own())), (Some(value()), Some(value())));
    let stored = |key: String| server.get(&key).expect("it's stored");
    let packed = stored(key_of(&cache, &of_namespace()));
    assert_eq!((envelope(&packed), packed.len() < 500), (by(1), true));
    assert_eq!(envelope(&stored(key_of(&cache, &own()))), by(2));
    assert_eq!(stored(key_of(&cache, &call("plain"))), b"7");
}

fn what_another_key_encrypted_is_a_miss_and_overwritten(fixture: &impl Fixture) {
    let Some(server) = fixture.server() else { return };
    let (one, two, plain) = (fixture.build_with(encrypted(1)), fixture.build_with(encrypted(2)), fixture.build());
    let user = || call("user");
    let stored = || Envelope::of(&server.get(&key_of(&plain, &user())).expect("it's stored"));
    assert_eq!(one.cached(user(), || 1), 1);
    assert_eq!((two.cached(user(), || 2), two.stats().decode_failures, stored()), (2, 1, by(2)));
    assert_eq!((plain.cached(user(), || 3), plain.stats().decode_failures, stored()), (3, 1, None));
    // What is plain isn't taken for encrypted either: a client that may write to the server has no key.
    assert_eq!((two.cached(user(), || 4), two.stats().decode_failures, stored()), (4, 2, by(2)));
}

fn what_was_altered_or_moved_is_a_miss(fixture: &impl Fixture) {
    let Some(server) = fixture.server() else { return };
    let cache = fixture.build_with(encrypted(1));
    cache.insert(call("one"), &1).expect("it's stored");
    cache.insert(call("two"), &2).expect("it's stored");
    let (one, two) = (key_of(&cache, &call("one")), key_of(&cache, &call("two")));
    let bytes = server.get(&one).expect("it's stored");
    server.set(&two, &bytes);
    assert_eq!((cache.get::<i32>(call("one")), cache.get::<i32>(call("two"))), (Some(1), None));
    assert_eq!(cache.stats().decode_failures, 1);
    let mut altered = bytes.clone();
    if let Some(last) = altered.last_mut() {
        *last ^= 1;
    }
    server.set(&one, &altered);
    assert_eq!((cache.get::<i32>(call("one")), cache.stats().decode_failures), (None, 2));
    server.set(&one, &bytes);
    assert_eq!(cache.get(call("one")), Some(1));
}

#[test]
fn keys_are_rotated_without_a_miss() {
    let server = Server::start();
    let handle =
        |current, previous: u8| connect(standalone(server.endpoint()).encryption(key(current), [key(previous)]));
    // First all processes learn the new key, then they encrypt by it.
    let (knows, uses) = (handle(1, 2), handle(2, 1));
    let stored = |name| Envelope::of(&server.get(&key_of(&knows, &call(name))).expect("it's stored"));
    assert_eq!(knows.cached(call("old"), || 1), 1);
    assert_eq!(uses.cached(call("new"), || 2), 2);
    assert_eq!((stored("old"), stored("new")), (by(1), by(2)));
    let none = || -> i32 { panic!("it's cached") };
    assert_eq!((uses.cached(call("old"), none), knows.cached(call("new"), none)), (1, 2));
    assert_eq!((uses.stats().decode_failures, knows.stats().decode_failures), (0, 0));
}

#[test]
fn memory_serves_what_is_encrypted_on_a_server_that_is_away() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).compression(0).encryption(key(1), []));
    let other = connect(standalone(server.endpoint()).compression(0).encryption(key(1), []));
    let value = || SECRET.repeat(100);
    cache.cached(call("own"), value);
    other.cached(call("of another"), value);
    assert_eq!(cache.get(call("of another")), Some(value()));
    server.kill();
    let runs = Runs::default();
    // The first call may be the one that finds out.
    cache.cached(call("finds out"), || 1);
    until_degraded(&cache);
    for name in ["own", "of another", "in the outage", "in the outage"] {
        assert_eq!(cache.cached(call(name), runs.gives(value())), value());
    }
    assert_eq!((runs.count(), cache.stats().decode_failures), (1, 0));
}

thread_local! {
    static DECODED: Cell<u32> = const { Cell::new(0) };
}

/// Counts how often it's decoded, on this thread.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Counted(u32);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DECODED.set(DECODED.get() + 1);
        u32::deserialize(deserializer).map(Self)
    }
}

#[test]
fn a_hit_on_what_memory_has_decodes_nothing() {
    let server = Server::start();
    let (cache, sealed) = (connected(&server), connect(standalone(server.endpoint()).encryption(key(1), [])));
    // Created for each call.
    let own = || call("own").codec(Encrypted::new(Compressed::new(Json), key(1)));
    for _ in 0..3 {
        assert_eq!(cache.cached(own(), || Counted(7)), Counted(7));
        assert_eq!(sealed.cached(call("sealed"), || Counted(7)), Counted(7));
    }
    assert_eq!((cache.stats().runs, sealed.stats().runs, DECODED.get()), (1, 1, 0));
    // By another key it's another value.
    assert_eq!(
        cache.cached(call("own").codec(Encrypted::new(Compressed::new(Json), key(2))), || Counted(8)),
        Counted(8)
    );
    assert_eq!(cache.stats().decode_failures, 1);
}

#[test]
fn a_file_seals_the_values_of_all_codecs() {
    let server = Server::start();
    let folder = tempfile::TempDir::new().expect("a temporary folder can be made");
    let path = folder.path().join("key");
    std::fs::write(&path, "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n").expect("the file can be written");
    let text = format!(
        "[standalone]\nendpoint = {:?}\n[connection]\ncommand_timeout = \"5s\"\n[compression]\n[encryption]\nkey_file = {path:?}\n\
         [namespaces.pages]\ncodec = \"messagepack\"",
        server.endpoint()
    );
    // Code chooses another codec, and it's encrypted all the same.
    let build = |own: bool| {
        let builder = CacheHouse::from_provider(Toml::string(&text));
        let cache = if own { builder.codec(MessagePack) } else { builder }.build().expect("it's right");
        until_connected(&cache);
        cache
    };
    let (cache, own) = (build(false), build(true));
    let value = || format!("{SECRET} {}", "x".repeat(5000));
    cache.cached(call("inherited"), value);
    cache.cached(call("of a namespace").namespace("pages"), value);
    cache.cached(as_it_is("pair"), value);
    own.cached(call("own"), value);
    let keys = server.keys();
    assert_eq!(keys.len(), 4);
    for key in keys {
        let bytes = server.get(&key).expect("it's there");
        assert_eq!((envelope(&bytes), bytes.len() < 500), (by(1), true), "{key}");
    }
    assert_eq!(own.get(call("of a namespace").namespace("pages")), Some(value()));
}
