//! The user's own code where the cache calls it: it may panic, and it may use the cache.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Mutex;

use cache_house::codec::{Codec, CodecError, erased_serde};
use cache_house::{CacheHandle, CacheOptions, KeyContext};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tracing::Level;

use super::{call, in_memory, over_each};
use crate::support::{Server, connect, connected, current_thread, finishes, logs, standalone};

/// Panics with its text wherever serde comes near it.
#[derive(Clone, Debug, PartialEq)]
struct Panics(&'static str);

impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("{}", self.0)
    }
}

impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("on purpose")
    }
}

struct PanickingCodec;

impl Codec for PanickingCodec {
    fn encode(&self, _: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        panic!("on purpose")
    }

    fn decode<'de>(
        &self,
        _: &'de [u8],
        _: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        panic!("on purpose")
    }
}

#[test]
fn a_panic_in_an_encoder_leaves_the_value_unstored_and_the_key_free() {
    over_each(|cache| {
        finishes("a call after a panic in its encoder", move || {
            let encoder = |name: &str| {
                let options = call(name).encoder(|_: &i32| -> Result<Vec<u8>, String> { panic!("on purpose") });
                options.decoder(|_: &[u8]| -> Result<i32, String> { panic!("on purpose") })
            };
            assert_eq!(cache.cached(encoder("f"), || 1), 1);
            assert_eq!(current_thread().block_on(cache.cached_async(encoder("f"), || async { 2 })), 2);
            assert_eq!(cache.try_cached(encoder("f"), || Ok::<_, ()>(3)), Ok(3));
            assert_eq!(cache.cached(call("f").codec(PanickingCodec), || 4), 4);
            assert_eq!(cache.cached(call("f"), || Panics("on purpose")), Panics("on purpose"));
            assert_eq!((cache.stats().uncached, cache.stats().runs), (5, 5));
            for error in [
                cache.insert(encoder("g"), &1).expect_err("its encoder panics"),
                cache.insert(call("h").codec(PanickingCodec), &1).expect_err("its codec panics"),
                cache.insert(call("i"), &Panics("on purpose")).expect_err("its Serialize panics"),
            ] {
                assert!(error.is_codec(), "{error}");
                assert_eq!(error.source().expect("the panic").to_string(), "it panicked");
            }
            assert!(!cache.contains(call("f")));
            assert_eq!(cache.cached(call("f"), || 6), 6);
            assert_eq!(cache.cached(call("f"), || 7), 6);
        });
    });
}

#[test]
fn a_panic_in_a_decoder_is_a_miss() {
    finishes("a call after a panic in its decoder", || {
        let server = Server::start();
        let cache = connect(standalone(server.endpoint()).fallback_to_memory(false));
        let decoder = || {
            let options = call("f").encoder(|n: &i32| Ok::<_, String>(n.to_string().into_bytes()));
            options.decoder(|_: &[u8]| -> Result<i32, String> { panic!("on purpose") })
        };
        cache.insert(call("f"), &1).expect("the server is there");
        assert_eq!(cache.get(decoder()), None);
        assert_eq!(cache.get::<i32>(call("f").codec(PanickingCodec)), None);
        assert_eq!(cache.get::<Panics>(call("f")), None);
        assert_eq!(cache.cached(decoder(), || 2), 2);
        assert_eq!(cache.stats().decode_failures, 4);
        assert_eq!(cache.get::<i32>(call("f")), Some(2), "the next fill overwrites it");
    });
}

#[test]
fn a_panic_that_makes_no_key_runs_the_call_uncached() {
    over_each(|cache| {
        finishes("calls whose keys panic", move || {
            let unkeyable: [fn() -> CacheOptions; 3] = [
                || call("f").key_builder(|_: &KeyContext<'_>| -> String { panic!("on purpose") }),
                || call("f").arg(1).arg((2, Panics("on purpose"))).arg(3),
                || call("f").kwarg("n", Panics("on purpose")),
            ];
            for options in unkeyable {
                assert_eq!(cache.cached(options(), || 1), 1);
                assert_eq!(current_thread().block_on(cache.cached_async(options(), || async { 2 })), 2);
                assert_eq!(cache.get::<i32>(options()), None);
                assert!(!cache.contains(options()));
                for error in [
                    cache.key(&options()).expect_err("its key panics"),
                    cache.insert(options(), &1).expect_err("its key panics"),
                    cache.remove(options()).expect_err("its key panics"),
                ] {
                    assert!(error.is_key() && error.to_string().contains("panicked"), "{error}");
                }
            }
            assert_eq!(cache.stats().uncached, 6);
            assert_eq!(cache.cached(call("f"), || 2), 2);
        });
    });
}

#[test]
fn a_handle_may_be_used_across_a_caught_panic() {
    let cache = in_memory();
    let caught = catch_unwind(|| cache.cached(call("f"), || -> u64 { panic!("on purpose") }));
    assert!(caught.is_err());
    assert_eq!(cache.cached(call("f"), || 1_u64), 1);
    assert_eq!(cache.cached(call("f"), || 2_u64), 1);
}

#[test]
fn a_panic_of_the_work_is_its_callers() {
    over_each(|cache| {
        finishes("a call after a panic in its work", move || {
            let work = || -> i32 { panic!("on purpose") };
            let unkeyable = || call("f").arg(Panics("on purpose"));
            for options in [call("f"), unkeyable()] {
                let panic = catch_unwind(AssertUnwindSafe(|| cache.cached(options, work))).expect_err("the work's");
                assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
            }
            assert_eq!(cache.cached(call("f"), || 2), 2);
        });
    });
}

/// Panics when it's dropped, as what a panic carries may.
struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("once more")
    }
}

#[test]
fn what_a_panic_carries_may_panic_too() {
    let cache = in_memory();
    let twice = call("f").key_builder(|_: &KeyContext<'_>| -> String { panic_any(PanicsInDrop) });
    // Forgotten, should it get here: it would panic in the test's harness too.
    let value = catch_unwind(AssertUnwindSafe(|| cache.cached(twice, || 1))).map_err(std::mem::forget);
    assert_eq!(value, Ok(1));
}

#[test]
fn a_panic_of_the_users_code_is_warned_of_once_and_not_quoted() {
    logs::capture();
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).fallback_to_memory(false));
    let warnings = || logs::containing("pan1c-").into_iter().filter(|line| line.level == Level::WARN).count();
    let secret = "pan1c-s3cret";
    for n in 0..3 {
        cache.cached(CacheOptions::new("pan1c-argument").arg(Panics(secret)), || n);
    }
    assert_eq!(warnings(), 1);
    for _ in 0..3 {
        cache.cached(CacheOptions::new("pan1c-value"), || Panics(secret));
    }
    assert_eq!(warnings(), 2);
    let decoder = || {
        let options = call("f").encoder(|_: &i32| Ok::<_, String>(Vec::new()));
        options
            .decoder(|_: &[u8]| -> Result<i32, String> { panic!("pan1c-s3cret") })
            .key_builder(|cx: &KeyContext<'_>| cx.scoped("pan1c-key"))
    };
    for n in 0..3 {
        cache.cached(decoder(), || n);
    }
    assert_eq!(cache.stats().decode_failures, 2);
    // The SHA-1 of `pan1c-key`.
    let decoding = logs::containing("347e80d26ea3bce4b046aadc91cf3781441bbe6e");
    assert_eq!(decoding.iter().filter(|line| line.level == Level::WARN).count(), 1, "{decoding:?}");
    assert!(logs::containing(secret).is_empty(), "{:?}", logs::containing(secret));
}

#[test]
fn work_may_use_the_cache_for_other_keys_and_for_its_own() {
    over_each(|cache| {
        finishes("work that uses the cache", move || {
            let value = cache.cached(call("f"), || {
                let other = cache.cached(call("g"), || 1);
                cache.insert(call("h"), &other).expect("the cache is there");
                assert_eq!(cache.get::<i32>(call("f")), None);
                assert_eq!(cache.remove(call("f")).expect("the cache is there").entries, 0);
                cache.clear_namespace("other").expect("the cache is there");
                other + 1
            });
            assert_eq!(value, 2);
            assert!(!cache.contains(call("f")), "it was removed while it was computed");
            assert!(cache.contains(call("g")) && cache.contains(call("h")));
            cache.cached(call("f"), || {
                cache.insert(call("f"), &7).expect("the cache is there");
                8
            });
            assert_eq!(cache.get::<i32>(call("f")), Some(7), "what was inserted meanwhile stays");
        });
    });
}

/// A value that uses the cache when it goes.
#[derive(Clone, Serialize, Deserialize)]
struct Clinging(u32);

static CACHE: Mutex<Option<CacheHandle>> = Mutex::new(None);

impl Drop for Clinging {
    fn drop(&mut self) {
        let cache = CACHE.lock().expect("nobody panics with it").clone();
        if let Some(cache) = cache {
            let _ = cache.remove(clinging());
        }
    }
}

fn clinging() -> CacheOptions {
    call("clinging")
}

#[test]
fn a_value_may_use_the_cache_when_its_dropped() {
    finishes("dropping a value that uses the cache", || {
        let server = Server::start();
        let cache = connected(&server);
        let key = cache.key(&clinging()).expect("it has a key");
        // Replaced, removed, cleared; gone from the server, and replaced there, behind the cache's back.
        let ways_to_go: [&dyn Fn(); 5] = [
            &|| _ = cache.insert(clinging(), &Clinging(2)),
            &|| _ = cache.remove(clinging()),
            &|| _ = cache.clear_namespace("main"),
            &|| {
                server.command(&["DEL", &key]);
                assert!(cache.get::<Clinging>(clinging()).is_none());
            },
            &|| {
                server.set(&key, "3");
                assert!(cache.get::<Clinging>(clinging()).is_some_and(|value| value.0 == 3));
            },
        ];
        for go in ways_to_go {
            // While a value is stored, clones of it are dropped.
            *CACHE.lock().expect("nobody panics with it") = None;
            cache.insert(clinging(), &Clinging(1)).expect("the server is there");
            *CACHE.lock().expect("nobody panics with it") = Some(cache.clone());
            go();
        }
        *CACHE.lock().expect("nobody panics with it") = None;
    });
}

/// A value that looks at the cache when it goes.
#[derive(Clone, Serialize, Deserialize)]
struct Curious {
    #[serde(skip)]
    cache: Option<CacheHandle>,
}

impl Drop for Curious {
    fn drop(&mut self) {
        if let Some(cache) = &self.cache {
            let _ = (cache.stats(), cache.contains(call("curious")));
        }
    }
}

#[test]
fn closing_drops_values_that_use_the_cache_when_they_are_dropped() {
    over_each(|cache| {
        finishes("closing a cache whose values use it", move || {
            for n in 0..10 {
                cache.cached(call("curious").arg(n), || Curious { cache: Some(cache.clone()) });
            }
            cache.close();
            assert_eq!(cache.stats().memory_entries, 0);
        });
    });
}
