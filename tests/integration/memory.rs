//! What the memory tier holds, what it tells of that, and the limits that can't hold.

use cache_house::{CacheHouse, CacheOptions};

use crate::support::{Server, connect, connected, standalone, until_connected, until_degraded};

const MIB: u64 = 1 << 20;

fn call(name: &str) -> CacheOptions {
    CacheOptions::new(name)
}

/// A text of so many bytes of JSON.
fn text(encoded: u64) -> String {
    "x".repeat(usize::try_from(encoded - 2).expect("it's small"))
}

#[test]
fn a_value_at_the_limit_is_served_in_an_outage_too() {
    let server = Server::start();
    let cache = connected(&server);
    for encoded in [16 * MIB - MIB / 4, 16 * MIB] {
        let value = text(encoded);
        cache.insert(call("large"), &value).expect("the server is there");
        server.kill();
        until_degraded(&cache);
        assert_eq!(cache.get(call("large")).as_ref(), Some(&value), "inserted");
        server.restart();
        until_connected(&cache);

        server.command(&["FLUSHALL"]);
        let other = connect(standalone(server.endpoint()).fallback_to_memory(false));
        other.insert(call("copied").arg(encoded), &value).expect("the server is there");
        assert_eq!(cache.get(call("copied").arg(encoded)).as_ref(), Some(&value));
        server.kill();
        until_degraded(&cache);
        assert_eq!(cache.get(call("copied").arg(encoded)).as_ref(), Some(&value), "read");
        server.restart();
        until_connected(&cache);
    }
}

#[test]
fn what_is_inserted_is_there_or_an_error_says_that_it_isnt() {
    for limit in [1024, 10_000, MIB] {
        let cache = CacheHouse::builder().memory().memory_max_bytes(limit).build().expect("the builder is right");
        let mut refused = 0;
        for encoded in (0..40).map(|step| 2 + limit * step / 20) {
            let value = text(encoded);
            match cache.insert(call("f"), &value) {
                Ok(_) => assert_eq!(cache.get(call("f")), Some(value), "{encoded} of {limit}"),
                Err(error) => {
                    assert!(error.is_too_large(), "{error}");
                    assert_eq!(cache.get::<String>(call("f")), None, "what it was to replace is gone");
                    assert_eq!(
                        cache.cached(call("f"), || "computed".repeat(encoded as usize)).len() as u64,
                        8 * encoded
                    );
                    refused += 1;
                }
            }
            assert!(cache.stats().memory_bytes <= limit);
        }
        assert!((10..38).contains(&refused), "{refused} of 40 for {limit}");
        // A key may be too large, too.
        let key = "k".repeat(usize::try_from(limit).expect("it's small"));
        let error = cache.insert(call("f").arg(key), &1).expect_err("there is no room");
        assert!(error.is_too_large() && error.to_string().contains("memory_max_bytes"), "{error}");
    }
}

#[test]
fn a_value_that_is_too_large_decoded_is_kept_as_bytes() {
    // Zeros take two bytes of JSON each, and sixteen times as much as values.
    let cache = CacheHouse::builder().memory().memory_max_bytes(MIB).build().expect("the builder is right");
    let zeros = serde_json::Value::from(vec![0; 100_000]);
    cache.insert(call("zeros"), &zeros).expect("as bytes there is room");
    assert_eq!(cache.get(call("zeros")), Some(zeros));
    let stats = cache.stats();
    assert!((200_000..300_000).contains(&stats.memory_bytes), "{stats:?}");
}

#[test]
fn a_value_weighs_what_the_user_says() {
    let weighed = |bytes: fn(&String) -> u64| {
        let cache = CacheHouse::builder().memory_weight(bytes).memory().build().expect("the builder is right");
        cache.insert(call("f"), &"text".to_owned()).expect("there is room");
        cache.insert(call("g"), &7).expect("another type is estimated");
        assert_eq!((cache.get(call("f")), cache.get(call("g"))), (Some("text".to_owned()), Some(7)));
        cache.stats().memory_bytes
    };
    let plain = weighed(|text| text.len() as u64);
    assert_eq!(weighed(|text| text.len() as u64 + 1_000_000) - plain, 1_000_000);
    // One that panics has said nothing.
    assert!(weighed(|_| panic!("on purpose")) - plain < 1_000);
    // What weighs more than all is kept as bytes.
    assert!(weighed(|_| u64::MAX) < plain + 1_000);
}

#[test]
fn few_small_values_weigh_little_however_few_there_may_be() {
    let cache = CacheHouse::builder().memory().memory_max_entries(10).build().expect("the builder is right");
    for n in 0..9 {
        cache.cached(call("f").arg(n), || n);
    }
    let stats = cache.stats();
    assert_eq!(stats.memory_entries, 9);
    assert!((9 * 100..9 * 1_000).contains(&stats.memory_bytes), "{stats:?}");
}

#[test]
fn what_makes_room_is_counted_and_what_is_removed_is_not() {
    let cache = CacheHouse::builder().memory().memory_max_entries(10).build().expect("the builder is right");
    for n in 0..25 {
        cache.cached(call("f").arg(n), || n);
    }
    let stats = cache.stats();
    assert_eq!(stats.evictions, 25 - stats.memory_entries, "{stats:?}");
    cache.clear_namespace("main").expect("memory always can");
    cache.insert(call("f").arg(1), &1).expect("memory always can");
    cache.insert(call("f").arg(1), &2).expect("memory always can");
    assert_eq!(cache.stats().evictions, stats.evictions);
}

#[cfg(target_os = "linux")]
mod told {
    use serde::de::DeserializeOwned;
    use serde::{Deserialize, Serialize};
    use serde_json::{Value, json};

    use super::{CacheHouse, MIB, call};
    use crate::support::alone;

    /// What of this process is in the machine's memory, in bytes.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    #[derive(Clone, Serialize, Deserialize)]
    struct Sparse {
        id: u64,
        first: Option<[u64; 16]>,
        second: Option<[u64; 16]>,
    }

    /// That what is told of values, and what the process grows by, are about the same.
    #[track_caller]
    fn assert_told<T>(kind: &str, value: impl Fn(u64) -> T)
    where
        T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let cache = CacheHouse::builder().memory().memory_max_entries(1_000_000).build().expect("the builder is right");
        let before = resident();
        let mut n = 0;
        while cache.stats().memory_bytes < 24 * MIB {
            cache.insert(call(kind).arg(n), &value(n)).expect("there is room");
            n += 1;
        }
        let (told, grown) = (cache.stats().memory_bytes, resident() - before);
        assert!(grown < told * 2 && told < grown * 2, "{kind}: {} KiB told, {} KiB grown", told >> 10, grown >> 10);
        // Its memory isn't to be used again by what comes after it.
        std::mem::forget(cache);
    }

    #[test]
    fn memory_tells_about_as_much_as_it_takes() {
        alone("memory::told::memory_tells_about_as_much_as_it_takes", || {
            assert_told("integers", |n| n);
            assert_told("texts", |n| format!("{n:0500}"));
            assert_told("lists of texts", |n| vec![format!("text {n}"); 50]);
            assert_told("lists of numbers", |n| vec![n; 500]);
            assert_told("JSON lists", |n| Value::from(vec![n; 200]));
            assert_told(
                "JSON objects",
                |n| json!({"id": n, "tags": ["a", "b", {"c": [1, 2.5]}], "name": "x".repeat(20)}),
            );
            assert_told("optional fields", |n| vec![Sparse { id: n, first: None, second: None }; 20]);
            assert_told("boxes", |n| vec![Box::new((n, [n; 20])); 20]);
            let map = |n: u64| (0..50).map(move |key| (key.to_string(), n));
            assert_told("trees", |n| map(n).collect::<std::collections::BTreeMap<_, _>>());
            assert_told("tables", |n| map(n).collect::<std::collections::HashMap<_, _>>());
        });
    }
}

#[test]
fn a_value_is_read_as_another_type_wherever_it_is() {
    let server = Server::start();
    let memory = CacheHouse::builder().memory().build().expect("the builder is right");
    for cache in [connected(&server), memory] {
        cache.insert(call("f"), &7_u64).expect("it's stored");
        for _ in 0..2 {
            assert_eq!((cache.get::<i32>(call("f")), cache.get::<u64>(call("f"))), (Some(7), Some(7)));
            assert_eq!(cache.cached(call("f"), || 8_u8), 7);
        }
        // What can't be read as the other type is a miss, and overwritten.
        assert_eq!(cache.get::<String>(call("f")), None);
        assert_eq!(cache.cached(call("f"), || "text".to_owned()), "text");
        assert_eq!((cache.get::<u64>(call("f")), cache.get::<String>(call("f"))), (None, Some("text".to_owned())));
        assert_eq!(cache.stats().runs, 1);
    }
}

#[test]
fn what_a_pair_of_functions_has_stored_in_memory_is_of_its_type_alone() {
    let cache = CacheHouse::builder().memory().build().expect("the builder is right");
    let pair = || {
        let call = call("f").encoder(|value: &u64| Ok::<_, std::fmt::Error>(value.to_string().into_bytes()));
        call.decoder(|bytes: &[u8]| {
            std::str::from_utf8(bytes)?.parse::<u64>().map_err(cache_house::codec::CodecError::from)
        })
    };
    cache.insert(pair(), &7).expect("it's stored");
    assert_eq!((cache.get(pair()), cache.get::<i32>(call("f"))), (Some(7), None));
}
