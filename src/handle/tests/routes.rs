//! Where calls and inserts go, and what the server is asked.

use super::*;
use crate::backend::invalidation::Invalidation;

impl Fake {
    fn is_away(&self, is_away: bool) {
        self.0.is_away.store(is_away, Ordering::SeqCst);
    }
}

impl Engine<Fake> {
    /// Notes a key in the journal.
    fn journal(&self, key: &CallKey) {
        self.inner.tiers.journal.add(&Invalidation::Key(key.clone())).expect("there is room");
    }
}

#[test]
fn a_key_is_read_from_the_server_unless_that_is_away_or_the_journal_names_it() {
    for has_memory in [false, true] {
        let server = Fake::default();
        let engine = engine_with(&server, has_memory);
        let (tiers, key) = (&engine.inner.tiers, engine.key());
        let instead = if has_memory { Route::Memory } else { Route::Nowhere };
        assert_eq!((tiers.route(&key), tiers.all_go_to_server()), (Route::Server, true));
        server.is_away(true);
        assert_eq!((tiers.route(&key), tiers.all_go_to_server()), (instead, false));
        engine.journal(&key);
        assert_eq!((tiers.route(&key), tiers.all_go_to_server()), (instead, false));
        server.is_away(false);
        assert_eq!((tiers.route(&key), tiers.all_go_to_server()), (instead, false));
        let other = engine.call_key(&CacheOptions::new("other")).expect("it has a key");
        assert_eq!(tiers.route(&other), Route::Server);
    }
}

#[tokio::test]
async fn an_insert_of_a_key_that_the_journal_names_does_not_go_to_the_server() {
    let (engine, server) = engine();
    engine.journal(&engine.key());
    assert!(engine.put(1).await.expect("it's in memory").journalled);
    assert_eq!((server.count("check_type"), server.count("set")), (0, 0));
    assert_eq!(engine.look().await, Some(1));
}

#[tokio::test]
async fn an_insert_that_a_replica_refuses_waits_in_the_journal() {
    let (engine, server) = engine();
    let read_only = ServerError::Refused { code: "READONLY".into(), message: "of a replica".into() };
    server.fail("set", read_only);
    assert!(engine.put(1).await.expect("it's in memory").journalled);
    assert_eq!(engine.inner.tiers.journal.len(), 1);
}

#[tokio::test]
async fn a_value_too_large_for_memory_alone_is_not_counted_beside_a_server() {
    let (engine, server) = engine();
    server.is_away(true);
    let large = "x".repeat((1 << 20) - 100);
    let work = Work::plain(|_| async { Ok(large.clone()) });
    let value = infallible(engine.read_through(&call(), Caller::asynchronous, Want::VALUE, work).await).value;
    assert_eq!((value.len(), engine.inner.tiers.stats().uncached), (large.len(), 0));
    assert!(!engine.in_memory());
}

#[tokio::test]
async fn the_remaining_ttl_is_asked_for_where_it_decides() {
    const MINUTE: Duration = Duration::from_secs(60);
    // How long a value may be stale, what is left of its TTL, and how many of two reads ask: with memory, and without.
    let cases = [(Duration::ZERO, MINUTE / 2, [1, 0]), (MINUTE, 3 * MINUTE / 2, [1, 2]), (MINUTE, MINUTE / 2, [2, 2])];
    for (window, remaining, asked) in cases {
        let of_each = [true, false].map(|has_memory| async move {
            let server = Fake::default();
            let engine = engine_with(&server, has_memory);
            server.holds(&engine, "1", remaining);
            for _ in 0..2 {
                let _: Option<i32> =
                    engine.get(&call().expire(MINUTE).stale_if_error(window), Caller::asynchronous()).await;
            }
            server.count("ttl")
        });
        let [with_memory, without] = of_each;
        assert_eq!([with_memory.await, without.await], asked, "{remaining:?}");
    }
}
