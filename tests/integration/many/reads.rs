//! How a batch reads from the server: by one command, where it may.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use cache_house::{CacheHandle, CacheOptions, ManualClock};

use super::{SIDES, ask, call, never, squares};
use crate::support::resp::Reply;
use crate::support::{
    Mode, Proxy, Server, connect, connected, current_thread, standalone, until_connected, until_degraded,
};

/// How often the server has been sent each of these.
fn sent(server: &Server) -> [u64; 3] {
    ["mget", "get", "pttl"].map(|command| server.calls(command))
}

#[test]
fn what_memory_knows_of_is_read_by_one_command() {
    let server = Server::start();
    let cache = connected(&server);
    assert_eq!(cache.cached_many(0..100, |id| call(*id), squares), squares(0..100));
    for is_async in SIDES {
        let before = sent(&server);
        assert_eq!(ask(is_async, &cache, 0..100, |id| call(*id), never), Ok(squares(0..100)));
        let [mgets, gets, pttls] = [0, 1, 2].map(|at| sent(&server)[at] - before[at]);
        // A probe may come between.
        assert!((mgets, pttls) == (1, 0) && gets <= 2, "{mgets} {gets} {pttls}");
    }
}

#[test]
fn overlapping_batches_of_hits_read_by_one_command_each() {
    let server = Server::start();
    let cache = connected(&server);
    assert_eq!(cache.cached_many(0..100, |id| call(*id), squares), squares(0..100));
    let (before, hits) = (sent(&server), cache.stats().server_hits);
    let batch = |first: u32| cache.cached_many_async(first..first + 60, |id| call(*id), async |missing| never(missing));
    // The second and the third begin when the first has asked.
    let values = current_thread().block_on(async { futures::join!(batch(0), batch(40), batch(20)) });
    assert_eq!(values, (squares(0..60), squares(40..100), squares(20..80)));
    let [mgets, gets, _] = [0, 1, 2].map(|at| sent(&server)[at] - before[at]);
    assert!(mgets == 3 && gets <= 2, "{mgets} {gets}");
    assert_eq!(cache.stats().server_hits - hits, 180);
}

#[test]
fn a_process_that_has_not_seen_the_values_reads_their_ttls_too() {
    let server = Server::start();
    let clock = ManualClock::new();
    let (filler, cache) = (connected(&server), connect(standalone(server.endpoint()).clock(clock.clone())));
    let minute = |id: &u32| call(*id).expire(Duration::from_secs(60));
    assert_eq!(filler.cached_many(0..100, minute, squares), squares(0..100));
    server.command(&["PEXPIRE", &cache.key(&minute(&7)).expect("it has a key"), "20000"]);
    let before = sent(&server);
    assert_eq!(ask(true, &cache, 0..100, minute, never), Ok(squares(0..100)));
    let [mgets, gets, pttls] = [0, 1, 2].map(|at| sent(&server)[at] - before[at]);
    assert!((mgets, pttls) == (1, 100) && gets <= 2, "{mgets} {gets} {pttls}");
    // The copies live as long as the server's values do.
    server.kill();
    until_degraded(&cache);
    clock.advance(Duration::from_secs(30));
    let values = ask(true, &cache, 0..100, minute, |missing| {
        assert_eq!(missing, [7]);
        Ok(squares(missing))
    });
    assert_eq!(values, Ok(squares(0..100)));
}

#[test]
fn a_user_without_mget_reads_key_by_key() {
    let server = Server::start();
    let rules = ["ACL", "SETUSER", "app", "reset", "on", ">pw", "~*", "+@all", "-mget"];
    assert_eq!(server.command(&rules), Reply::Simple("OK".into()));
    let cache = connect(standalone(server.endpoint()).username("app").password("pw"));
    for is_async in SIDES {
        let own = |id: &u32| call(*id).arg(is_async);
        assert_eq!(ask(is_async, &cache, 0..100, own, |missing| Ok(squares(missing))), Ok(squares(0..100)));
        assert_eq!(ask(is_async, &cache, 0..100, own, never), Ok(squares(0..100)));
    }
    let stats = cache.stats();
    assert_eq!((stats.runs, stats.server_hits, stats.circuit_openings), (2, 200, 0), "{stats:?}");
}

#[test]
fn a_key_of_another_type_is_neither_read_nor_overwritten() {
    let server = Server::start();
    let cache = connected(&server);
    assert_eq!(cache.cached_many(0..10, |id| call(*id), squares), squares(0..10));
    let foreign = cache.key(&call(3)).expect("it has a key");
    server.command(&["DEL", &foreign]);
    server.command(&["RPUSH", &foreign, "theirs"]);
    for is_async in SIDES {
        let values = ask(
            is_async,
            &cache,
            0..10,
            |id| call(*id),
            |missing| {
                assert_eq!(missing, [3]);
                Ok(squares(missing))
            },
        );
        assert_eq!(values, Ok(squares(0..10)));
    }
    assert_eq!(server.command(&["LLEN", &foreign]), Reply::Integer(1));
    // What another program has there isn't a value of ours in an outage either.
    server.kill();
    until_degraded(&cache);
    assert_eq!(cache.get::<u64>(call(3)), None);
    assert_eq!(cache.get(call(4)), squares(4..5).remove(&4));
}

#[test]
fn a_pool_of_connections_answers_each_key() {
    let server = Server::start();
    for _ in 0..2 {
        let cache = connect(standalone(server.endpoint()).pool_size(4).fallback_to_memory(false));
        let keys = 0..1_000;
        let values = ask(true, &cache, keys.clone(), |id| call(*id), |missing| Ok(squares(missing)));
        assert_eq!(values, Ok(squares(keys.clone())));
        assert_eq!(ask(true, &cache, keys.clone(), |id| call(*id), never), Ok(squares(keys)));
    }
}

#[test]
fn what_the_server_has_lost_or_another_process_has_changed_is_read_as_it_is() {
    let server = Server::start();
    let (cache, other) = (connected(&server), connected(&server));
    assert_eq!(cache.cached_many(0..20, |id| call(*id), squares), squares(0..20));
    other.insert(call(3), &33_u32).expect("the server is there");
    other.remove(call(4)).expect("the server is there");
    server.set(&cache.key(&call(5)).expect("it has a key"), "rubbish");
    let values = ask(
        true,
        &cache,
        0..20,
        |id| call(*id),
        |missing| {
            assert_eq!(missing, [4, 5]);
            Ok(squares(missing))
        },
    );
    let mut expected = squares(0..20);
    expected.insert(3, 33);
    assert_eq!(values, Ok(expected));
}

#[test]
fn words_of_publish_and_subscribe_are_values_like_any_other() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).fallback_to_memory(false));
    let raw = |word: &&'static str| {
        CacheOptions::new("word")
            .arg(word)
            .encoder(|value: &String| Ok::<_, Infallible>(value.clone().into_bytes()))
            .decoder(|bytes: &[u8]| String::from_utf8(bytes.to_vec()))
    };
    let words = ["message", "subscribe", "pmessage", "invalidate", "monitor"];
    let same: HashMap<_, _> = words.iter().map(|word| (*word, (*word).to_owned())).collect();
    // Replies of three to five elements are those that may be taken for a message.
    for length in 2..=5 {
        let expected: HashMap<_, _> = words[..length].iter().map(|word| (*word, same[word].clone())).collect();
        for _ in 0..20 {
            let values = cache.cached_many(words[..length].iter().copied(), raw, |missing| {
                missing.into_iter().map(|word| (word, word.to_owned())).collect()
            });
            assert_eq!(values, expected);
        }
    }
    assert_eq!((cache.stats().desyncs, cache.stats().circuit_openings), (0, 0));
}

#[test]
fn replies_that_break_off_are_no_values() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let large = |missing: Vec<u32>| missing.into_iter().map(|id| (id, "x".repeat(10_000 + id as usize))).collect();
    let expected: HashMap<u32, String> = large((0..100).collect());
    assert_eq!(connected(&server).cached_many(0..100, |id| call(*id), large), expected);
    let read = |cache: &CacheHandle| cache.cached_many(0..100, |id| call(*id), large);
    for allowed in [1_000, 100_000, 999_000] {
        let cache = connect(standalone(proxy.endpoint()).fallback_to_memory(false));
        proxy.set(Mode::CutRepliesAfter(allowed));
        assert_eq!(read(&cache), expected);
        proxy.set(Mode::Pass);
        until_connected(&cache);
        assert_eq!(read(&cache), expected);
    }
}
