mod keys;
mod waiting;

use std::hash::BuildHasher;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use foldhash::quality::FixedState;

use super::watched::PULSE;
use super::*;
use crate::deadline;
use crate::key::{CallParts, KeyBuilder, KeyPrefix, Scope};
use crate::watchdog::Watched;

fn key(namespace: &str, name: &str) -> CallKey {
    key_by(namespace, name, None, &FixedState::default())
}

fn key_by(namespace: &str, name: &str, builder: Option<&dyn KeyBuilder>, hasher: &impl BuildHasher) -> CallKey {
    let scope = Scope::new("p", namespace).expect("both parts are given");
    let parts = CallParts { module: None, name: name.as_bytes(), args: b"", kwargs: &[], version: 0, tokens: &[] };
    CallKey::new(&parts, &scope, builder, hasher).expect("the call has a key")
}

fn flights() -> Arc<Flights> {
    Flights::new()
}

fn lead(flights: &Arc<Flights>, key: &CallKey) -> Leader {
    match flights.join(key, Caller::asynchronous()) {
        Join::Leader(lead) => lead,
        Join::Wait(..) => panic!("another leads"),
    }
}

fn wait(flights: &Arc<Flights>, key: &CallKey) -> Arc<Flight> {
    match flights.join(key, Caller::asynchronous()) {
        Join::Leader(_) => panic!("nobody leads"),
        Join::Wait(flight, _) => flight,
    }
}

fn keeps(lead: &Leader) -> bool {
    let mut kept = false;
    lead.commit(|| {
        kept = true;
        Evicted::default()
    });
    kept
}

fn landed(phase: Phase) -> Option<u32> {
    match phase {
        Phase::Landed(landed) => landed.value.downcast_ref().copied(),
        Phase::Running | Phase::Failed(..) | Phase::Abandoned => None,
    }
}

#[tokio::test]
async fn waiters_get_the_leaders_value() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    let flight = wait(&flights, &key("n", "a"));
    let mut early = pin!(flight.ended());
    assert!(futures::poll!(early.as_mut()).is_pending());
    leader.finish(&7_u32, None, AsOf::Now);
    assert_eq!(landed(early.await), Some(7));
    assert_eq!(landed(flight.ended().await), Some(7), "also who asks late");
    drop(lead(&flights, &key("n", "a")));
}

#[tokio::test]
async fn a_leader_that_is_dropped_or_fails_says_so() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    let flight = wait(&flights, &key("n", "a"));
    drop(leader);
    assert!(matches!(flight.ended().await, Phase::Abandoned));
    let leader = lead(&flights, &key("n", "a"));
    let flight = wait(&flights, &key("n", "a"));
    leader.fail(Storable::Foreign, None);
    assert!(matches!(flight.ended().await, Phase::Failed(Storable::Foreign, None)));
}

#[test]
fn nothing_is_kept_nor_joined_once_the_key_is_invalidated() {
    let flights = flights();
    let (one, other) = (lead(&flights, &key("n", "a")), lead(&flights, &key("m", "a")));
    assert!(keeps(&one) && keeps(&other));
    assert!(flights.invalidate(&Invalidation::Key(key("n", "a"))).0.is_empty());
    assert!(!keeps(&one) && one.begin_store().is_none());
    let fresh = lead(&flights, &key("n", "a"));
    one.finish(&1_u32, None, AsOf::Now);
    assert!(keeps(&fresh), "the flight that came after is none of the old one's business");
    assert!(keeps(&other));
    flights.invalidate(&Invalidation::Matching(KeyPrefix::of_scope("p:m:")));
    assert!(!keeps(&other) && keeps(&fresh));
}

/// Far more than it takes; only a blocked thread would look at it.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Whether nothing has to be waited for.
fn is_settled(stores: &Stores) -> bool {
    let mut ended = pin!(stores.ended(far()));
    futures::FutureExt::now_or_never(ended.as_mut()).is_some()
}

#[tokio::test]
async fn an_invalidation_waits_for_a_store_that_is_under_way() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    let storing = leader.begin_store().expect("nothing was invalidated");
    let stores = flights.invalidate(&Invalidation::Key(key("n", "a")));
    let mut ended = pin!(stores.ended(far()));
    assert!(futures::poll!(ended.as_mut()).is_pending());
    drop(storing);
    assert!(tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the store has ended"));
}

#[test]
fn each_invalidation_sees_a_store_until_it_ends() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    let storing = leader.begin_store().expect("nothing was invalidated");
    // Invalidated more than once, by key and by prefix, also once its leader has gone.
    assert!(!is_settled(&flights.invalidate(&Invalidation::Key(key("n", "a")))));
    assert!(!is_settled(&flights.invalidate(&Invalidation::Key(key("n", "a")))));
    drop(leader);
    assert!(!is_settled(&flights.invalidate(&Invalidation::Key(key("n", "a")))));
    assert!(!is_settled(&flights.invalidate(&Invalidation::Matching(KeyPrefix::of_scope("p:n:")))));
    assert!(!is_settled(&flights.take_over(&key("n", "a"), Caller::asynchronous(), &Arc::default()).1));
    assert!(is_settled(&flights.invalidate(&Invalidation::Key(key("m", "a")))));
    drop(storing);
    assert!(is_settled(&flights.invalidate(&Invalidation::Key(key("n", "a")))));
    assert!(flights.shards.iter().all(|shard| shard.lock().apart.is_empty()));
}

#[test]
fn what_an_invalidation_takes_out_of_the_table_stores_nothing_from_then_on() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    // As soon as others can't find it any more, whatever the invalidation has yet to do.
    let taken = flights.shard(&key("n", "a")).lock().take(&key("n", "a"));
    assert!(leader.begin_store().is_none() && !keeps(&leader));
    drop(taken);
    let leader = lead(&flights, &key("n", "b"));
    let taken = flights.take_where(|_| true);
    assert!(leader.begin_store().is_none() && !keeps(&leader));
    drop(taken);
}

#[test]
fn a_published_value_isnt_handed_on_past_its_ttl_or_its_store() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    leader.publish(&7_u32, Duration::ZERO, true);
    drop(lead(&flights, &key("n", "a")));
    let leader = (leader, lead(&flights, &key("n", "a"))).1;
    leader.publish(&7_u32, Duration::from_secs(600), true);
    assert_eq!(landed(futures::executor::block_on(wait(&flights, &key("n", "a")).ended())), Some(7));
    drop(leader.begin_store().expect("nothing was invalidated"));
    // Though its leader isn't polled any more.
    drop(lead(&flights, &key("n", "a")));
}

#[test]
fn a_value_that_isnt_handed_on_goes_only_to_those_who_wait_already() {
    let flights = flights();
    let ways: [&dyn Fn(&Leader); 2] = [&|leader| leader.publish(&1_u32, Duration::from_secs(5), false), &|leader| {
        leader.publish_as_of_work(&1_u32, None)
    }];
    for publish in ways {
        let leader = lead(&flights, &key("n", "a"));
        let early = wait(&flights, &key("n", "a"));
        publish(&leader);
        assert_eq!(ended_now(&early).and_then(landed), Some(1));
        drop(leader);

        let leader = lead(&flights, &key("n", "a"));
        publish(&leader);
        assert!(ended_now(&wait(&flights, &key("n", "a"))).is_none());
        drop(leader);
    }
}

#[test]
fn a_value_that_no_caller_waits_for_is_not_cloned() {
    #[derive(Default)]
    struct Counted(Arc<AtomicUsize>);

    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Ordering::SeqCst);
            Self(Arc::clone(&self.0))
        }
    }

    let (flights, value) = (flights(), Counted::default());
    lead(&flights, &key("n", "a")).finish(&value, None, AsOf::Now);
    assert_eq!(value.0.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_leader_that_an_insert_has_overtaken_waits_until_that_has_ended() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    assert_eq!(leader.replaced(far()).await, None);
    let (insert, _) = flights.take_over(&key("n", "a"), Caller::asynchronous(), &Arc::default());
    let mut replaced = pin!(leader.replaced(far()));
    assert!(futures::poll!(replaced.as_mut()).is_pending());
    insert.finish(&2_u32, None, AsOf::Now);
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), replaced).await, Ok(Some(true)));
}

#[test]
fn an_insert_is_superseded_by_who_leads_meanwhile_unless_another_insert_answers_for_that() {
    let flights = flights();
    let (one, _) = flights.take_over(&key("n", "a"), Caller::asynchronous(), &Arc::default());
    one.publish(&1_u32, Duration::ZERO, true);
    let storing = one.begin_store().expect("nothing was invalidated");
    assert!(!one.is_superseded());
    drop(lead(&flights, &key("n", "a")));
    assert!(one.is_superseded(), "its value isn't handed on any more");
    let (other, _) = flights.take_over(&key("n", "a"), Caller::asynchronous(), &Arc::default());
    assert!(!one.is_superseded() && !other.is_superseded());
    drop(storing);
}

#[test]
fn a_store_that_ends_after_its_invalidation_is_blocked_and_then_journalled() {
    let journal = Arc::new(Journal::default());
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    let storing = leader.begin_store().expect("nothing was invalidated");
    let stores = flights.invalidate(&Invalidation::Key(key("n", "a")));
    // A thread that blocks gives up by its own clock.
    let past = Instant::now();
    let mut cx = Context::from_waker(Waker::noop());
    let (given_up, _) = deadline::observe(Waker::noop(), || pin!(stores.ended(past)).poll(&mut cx));
    assert_eq!(given_up, Poll::Ready(false));
    stores.overtake(&journal);
    // Blocked before it ends, and to be removed after.
    assert!(journal.blocks(&key("n", "a")) && journal.len() == 1);
    drop(storing);
    assert!(journal.blocks(&key("n", "a")) && journal.len() == 1);
}

#[test]
fn a_read_beside_a_flight_keeps_nothing_once_the_key_is_invalidated() {
    let flights = flights();
    let observer = flights.observe(&key("n", "a"), Caller::asynchronous());
    drop(lead(&flights, &key("n", "a")));
    let keeps = || {
        let mut kept = false;
        observer.commit(|| {
            kept = true;
            Evicted::default()
        });
        kept
    };
    assert!(keeps());
    flights.invalidate(&Invalidation::Key(key("n", "a")));
    assert!(!keeps());
    drop(observer);
    // Nor anything while another leads, an insert perhaps.
    let leader = lead(&flights, &key("n", "a"));
    let observer = flights.observe(&key("n", "a"), Caller::asynchronous());
    observer.commit(|| unreachable!("the leader may know better"));
    drop((leader, observer));
    assert!(flights.shards.iter().all(|shard| shard.lock().apart.is_empty()));
}

#[test]
fn a_value_from_outside_takes_the_key_over() {
    let flights = flights();
    let computing = lead(&flights, &key("n", "a"));
    let (inserting, stores) = flights.take_over(&key("n", "a"), Caller::blocking(), &Arc::default());
    assert!(is_settled(&stores) && !keeps(&computing) && keeps(&inserting));
    let flight = wait(&flights, &key("n", "a"));
    drop(computing);
    inserting.finish(&5_u32, None, AsOf::Now);
    assert_eq!(landed(futures::executor::block_on(flight.ended())), Some(5));
}

#[test]
fn work_knows_its_own_flight_while_it_runs_and_only_then() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    let flight = wait(&flights, &key("n", "a"));
    assert!(!flight.is_led_here());
    futures::executor::block_on(leader.run(async { assert!(flight.is_led_here()) }));
    assert!(!flight.is_led_here());
    let panics = leader.run(async { panic!("the user's own") });
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| futures::executor::block_on(panics)));
    assert!(caught.is_err() && !flight.is_led_here());
}

/// On its thread, whatever it does there, so that the watchdog, which runs beside the test, never takes it for stuck.
fn lead_blocking(flights: &Arc<Flights>, key: &CallKey) -> Leader {
    match flights.join(key, Caller::blocking()) {
        Join::Leader(lead) => lead,
        Join::Wait(..) => panic!("another leads"),
    }
}

fn lead_forced(flights: &Arc<Flights>, key: &CallKey) -> (Leader, Stores) {
    match flights.join_forced(key, Caller::asynchronous()) {
        (Join::Leader(leader), stores) => (leader, stores),
        (Join::Wait(..), _) => panic!("another refreshes"),
    }
}

fn ended_now(flight: &Flight) -> Option<Phase> {
    futures::FutureExt::now_or_never(flight.ended()).filter(|phase| !matches!(phase, Phase::Running))
}

fn is_over(flight: &Flight) -> bool {
    futures::FutureExt::now_or_never(flight.over()).is_some()
}

#[test]
fn a_waiter_on_a_renewal_gets_the_old_value_and_a_later_caller_reads_it() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    let waiting = wait(&flights, &key("n", "a"));
    assert!(!waiting.renews() && ended_now(&waiting).is_none());
    leader.renews(&1_u32, Some(Duration::from_secs(5)), AsOf::Now);
    let Some(Phase::Landed(old)) = ended_now(&waiting) else { panic!("the old value is there") };
    assert_eq!(
        (old.value.downcast_ref(), old.remaining, old.is_final),
        (Some(&1_u32), Some(Duration::from_secs(5)), false)
    );
    let late = wait(&flights, &key("n", "a"));
    assert!(late.renews() && !is_over(&late), "the flight goes on");
    leader.finish(&2_u32, None, AsOf::Now);
    assert!(is_over(&late));
    drop(lead(&flights, &key("n", "a")));
}

#[tokio::test]
async fn a_leader_that_renews_and_is_dropped_or_fails_frees_its_key() {
    for fails in [false, true] {
        let flights = flights();
        let leader = lead(&flights, &key("n", "a"));
        leader.renews(&1_u32, None, AsOf::Now);
        let late = wait(&flights, &key("n", "a"));
        let mut over = pin!(late.over());
        assert!(futures::poll!(over.as_mut()).is_pending());
        if fails {
            leader.fail(Storable::Yes, None)
        } else {
            drop(leader)
        }
        assert!(over.await);
        drop(lead(&flights, &key("n", "a")));
    }
}

#[test]
fn an_answer_may_be_older_than_a_caller_that_joined_after_the_question() {
    let flights = flights();
    for renews in [false, true] {
        let leader = lead(&flights, &key("n", "a"));
        let Join::Wait(flight, before) = flights.join(&key("n", "a"), Caller::asynchronous()) else {
            panic!("one leads")
        };
        leader.asks();
        let Join::Wait(_, after) = flights.join(&key("n", "a"), Caller::asynchronous()) else { panic!("one leads") };
        if renews {
            leader.renews(&1_u32, None, AsOf::Question);
        } else {
            leader.finish(&1_u32, None, AsOf::Question);
        }
        let Some(Phase::Landed(landed)) = ended_now(&flight) else { panic!("it has landed") };
        assert_eq!((landed.may_precede(before), landed.may_precede(after)), (false, true));
        assert_eq!(landed.is_final, !renews);
    }
}

#[test]
fn a_forced_flight_takes_the_key_over_and_is_shared_while_it_runs() {
    let flights = flights();
    let older = lead(&flights, &key("n", "a"));
    let storing = older.begin_store().expect("nothing was invalidated");
    let (leader, stores) = lead_forced(&flights, &key("n", "a"));
    assert!(!is_settled(&stores), "it waits for the older store");
    assert!(!keeps(&older) && older.begin_store().is_none() && keeps(&leader));
    drop(storing);
    assert!(is_settled(&stores));
    let (Join::Wait(second, _), stores) = flights.join_forced(&key("n", "a"), Caller::asynchronous()) else {
        panic!("one refreshes")
    };
    assert!(is_settled(&stores) && ended_now(&second).is_none());
    assert!(wait(&flights, &key("n", "a")).renews(), "other callers are served what there is");
    drop(older);
    leader.finish(&2_u32, None, AsOf::Now);
    assert_eq!(ended_now(&second).and_then(landed), Some(2));
    let (next, _) = lead_forced(&flights, &key("n", "a"));
    // Its value has landed: a refresh that comes now takes over.
    next.publish(&3_u32, Duration::from_secs(5), true);
    drop((lead_forced(&flights, &key("n", "a")), next));
    assert!(flights.shards.iter().all(|shard| shard.lock().current.is_empty()));
}

#[test]
fn a_flight_gives_way_from_its_time_on() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    leader.gives_way_at(Some(far()));
    let waiting = wait(&flights, &key("n", "a"));
    leader.gives_way_at(Some(Instant::now()));
    let next = lead(&flights, &key("n", "a"));
    assert!(matches!(ended_now(&waiting), Some(Phase::Abandoned)), "who waited takes a turn");
    assert!(is_over(&waiting) && !keeps(&leader) && leader.begin_store().is_none());
    leader.finish(&1_u32, None, AsOf::Now);
    assert!(keeps(&next), "the flight that came after is none of the late one's business");
    next.gives_way_at(Some(Instant::now()));
    next.gives_way_at(None);
    assert!(ended_now(&wait(&flights, &key("n", "a"))).is_none(), "its work has ended in time");
}

#[test]
fn a_leader_gives_way_by_itself_and_its_waiters_take_turns() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    let waiting = wait(&flights, &key("n", "a"));
    leader.offer(&1_u32, Duration::from_secs(5));
    leader.give_way();
    assert!(matches!(ended_now(&waiting), Some(Phase::Abandoned)) && is_over(&waiting));
    let next = lead(&flights, &key("n", "a"));
    assert!(!keeps(&leader) && leader.begin_store().is_none());
    leader.fail(Storable::Yes, None);
    assert!(keeps(&next));
    drop(next);
    assert!(flights.shards.iter().all(|shard| shard.lock().apart.is_empty()));
}

#[test]
fn the_watchdog_has_flights_give_way_that_callers_wait_for() {
    let flights = flights();
    let (leader, unwanted) = (lead_blocking(&flights, &key("n", "a")), lead_blocking(&flights, &key("n", "b")));
    let waiting = wait(&flights, &key("n", "a"));
    let now = Instant::now();
    for leader in [&leader, &unwanted] {
        leader.gives_way_at(Some(now + PULSE));
    }
    // An invalidation changes nothing about that.
    flights.invalidate(&Invalidation::Key(key("n", "a")));
    flights.look(now);
    assert!(ended_now(&waiting).is_none());
    flights.look(now + PULSE);
    assert!(matches!(ended_now(&waiting), Some(Phase::Abandoned)));
    assert!(keeps(&unwanted), "whoever comes next sees to that");
    assert!(flights.shards.iter().all(|shard| shard.lock().behind.is_empty()));
}

#[test]
fn the_watchdog_looks_again_as_long_as_a_caller_waits() {
    let flights = flights();
    let now = Instant::now();
    let leader = lead_blocking(&flights, &key("n", "a"));
    assert_eq!(flights.look(now), None);
    drop(wait(&flights, &key("n", "a")));
    assert_eq!(flights.look(now), Some(now + PULSE));
    leader.finish(&1_u32, None, AsOf::Now);
    assert_eq!(flights.look(now), None);
}

#[test]
fn an_invalidated_flight_is_looked_after_until_it_ends() {
    let flights = flights();
    for clears in [false, true] {
        let leader = lead_blocking(&flights, &key("n", "a"));
        drop(wait(&flights, &key("n", "a")));
        if clears {
            flights.invalidate_all();
        } else {
            flights.invalidate(&Invalidation::Key(key("n", "a")));
        }
        let behind = || flights.shards.iter().map(|shard| shard.lock().behind.len()).sum::<usize>();
        flights.look(Instant::now());
        assert_eq!(behind(), 1);
        leader.finish(&1_u32, None, AsOf::Now);
        flights.look(Instant::now());
        assert_eq!(behind(), 0);
        // Nobody waits for it.
        let leader = lead_blocking(&flights, &key("n", "a"));
        flights.invalidate_all();
        assert_eq!(behind(), 0);
        drop(leader);
    }
}

#[test]
fn a_flight_that_has_ended_is_not_left_behind() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    drop(wait(&flights, &key("n", "a")));
    leader.publish(&1_u32, Duration::from_secs(5), true);
    // Nobody waits any more, so there may be no further look.
    flights.invalidate(&Invalidation::Key(key("n", "a")));
    assert!(flights.shards.iter().all(|shard| shard.lock().behind.is_empty()));
}

/// How long a lock may take that another thread has, the watchdog's say. One that the own thread has is never free.
const OF_ANOTHER: Duration = Duration::from_secs(5);

/// A value whose drop looks for a lock that its own thread holds: of a shard, and of the flight that it's of.
#[derive(Clone)]
struct Looks {
    flights: Weak<Flights>,
    flight: Weak<Flight>,
    was_held: Arc<AtomicBool>,
}

impl Looks {
    fn of(flights: &Arc<Flights>, flight: &Arc<Flight>, was_held: &Arc<AtomicBool>) -> Self {
        let (flights, flight) = (Arc::downgrade(flights), Arc::downgrade(flight));
        Self { flights, flight, was_held: Arc::clone(was_held) }
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        let flights = self.flights.upgrade().expect("the test has them");
        let of_a_shard = flights.shards.iter().any(|shard| shard.try_lock_for(OF_ANOTHER).is_none());
        let of_the_flight = self.flight.upgrade().is_some_and(|flight| flight.state.try_lock_for(OF_ANOTHER).is_none());
        self.was_held.fetch_or(of_a_shard || of_the_flight, Ordering::SeqCst);
    }
}

#[test]
fn the_value_of_a_flight_left_behind_is_dropped_outside_the_locks() {
    let (flights, was_held) = (flights(), Arc::new(AtomicBool::new(false)));
    let leader = lead_blocking(&flights, &key("n", "a"));
    let waiting = wait(&flights, &key("n", "a"));
    flights.invalidate_all();
    let value = Looks::of(&flights, &waiting, &was_held);
    drop(waiting);
    leader.finish(&value, None, AsOf::Now);
    flights.look(Instant::now());
    assert!(flights.shards.iter().all(|shard| shard.lock().behind.is_empty()));
    assert!(!was_held.load(Ordering::SeqCst));
}

#[test]
fn the_value_that_a_leader_renews_is_dropped_outside_the_locks() {
    let (flights, was_held) = (flights(), Arc::new(AtomicBool::new(false)));
    for fails in [false, true] {
        let leader = lead(&flights, &key("n", "a"));
        let waiting = wait(&flights, &key("n", "a"));
        leader.renews(&Looks::of(&flights, &waiting, &was_held), None, AsOf::Now);
        if fails {
            leader.fail(Storable::Yes, None);
        } else {
            leader.publish(&1_u32, Duration::from_secs(5), true);
        }
    }
    assert!(!was_held.load(Ordering::SeqCst));
}

#[test]
fn a_shared_error_reaches_all_waiters() {
    let flights = flights();
    let leader = lead(&flights, &key("n", "a"));
    let waiting = [wait(&flights, &key("n", "a")), wait(&flights, &key("n", "a"))];
    leader.fail(Storable::Yes, Some(Arc::new("no route")));
    for flight in waiting {
        let Some(Phase::Failed(Storable::Yes, Some(shared))) = ended_now(&flight) else { panic!("it has failed") };
        assert_eq!(shared.downcast_ref(), Some(&"no route"));
    }
}
