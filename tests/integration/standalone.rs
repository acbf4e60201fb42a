//! One server: what is on the wire and in its keys, and every way to reach it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cache_house::{CacheHouse, CacheOptions, Health, KeyContext, ReasonKind, opts};

use crate::support::resp::{Connection, Reply};
use crate::support::{DEADLINE, Server, connect, connected, standalone, until_connected, wait_until};

fn call(name: &str) -> CacheOptions {
    CacheOptions::new(name)
}

fn key(name: &str) -> String {
    CacheHouse::builder().memory().build().expect("it's right").key(&call(name)).expect("it has a key")
}

#[test]
fn a_default_key_is_prefix_namespace_and_forty_hex_digits_and_its_value_plain_json() {
    let server = Server::start();
    let cache = connected(&server);
    cache.cached(opts!("user", 7, lang = "no"), || {
        vec![Some("Ada"), None].into_iter().map(|name| name.map(String::from)).collect::<Vec<_>>()
    });
    let keys = server.keys();
    let [key] = &keys[..] else { panic!("one key: {keys:?}") };
    let hash = key.strip_prefix("cachehouse:main:").expect("the scope comes first");
    assert_eq!(hash.len(), 40);
    assert!(hash.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')), "{hash}");
    assert_eq!(server.get(key).as_deref(), Some(&br#"["Ada",null]"#[..]));
    assert_eq!(*key, cache.key(&opts!("user", 7, lang = "no")).expect("it has a key"));
}

#[test]
fn a_key_on_the_server_lives_for_the_call_s_expire_to_the_millisecond() {
    let server = Server::start();
    let cache = connected(&server);
    cache.cached(call("own").expire(Duration::from_millis(5_900)), || 1);
    let left = server.millis_left(&key("own"));
    // Rounded to seconds it would be 5,000 or 6,000.
    assert!((5_001..=5_900).contains(&left), "{left}");
    cache.cached(call("inherited"), || 1);
    let left = server.millis_left(&key("inherited"));
    assert!((170_000..=180_000).contains(&left), "{left}");
    cache.cached(call("for ever").expire(Duration::MAX), || 1);
    assert!(server.millis_left(&key("for ever")) > 1_000_000_000);
}

#[test]
fn another_process_hits_what_this_one_stored() {
    let server = Server::start();
    let (one, two) = (connected(&server), connected(&server));
    one.cached(call("f"), || "one".to_owned());
    assert_eq!(two.cached(call("f"), || "two".to_owned()), "one");
    let stats = two.stats();
    assert_eq!((stats.runs, stats.server_hits, stats.memory_hits), (0, 1, 0));
}

#[test]
fn what_another_process_writes_and_removes_is_seen_at_once() {
    let server = Server::start();
    let (one, two) = (connected(&server), connected(&server));
    for n in 0..20 {
        one.insert(call("f"), &n).expect("it's stored");
        assert_eq!(two.get::<i32>(call("f")), Some(n));
    }
    assert_eq!(one.remove(call("f")).expect("the server is there").entries, 1);
    assert_eq!(two.get::<i32>(call("f")), None);
    assert_eq!(two.cached(call("f"), || -1), -1);
}

#[test]
fn every_database_has_its_own_entries() {
    let server = Server::start();
    let zero = connected(&server);
    let three = connect(standalone(server.endpoint()).database(3));
    let in_url = connect(standalone(format!("redis://{}/3", server.endpoint())));
    zero.cached(call("f"), || 0);
    assert_eq!(three.cached(call("f"), || 3), 3);
    assert_eq!(in_url.cached(call("f"), || 4), 3);
    assert_eq!(server.get(&key("f")).as_deref(), Some(&b"0"[..]));
    let mut connection = server.connect().expect("the server is there");
    connection.command(&["SELECT", "3"]).expect("the server is there");
    assert_eq!(connection.command(&["GET", &key("f")]).expect("the server is there"), Reply::Bulk(b"3".to_vec()));
}

#[test]
fn a_password_of_the_default_user_opens_the_server() {
    let server = Server::start_with(&["--requirepass", "s3cret@/:"]);
    let cache = connect(standalone(server.endpoint()).password("s3cret@/:"));
    cache.cached(call("f"), || 1);
    assert!(server.has(&key("f")));
    let in_url = connect(standalone(format!("redis://:s3cret%40%2F%3A@{}", server.endpoint())));
    assert_eq!(in_url.cached(call("f"), || 2), 1);
}

#[test]
fn a_user_with_the_rights_to_its_own_keys_is_enough() {
    let server = Server::start();
    let rules = ["ACL", "SETUSER", "app", "on", ">pw", "~cachehouse:*", "+get", "+set", "+pttl", "+exists", "+unlink"];
    server.command(&[&rules[..], &["+scan", "+strlen"]].concat());
    let cache = connect(standalone(server.endpoint()).username("app").password("pw"));
    assert_eq!(cache.cached(call("f"), || 1), 1);
    assert!(server.has(&key("f")));
    assert!(cache.contains(call("f")));
    cache.insert(call("f"), &2).expect("it's allowed");
    assert_eq!(cache.remove(call("f")).expect("it's allowed").entries, 1);
    cache.insert(call("f"), &3).expect("it's allowed");
    assert_eq!(cache.clear_namespace("main").expect("it's allowed").entries, 1);
    assert_eq!(cache.stats().server_errors, 0);
}

#[test]
fn wrong_and_missing_credentials_degrade_with_that_reason_and_calls_go_on() {
    let server = Server::start_with(&["--requirepass", "right"]);
    let builders = [
        standalone(server.endpoint()).password("wrong-secret"),
        standalone(server.endpoint()).username("nobody").password("right"),
        standalone(server.endpoint()),
    ];
    for builder in builders {
        let cache = builder.build().expect("the builder is right");
        wait_until(
            "the login is refused",
            DEADLINE,
            || matches!(cache.health(), Health::Degraded { reason, .. } if reason.kind() == ReasonKind::Authentication),
        );
        assert!(!format!("{:?} {}", cache.health(), cache.health()).contains("wrong-secret"));
        assert_eq!(cache.cached(call("f"), || 1), 1);
        assert_eq!(cache.cached(call("f"), || 2), 1);
    }
    assert_eq!(server.keys(), Vec::<String>::new());
}

#[test]
fn a_password_that_becomes_right_is_used_without_a_restart() {
    let server = Server::start_with(&["--requirepass", "old"]);
    let cache = standalone(server.endpoint()).password("new").build().expect("the builder is right");
    wait_until("the login is refused", DEADLINE, || matches!(cache.health(), Health::Degraded { .. }));
    server.command(&["CONFIG", "SET", "requirepass", "new"]);
    until_connected(&cache);
    cache.cached(call("f"), || 1);
    let mut connection = Connection::open(server.port()).expect("the server is there");
    connection.command(&["AUTH", "new"]).expect("the server is there");
    assert_eq!(connection.command(&["EXISTS", &key("f")]).expect("the server is there"), Reply::Integer(1));
}

#[cfg(unix)]
#[test]
fn a_unix_socket_reaches_the_server() {
    let server = Server::start_with(&["--unixsocket", "redis.sock"]);
    let cache = connect(standalone(format!("unix://{}", server.path("redis.sock").display())));
    cache.cached(call("f"), || 1);
    assert!(server.has(&key("f")));
    server.crash_and_restart();
    wait_until("the server is used again", DEADLINE, || {
        cache.cached(call("f"), || 2);
        server.has(&key("f"))
    });
}

#[test]
fn a_pool_has_as_many_connections_and_all_serve() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).pool_size(4));
    assert_eq!(server.connections(), 4);
    for n in 0..100 {
        assert_eq!(cache.cached(call("f").arg(n), || n), n);
    }
    for n in 0..100 {
        assert_eq!(cache.cached(call("f").arg(n), || -1), n);
    }
    assert_eq!(server.keys().len(), 100);
    let Reply::Bulk(list) = server.command(&["CLIENT", "LIST"]) else { panic!("it's a text") };
    let list = String::from_utf8(list).expect("it's ASCII");
    assert_eq!(
        list.lines()
            .filter(|line| line.contains("cmd=set") || line.contains("cmd=get") || line.contains("cmd=pttl"))
            .count(),
        4,
        "{list}"
    );
}

#[test]
fn bytes_that_dont_decode_are_a_miss_and_counted_and_overwritten() {
    let server = Server::start();
    for fallback in [true, false] {
        let cache = connect(standalone(server.endpoint()).fallback_to_memory(fallback));
        for rubbish in [&b"{\"half"[..], b"", b"\xff\xfe", b"\"a text\"", b"1 2"] {
            let before = cache.stats();
            server.set(&key("f"), rubbish);
            assert_eq!(cache.get::<u32>(call("f")), None, "{rubbish:?}");
            assert_eq!(cache.cached(call("f"), || 5_u32), 5, "{rubbish:?}");
            assert_eq!(server.get(&key("f")).as_deref(), Some(&b"5"[..]), "{rubbish:?}");
            let after = cache.stats();
            assert_eq!(after.decode_failures - before.decode_failures, 2, "{rubbish:?}");
            assert_eq!((after.runs - before.runs, after.misses - before.misses), (1, 2), "{rubbish:?}");
        }
    }
}

#[test]
fn a_key_of_another_type_is_neither_read_nor_overwritten() {
    let server = Server::start();
    let cache = connected(&server);
    server.command(&["RPUSH", &key("f"), "theirs"]);
    for n in 0..2 {
        assert_eq!(cache.cached(call("f"), || n), n);
    }
    assert_eq!(cache.get::<i32>(call("f")), None);
    let error = cache.insert(call("f"), &1).expect_err("it's somebody else's");
    assert!(error.is_refused(), "{error}");
    let list = server.command(&["LRANGE", &key("f"), "0", "-1"]);
    assert_eq!(list, Reply::Array(vec![Reply::Bulk(b"theirs".to_vec())]));
    assert!(cache.health().is_connected());
    assert_eq!(cache.stats().journal_length, 0);
    assert_eq!(cache.stats().circuit_openings, 0);
}

#[test]
fn without_memory_nothing_is_kept_in_this_process() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).fallback_to_memory(false));
    cache.cached(call("f"), || 1);
    assert_eq!(cache.cached(call("f"), || 2), 1);
    assert_eq!(cache.stats().memory_entries, 0);
    server.command(&["FLUSHALL"]);
    assert_eq!(cache.cached(call("f"), || 3), 3);
}

#[test]
fn a_full_server_refuses_the_write_and_the_value_is_returned() {
    let server = Server::start_with(&["--maxmemory-policy", "noeviction"]);
    let cache = connected(&server);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    for n in 0..5 {
        assert_eq!(cache.cached(call("f"), || n), n);
    }
    let stats = cache.stats();
    assert_eq!((stats.failed_writes, stats.runs), (5, 5), "{stats:?}");
    assert!(cache.insert(call("f"), &1).expect_err("there is no room").is_refused());
    assert!(cache.health().is_connected(), "{}", cache.health());
    assert_eq!(cache.stats().circuit_openings, 0);
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    // What the insert was to replace goes first.
    wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
    cache.cached(call("f"), || 1);
    assert!(server.has(&key("f")));
}

#[test]
fn a_large_value_comes_back_whole() {
    let server = Server::start();
    let (one, two) = (connected(&server), connected(&server));
    let large: String = (0..4_000_000).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    one.insert(call("f"), &large).expect("it's stored");
    assert!(two.get::<String>(call("f")) == Some(large));
}

#[test]
fn a_permission_that_is_taken_away_degrades_and_once_given_back_is_used() {
    let server = Server::start();
    server.command(&["ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all"]);
    let cache = connect(standalone(server.endpoint()).username("app").password("pw"));
    cache.cached(call("f"), || 1);
    server.command(&["ACL", "SETUSER", "app", "-get"]);
    wait_until("the missing permission is told", DEADLINE, || {
        // From memory meanwhile.
        assert_eq!(cache.cached(call("f"), || 2), 1);
        matches!(cache.health(), Health::Degraded { reason, .. } if reason.kind() == ReasonKind::Permission)
    });
    server.command(&["ACL", "SETUSER", "app", "+get"]);
    until_connected(&cache);
    assert_eq!(cache.cached(call("f"), || 2), 1);
}

#[test]
fn a_server_of_another_kind_is_reported_and_not_used() {
    let server = Server::start_with(&["--cluster-enabled", "yes"]);
    let cache = standalone(server.endpoint()).build().expect("the builder is right");
    wait_until(
        "the wrong topology is told",
        DEADLINE,
        || matches!(cache.health(), Health::Degraded { reason, .. } if reason.kind() == ReasonKind::WrongTopology),
    );
    assert_eq!(cache.cached(call("f"), || 1), 1);
    assert_eq!(cache.cached(call("f"), || 2), 1);
}

#[test]
fn a_runtime_without_timers_or_io_is_no_obstacle() {
    let server = Server::start();
    let bare = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("it can be made");
    let cache = bare.block_on(async { standalone(server.endpoint()).build().expect("the builder is right") });
    until_connected(&cache);
    let value = bare.block_on(async {
        cache.cached_async(call("f"), async || 1).await + cache.cached_async(call("f"), async || 2).await
    });
    assert_eq!(value, 2);
    assert!(server.has(&key("f")));
    drop(bare);
    assert_eq!(cache.cached(call("f"), || 3), 1);
}

#[test]
fn clearing_many_pages_needs_room_for_one_operation_only() {
    let server = Server::start();
    let cache = connect(standalone(server.endpoint()).max_in_flight(1));
    for n in 0..3_000 {
        server.set(&format!("cachehouse:many:{n}"), "1");
    }
    assert_eq!(cache.clear_namespace("many").expect("the server is there").entries, 3_000);
    assert_eq!(cache.stats().shed, 0);
}

#[test]
fn a_miss_among_many_is_one_question_and_a_key_of_another_type_stays() {
    const CALLS: u64 = 64;
    for (fence, may_strlen) in [(true, true), (true, false), (false, false)] {
        let server = Server::start();
        server.command(&[
            "ACL",
            "SETUSER",
            "app",
            "on",
            ">pw",
            "~*",
            "+@all",
            if may_strlen { "+strlen" } else { "-strlen" },
        ]);
        let runtime = crate::support::multi_thread(2);
        let _inside = runtime.enter();
        let builder = standalone(server.endpoint()).username("app").password("pw");
        let cache = connect(builder.fence(fence).fallback_to_memory(false));
        let foreign = cache.key(&call("f").arg(7_u64)).expect("it has a key");
        server.command(&["RPUSH", &foreign, "theirs"]);
        let (before, together) = (server.calls("get"), server.calls("mget"));
        let all_are_there = Arc::new(tokio::sync::Barrier::new(CALLS as usize));
        let calls: Vec<_> = (0..CALLS)
            .map(|n| {
                let (cache, all_are_there) = (cache.clone(), Arc::clone(&all_are_there));
                runtime.spawn(async move {
                    all_are_there.wait().await;
                    cache.cached_async(call("f").arg(n), async || n).await
                })
            })
            .collect();
        for (n, call) in (0..CALLS).zip(calls) {
            assert_eq!(runtime.block_on(call).expect("it doesn't panic"), n);
        }
        assert!(server.calls("mget") > together, "they were to be read together");
        // The script of a fenced store reads the lease, and the key where it may not ask for its length. Beside these there are reads
        // that went alone, and heartbeats.
        let by_scripts = CALLS * (u64::from(fence) + u64::from(fence && !may_strlen));
        let asked = (server.calls("get") - before).saturating_sub(by_scripts);
        assert!(asked < CALLS / 2, "{asked} more questions");
        assert_eq!(server.command(&["LLEN", &foreign]), Reply::Integer(1));
        // Unless its read went alone, so that the server refused that.
        assert!(cache.stats().failed_writes <= 1, "{:?}", cache.stats());
        for n in (0..CALLS).filter(|n| *n != 7) {
            assert_eq!(cache.get(call("f").arg(n)), Some(n), "fence {fence}");
        }
        let leases = || server.keys().iter().any(|key| key.contains("lease"));
        assert!(!leases(), "a lease is left beside the other program's key");
        // Nor does an insert overwrite it, or journal that it has to go.
        assert!(cache.insert(call("f").arg(7_u64), &7_u64).expect_err("it's no value of ours").is_refused());
        assert_eq!((server.command(&["LLEN", &foreign]), cache.stats().journal_length), (Reply::Integer(1), 0));
    }
}

#[test]
fn the_futures_of_calls_are_small() {
    let cache = CacheHouse::builder().memory().build().expect("the builder is right");
    let call = || CacheOptions::new("f").arg(1);
    // A task holds it for as long as it waits, and recursion stacks them.
    let sizes = [
        ("cached", size_of_val(&cache.cached_async(call(), async || 1))),
        ("get", size_of_val(&cache.get_async::<u64>(call()))),
        ("insert", size_of_val(&cache.insert_async(call(), &1))),
        ("remove", size_of_val(&cache.remove_async(call()))),
        ("entry", size_of_val(&cache.entry_async(call(), async |_| 1))),
        ("refreshing", size_of_val(&cache.refreshing_async(call(), async || 1))),
        ("many", size_of_val(&cache.cached_many_async([1], |_| call(), async |_| HashMap::from([(1, 1)])))),
    ];
    assert!(sizes.iter().all(|(_, size)| *size <= 4096), "{sizes:?}");
}

#[test]
fn many_callers_at_once_get_what_each_asked_for() {
    const CALLERS: u64 = 64;
    let server = Server::start();
    let all = ["ACL", "SETUSER", "app", "reset", "on", ">pw", "~*", "+@all"];
    let less = [&all[..], &["-mget"]].concat();
    // With one command for all of them, and with one each.
    for (rules, multi_get) in [(&all[..], true), (&less[..], false)] {
        assert_eq!(server.command(rules), Reply::Simple("OK".into()));
        server.command(&["FLUSHALL"]);
        let runtime = crate::support::multi_thread(2);
        let _inside = runtime.enter();
        let builder = standalone(server.endpoint()).username("app").password("pw").fallback_to_memory(false);
        let cache = connect(builder);
        let numbered = |n: u64| call("numbered").arg(n);
        (0..CALLERS).filter(|n| n % 4 != 0).for_each(|n| assert_eq!(cache.cached(numbered(n), || n), n));
        let foreign = cache.key(&numbered(4)).expect("it has a key");
        server.command(&["RPUSH", &foreign, "theirs"]);
        let before = server.calls("mget");
        for round in 0..20 {
            let tasks: Vec<_> = (0..CALLERS)
                .map(|n| {
                    let cache = cache.clone();
                    // What isn't there, or is somebody else's, is computed; only what may be is stored.
                    let fresh = move || async move { n + 1_000 * (n % 4 == 0) as u64 };
                    runtime.spawn(async move { (n, cache.cached_async(call("numbered").arg(n), fresh).await) })
                })
                .collect();
            for task in tasks {
                let (n, value) = runtime.block_on(task).expect("no caller panics");
                assert_eq!(value, if n % 4 == 0 { n + 1_000 } else { n }, "round {round}");
            }
        }
        assert_eq!(server.command(&["LLEN", &foreign]), Reply::Integer(1), "it's neither read nor overwritten");
        assert_eq!(cache.stats().runs, CALLERS - 1 + 20, "{:?}", cache.stats());
        let multi_gets = server.calls("mget") - before;
        assert_eq!(multi_gets > 0, multi_get, "{multi_gets}");
        assert_eq!(cache.stats().circuit_openings, 0);
        cache.close();
    }
}

#[test]
fn inspecting_a_server_leaves_each_key_as_it_was() {
    let server = Server::start();
    let cache = connected(&server);
    // What a key builder makes of a call, and what stands where the handle might look.
    for rest in ["probe", ":probe", ":probe:"] {
        let theirs = move || call("f").key_builder(move |cx: &KeyContext<'_>| cx.scoped(rest));
        cache.insert(theirs(), &1).expect("the server is there");
        let before = server.keys();
        assert_eq!(before.len(), 1, "{before:?}");
        let reports = cache.inspect();
        assert_eq!((reports.len(), reports[0].missing.len()), (1, 0), "{reports:?}");
        assert_eq!(server.keys(), before);
        assert_eq!(cache.remove(theirs()).expect("the server is there").entries, 1, "{rest}");
    }
    assert_eq!(cache.stats().desyncs, 0);
}
