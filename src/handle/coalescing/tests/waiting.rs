//! For what a caller waits that has joined a flight, and for how long.

use super::super::together::Hold;
use super::super::*;
use super::{ended_now, far, flights, keeps, key, landed, lead, wait};
use crate::handle::caller::BatchPulse;

/// What a caller is that joins now.
fn join(flights: &Arc<Flights>) -> (Arc<Flight>, Joined) {
    match flights.join(&key("n", "a"), Caller::asynchronous()) {
        Join::Leader(_) => panic!("none leads"),
        Join::Wait(flight, joined) => (flight, joined),
    }
}

#[test]
fn a_flight_asks_from_its_question_on_until_its_work_begins() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    let is_asking = || {
        let (flight, joined) = join(&flights);
        flight.is_asking(joined)
    };
    assert!(!is_asking());
    let hold = Hold::Leads(leader);
    hold.asks();
    let Hold::Leads(leader) = hold else { unreachable!("it leads") };
    assert!(is_asking());
    leader.begins_work();
    assert!(!is_asking());
}

#[test]
fn a_batch_leads_the_keys_that_none_leads_and_waits_for_the_others() {
    let flights = flights();
    let caller = Caller::asynchronous();
    let pulse = BatchPulse::new(caller);
    let _leader = lead(&flights, &key("n", "b"));
    let keys = ["a", "b", "c"].map(|name| key("n", name));
    let joined: Vec<_> = flights.join_all(keys.iter(), caller, &pulse).collect();
    assert!(matches!(joined[..], [Join::Leader(_), Join::Wait(..), Join::Leader(_)]));
}

#[test]
fn a_renewal_is_waited_for_until_its_leader_has_left() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    let flight = wait(&flights, &key("n", "a"));
    leader.renews(&1_u32, Some(Duration::from_secs(5)), AsOf::Now);
    assert!(flight.is_waited_for());
    drop(leader);
    assert!(!flight.is_waited_for());
}

#[tokio::test]
async fn a_caller_with_nothing_to_fall_back_on_waits_past_its_soft_timeout() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    let flight = wait(&flights, &key("n", "a"));
    let soft = Instant::now();
    let mut late = std::pin::pin!(flight.ended_or_late(soft));
    for _ in 0..20 {
        assert!(futures::poll!(late.as_mut()).is_pending());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    leader.finish(&1_u32, None, AsOf::Now);
    assert_eq!(late.await.and_then(landed), Some(1));

    let leader = lead(&flights, &key("n", "a"));
    let flight = wait(&flights, &key("n", "a"));
    leader.falls_back();
    assert!(flight.ended_or_late(soft).await.is_none() && ended_now(&flight).is_none());
    leader.finish(&2_u32, None, AsOf::Now);
    assert_eq!(flight.ended_or_late(far()).await.and_then(landed), Some(2));
}

#[test]
fn what_no_fence_has_confirmed_may_be_older_than_callers_that_came_after_the_work_began() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    let (_, before) = join(&flights);
    leader.begins_work();
    let (flight, after) = join(&flights);
    leader.finish(&1_u32, None, AsOf::Work);
    let Some(Phase::Landed(landed)) = ended_now(&flight) else { panic!("it has ended") };
    assert!(!landed.may_precede(before) && landed.may_precede(after));
}

#[test]
fn a_leader_that_has_published_unstored_work_and_is_not_polled_again_frees_its_key() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    leader.begins_work();
    drop(wait(&flights, &key("n", "a")));
    leader.publish_as_of_work(&1_u32, None);
    drop(wait(&flights, &key("n", "a")));
    std::thread::sleep(HANDED_ON);
    drop(lead(&flights, &key("n", "a")));
}

#[test]
fn what_leaves_the_table_with_its_store_to_come_stores_nothing() {
    let flights = flights();
    // An insert whose caller isn't polled for a while.
    let (insert, _) = flights.take_over(&key("n", "a"), Caller::asynchronous(), &Arc::default());
    insert.publish(&1_u32, Duration::from_millis(1), true);
    std::thread::sleep(Duration::from_millis(2));
    let next = lead(&flights, &key("n", "a"));
    // An invalidation finds the next one alone.
    assert!(insert.begin_store().is_none());
    next.finish(&2_u32, None, AsOf::Now);

    // What is on its way is known of, so its copy stays in step with it.
    let (insert, _) = flights.take_over(&key("n", "a"), Caller::asynchronous(), &Arc::default());
    insert.publish(&1_u32, Duration::from_millis(1), true);
    let storing = insert.begin_store().expect("nothing was invalidated");
    std::thread::sleep(Duration::from_millis(2));
    let next = lead(&flights, &key("n", "a"));
    assert!(keeps(&insert));
    drop((storing, next));

    let late = lead(&flights, &key("n", "a"));
    late.gives_way_at(Some(surroundings::now()));
    let Err(flight) = flights.try_join(&key("n", "a"), Caller::asynchronous()) else { panic!("it gives way") };
    assert!(flight.state.lock().invalidated, "from when it has left the table");
}
