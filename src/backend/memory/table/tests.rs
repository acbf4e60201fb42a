use std::collections::HashMap;
use std::sync::Arc;
use std::thread;

use foldhash::quality::FixedState;
use proptest::prelude::*;

use super::*;
use crate::key::{CallParts, Scope};

fn key(number: u64) -> CallKey {
    let scope = Scope::new("p", "n").expect("both parts are given");
    let name = number.to_string();
    let parts = CallParts { module: None, name: name.as_bytes(), args: b"", kwargs: &[], version: 0, tokens: &[] };
    CallKey::new(&parts, &scope, None, &FixedState::default()).expect("the call has a key")
}

impl<V: Clone> Table<V> {
    /// Inserts for a key that hashes as it does.
    fn put(&self, number: u64, value: V, weight: u64) -> Vec<V> {
        self.insert(key(number).stored(), value, weight).0
    }

    /// Checks that all parts of the table agree.
    fn check(&self) {
        let (mut entries, mut weight) = (0, 0);
        for shard in &self.shards {
            let shard = shard.read();
            let mut in_order = 0;
            let mut saw_hand = shard.hand == NONE;
            for (queue, is_settled) in [(&shard.trial, false), (&shard.settled, true)] {
                let (mut at, mut older, mut len) = (queue.oldest, NONE, 0);
                while at != NONE {
                    let slot = &shard.slots[at as usize];
                    let item = slot.item.as_ref().expect("what stands in the order is there");
                    assert_eq!((slot.older, slot.is_settled), (older, is_settled));
                    assert_eq!(shard.find(item.key.hash(), item.key.as_bytes()), Some(at));
                    saw_hand |= is_settled && shard.hand == at;
                    (len, weight) = (len + 1, weight + item.weight);
                    (at, older) = (slot.newer, at);
                }
                assert_eq!((queue.newest, queue.len), (older, len));
                in_order += len;
            }
            assert!(saw_hand, "the hand points at a settled entry");
            assert_eq!(shard.index.len(), in_order);
            let (mut at, mut free) = (shard.free, 0);
            while at != NONE {
                assert!(shard.slots[at as usize].item.is_none());
                (at, free) = (shard.slots[at as usize].newer, free + 1);
            }
            assert_eq!(shard.slots.len(), in_order + free);
            entries += in_order as u64;
        }
        assert_eq!((self.len(), self.weight()), (entries, weight));
    }
}

#[test]
fn a_value_that_may_be_older_goes_with_the_one_that_it_was_to_replace() {
    let table = Table::new(10, 100, 2);
    let put = |value, weight, newest| table.insert_unless(key(1).stored(), value, weight, |other| *other > newest).0;
    assert!(put(7, 1, 0).is_empty(), "there is none yet");
    assert_eq!(put(8, 2, 7), [7]);
    assert_eq!(put(9, 3, 7), [8, 9]);
    table.check();
    assert_eq!((table.get(&key(1)), table.len(), table.weight()), (None, 0, 0));
}

#[test]
fn what_is_read_outlives_what_is_not() {
    let table = Table::new(4, 100, 1);
    for number in 0..4 {
        assert!(table.put(number, number, 1).is_empty());
    }
    table.get(&key(0));
    table.get(&key(2));
    assert_eq!(table.put(4, 4, 1), [1], "the oldest that wasn't read");
    // What came into the full table and wasn't read.
    assert_eq!(table.put(5, 5, 1), [4]);
    table.get(&key(5));
    // It has settled, and the hand goes on from where it was.
    assert_eq!(table.put(6, 6, 1), [3]);
    assert_eq!([0, 2, 5, 6].map(|number| table.get(&key(number))), [Some(0), Some(2), Some(5), Some(6)]);
    table.check();
}

#[test]
fn what_comes_back_soon_after_it_went_settles() {
    let table = Table::new(100, u64::MAX, 1);
    for number in 0..100 {
        table.put(number, number, 1);
    }
    // A few on trial, of which one goes when another comes.
    for number in 100..200 {
        table.put(number, number, 1);
    }
    assert_eq!(table.get(&key(150)), None);
    table.put(150, 150, 1);
    for number in 200..280 {
        table.put(number, number, 1);
    }
    assert_eq!(table.get(&key(150)), Some(150));
    assert_eq!(table.get(&key(240)), None);
    table.check();
}

#[test]
fn a_scan_does_not_evict_what_is_read_all_the_time() {
    let table = Table::new(1_000, u64::MAX, 4);
    for number in 0..100_000_u64 {
        // A hundred keys that everybody reads, among a scan of others.
        let popular = number % 100;
        if table.get(&key(popular)).is_none() {
            table.put(popular, popular, 1);
        }
        table.put(1_000_000 + number, number, 1);
    }
    let kept = (0..100).filter(|&number| table.get(&key(number)).is_some()).count();
    assert!(kept > 90, "{kept} of 100");
    table.check();
}

#[test]
fn entries_and_weight_are_bounded_apart() {
    let table = Table::new(100, 1_000, 4);
    // Ninety that weigh next to nothing, beside one that fills the rest.
    for number in 0..90 {
        assert!(table.put(number, number, 1).is_empty());
    }
    assert!(table.put(90, 90, 900).is_empty(), "both bounds hold");
    assert_eq!((table.len(), table.weight()), (91, 990));
    for number in 100..109 {
        assert!(table.put(number, number, 1).is_empty());
    }
    assert_eq!(table.put(109, 109, 1).len(), 1, "the hundred and first entry");
    table.check();
}

#[test]
fn one_value_may_take_up_the_whole_table_and_a_heavier_one_is_refused() {
    for shards in [1, 4, 64] {
        let table = Table::new(100, 1_000, shards);
        for number in 0..50 {
            table.put(number, number, 10);
        }
        assert_eq!(table.put(50, 50, 1_000).len(), 50, "all others");
        assert_eq!(table.get(&key(50)), Some(50));
        // Refused, it takes the value with it that it was to replace.
        assert_eq!(table.put(50, 51, 1_001), [50, 51]);
        assert_eq!((table.len(), table.weight(), table.get(&key(50))), (0, 0, None));
        table.check();
    }
}

#[test]
fn a_replaced_value_weighs_no_more() {
    let table = Table::new(10, 1_000, 1);
    assert!(table.put(1, 1, 900).is_empty());
    assert_eq!(table.put(1, 2, 100), [1]);
    assert_eq!(table.weight(), 100);
    assert_eq!(table.put(1, 3, 1_000), [2]);
    assert_eq!((table.len(), table.weight(), table.get(&key(1))), (1, 1_000, Some(3)));
    table.check();
}

#[test]
fn many_threads_leave_it_within_its_bounds() {
    let table = Arc::new(Table::new(50, 5_000, 8));
    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                let mut random = thread + 1;
                for _ in 0..20_000 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let (number, weight) = (random >> 33 & 127, random >> 45 & 511);
                    match random >> 60 {
                        0..8 => drop(table.put(number, number, weight)),
                        8..14 => assert!(table.get(&key(number)).is_none_or(|value| value == number)),
                        _ => drop(table.remove_if(&key(number), |_| true)),
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no thread panics");
    }
    table.check();
    assert!(table.len() <= 50 && table.weight() <= 5_000, "{} {}", table.len(), table.weight());
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u64, u64),
    Get(u64),
    Remove(u64),
    RemoveOdd,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..40_u64, 0..60_u64).prop_map(|(number, weight)| Step::Insert(number, weight)),
        12 => (0..40_u64).prop_map(Step::Get),
        3 => (0..40_u64).prop_map(Step::Remove),
        1 => Just(Step::RemoveOdd),
        1 => Just(Step::Clear),
    ]
}

proptest! {
    #[test]
    fn any_steps_leave_it_whole_and_within_its_bounds(
        steps in prop::collection::vec(step(), 0..200),
        entries in 1..30_u64,
        weight in 0..300_u64,
        shards in prop::sample::select(vec![1_usize, 2, 8]),
    ) {
        let table = Table::new(entries, weight, shards);
        // What was inserted last, and what of it has come out again.
        let mut inside: HashMap<u64, u64> = HashMap::new();
        for (version, step) in (0..).zip(steps) {
            let out = match step {
                Step::Insert(number, weight) => {
                    let before = inside.insert(number, version);
                    let out = table.put(number, version, weight);
                    prop_assert!(before.is_none_or(|before| out.contains(&before)), "what was replaced comes out");
                    out
                }
                Step::Get(number) => {
                    prop_assert_eq!(table.get(&key(number)), inside.get(&number).copied());
                    Vec::new()
                }
                Step::Remove(number) => {
                    let removed = table.remove_if(&key(number), |_| true);
                    prop_assert_eq!(removed, inside.get(&number).copied());
                    removed.into_iter().collect()
                }
                Step::RemoveOdd => table.remove_all(|_, version| version % 2 == 1),
                Step::Clear => table.clear(),
            };
            inside.retain(|_, version| !out.contains(version));
            table.check();
            prop_assert_eq!(table.len(), inside.len() as u64);
            prop_assert!(table.len() <= entries && table.weight() <= weight);
        }
    }
}
