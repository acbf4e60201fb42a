use std::pin::pin;
use std::time::Duration;

use foldhash::quality::FixedState;

use super::*;
use crate::key::{CallParts, Scope};

fn key(namespace: &str, name: &str) -> CallKey {
    let scope = Scope::new("p", namespace).expect("both parts are given");
    let parts = CallParts { module: None, name: name.as_bytes(), args: b"", kwargs: &[] };
    CallKey::new(&parts, &scope, None, &FixedState::default()).expect("the call has a key")
}

fn lead<'a>(flights: &'a Flights, key: &CallKey) -> Lead<'a> {
    match flights.join(key, Caller::new(true)) {
        Join::Lead(lead) => lead,
        Join::Wait(_) => panic!("another leads"),
    }
}

fn wait(flights: &Flights, key: &CallKey) -> Arc<Flight> {
    match flights.join(key, Caller::new(true)) {
        Join::Lead(_) => panic!("nobody leads"),
        Join::Wait(flight) => flight,
    }
}

fn keeps(lead: &Lead<'_>) -> bool {
    let mut kept = false;
    lead.commit(|| {
        kept = true;
        Evicted::default()
    });
    kept
}

fn landed(outcome: Outcome) -> Option<u32> {
    match outcome {
        Outcome::Landed(value) => value.downcast_ref().copied(),
        Outcome::Failed | Outcome::Abandoned => None,
    }
}

#[tokio::test]
async fn those_who_wait_get_the_leaders_value() {
    let flights = Flights::new();
    let leader = lead(&flights, &key("n", "a"));
    let flight = wait(&flights, &key("n", "a"));
    let mut early = pin!(flight.ended());
    assert!(futures::poll!(early.as_mut()).is_pending());
    leader.finish(&7_u32);
    assert_eq!(landed(early.await), Some(7));
    assert_eq!(landed(flight.ended().await), Some(7), "also who asks late");
    drop(lead(&flights, &key("n", "a")));
}

#[tokio::test]
async fn a_leader_that_is_dropped_or_fails_says_so() {
    let flights = Flights::new();
    let leader = lead(&flights, &key("n", "a"));
    let flight = wait(&flights, &key("n", "a"));
    drop(leader);
    assert!(matches!(flight.ended().await, Outcome::Abandoned));
    let leader = lead(&flights, &key("n", "a"));
    let flight = wait(&flights, &key("n", "a"));
    leader.fail();
    assert!(matches!(flight.ended().await, Outcome::Failed));
}

#[test]
fn nothing_is_kept_nor_joined_once_the_key_is_invalidated() {
    let flights = Flights::new();
    let (one, other) = (lead(&flights, &key("n", "a")), lead(&flights, &key("m", "a")));
    assert!(keeps(&one) && keeps(&other));
    assert!(flights.invalidate(&key("n", "a")).is_none());
    assert!(!keeps(&one) && one.begin_store().is_none());
    let fresh = lead(&flights, &key("n", "a"));
    one.finish(&1_u32);
    assert!(keeps(&fresh), "the flight that came after is none of the old one's business");
    assert!(keeps(&other));
    flights.invalidate_matching(&KeyPrefix::of_scope("p:m:"));
    assert!(!keeps(&other) && keeps(&fresh));
}

#[tokio::test]
async fn who_invalidates_waits_for_a_store_that_is_under_way() {
    let flights = Flights::new();
    let leader = lead(&flights, &key("n", "a"));
    let storing = leader.begin_store().expect("nothing was invalidated");
    let flight = flights.invalidate(&key("n", "a")).expect("a store is under way");
    let mut stored = pin!(flight.stored());
    assert!(futures::poll!(stored.as_mut()).is_pending());
    drop(storing);
    tokio::time::timeout(Duration::from_secs(5), stored).await.expect("the store has ended");
}

#[test]
fn a_value_from_outside_takes_the_key_over() {
    let flights = Flights::new();
    let computing = lead(&flights, &key("n", "a"));
    let (inserting, storing) = flights.take_over(&key("n", "a"), Caller::new(false));
    assert!(storing.is_none() && !keeps(&computing) && keeps(&inserting));
    let flight = wait(&flights, &key("n", "a"));
    drop(computing);
    inserting.finish(&5_u32);
    assert_eq!(landed(futures::executor::block_on(flight.ended())), Some(5));
}

#[test]
fn work_knows_its_own_flight_while_it_runs_and_only_then() {
    let flights = Flights::new();
    let leader = lead(&flights, &key("n", "a"));
    let flight = wait(&flights, &key("n", "a"));
    assert!(!flight.is_led_here());
    futures::executor::block_on(leader.run(async { assert!(flight.is_led_here()) }));
    assert!(!flight.is_led_here());
    let panics = leader.run(async { panic!("the user's own") });
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| futures::executor::block_on(panics)));
    assert!(caught.is_err() && !flight.is_led_here());
}
