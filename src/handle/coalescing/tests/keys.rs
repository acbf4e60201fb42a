//! Which keys share a flight, and which don't.

use std::hash::{BuildHasherDefault, Hasher};

use foldhash::quality::FixedState;

use super::super::*;
use super::{flights, keeps, key, key_by, lead, wait};
use crate::key::KeyContext;

#[test]
fn an_invalidation_finds_what_other_calls_have_under_the_same_server_key() {
    let own = key("n", "a");
    let text = String::from_utf8(own.server_key().to_vec()).expect("it's text");
    let twin = key_by("m", "b", Some(&|_: &KeyContext<'_>| text.clone()), &FixedState::default());
    let by_hand = key_by("m", "c", Some(&|_: &KeyContext<'_>| "user".to_owned()), &FixedState::default());
    let flights = flights();
    let others = [key("n", "b"), by_hand].map(|key| lead(&flights, &key));
    for invalidated in [&own, &twin] {
        let of_key = [&own, &twin].map(|key| lead(&flights, key));
        flights.invalidate(&Invalidation::Key(invalidated.clone()));
        assert!(!of_key.iter().any(keeps));
    }
    assert!(others.iter().all(keeps));
}

#[test]
fn keys_with_the_same_hash_have_flights_of_their_own() {
    #[derive(Default)]
    struct Same;

    impl Hasher for Same {
        fn finish(&self) -> u64 {
            7
        }

        fn write(&mut self, _: &[u8]) {}
    }

    let of = |name: &str| key_by("n", name, None, &BuildHasherDefault::<Same>::default());
    let flights = flights();
    let (one, other) = (lead(&flights, &of("a")), lead(&flights, &of("b")));
    flights.invalidate(&Invalidation::Key(of("a")));
    assert!(!keeps(&one) && keeps(&other));
}

#[test]
fn a_flight_is_found_among_many() {
    let flights = flights();
    let keys: Vec<_> = (0..5_000).map(|number| key("n", &number.to_string())).collect();
    let leaders: Vec<_> = keys.iter().map(|key| lead(&flights, key)).collect();
    let reads: Vec<_> = keys.iter().map(|key| flights.observe(key, Caller::asynchronous())).collect();
    keys.iter().for_each(|key| drop(wait(&flights, key)));
    drop((leaders, reads));
    assert!(flights.shards.iter().map(|shard| shard.lock()).all(|it| it.current.is_empty() && it.apart.is_empty()));
}
