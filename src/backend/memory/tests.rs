use foldhash::quality::FixedState;

use super::*;
use crate::clock::ManualClock;
use crate::key::{CallParts, Scope};

fn limits(max_entries: u64, max_bytes: u64) -> MemoryLimits {
    MemoryLimits { max_entries, max_bytes, max_value_bytes: max_bytes }
}

fn key(namespace: &str, number: u64) -> CallKey {
    let scope = Scope::new("p", namespace).expect("both parts are given");
    let name = number.to_string();
    let parts = CallParts { module: None, name: name.as_bytes(), args: b"", kwargs: &[] };
    CallKey::new(&parts, &scope, None, &FixedState::default()).expect("the call has a key")
}

fn content(value: u64, encoded_len: usize) -> Content {
    Content { value: Some(Box::new(value)), codec: None, bytes: None, server_key: None, encoded_len }
}

const LIFE: Duration = Duration::from_secs(60);

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
    drop(memory.insert(&key("n", 1), content(7, 8), memory.now(), LIFE));
    let entry = memory.find(&key("n", 1)).expect("it was inserted");
    assert_eq!(entry.value::<String>(), None);
}

#[test]
fn it_holds_no_more_entries_than_it_may() {
    for max_entries in [1, 2, 10, 1000] {
        let memory = Memory::new(limits(max_entries, 1 << 26), Clock::default());
        for number in 0..max_entries * 5 {
            drop(memory.insert(&key("n", number), content(number, 8), memory.now(), LIFE));
            assert!(memory.len() <= max_entries, "{} of {max_entries}", memory.len());
        }
        assert!(memory.len() > 0, "a tier of {max_entries} holds something");
    }
}

#[test]
fn it_holds_no_more_bytes_than_it_may() {
    let memory = Memory::new(limits(10_000, 1 << 20), Clock::default());
    for number in 0..500 {
        drop(memory.insert(&key("n", number), content(number, 10_000), memory.now(), LIFE));
        assert!(memory.weight() <= 1 << 20);
    }
    assert!(memory.len() > 50, "and uses what it has: {} entries", memory.len());
}

#[test]
fn the_largest_value_that_may_be_stored_fits() {
    let limits = MemoryLimits { max_entries: 10_000, max_bytes: 64 << 20, max_value_bytes: 16 << 20 };
    let memory = Memory::new(limits, Clock::default());
    for number in 0..8 {
        drop(memory.insert(&key("n", number), content(number, 15 << 20), memory.now(), LIFE));
        assert_eq!(value(&memory, &key("n", number)), Some(number), "just inserted");
    }
}

#[test]
fn clearing_counts_what_had_not_expired_and_spares_the_rest() {
    let clock = ManualClock::new();
    let memory = Memory::new(limits(100, 1 << 20), clock.clone().into());
    drop(memory.insert(&key("users", 1), content(1, 8), memory.now(), Duration::from_secs(1)));
    drop(memory.insert(&key("users", 2), content(2, 8), memory.now(), LIFE));
    drop(memory.insert(&key("users2", 1), content(3, 8), memory.now(), LIFE));
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
        let insert = |number, len| drop(memory.insert(&key("n", number), meddler(len), memory.now(), LIFE));
        let steps: [(&str, &dyn Fn()); 7] = [
            ("replaced", &|| insert(1, 8)),
            ("evicted", &|| (2..9).for_each(|number| insert(number, 8))),
            ("refused", &|| insert(1, 2 << 20)),
            ("removed", &|| (0..9).for_each(|number| _ = memory.remove(&key("n", number)))),
            ("cleared by prefix", &|| _ = memory.remove_matching(&KeyPrefix::of_scope("p:n:"))),
            ("expired", &|| {
                clock.advance(2 * LIFE);
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
