use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use foldhash::quality::FixedState;
use futures::executor::block_on;
use parking_lot::Mutex;

use super::*;
use crate::key::{CallParts, KeyBuilder, KeyContext, Scope};

/// A server that notes what it's told, and refuses some keys.
#[derive(Default)]
struct Recorder {
    removed: Mutex<HashSet<ServerKey>>,
    cleared: Mutex<Vec<String>>,
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

    async fn clear(&self, prefix: &KeyPrefix, left: &SlotSet) -> Result<SlotSet, ServerError> {
        self.cleared.lock().push(prefix.as_str().to_owned());
        Ok(left.clone())
    }
}

fn key_with(namespace: &str, name: &str, builder: Option<&dyn KeyBuilder>) -> CallKey {
    let scope = Scope::new("p", namespace).expect("both parts are given");
    let parts = CallParts { module: None, name: name.as_bytes(), args: b"", kwargs: &[] };
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
fn an_unavailable_server_takes_nothing_away() {
    let journal = Journal::default();
    journal.add_key(&key("n", 1)).expect("there is room");
    let away = Recorder { unavailable: true, ..Recorder::default() };
    assert_eq!(block_on(journal.replay(&away)), Err(Unavailable::TimedOut));
    assert!(journal.blocks(&key("n", 1)));
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

    async fn clear(&self, _: &KeyPrefix, left: &SlotSet) -> Result<SlotSet, ServerError> {
        Ok(left.clone())
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

    async fn clear(&self, _: &KeyPrefix, left: &SlotSet) -> Result<SlotSet, ServerError> {
        Ok(left.clone())
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

    async fn clear(&self, _: &KeyPrefix, left: &SlotSet) -> Result<SlotSet, ServerError> {
        let mut cleared = left.clone();
        cleared.subtract(&self.away);
        Ok(cleared)
    }
}

#[test]
fn a_part_that_is_away_holds_up_its_own_keys_only() {
    let journal = Journal::default();
    let mut away = SlotSet::none();
    away.insert_range(0..=8191);
    let is_away = |key: &CallKey| away.contains(slot_of(&key.server_key()));
    let keys: Vec<_> = (0..100).map(|number| key("n", number)).collect();
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
