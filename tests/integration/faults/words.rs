//! Values that are words of the server's own messages to subscribers.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use cache_house::CacheHandle;

use super::call;
use crate::support::{DEADLINE, Mode, Proxy, Server, connect, multi_thread, standalone, until_connected, wait_until};

/// What such a message may begin with, as the client library reads it.
const WORDS: [&str; 12] = [
    "message",
    "pmessage",
    "smessage",
    "subscribe",
    "psubscribe",
    "ssubscribe",
    "unsubscribe",
    "punsubscribe",
    "sunsubscribe",
    "pubsub",
    "invalidate",
    "monitor",
];

const KEYS: usize = 240;
/// More than a crowd is, and few enough that the reads which wait together are few.
const CALLERS: usize = 14;
const READS: usize = if cfg!(debug_assertions) { 120_000 } else { 1_000_000 };
/// Reads end then, however many there were.
const LONGEST: Duration = Duration::from_secs(12);

/// Every other key has such a word, in full; the others have what no other key has.
fn value(n: usize) -> String {
    if n.is_multiple_of(2) { WORDS[n / 2 % WORDS.len()].to_owned() } else { format!("value {n}") }
}

/// A call whose value is stored as it is, without quotes around it.
macro_rules! raw {
    ($n:expr) => {
        call("word")
            .arg($n)
            .encoder(|value: &String| Ok::<_, Infallible>(value.clone().into_bytes()))
            .decoder(|bytes: &[u8]| String::from_utf8(bytes.to_vec()))
    };
}

#[test]
fn words_of_publish_and_subscribe_are_values_like_any_other() {
    let server = Server::start();
    let runtime = multi_thread(2);
    let _inside = runtime.enter();
    // Without memory, each read is one of the server.
    let cache =
        connect(standalone(server.endpoint()).fallback_to_memory(false).command_timeout(Duration::from_secs(2)));
    (0..KEYS).for_each(|n| _ = cache.insert(raw!(n), &value(n)).expect("the server is there"));
    let before = server.calls("mget");
    let readers: Vec<_> = (0..CALLERS).map(|reader| runtime.spawn(read(cache.clone(), reader))).collect();
    let wrong: Vec<_> =
        readers.into_iter().flat_map(|reader| runtime.block_on(reader).expect("no reader panics")).collect();
    let stats = cache.stats();
    // A miss isn't as bad as another key's value.
    let others = wrong.iter().filter(|(_, found)| found.is_some()).count();
    assert!(wrong.is_empty(), "{} reads: {} wrong, {others} with other values: {stats:?}", READS, wrong.len());
    assert_eq!((stats.circuit_openings, stats.server_timeouts, stats.server_errors), (0, 0, 0), "{stats:?}");
    assert!(server.calls("mget") > before, "no reads were sent together");
}

#[test]
fn replies_out_of_step_end_the_connection_and_are_counted() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()).fallback_to_memory(false));
    (0..4).for_each(|n| _ = cache.insert(call("f").arg(n), &n).expect("the server is there"));
    assert_eq!(cache.stats().desyncs, 0);
    // It comes in place of the answer to the next probe, and the answer to that in place of the one after it.
    proxy.set(Mode::Inject(b"$5\r\nwrong\r\n"));
    wait_until("replies out of step are noticed", DEADLINE, || cache.stats().desyncs == 1);
    until_connected(&cache);
    (0..4).for_each(|n| assert_eq!(cache.get::<i32>(call("f").arg(n)), Some(n)));
    assert_eq!((cache.stats().desyncs, cache.stats().circuit_openings), (1, 1));
    wait_until("the old connection is gone", DEADLINE, || server.connections() == 1);
}

/// What wasn't read as it was stored.
async fn read(cache: CacheHandle, reader: usize) -> Vec<(String, Option<String>)> {
    let (begin, mut wrong) = (Instant::now(), Vec::new());
    for step in 0..READS / CALLERS {
        // Each reader by a way of its own, so that any three to five keys come together.
        let n = (reader * 31 + step * (2 * reader + 1)) % KEYS;
        let found = cache.get_async::<String>(raw!(n)).await;
        if found.as_deref() != Some(&*value(n)) {
            wrong.push((value(n), found));
            // While the circuit is open, reads are over too soon.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if begin.elapsed() > LONGEST {
            break;
        }
    }
    wrong
}
