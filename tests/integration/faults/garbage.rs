//! Answers that aren't any: what speaks another protocol, and what breaks off.

use cache_house::ReasonKind;

use super::busy::reason;
use super::{BOUND, TIMEOUT, call, squares, under_traffic, until_used};
use crate::support::{
    DEADLINE, Mode, Proxy, Server, connect, connected, multi_thread, standalone, until_connected, wait_until,
};

const RUBBISH: [&[u8]; 5] = [
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    b"\x00\xff\xfe\x15\x03\x01\r\n\x00",
    b"\r\n\r\n\r\n",
    b"$-17\r\n*x\r\n",
    b"$nine\r\n",
];

#[test]
fn garbage_in_place_of_answers_is_no_value_and_no_panic() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let runtime = multi_thread(2);
    let cache = connect(standalone(proxy.endpoint()).command_timeout(TIMEOUT).connect_timeout(TIMEOUT * 2));
    under_traffic(&runtime, &cache, squares(6, 2), |seen| {
        for rubbish in RUBBISH {
            proxy.set(Mode::Garbage(rubbish));
            // On a busy machine, the circuit may have opened just before.
            wait_until(&format!("{rubbish:?} is noticed"), DEADLINE, || !cache.health().is_connected());
            // And by each attempt to reconnect.
            seen.wait_for_calls(200);
            assert!(!cache.health().is_connected(), "{rubbish:?}");
            proxy.set(Mode::Pass);
            until_connected(&cache);
            until_used(&cache);
        }
    });
    let stats = cache.stats();
    assert_eq!(stats.decode_failures, 0);
    assert!(stats.circuit_openings >= RUBBISH.len() as u64, "{stats:?}");
    wait_until("one connection is left", DEADLINE, || server.connections() == 1);
}

#[test]
fn a_port_where_something_else_answers_is_an_outage_until_a_server_does() {
    let server = Server::start();
    for rubbish in RUBBISH {
        let proxy = Proxy::of(&server);
        proxy.set(Mode::Garbage(rubbish));
        let cache = standalone(proxy.endpoint()).connect_timeout(TIMEOUT).build().expect("a server isn't needed");
        wait_until("it's told of", DEADLINE, || reason(&cache) == Some(ReasonKind::Unreachable));
        assert_eq!(cache.cached(call("f"), || 1), 1);
        assert_eq!(cache.cached(call("f"), || 2), 1);
        proxy.set(Mode::Pass);
        until_used(&cache);
    }
}

#[test]
fn a_large_reply_that_breaks_off_is_no_value() {
    const SIZE: usize = 4 * 1024 * 1024;
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let whole: String = (0..SIZE).map(|n| char::from(b'a' + (n % 23) as u8)).collect();
    connected(&server).insert(call("f"), &whole).expect("the server is there");
    for fallback in [false, true] {
        let cache = connect(standalone(proxy.endpoint()).fallback_to_memory(fallback));
        for allowed in [SIZE / 2, SIZE] {
            until_connected(&cache);
            // Another process has it, and this one has only been promised it.
            proxy.set(Mode::CutRepliesAfter(allowed));
            let begin = std::time::Instant::now();
            let found = cache.get::<String>(call("f"));
            assert!(found.is_none(), "{} bytes after {allowed}", found.map_or(0, |found| found.len()));
            assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
            proxy.set(Mode::Pass);
        }
        wait_until("it's read whole", DEADLINE, || match cache.get::<String>(call("f")) {
            Some(found) => {
                assert!(found == whole, "{} bytes", found.len());
                true
            }
            None => false,
        });
    }
}
