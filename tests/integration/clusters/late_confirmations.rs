//! A primary that has lost its place, and goes on to confirm what it's sent until it learns so. Two nodes that aren't any: what a real
//! one confirms, and when, can't be held back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use cache_house::CacheHandle;

use super::call;
use crate::support::cluster::clustered;
use crate::support::fake::{Answer, Fake, healthy};
use crate::support::{DEADLINE, until_connected, wait_until};

/// A cluster of one shard, whose primary loses its place to a replica that knows nothing of the last changes.
struct Shard {
    state: Arc<State>,
    primary: Fake,
    _successor: Fake,
}

#[derive(Default)]
struct State {
    /// Of the primary and of its successor.
    ports: OnceLock<[String; 2]>,
    /// From here on the map names the successor.
    has_failed_over: AtomicBool,
    /// From here on the old primary sends callers on.
    redirects: AtomicBool,
    /// The primary answers removals of a key only when this is over.
    holds_removals: AtomicBool,
    held: AtomicUsize,
    /// Keys that have been removed from the successor, which has a value for all others.
    removed: Mutex<Vec<String>>,
    reads_of_successor: AtomicUsize,
}

const OLD: u64 = 7;

impl Shard {
    fn start() -> Self {
        let state = Arc::new(State::default());
        let (first, second) = (Arc::clone(&state), Arc::clone(&state));
        let primary = Fake::answering(move |words| first.as_primary(words));
        let successor = Fake::answering(move |words| second.as_successor(words));
        let ports = [&primary, &successor].map(|node| node.endpoint().rsplit(':').next().map(String::from));
        state.ports.set(ports.map(|port| port.expect("an endpoint has a port"))).expect("it's set once");
        Self { state, primary, _successor: successor }
    }

    fn connect(&self) -> CacheHandle {
        let builder = clustered(self.primary.endpoint()).fallback_to_memory(false);
        let cache = builder.command_timeout(DEADLINE).pool_size(8).build().expect("the builder is right");
        until_connected(&cache);
        cache
    }

    fn fail_over(&self) {
        self.state.has_failed_over.store(true, Ordering::SeqCst);
        self.state.redirects.store(true, Ordering::SeqCst);
    }
}

impl State {
    fn ports(&self) -> [&str; 2] {
        self.ports.get().map_or(["0"; 2], |ports| [&ports[0], &ports[1]])
    }

    /// What both answer alike.
    fn as_either(&self, words: &[String]) -> Answer {
        let reply = match words[0].to_ascii_uppercase().as_str() {
            "HELLO" => "%1\r\n$4\r\nmode\r\n$7\r\ncluster\r\n".to_owned(),
            "CLUSTER" if words[1] == "SLOTS" => {
                let port = self.ports()[usize::from(self.has_failed_over.load(Ordering::SeqCst))];
                format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n")
            }
            _ => return healthy(words),
        };
        Answer::Reply(reply.into_bytes())
    }

    fn as_primary(&self, words: &[String]) -> Answer {
        let is_read = matches!(words[0].as_str(), "GET" | "MGET" | "EXISTS");
        if is_read && !words[1].contains("probe") && self.redirects.load(Ordering::SeqCst) {
            return Answer::Reply(format!("-MOVED 1 127.0.0.1:{}\r\n", self.ports()[1]).into_bytes());
        }
        if words[0] == "UNLINK" && !words[1].contains("lease") && self.holds_removals.load(Ordering::SeqCst) {
            self.held.fetch_add(1, Ordering::SeqCst);
            wait_until("the removal may be confirmed", DEADLINE, || !self.holds_removals.load(Ordering::SeqCst));
        }
        self.as_either(words)
    }

    fn as_successor(&self, words: &[String]) -> Answer {
        let removed = || self.removed.lock().expect("no answer panics");
        match words[0].as_str() {
            "UNLINK" => removed().extend_from_slice(&words[1..]),
            "GET" if !words[1].contains("probe") && !removed().contains(&words[1]) => {
                self.reads_of_successor.fetch_add(1, Ordering::SeqCst);
                return Answer::Reply(format!("$1\r\n{OLD}\r\n").into_bytes());
            }
            _ => {}
        }
        self.as_either(words)
    }
}

#[test]
fn a_removal_that_the_old_primary_confirms_behind_the_failover_is_repeated() {
    let shard = Shard::start();
    let cache = shard.connect();
    shard.state.holds_removals.store(true, Ordering::SeqCst);
    let (is_over, reads) = (AtomicBool::new(false), || shard.state.reads_of_successor.load(Ordering::SeqCst));
    thread::scope(|scope| {
        let removing = scope.spawn(|| cache.remove(call(1)).expect("a primary confirms it"));
        wait_until("the removal has been sent", DEADLINE, || shard.state.held.load(Ordering::SeqCst) > 0);
        // Readers of other keys, most of whom don't share the connection that is held up.
        for n in 10..26 {
            let (cache, is_over) = (&cache, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::SeqCst) {
                    let _ = cache.get::<u64>(call(n));
                }
            });
        }
        shard.fail_over();
        wait_until("a reader meets the failover", DEADLINE, || reads() > 0);
        // Without redirects, only the new map leads to the successor.
        shard.state.redirects.store(false, Ordering::SeqCst);
        let before = reads();
        wait_until("the new map is adopted", DEADLINE, || reads() > before + 100);
        is_over.store(true, Ordering::SeqCst);
        shard.state.holds_removals.store(false, Ordering::SeqCst);
        removing.join().expect("it returns");
    });
    assert_eq!(cache.get::<u64>(call(1)), None, "the successor never knew of the removal");
    wait_until("it's repeated", DEADLINE, || {
        let gone = shard.state.removed.lock().expect("no answer panics");
        gone.contains(&cache.key(&call(1)).expect("it has a key"))
    });
}

#[test]
fn the_very_read_that_meets_the_failover_does_not_return_what_was_removed() {
    let shard = Shard::start();
    let cache = shard.connect();
    cache.remove(call(1)).expect("the primary confirms it");
    cache.remove(call(3)).expect("the primary confirms it");
    shard.fail_over();
    assert_eq!(cache.get::<u64>(call(1)), None, "the successor never knew of the removal");
    assert!(!cache.contains(call(3)));
    wait_until("what was not removed is read", DEADLINE, || cache.get(call(2)) == Some(OLD));
    assert!(shard.state.reads_of_successor.load(Ordering::SeqCst) > 0);
}
