//! `namespaces`, `show` and `key`: what is on a server.

use std::time::Duration;

use cache_house::codec::{Compressed, Encrypted, EncryptionKey, Json, MessagePack};
use cache_house::{CacheHouse, CacheOptions, opts};
use serde_json::{Value, json};

use super::support::cluster::{Cluster, connected_to};
use super::support::{Program, Server, service};

/// A row of JSON, by the name of the namespace.
fn row(report: &Value, namespace: &str) -> Value {
    let rows = report["namespaces"].as_array().expect("there are rows");
    rows.iter().find(|row| row["namespace"] == namespace).cloned().unwrap_or_default()
}

#[test]
fn namespaces_are_counted_with_their_bytes_and_expiry() {
    let server = Server::start();
    let cache = service(&server);
    let insert = |id: u32, namespace: &str, seconds: u64| {
        let options = opts!("user", id).namespace(namespace).expire(Duration::from_secs(seconds));
        cache.insert(options, &"Ada".to_string()).expect("the server is there");
    };
    (0..3).for_each(|id| insert(id, "users", 30));
    insert(3, "users", 7_200);
    insert(0, "a:b {é}\u{1b}", 100_000);
    cache.cached(opts!("tagged").tag("t"), || 1);
    server.set("cachehouse:main:endless", "12345");
    server.set("other:main:foreign", "x");
    server.set("cachehouse2:main:foreign", "x");

    let program = Program::on(&server.endpoint());
    for arguments in [&["namespaces"][..], &["namespaces", "--exact"]] {
        let report = program.json(arguments);
        assert_eq!(report["exact"], true, "{report}");
        let key = "cachehouse:users:".len() + 40 + "\"Ada\"".len();
        let expected = json!({"namespace": "users", "keys": 4, "bytes": 4 * key, "within_minute": 3, "within_hour": 0,
            "within_day": 1, "later": 0, "never": 0});
        assert_eq!(row(&report, "users"), expected);
        assert_eq!(row(&report, "a:b {é}\u{1b}")["later"], 1);
        let main = row(&report, "main");
        assert_eq!((&main["keys"], &main["never"]), (&json!(2), &json!(1)));
        assert_eq!((&report["own"]["tags"], report["namespaces"].as_array().map(Vec::len)), (&json!(1), Some(3)));
        // Perhaps with the one that near copies of tokens are checked by.
        assert!(report["servers"][0]["total_keys"].as_u64().is_some_and(|keys| (10..=11).contains(&keys)), "{report}");
    }
    let out = program.prints(&["namespaces", "--limit", "2"]);
    assert!(
        out.contains("and 1 more namespaces: --limit")
            && out.contains("tags 1")
            && out.contains("all keys were looked at"),
        "{out}"
    );
    assert!(!out.contains('\u{1b}'), "{out:?}");
    let other = program.with("CACHEHOUSE_KEY_PREFIX", "other").json(&["namespaces"]);
    assert_eq!(row(&other, "main")["keys"], 1);
}

#[test]
fn a_sample_estimates_what_all_keys_show() {
    let server = Server::start();
    let fill = "for i = 1, 10000 do redis.call('SET', KEYS[1] .. i, 'x', 'EX', 100) end";
    for (prefix, tenth) in [("cachehouse:users:", false), ("other:", true)] {
        let fill = if tenth { fill.replace("10000", "1000") } else { fill.to_owned() };
        server.command(&["EVAL", &fill, "1", prefix]);
    }
    let program = Program::on(&server.endpoint());
    let report = program.json(&["namespaces", "--sample", "2000"]);
    assert_eq!(report["exact"], false, "{report}");
    let seen = report["seen"].as_u64().expect("it's a number");
    assert!((2_000..4_000).contains(&seen), "{report}");
    let keys = row(&report, "users")["keys"].as_f64().expect("it's a number");
    assert!((9_000.0..=11_000.0).contains(&keys), "{report}");
    assert!(program.prints(&["namespaces", "--sample", "2000"]).contains("of 11,000 keys: --exact looks at all"));
    let exact = program.json(&["namespaces", "--exact"]);
    assert_eq!((&exact["exact"], &row(&exact, "users")["keys"]), (&json!(true), &json!(10_000)));
}

#[test]
fn the_keys_of_all_shards_are_counted_shown_and_removed() {
    let cluster = Cluster::of(3, 0, &[]);
    let cache = connected_to(&cluster);
    let options = |id: u32| opts!("user", id).namespace("users");
    for id in 0..300 {
        cache.insert(options(id), &id).expect("the cluster is there");
    }
    let program = Program::on(&cluster.endpoint());
    let report = program.json(&["namespaces"]);
    assert_eq!(row(&report, "users")["keys"], 300, "{report}");
    assert_eq!(report["servers"].as_array().map(Vec::len), Some(3));
    for id in 0..3 {
        let key = cache.key(&options(id)).expect("it has a key");
        assert_eq!(program.json(&["show", &key])["value"], id);
        assert_eq!(program.json(&["remove", &key, "--yes"])["removed"], 1);
        assert!(!cluster.has(&key));
    }
    assert_eq!(program.json(&["clear", "users", "--yes"])["removed"], 297);
}

#[test]
fn a_key_is_shown_with_its_value() {
    let server = Server::start();
    let cache = service(&server);
    let ada = json!({"name": "Ada", "langs": ["no", null], "note": "\u{9b}31m"});
    let options = |codec: &str| opts!("user", codec).namespace("users").expire(Duration::from_secs(100));
    cache.insert(options("json"), &ada).expect("the server is there");
    cache.insert(options("messagepack").codec(MessagePack), &ada).expect("the server is there");
    cache.cached(opts!("tagged").tag("team 7"), || 1);
    server.set("cachehouse::lease:{cachehouse:main:x}", "0123456789");
    server.set("cachehouse:main:text", "it's plain");
    server.set("cachehouse:main:bytes", b"\xff\x00");
    server.command(&["RPUSH", "cachehouse:main:list", "a"]);

    let program = Program::on(&server.endpoint());
    for codec in ["json", "messagepack"] {
        let key = cache.key(&options(codec)).expect("it has a key");
        let shown = program.json(&["show", &key]);
        assert_eq!((&shown["value"], &shown["codec"], &shown["kind"]), (&ada, &json!(codec), &json!("value")));
        assert_eq!((&shown["namespace"], &shown["key"]), (&json!("users"), &json!(key)));
        let left = shown["expires_in_ms"].as_u64().expect("it expires");
        assert!((1..=100_000).contains(&left), "{shown}");
        let out = program.prints(&["show", &key]);
        assert!(out.contains("\"name\": \"Ada\"") && out.contains("\\u009b31m"), "{out}");
        assert!(out.contains("a value of the namespace users") && out.contains("expires  in 1m"), "{out}");
    }
    assert_eq!(program.prints(&["show", "cachehouse:main:text", "--raw"]), "it's plain");
    let shown = |key: &str| program.json(&["show", key]);
    let text = shown("cachehouse:main:text");
    assert_eq!(
        (&text["codec"], &text["text"], &text["expires_in_ms"]),
        (&json!("text"), &json!("it's plain"), &Value::Null)
    );
    assert_eq!(shown("cachehouse:main:bytes")["hex"], "ff00");
    let lease = shown("cachehouse::lease:{cachehouse:main:x}");
    assert_eq!((&lease["kind"], &lease["lease_of"]), (&json!("lease"), &json!("cachehouse:main:x")));
    let tag = shown("cachehouse::tag:team 7");
    assert_eq!((&tag["kind"], &tag["tag"]), (&json!("tag"), &json!("team 7")));
    assert!(program.prints(&["show", "cachehouse::tag:team 7"]).contains("the token of the tag team 7"));
    assert!(program.fails(1, &["show", "cachehouse:main:absent"]).contains("there is no key cachehouse:main:absent"));
    assert!(program.fails(1, &["show", "cachehouse:main:list"]).contains("WRONGTYPE"));
}

#[test]
fn what_is_compressed_is_shown_and_what_is_encrypted_is_named() {
    let server = Server::start();
    let cache = service(&server);
    let text = "hunter2 ".repeat(1000);
    let (compressed, encrypted) = (opts!("compressed"), opts!("encrypted"));
    let (one, two) = (cache.key(&compressed).expect("it has a key"), cache.key(&encrypted).expect("it has a key"));
    cache.insert(compressed.codec(Compressed::new(MessagePack)), &text).expect("the server is there");
    let key = EncryptionKey::from_bytes([7; 32]);
    let id = key.id().to_string();
    cache.insert(encrypted.codec(Encrypted::new(Json, key)), &text).expect("the server is there");

    let program = Program::on(&server.endpoint());
    let shown = program.json(&["show", &one]);
    assert_eq!(
        (&shown["codec"], &shown["compressed"], &shown["value"]),
        (&json!("messagepack"), &json!(true), &json!(text))
    );
    assert!(program.prints(&["show", &one]).contains("codec    messagepack, compressed\n"));
    let shown = program.json(&["show", &two]);
    assert_eq!(
        (&shown["codec"], &shown["encrypted_by"], &shown["value"]),
        (&json!("encrypted"), &json!(id), &Value::Null)
    );
    let out = program.prints(&["show", &two]);
    assert!(out.contains(&format!("codec    encrypted, by the key {id}\n")), "{out}");
    assert!(out.ends_with("not shown: the program that has the key reads it"), "{out}");
}

#[test]
fn the_key_of_a_call_is_the_one_that_the_library_makes() {
    let cache = CacheHouse::builder().namespace("shop").memory().build().expect("the builder is right");
    let program = Program::new().file("cachehouse.toml", "namespace = \"shop\"\n[memory]\n");
    let key = |options: &CacheOptions| cache.key(options).expect("it has a key");
    let call = CacheOptions::new("get_user").arg(-7).arg("x").arg((1.0, None::<u8>));
    assert_eq!(program.prints(&["key", "get_user", "-7", "\"x\"", "[1.0, null]"]), key(&call));
    let call = CacheOptions::new("get_user").module("shop::users").kwarg("lang", "no").namespace("users").version(2);
    let arguments = [
        "key",
        "get_user",
        "--module",
        "shop::users",
        "--kwarg",
        "lang=\"no\"",
        "--namespace",
        "users",
        "--type-version",
        "2",
    ];
    assert_eq!(program.json(&arguments)["key"], key(&call));
    // An argument may be a secret.
    let error = program.fails(2, &["key", "login", "hunter2"]);
    assert!(error.contains("isn't JSON") && !error.contains("hunter2"), "{error}");
    assert!(program.fails(1, &["key", "f", "--tag", "t"]).contains("tags"));
    assert!(program.fails(1, &["key", "f", "--namespace", ""]).contains("namespace"));
}

#[test]
fn the_key_of_a_call_with_tags_has_the_tokens_of_the_server() {
    let server = Server::start();
    let cache = service(&server);
    let call = || CacheOptions::new("price").arg(7).tag("prices");
    cache.cached(call(), || 1);
    let program = Program::on(&server.endpoint());
    let key = program.prints(&["key", "price", "7", "--tag", "prices"]);
    assert_eq!(key, cache.key(&call()).expect("it has a key"));
    assert!(server.has(&key));
    assert_eq!(program.prints(&["remove-tag", "prices", "--yes"]), "removed 1 tag");
    assert_ne!(program.prints(&["key", "price", "7", "--tag", "prices"]), key);
    let tagged = Program::on("127.0.0.1:1").with("CACHEHOUSE_TAGS", "[\"prices\"]");
    assert!(tagged.fails(1, &["key", "price", "7"]).contains("whose tokens are on the server"));
}
