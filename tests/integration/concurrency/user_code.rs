//! The user's own code where the cache calls it: it may panic, and it may use the cache.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use cache_house::{CacheHandle, CacheOptions, KeyContext};
use serde::{Deserialize, Serialize};

use super::{call, in_memory, over_each};
use crate::support::{Server, connected, finishes};

#[test]
fn a_panic_in_a_codec_reaches_its_caller_and_leaves_the_key_free() {
    over_each(|cache| {
        finishes("a call after a panic in its codec", move || {
            let encoder_panics = || {
                let options = call("f").encoder(|_: &i32| -> Result<Vec<u8>, String> { panic!("on purpose") });
                cache.cached(options.decoder(|_: &[u8]| -> Result<i32, String> { panic!("on purpose") }), || 1)
            };
            assert!(catch_unwind(AssertUnwindSafe(encoder_panics)).is_err());
            assert_eq!(cache.cached(call("f"), || 2), 2);
            let decoder_panics = || {
                let options = call("f").encoder(|_: &String| Ok::<_, String>(Vec::new()));
                cache.get(options.decoder(|_: &[u8]| -> Result<String, String> { panic!("on purpose") }))
            };
            // Where there is a server there are bytes to decode.
            let outcome = catch_unwind(AssertUnwindSafe(decoder_panics));
            assert!(outcome.is_err() || outcome.is_ok_and(|value| value.is_none()));
            assert_eq!(cache.cached(call("f"), || 3), 2);
        });
    });
}

#[test]
fn a_panic_in_a_key_builder_reaches_its_caller_and_harms_nobody_else() {
    let cache = in_memory();
    let options = || call("f").key_builder(|_: &KeyContext<'_>| -> String { panic!("on purpose") });
    assert!(catch_unwind(AssertUnwindSafe(|| cache.cached(options(), || 1))).is_err());
    assert_eq!(cache.cached(call("f"), || 2), 2);
}

#[test]
fn work_may_use_the_cache_for_other_keys_and_for_its_own() {
    over_each(|cache| {
        finishes("work that uses the cache", move || {
            let value = cache.cached(call("f"), || {
                let other = cache.cached(call("g"), || 1);
                cache.insert(call("h"), &other).expect("the cache is there");
                assert_eq!(cache.get::<i32>(call("f")), None);
                assert!(!cache.remove(call("f")).expect("the cache is there"));
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
            &|| cache.insert(clinging(), &Clinging(2)).unwrap_or_default(),
            &|| drop(cache.remove(clinging())),
            &|| drop(cache.clear_namespace("main")),
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
