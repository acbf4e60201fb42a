use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use foldhash::quality::FixedState;
use futures::executor::block_on;
use parking_lot::Mutex;
use proptest::collection::vec;
use proptest::prelude::*;

use super::items::{MAX_FOLDED, MAX_KEYS, MAX_KEYS_A_SCOPE, MAX_PREFIXES};
use super::*;
use crate::backend::slots::slot_of;
use crate::key::{CallParts, KeyBuilder, KeyContext, Scope};

/// A server that records what it's sent, and refuses some keys.
#[derive(Default)]
struct Recorder {
    removed: Mutex<HashSet<ServerKey>>,
    cleared: Mutex<Vec<String>>,
    walks: AtomicUsize,
    poisoned: Option<ServerKey>,
    unavailable: bool,
}

impl Invalidate for Recorder {
    const HAS_PARTS: bool = false;

    async fn remove_all(&self, keys: &[ServerKey]) -> Vec<Result<(), ServerError>> {
        let remove = |key: &ServerKey| {
            if self.unavailable {
                return Err(ServerError::Unavailable(Unavailable::TimedOut));
            }
            if self.poisoned.as_ref() == Some(key) {
                return Err(ServerError::Refused { code: "NOPERM".into(), message: String::new() });
            }
            self.removed.lock().insert(key.clone());
            Ok(())
        };
        keys.iter().map(remove).collect()
    }

    async fn clear(&self, clearings: &Clearings) -> Result<Cleared, ServerError> {
        self.cleared.lock().extend(clearings.prefixes.iter().map(|(prefix, _)| prefix.as_str().to_owned()));
        self.walks.fetch_add(1, Ordering::SeqCst);
        all_cleared()
    }
}

impl Journal {
    fn add_key(&self, key: &CallKey) -> Result<(), Full> {
        self.add(&Invalidation::Key(key.clone()))
    }

    fn add_prefix(&self, prefix: KeyPrefix) {
        self.add(&Invalidation::Matching(prefix)).expect("a prefix always has room");
    }
}

fn all_cleared() -> Result<Cleared, ServerError> {
    Ok(Cleared { certain: SlotSet::all(), refusals: Refusals::default() })
}

fn key_with(namespace: &str, name: &str, builder: Option<&dyn KeyBuilder>) -> CallKey {
    let scope = Scope::new("p", namespace).expect("both parts are given");
    let parts = CallParts { module: None, name: name.as_bytes(), args: b"", kwargs: &[], version: 0, tokens: &[] };
    CallKey::new(&parts, &scope, builder, &FixedState::default()).expect("the call has a key")
}

fn key(namespace: &str, number: usize) -> CallKey {
    key_with(namespace, &number.to_string(), None)
}

fn outside(name: &str) -> CallKey {
    key_with("n", name, Some(&|cx: &KeyContext<'_>| cx.name().to_owned()))
}

#[test]
fn it_blocks_what_was_invalidated_until_that_is_confirmed() {
    let journal = Journal::default();
    journal.add_key(&key("n", 1)).expect("there is room");
    journal.add_prefix(KeyPrefix::of_scope("p:m:"));
    assert!(journal.blocks(&key("n", 1)) && journal.blocks(&key("m", 7)));
    assert!(!journal.blocks(&key("n", 2)) && !journal.blocks(&key("m2", 7)));

    let server = Recorder::default();
    block_on(journal.replay(&server)).expect("the server is there");
    assert_eq!(*server.removed.lock(), HashSet::from([key("n", 1).server_key()]));
    assert_eq!(*server.cleared.lock(), ["p:m"]);
    assert_eq!(journal.len(), 0);
    assert!(!journal.blocks(&key("n", 1)) && !journal.blocks(&key("m", 7)));
}

#[test]
fn a_key_that_is_held_stays_blocked_and_is_removed_once_more_after() {
    let journal = Arc::new(Journal::default());
    journal.add_key(&key("n", 1)).expect("there is room");
    let holds = [journal.hold(&key("n", 1)), journal.hold(&key("n", 1))];
    block_on(journal.replay(&Recorder::default())).expect("the server is there");
    assert!(journal.blocks(&key("n", 1)) && !journal.blocks(&key("n", 2)));
    drop(holds);
    assert!(journal.blocks(&key("n", 1)) && journal.len() == 1);
    let server = Recorder::default();
    block_on(journal.replay(&server)).expect("the server is there");
    assert_eq!(*server.removed.lock(), HashSet::from([key("n", 1).server_key()]));
    assert!(!journal.blocks(&key("n", 1)) && journal.len() == 0);
}

#[test]
fn a_key_is_blocked_for_every_call_that_is_given_it() {
    let of_n = "p:n:made by hand";
    let by_hand = |namespace: &str| key_with(namespace, "f", Some(&|_: &KeyContext<'_>| of_n.to_owned()));
    let journal = Journal::default();
    journal.add_key(&by_hand("n")).expect("there is room");
    assert!(journal.blocks(&by_hand("n")) && journal.blocks(&by_hand("m")));
    block_on(journal.replay(&Recorder::default())).expect("the server is there");
    journal.add_key(&by_hand("m")).expect("there is room");
    assert!(journal.blocks(&by_hand("n")) && journal.blocks(&by_hand("m")));

    // The default key of one call, as another makes it by hand.
    let default = String::from_utf8(key("n", 1).server_key().to_vec()).expect("it's text");
    let the_same = key_with("m", "g", Some(&move |_: &KeyContext<'_>| default.clone()));
    assert!(!journal.blocks(&the_same));
    journal.add_key(&key("n", 1)).expect("there is room");
    assert!(journal.blocks(&the_same));
    assert_eq!(journal.len(), 2);
}

#[test]
fn a_key_that_two_calls_name_is_one_item_of_the_scope_that_either_knows() {
    let of_n = "p:n:made by hand";
    let by_hand = |namespace: &str| key_with(namespace, "f", Some(&|_: &KeyContext<'_>| of_n.to_owned()));
    for order in [["n", "m"], ["m", "n"]] {
        let journal = Journal::default();
        order.iter().for_each(|namespace| journal.add_key(&by_hand(namespace)).expect("there is room"));
        assert_eq!(journal.len(), 1);
        journal.items.lock().assert_consistent();
        journal.add_prefix(KeyPrefix::of_scope("p:n:"));
        assert_eq!(journal.len(), 1, "the namespace takes it along");
        journal.items.lock().assert_consistent();
    }
}

#[test]
fn a_key_counts_for_its_namespace_also_where_another_call_names_it_later() {
    let by_hand = |namespace: &str, number: usize| {
        let made = format!("p:n:{number}");
        key_with(namespace, "f", Some(&move |_: &KeyContext<'_>| made.clone()))
    };
    let journal = Journal::default();
    for number in 0..=MAX_KEYS_A_SCOPE {
        for namespace in ["n", "m"] {
            journal.add_key(&by_hand(namespace, number)).expect("there is room");
        }
    }
    // Past the bound, the namespace is one item; of the other call, the last key is known alone.
    assert!(journal.len() <= 2, "{}", journal.len());
}

#[test]
fn an_unavailable_server_takes_nothing_away() {
    let journal = Journal::default();
    journal.add_key(&key("n", 1)).expect("there is room");
    let away = Recorder { unavailable: true, ..Recorder::default() };
    assert_eq!(block_on(journal.replay(&away)), Err(Unavailable::TimedOut));
    assert!(journal.blocks(&key("n", 1)));
}

#[test]
fn a_first_part_shows_whether_the_server_takes_invalidations() {
    let journal = Journal::default();
    (0..2 * BATCH).for_each(|number| journal.add_key(&key("n", number)).expect("there is room"));
    let unavailable = Recorder { unavailable: true, ..Recorder::default() };
    assert_eq!(block_on(journal.begin_replay(&unavailable)), Err(Unavailable::TimedOut));
    assert_eq!(journal.len(), 2 * BATCH);
    let server = Recorder::default();
    assert_eq!(block_on(journal.begin_replay(&server)), Ok(()));
    assert_eq!((journal.len(), server.removed.lock().len()), (BATCH, BATCH));
}

#[test]
fn a_poisoned_key_does_not_hold_up_the_others() {
    let journal = Journal::default();
    for number in 0..10 {
        journal.add_key(&key("n", number)).expect("there is room");
    }
    let server = Recorder { poisoned: Some(key("n", 3).server_key()), ..Recorder::default() };
    block_on(journal.replay(&server)).expect("the server is there");
    assert_eq!(server.removed.lock().len(), 9);
    assert_eq!(journal.len(), 1);
    assert!(journal.blocks(&key("n", 3)));
}

#[test]
fn past_its_bound_a_namespace_is_cleared_as_a_whole() {
    let journal = Journal::default();
    for number in 0..=MAX_KEYS_A_SCOPE {
        journal.add_key(&key("n", number)).expect("a namespace can be collapsed");
    }
    journal.add_key(&key("m", 1)).expect("there is room");
    assert_eq!(journal.len(), 2, "one namespace, and one key of another");
    assert!(journal.blocks(&key("n", MAX_KEYS_A_SCOPE + 5)));
    assert!(!journal.blocks(&key("m", 2)));
}

#[test]
fn too_many_namespaces_become_their_key_prefix() {
    let journal = Journal::default();
    for number in 0..=MAX_PREFIXES {
        journal.add_prefix(KeyPrefix::of_scope(&format!("p:n{number}:")));
    }
    assert_eq!(journal.len(), 1);
    assert!(journal.blocks(&key("any", 1)));
}

/// The key of a tag's token, as the handle has it.
fn token(tag: &str) -> CallKey {
    CallKey::verbatim(&format!("p::tag:{tag}"), "p::tag".len(), &FixedState::default())
}

#[test]
fn clearing_takes_no_removed_tag_along() {
    let journal = Journal::default();
    journal.add_key(&token("removed")).expect("there is room");
    journal.add_prefix(KeyPrefix::of_scope("p"));
    assert!(journal.blocks(&token("removed")) && !journal.blocks(&token("other")));
    let server = Recorder::default();
    block_on(journal.replay(&server)).expect("the server is there");
    assert!(server.removed.lock().contains(&token("removed").server_key()));
}

#[test]
fn too_many_removed_tags_stay_removed_where_there_are_too_many_namespaces_too() {
    let journal = Journal::default();
    for number in 0..=MAX_KEYS_A_SCOPE {
        journal.add_key(&token(&number.to_string())).expect("there is room");
    }
    for number in 0..=MAX_PREFIXES {
        journal.add_prefix(KeyPrefix::of_scope(&format!("p:n{number}:")));
    }
    assert!(journal.blocks(&token("7")) && journal.blocks(&key("any", 1)));
    let server = Recorder::default();
    block_on(journal.replay(&server)).expect("the server is there");
    assert!(server.cleared.lock().iter().any(|prefix| prefix == "p::tag"));
}

#[test]
fn too_many_key_prefixes_are_folded_and_still_distinguished() {
    const PREFIXES: usize = 3 * MAX_PREFIXES;
    let prefix = |number: usize| KeyPrefix::of_scope(&format!("tenant{number}:n:"));
    let under = |number: usize| {
        key_with("n", &format!("tenant{number}:m:x"), Some(&|cx: &KeyContext<'_>| cx.name().to_owned()))
    };
    let journal = Journal::default();
    let mut slowest = [Duration::ZERO; PREFIXES / MAX_PREFIXES];
    for number in 0..PREFIXES {
        let begun = Instant::now();
        journal.add_prefix(prefix(number));
        slowest[number / MAX_PREFIXES] += begun.elapsed();
        assert!(journal.len() <= MAX_PREFIXES + 1);
    }
    // Each thousand is as quick as those before the bound.
    let [first, .., last] = slowest;
    assert!(last < 20 * first, "{slowest:?}");
    let named = [0, 1, MAX_PREFIXES, MAX_PREFIXES + 1, PREFIXES - 1];
    // All under the key prefix, where that was folded; nothing of another.
    assert!(named[..4].iter().all(|number| journal.blocks(&under(*number))));
    assert!(!journal.blocks(&under(PREFIXES)) && !journal.blocks(&key("n", 1)));

    let server = Recorder::default();
    block_on(journal.replay(&server)).expect("the server is there");
    assert_eq!(server.walks.load(Ordering::SeqCst), 1);
    assert_eq!(journal.len(), 0);
    assert!(!named.iter().any(|number| journal.blocks(&under(*number))));
}

#[test]
fn more_key_prefixes_than_can_be_distinguished_block_every_key() {
    let journal = Journal::default();
    for number in 0..=MAX_FOLDED + MAX_PREFIXES {
        journal.add_prefix(KeyPrefix::of_scope(&format!("tenant{number}")));
    }
    assert!(journal.blocks(&key("n", 1)));
    block_on(journal.replay(&Recorder::default())).expect("the server is there");
    assert!(journal.blocks(&key("n", 1)), "nothing tells what would have to go");
}

#[test]
fn what_is_known_by_its_key_alone_is_not_dropped_where_there_is_no_room() {
    let journal = Journal::default();
    for number in 0..MAX_KEYS {
        journal.add_key(&outside(&format!("user:{number}"))).expect("there is room");
    }
    let lone = outside("one more");
    journal.add_server_key(lone.server_key());
    assert!(journal.blocks(&lone));
    assert!(!journal.blocks(&outside("one")) && !journal.blocks(&outside("one more:below")));
    assert_eq!(journal.len(), MAX_KEYS + 1);
    let server = Recorder::default();
    block_on(journal.replay(&server)).expect("the server is there");
    assert_eq!((journal.len(), server.walks.load(Ordering::SeqCst)), (0, 1));
}

#[test]
fn all_that_is_to_be_cleared_takes_one_walk() {
    let journal = Journal::default();
    for number in 0..2_000 {
        journal.add_prefix(KeyPrefix::of_scope(&format!("p:n{number}:")));
    }
    let server = Recorder::default();
    block_on(journal.replay(&server)).expect("the server is there");
    assert_eq!((server.walks.load(Ordering::SeqCst), server.cleared.lock().len()), (1, 2_000));
    assert_eq!(journal.len(), 0);
}

#[test]
fn a_refused_key_holds_up_the_clearings_that_name_it_and_no_others() {
    let journal = Journal::default();
    for text in ["p:n", "p:m", "p:m:x"] {
        journal.add_prefix(KeyPrefix::of_scope(text));
    }
    let refuses = Refusing { key: ServerKey::from("p:m:x"), code: "ERR" };
    block_on(journal.replay(&refuses)).expect("the server is there");
    assert!(!journal.blocks(&key("n", 1)) && journal.blocks(&key("m", 1)));
    assert_eq!(journal.len(), 2);
    // A user may be limited to what is below the prefix itself.
    let limited = Refusing { key: ServerKey::from("p:m:x"), code: "NOPERM" };
    block_on(journal.replay(&limited)).expect("the server is there");
    assert_eq!(journal.len(), 1);
}

/// A server that refuses to remove one key.
struct Refusing {
    key: ServerKey,
    code: &'static str,
}

impl Invalidate for Refusing {
    const HAS_PARTS: bool = false;

    async fn remove_all(&self, keys: &[ServerKey]) -> Vec<Result<(), ServerError>> {
        keys.iter().map(|_| Ok(())).collect()
    }

    async fn clear(&self, clearings: &Clearings) -> Result<Cleared, ServerError> {
        let mut refusals = Refusals::default();
        assert!(clearings.names(&self.key, &refusals));
        refusals.add(clearings, &self.key, ServerError::Refused { code: self.code.into(), message: String::new() });
        Ok(Cleared { certain: SlotSet::all(), refusals })
    }
}

#[test]
fn a_walk_is_limited_to_the_text_that_all_its_prefixes_begin_with() {
    let clearings = |texts: &[&str]| {
        let mut clearings = Clearings::default();
        for text in texts {
            let journal = Journal::default();
            journal.add_prefix(KeyPrefix::of_scope(text));
            journal.items.lock().prefixes_after(None, u64::MAX, 1, &mut clearings);
        }
        clearings
    };
    for (texts, common) in [
        (&["p:users"][..], "p:users"),
        (&["p:users", "p:us"], "p:us"),
        (&["p:n:é", "p:n:è", "p:nn"], "p:n"),
        (&["p", "q"], ""),
        (&["p:é", "p:ê"], "p:"),
    ] {
        assert_eq!(clearings(texts).common_text(), common);
    }
    assert_eq!(clearings(&["p:n"]).single(), Some(&KeyPrefix::of_scope("p:n")));
    assert_eq!(clearings(&["p:n", "p:m"]).single(), None);
}

#[test]
fn a_key_in_each_of_many_namespaces_costs_no_more_than_as_many_in_one() {
    let time = |namespaces: usize| {
        let journal = Journal::default();
        for number in 0..9_000 {
            journal.add_key(&key(&format!("n{}", number % namespaces), number)).expect("there is room");
        }
        let begun = Instant::now();
        block_on(journal.replay(&Recorder::default())).expect("the server is there");
        assert_eq!(journal.len(), 0);
        journal.items.lock().assert_consistent();
        begun.elapsed()
    };
    // The best of some: whatever else runs only adds.
    let best = |namespaces| (0..5).map(|_| time(namespaces)).min().expect("there are some");
    let (one, many) = (best(1), best(9_000));
    assert!(many < 10 * one, "{many:?} beside {one:?}");
}

#[test]
fn custom_keys_outside_their_scope_are_kept_up_to_the_bound_of_all_and_then_refused() {
    let journal = Journal::default();
    for number in 0..MAX_KEYS {
        journal.add_key(&outside(&format!("user:{number}"))).expect("there is room");
    }
    assert_eq!(journal.len(), MAX_KEYS);
    assert!(journal.add_key(&outside("one more")).is_err());
    journal.add_key(&key("n", 1)).expect("a namespace can be collapsed");
    assert_eq!(journal.len(), MAX_KEYS + 1);
}

/// A server on which the key is invalidated once more while it's being removed.
struct Again {
    journal: Arc<Journal>,
    key: CallKey,
}

impl Invalidate for Again {
    const HAS_PARTS: bool = false;

    async fn remove_all(&self, keys: &[ServerKey]) -> Vec<Result<(), ServerError>> {
        self.journal.add_key(&self.key).expect("there is room");
        keys.iter().map(|_| Ok(())).collect()
    }

    async fn clear(&self, _: &Clearings) -> Result<Cleared, ServerError> {
        all_cleared()
    }
}

#[test]
fn a_confirmation_does_not_take_away_a_later_invalidation() {
    let journal = Arc::new(Journal::default());
    journal.add_key(&key("n", 1)).expect("there is room");
    block_on(journal.replay(&Again { journal: Arc::clone(&journal), key: key("n", 1) })).expect("the server is there");
    assert!(journal.blocks(&key("n", 1)));
    assert_eq!(journal.len(), 1);
}

/// A server that takes no writes, and counts how often it was asked.
#[derive(Default)]
struct ReadOnly(AtomicUsize);

impl Invalidate for ReadOnly {
    const HAS_PARTS: bool = false;

    async fn remove_all(&self, keys: &[ServerKey]) -> Vec<Result<(), ServerError>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let message = "You can't write against a read only replica.";
        keys.iter().map(|_| Err(ServerError::Refused { code: "READONLY".into(), message: message.into() })).collect()
    }

    async fn clear(&self, _: &Clearings) -> Result<Cleared, ServerError> {
        all_cleared()
    }
}

#[test]
fn a_server_that_takes_no_writes_is_not_asked_for_each_key() {
    let journal = Journal::default();
    for number in 0..5_000 {
        journal.add_key(&key("n", number)).expect("there is room");
    }
    let server = ReadOnly::default();
    block_on(journal.replay(&server)).expect("the server is there");
    assert_eq!(server.0.load(Ordering::SeqCst), 1);
    assert_eq!(journal.len(), 5_000, "all of it waits");
}

/// A cluster of which some slots are out of reach.
struct HalfThere {
    away: SlotSet,
}

impl Invalidate for HalfThere {
    const HAS_PARTS: bool = true;

    async fn remove_all(&self, keys: &[ServerKey]) -> Vec<Result<(), ServerError>> {
        let away = |key: &ServerKey| self.away.contains(slot_of(key));
        let remove = |key| if away(key) { Err(ServerError::Unavailable(Unavailable::NotConnected)) } else { Ok(()) };
        keys.iter().map(remove).collect()
    }

    async fn clear(&self, clearings: &Clearings) -> Result<Cleared, ServerError> {
        let mut certain = clearings.left();
        certain.subtract(&self.away);
        Ok(Cleared { certain, refusals: Refusals::default() })
    }
}

#[test]
fn a_part_that_is_away_holds_up_its_own_keys_only() {
    let journal = Journal::default();
    let mut away = SlotSet::none();
    away.insert_range(0..=8191);
    let is_away = |key: &CallKey| away.contains(slot_of(&key.server_key()));
    // More than are removed at once.
    let keys: Vec<_> = (0..3 * BATCH).map(|number| key("n", number)).collect();
    keys.iter().for_each(|key| journal.add_key(key).expect("there is room"));
    journal.add_prefix(KeyPrefix::of_scope("p:m:"));
    assert!((0..100).all(|number| journal.blocks(&key("m", number))));

    let server = HalfThere { away: away.clone() };
    assert_eq!(block_on(journal.replay(&server)), Err(Unavailable::NotConnected));
    assert!(keys.iter().all(|key| journal.blocks(key) == is_away(key)));
    assert!((0..100).map(|number| key("m", number)).all(|key| journal.blocks(&key) == is_away(&key)));

    // A namespace that is to be cleared again has to be so everywhere.
    journal.add_prefix(KeyPrefix::of_scope("p:m:"));
    assert!((0..100).all(|number| journal.blocks(&key("m", number))));
    block_on(journal.replay(&HalfThere { away: SlotSet::none() })).expect("all of it is there");
    assert_eq!(journal.len(), 0);
}

/// A step of a journal: something is noted, or a part of a cluster takes it.
#[derive(Debug, Clone)]
enum Step {
    Key(usize),
    LoneKey(usize),
    Prefix(usize),
    PrefixIn(usize, bool),
    Replay(bool),
}

const NAMESPACES: [&str; 3] = ["n", "m", "n2"];
const PREFIXES: [&str; 6] = ["p", "p:n", "p:m", "p:n:custom", "q", "user"];

/// Default keys, and ones by hand inside and outside their scope.
fn some_keys() -> Vec<CallKey> {
    let by_hand = ["p:n:custom", "p:n:custom:1", "p:m:custom", "user:1", "user", "p"];
    let custom = |(namespace, text): (&str, &'static str)| {
        key_with(namespace, text, Some(&|cx: &KeyContext<'_>| cx.name().to_owned()))
    };
    let of_each = NAMESPACES.into_iter().flat_map(|namespace| by_hand.map(|text| custom((namespace, text))));
    of_each.chain(NAMESPACES.into_iter().flat_map(|namespace| [key(namespace, 1), key(namespace, 2)])).collect()
}

fn half(upper: bool) -> SlotSet {
    let mut slots = SlotSet::none();
    slots.insert_range(if upper { 8192..=16383 } else { 0..=8191 });
    slots
}

proptest! {
    #[test]
    fn it_blocks_exactly_what_was_noted_and_not_confirmed(steps in vec(
        prop_oneof![
            (0..24_usize).prop_map(Step::Key),
            (0..24_usize).prop_map(Step::LoneKey),
            (0..PREFIXES.len()).prop_map(Step::Prefix),
            (0..PREFIXES.len(), any::<bool>()).prop_map(|(prefix, upper)| Step::PrefixIn(prefix, upper)),
            any::<bool>().prop_map(Step::Replay),
        ],
        0..30,
    )) {
        let (journal, keys) = (Journal::default(), some_keys());
        let slot = |key: &CallKey| slot_of(&key.server_key());
        let mut blocked: HashSet<ServerKey> = HashSet::new();
        for step in steps {
            let under = |prefix: usize, slots: SlotSet| {
                let prefix = KeyPrefix::of_scope(PREFIXES[prefix]);
                let named = keys.iter().filter(move |key| prefix.matches(&key.server_key()) && slots.contains(slot(key)));
                named.map(CallKey::server_key).collect::<Vec<_>>()
            };
            match step {
                Step::Key(key) => {
                    journal.add_key(&keys[key]).expect("there is room");
                    blocked.insert(keys[key].server_key());
                }
                Step::LoneKey(key) => {
                    journal.add_server_key(keys[key].server_key());
                    blocked.insert(keys[key].server_key());
                }
                Step::Prefix(prefix) => {
                    journal.add_prefix(KeyPrefix::of_scope(PREFIXES[prefix]));
                    blocked.extend(under(prefix, SlotSet::all()));
                }
                Step::PrefixIn(prefix, upper) => {
                    journal.add_prefix_in(KeyPrefix::of_scope(PREFIXES[prefix]), half(upper));
                    blocked.extend(under(prefix, half(upper)));
                }
                Step::Replay(upper) => {
                    let _ = block_on(journal.replay(&HalfThere { away: half(!upper) }));
                    blocked.retain(|key| half(!upper).contains(slot_of(key)));
                }
            }
            journal.items.lock().assert_consistent();
            for key in &keys {
                prop_assert_eq!(journal.blocks(key), blocked.contains(&key.server_key()), "{:?}", key.server_key());
            }
        }
        let _ = block_on(journal.replay(&HalfThere { away: SlotSet::none() }));
        prop_assert_eq!(journal.len(), 0);
    }
}
