use std::thread;

use foldhash::quality::FixedState;

use super::*;
use crate::clock::ManualClock;
use crate::key::{CallParts, Scope};

fn limits(max_entries: u64, max_bytes: u64) -> MemoryLimits {
    MemoryLimits { max_entries, max_bytes }
}

fn key(namespace: &str, number: u64) -> CallKey {
    let scope = Scope::new("p", namespace).expect("both parts are given");
    let name = number.to_string();
    let parts = CallParts { module: None, name: name.as_bytes(), args: b"", kwargs: &[], version: 0, tokens: &[] };
    CallKey::new(&parts, &scope, None, &FixedState::default()).expect("the call has a key")
}

/// A value that takes up so many bytes.
fn content(value: u64, decoded: u64) -> Content {
    let form = Form { decoded: true, encoded: false, weight: decoded + ENTRY_OVERHEAD };
    Content { form, value: Some(Box::new(value)), coder: None, bytes: None, server_key: None, mark: None }
}

const TTL: Duration = Duration::from_secs(60);

fn value(memory: &Memory, key: &CallKey) -> Option<u64> {
    memory.find(key)?.value::<u64>().copied()
}

#[test]
fn an_entry_lives_to_the_millisecond_of_its_expiry() {
    let clock = ManualClock::new();
    let memory = Memory::new(limits(100, 1 << 20), clock.clone().into());
    drop(memory.insert(&key("n", 1), content(7, 8), memory.now(), Duration::from_millis(5)));
    clock.advance(Duration::from_micros(4_999));
    assert_eq!(value(&memory, &key("n", 1)), Some(7));
    clock.advance(Duration::from_micros(1));
    assert_eq!(value(&memory, &key("n", 1)), None);
    assert_eq!(memory.len(), 0, "an expired entry goes when it's asked for");
}

#[test]
fn a_value_of_another_type_is_not_found() {
    let memory = Memory::new(limits(100, 1 << 20), Clock::default());
    drop(memory.insert(&key("n", 1), content(7, 8), memory.now(), TTL));
    let entry = memory.find(&key("n", 1)).expect("it was inserted");
    assert_eq!(entry.value::<String>(), None);
}

#[test]
fn it_holds_no_more_entries_than_it_may() {
    for max_entries in [1, 2, 10, 1000] {
        let memory = Memory::new(limits(max_entries, 1 << 26), Clock::default());
        for number in 0..max_entries * 5 {
            drop(memory.insert(&key("n", number), content(number, 8), memory.now(), TTL));
            assert!(memory.len() <= max_entries, "{} of {max_entries}", memory.len());
        }
        assert!(memory.len() > 0, "a tier of {max_entries} holds something");
    }
}

#[test]
fn it_holds_no_more_bytes_than_it_may() {
    let memory = Memory::new(limits(10_000, 1 << 20), Clock::default());
    for number in 0..500 {
        drop(memory.insert(&key("n", number), content(number, 10_000), memory.now(), TTL));
        assert!(memory.weight() <= 1 << 20);
    }
    assert!(memory.len() > 50, "and uses what it has: {} entries", memory.len());
}

#[test]
fn few_entries_weigh_what_they_are() {
    let memory = Memory::new(limits(10, 64 << 20), Clock::default());
    for number in 0..9 {
        drop(memory.insert(&key("n", number), content(number, 8), memory.now(), TTL));
    }
    assert_eq!((memory.len(), memory.weight()), (9, 9 * (8 + ENTRY_OVERHEAD)));
}

#[test]
fn an_entry_costs_less_beside_its_value_than_the_configuration_leaves_for_it() {
    let key = key("a namespace of ordinary length", u64::MAX);
    let memory = Memory::new(limits(10, 2 * 10_000 + 768), Clock::default());
    let form = memory.form(&key, 10_000, 10_000, Some(&key.server_key()));
    assert!(form.is_some_and(|form| form.decoded && form.encoded), "{form:?}");
    let memory = Memory::new(limits(10, 10_000 + 768), Clock::default());
    assert!(memory.form(&key, 10_000, 10_000, None).is_some_and(|form| form.decoded));
    assert!(memory.form(&key, 10_000, u64::MAX, None).is_some_and(|form| form.encoded));
}

#[test]
fn a_value_is_kept_decoded_where_there_is_room_and_else_encoded() {
    let memory = Memory::new(limits(10, 100_000), Clock::default());
    let key = key("n", 1);
    let server_key = key.server_key();
    let form = |encoded, decoded, server| {
        let form = memory.form(&key, encoded, decoded, server)?;
        Some((form.decoded, form.encoded))
    };
    let beside = Some(&server_key);
    // Without a server there is nothing to compare bytes with.
    assert_eq!(form(10_000, 10_000, None), Some((true, false)));
    assert_eq!(form(10_000, 95_000, None), Some((true, false)));
    assert_eq!(form(10_000, 10_000, beside), Some((true, true)));
    // Decoded it's too large.
    assert_eq!(form(10_000, 100_000, None), Some((false, true)));
    assert_eq!(form(10_000, 95_000, beside), Some((false, true)));
    assert_eq!(form(10_000, u64::MAX, beside), Some((false, true)));
    // And encoded, too.
    assert_eq!([form(100_000, 100_000, None), form(100_000, 100_000, beside)], [None, None]);
}

#[test]
fn a_value_at_half_the_bound_is_kept_in_both_forms() {
    let memory = Memory::new(limits(10_000, 64 << 20), Clock::default());
    for number in 0..8 {
        let key = key("n", number);
        let bytes = Bytes::from(vec![7; 31 << 20]);
        let server_key = key.server_key();
        let form = memory.form(&key, bytes.len(), bytes.len() as u64, Some(&server_key)).expect("there is room");
        assert!(form.decoded && form.encoded);
        let content = Content { form, bytes: Some(bytes), server_key: Some(server_key), ..content(number, 0) };
        drop(memory.insert(&key, content, memory.now(), TTL));
        assert_eq!(value(&memory, &key), Some(number), "just inserted");
        assert!(memory.weight() <= 64 << 20);
    }
}

#[test]
fn clearing_counts_what_had_not_expired_and_spares_the_rest() {
    let clock = ManualClock::new();
    let memory = Memory::new(limits(100, 1 << 20), clock.clone().into());
    drop(memory.insert(&key("users", 1), content(1, 8), memory.now(), Duration::from_secs(1)));
    drop(memory.insert(&key("users", 2), content(2, 8), memory.now(), TTL));
    drop(memory.insert(&key("users2", 1), content(3, 8), memory.now(), TTL));
    clock.advance(Duration::from_secs(2));
    assert_eq!(memory.remove_matching(&KeyPrefix::of_scope("p:users:")), 1);
    assert_eq!(value(&memory, &key("users", 2)), None);
    assert_eq!(value(&memory, &key("users2", 1)), Some(3));
    assert!(memory.remove(&key("users2", 1)) && !memory.remove(&key("users2", 1)));
}

/// Calls back into the cache when it's dropped, as a user's value may.
struct Meddler(std::sync::Weak<Memory>);

impl Drop for Meddler {
    fn drop(&mut self) {
        if let Some(memory) = self.0.upgrade() {
            let _ = (memory.len(), memory.weight(), memory.find(&key("n", 1)));
            let _ = memory.remove(&key("other", 1));
        }
    }
}

#[test]
fn no_lock_is_held_while_a_value_is_dropped() {
    let (sender, receiver) = std::sync::mpsc::channel();
    // On a thread of its own, because a lock that is held would be waited for without an end.
    thread::spawn(move || {
        let clock = ManualClock::new();
        let memory = Arc::new(Memory::new(limits(2, 1 << 20), clock.clone().into()));
        let meddler = |len| Content { value: Some(Box::new(Meddler(Arc::downgrade(&memory)))), ..content(0, len) };
        let insert = |number, len| drop(memory.insert(&key("n", number), meddler(len), memory.now(), TTL));
        let steps: [(&str, &dyn Fn()); 7] = [
            ("replaced", &|| insert(1, 8)),
            ("evicted", &|| (2..9).for_each(|number| insert(number, 8))),
            ("refused", &|| insert(1, 2 << 20)),
            ("removed", &|| (0..9).for_each(|number| _ = memory.remove(&key("n", number)))),
            ("cleared by prefix", &|| _ = memory.remove_matching(&KeyPrefix::of_scope("p:n:"))),
            ("expired", &|| {
                clock.advance(2 * TTL);
                (0..9).for_each(|number| drop(memory.find(&key("n", number))));
            }),
            ("cleared", &|| memory.clear()),
        ];
        for (how, step) in steps {
            insert(1, 8);
            let _ = sender.send(how);
            step();
        }
        let _ = sender.send("done");
    });
    let mut last = "made";
    while last != "done" {
        let next = receiver.recv_timeout(Duration::from_secs(30));
        last = next.unwrap_or_else(|_| panic!("a lock is held while a value is {last}"));
    }
}

#[test]
fn of_two_values_of_which_the_newer_isnt_known_neither_is_kept() {
    let clock = ManualClock::new();
    let memory = Memory::new(limits(100, 1 << 20), clock.clone().into());
    let since = memory.now();
    clock.advance(Duration::from_secs(1));
    drop(memory.insert(&key("n", 1), content(7, 8), memory.now(), TTL));
    drop(memory.insert_unless_newer(&key("n", 1), content(6, 8), since, TTL));
    assert_eq!(value(&memory, &key("n", 1)), None);
    drop(memory.insert_unless_newer(&key("n", 1), content(8, 8), since, TTL));
    clock.advance(TTL - Duration::from_secs(1));
    assert_eq!(value(&memory, &key("n", 1)), None, "its TTL counts from then");
}
