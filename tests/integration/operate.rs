//! What operators see of the keys on a server.

use std::collections::HashSet;
use std::time::Duration;

use cache_house::operate::{Expiry, KeyKind, Operator, Walk};
use cache_house::{CacheHouse, opts};

use crate::support::cluster::{Borrowed, connected_to};
use crate::support::{Server, connect, connected, standalone};

/// The keys of these walks.
async fn keys(walks: Vec<Walk>) -> HashSet<String> {
    let mut keys = HashSet::new();
    for mut walk in walks {
        while let Some(page) = walk.next_page().await.expect("the server is there") {
            keys.extend(page.keys.into_iter().map(|key| key.key));
        }
    }
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_slot_that_moves_are_seen_on_either_side() {
    let cluster = Borrowed::get();
    let cache = connected_to(&cluster);
    let slot = 4_772; // of `{slot}`
    for id in 0..20 {
        let options =
            opts!("x", id).key_builder(move |_: &cache_house::KeyContext<'_>| format!("cachehouse:main:{{slot}}:{id}"));
        cache.insert_async(options, &id).await.expect("the cluster is there");
    }
    let from = cluster.owner("{slot}");
    let to = cluster.nodes.iter().find(|node| node.port() != from.port()).expect("there are three");
    cluster.begin_move(slot, from, to);
    assert!(cluster.move_keys(slot, from, to, 10));
    let operator = Operator::new(&cache).expect("there is a server");
    for walks in [operator.walks().await, operator.samples().await] {
        let walks = walks.expect("the cluster is there");
        assert_eq!((walks.len(), keys(walks).await.len()), (3, 20));
    }
    // One that has moved is read and removed where it went.
    let moved = to.keys().into_iter().next().expect("some have moved");
    let (report, _) = operator.read(&moved).await.expect("it's there").expect("it's there");
    assert_eq!(report.kind, KeyKind::Value { namespace: Some("main".into()) });
    assert!(operator.remove(&moved).await.expect("the cluster is there"));
    assert!(!operator.remove(&moved).await.expect("the cluster is there"));
    while cluster.move_keys(slot, from, to, 100) {}
    cluster.end_move(slot, to);
    cluster.begin_move(slot, to, from);
    while cluster.move_keys(slot, to, from, 100) {}
    cluster.end_move(slot, from);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_walk_goes_on_where_the_server_failed() {
    let server = Server::start();
    let fill = "for i = 1, 2000 do redis.call('SET', KEYS[1] .. i, 'x', 'PX', 100000) end";
    server.command(&["EVAL", fill, "1", "cachehouse:main:"]);
    let cache = connect(standalone(server.endpoint()).command_timeout(Duration::from_millis(300)));
    let operator = Operator::new(&cache).expect("there is a server");
    let mut walks = operator.walks().await.expect("the server is there");
    let mut walk = walks.pop().expect("there is one");
    assert_eq!((walk.total(), walk.endpoint()), (Some(2_000), server.endpoint()));
    let mut seen = HashSet::new();
    let page = walk.next_page().await.expect("the server is there").expect("there are more");
    let key = &page.keys[0];
    assert!(matches!(key.expiry, Expiry::In(left) if left <= Duration::from_secs(100)), "{key:?}");
    assert_eq!(key.bytes, Some(1));
    seen.extend(page.keys.into_iter().map(|key| key.key));
    server.freeze();
    assert!(walk.next_page().await.is_err_and(|error| error.is_unavailable()));
    server.thaw();
    let pages = async {
        loop {
            match walk.next_page().await {
                Ok(None) => return,
                Ok(Some(page)) => seen.extend(page.keys.into_iter().map(|key| key.key)),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(crate::support::DEADLINE, pages).await.expect("the server is there again");
    assert_eq!(seen.len(), 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_never_served_from_memory() {
    let server = Server::start();
    let cache = connected(&server);
    cache.cached_async(opts!("x"), || async { 1 }).await;
    let key = cache.key(&opts!("x")).expect("it has a key");
    let operator = Operator::new(&cache).expect("there is a server");
    assert_eq!(operator.read(&key).await.expect("the server is there").map(|(_, value)| value), Some(b"1".to_vec()));
    server.kill();
    let error = operator.read(&key).await.expect_err("the server is gone");
    assert!(error.is_unavailable() && !error.to_string().contains("memory"), "{error}");
    assert!(operator.remove(&key).await.is_err_and(|error| error.is_unavailable()));
    cache.close_async().await;
    assert!(operator.walks().await.is_err());
    let memory = CacheHouse::builder().memory().build().expect("the builder is right");
    assert!(Operator::new(&memory).is_err_and(|error| error.is_config()));
}
