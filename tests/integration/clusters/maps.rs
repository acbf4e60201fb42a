//! Maps that are large, or can't be right.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, Health};

use super::call;
use crate::support::cluster::clustered;
use crate::support::fake::{Answer, Fake, healthy};
use crate::support::{DEADLINE, multi_thread, until_connected, wait_until};

/// A node of a cluster that gives this map.
fn node_of(map: String) -> Fake {
    slow_node_of(map, Duration::ZERO)
}

/// The same, which takes as long for it.
fn slow_node_of(map: String, takes: Duration) -> Fake {
    Fake::answering(move |words| {
        let reply = match words[0].to_ascii_uppercase().as_str() {
            "HELLO" => "%1\r\n$4\r\nmode\r\n$7\r\ncluster\r\n",
            "CLUSTER" if words[1] == "SLOTS" => {
                thread::sleep(takes);
                &map
            }
            _ => return healthy(words),
        };
        Answer::Reply(reply.as_bytes().to_vec())
    })
}

/// The reply to CLUSTER SLOTS: each range with the number of its primary, where nobody answers.
fn map_of(ranges: &[(usize, usize, usize)]) -> String {
    let mut map = format!("*{}\r\n", ranges.len());
    for (first, last, primary) in ranges {
        let host = format!("127.1.{}.{}", primary / 250, 1 + primary % 250);
        map += &format!("*3\r\n:{first}\r\n:{last}\r\n*2\r\n${}\r\n{host}\r\n:1\r\n", host.len());
    }
    map
}

/// Each slot is a range of its own, and primaries take turns.
fn scattered(primaries: usize) -> String {
    map_of(&(0..16_384).map(|slot| (slot, slot, slot % primaries)).collect::<Vec<_>>())
}

fn handle(node: &Fake) -> CacheHandle {
    CacheHouse::builder().cluster(node.endpoint().as_str()).build().expect("the builder is right")
}

#[track_caller]
fn until_refused(node: Fake, words: &str) {
    let cache = handle(&node);
    wait_until(&format!("it's told that {words}"), DEADLINE, || match cache.health() {
        Health::Degraded { reason, .. } => reason.to_string().contains(words),
        _ => false,
    });
    assert_eq!(cache.cached(call(2), || 4), 4);
}

#[test]
fn a_map_of_more_primaries_than_a_cluster_may_have_is_refused() {
    let map = map_of(&(0..1_001).map(|slot| (slot, slot, slot)).collect::<Vec<_>>());
    until_refused(node_of(map), "more than 1000 primaries");
}

#[test]
fn a_map_that_takes_longer_than_half_a_second_is_read_all_the_same() {
    let node = slow_node_of(map_of(&[(7, 6, 0)]), Duration::from_millis(700));
    until_refused(node, "makes no sense");
}

#[test]
fn a_map_that_names_a_slot_twice_or_backwards_is_refused() {
    until_refused(node_of(map_of(&[(0, 16_383, 0), (16_383, 16_383, 1)])), "makes no sense");
    until_refused(node_of(map_of(&[(7, 6, 0)])), "makes no sense");
    until_refused(node_of(map_of(&[(0, 16_384, 0)])), "makes no sense");
}

#[test]
fn a_map_that_leaves_slots_without_an_owner_is_soon_read_again() {
    let asked = Arc::new(AtomicU32::new(0));
    let (asks, address) = (Arc::clone(&asked), Arc::new(OnceLock::<String>::new()));
    let own = Arc::clone(&address);
    // The one primary answers, so that its shard is served.
    let node = Fake::answering(move |words| {
        let reply = match words[0].to_ascii_uppercase().as_str() {
            "HELLO" => "%1\r\n$4\r\nmode\r\n$7\r\ncluster\r\n".to_owned(),
            "CLUSTER" if words[1] == "SLOTS" => {
                asks.fetch_add(1, Ordering::SeqCst);
                let port = own.get().map_or("1", |address| address.rsplit(':').next().unwrap_or_default());
                format!("*1\r\n*3\r\n:0\r\n:8000\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n")
            }
            _ => return healthy(words),
        };
        Answer::Reply(reply.into_bytes())
    });
    address.set(node.endpoint()).expect("it's set once");
    let cache = clustered(node.endpoint()).build().expect("the builder is right");
    until_connected(&cache);
    let before = asked.load(Ordering::SeqCst);
    // A map is ten seconds old before it's read again without a reason.
    wait_until("the map is read again", DEADLINE, || asked.load(Ordering::SeqCst) > before + 10);
    cache.close();
}

#[test]
fn a_large_map_holds_no_worker_up_for_seconds() {
    // What reading such a map takes here, and how busy the machine is.
    let refused = longest_pause(scattered(1_001), "more than 1000 primaries");
    let adopted = longest_pause(scattered(1_000), "refused");
    assert!(adopted < 8 * refused.max(Duration::from_millis(250)), "{adopted:?}, where {refused:?} are for reading it");
}

/// For how long a task of the one worker that there is isn't run, while this map is looked at.
fn longest_pause(map: String, until: &str) -> Duration {
    let node = node_of(map);
    let runtime = multi_thread(1);
    let over = Arc::new(AtomicBool::new(false));
    let ticking = {
        let over = Arc::clone(&over);
        runtime.spawn(async move {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !over.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            longest
        })
    };
    let _entered = runtime.enter();
    let cache = handle(&node);
    wait_until(until, DEADLINE, || cache.health().to_string().contains(until));
    // Some of what follows from it, too.
    thread::sleep(Duration::from_secs(1));
    over.store(true, Ordering::SeqCst);
    runtime.block_on(ticking).expect("it ends")
}
