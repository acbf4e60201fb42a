//! What a copy in memory is good for beside a server that reports changes: the near cache.
//!
//! A copy was read over a connection on which the server reports what changes of all that was read there. So it's as good as the
//! server's own value while two things hold: no change of its key was reported, and the connection is known to work. The second is known
//! by beats: questions whose answer shows that all reports from before the question have come.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Moment;
use crate::key::ServerKey;

/// What is known of one connection that reports changes.
#[derive(Debug, Default)]
struct Line {
    /// The [`Moment`] at which the last beat was sent whose answer has come, and a nanosecond; zero before the first.
    beat: AtomicU64,
    /// The connection has ended: nothing is reported any more.
    is_over: AtomicBool,
}

/// One key that was read over a connection which reports changes. It's made before the read is sent, so that no report is missed.
#[derive(Debug)]
pub(crate) struct Mark {
    line: Arc<Line>,
    state: AtomicU8,
}

const STANDS: u8 = 0;
/// Reports may have been missed.
const FORGOTTEN: u8 = 1;
/// The server has reported a change.
const CHANGED: u8 = 2;

/// The keys that were read over one connection, by which its reports find their marks.
///
/// A mark that nothing else holds is swept out once the table has doubled, so it grows with what memory holds and not with what was read.
pub(crate) struct Marks {
    line: Arc<Line>,
    shards: Box<[Mutex<Shard>]>,
    hasher: foldhash::fast::RandomState,
}

#[derive(Default)]
struct Shard {
    marks: HashMap<ServerKey, Arc<Mark>, foldhash::fast::RandomState>,
    /// So many marks are swept.
    sweep_at: usize,
}

const SHARDS: usize = 16;
const FEWEST_SWEPT: usize = 64;

impl Line {
    #[inline]
    fn last_beat(&self) -> Option<Moment> {
        self.beat.load(Ordering::Acquire).checked_sub(1).map(Moment::from_nanos)
    }
}

impl Mark {
    /// Whether the copy is at most `max_staleness` old: whatever changed its key before that has been reported.
    #[inline]
    pub(crate) fn vouches(&self, now: Moment, max_staleness: Duration) -> bool {
        // Read before the state: a report that came before the beat's answer has changed that by then.
        self.line.last_beat().is_some_and(|beat| now < beat.after(max_staleness))
            && self.state.load(Ordering::Acquire) == STANDS
            && !self.line.is_over.load(Ordering::Relaxed)
    }

    /// Whether the server has reported that the key has changed.
    pub(crate) fn is_changed(&self) -> bool {
        self.state.load(Ordering::Relaxed) == CHANGED
    }

    /// Until when the server is known to have had the value.
    pub(crate) fn confirmed(&self) -> Option<Moment> {
        self.line.last_beat().filter(|_| self.state.load(Ordering::Acquire) == STANDS)
    }

    fn end(&self, state: u8) {
        self.state.fetch_max(state, Ordering::AcqRel);
    }
}

impl Marks {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { line: Arc::default(), shards, hasher: foldhash::fast::RandomState::default() }
    }

    /// The mark of a key that is about to be read.
    pub(crate) fn place(&self, key: &ServerKey) -> Arc<Mark> {
        let mut shard = self.shard(key).lock();
        if let Some(mark) = shard.marks.get(key) {
            return Arc::clone(mark);
        }
        if shard.marks.len() >= shard.sweep_at.max(FEWEST_SWEPT) {
            shard.marks.retain(|_, mark| Arc::strong_count(mark) > 1);
            shard.sweep_at = 2 * shard.marks.len();
        }
        let mark = Arc::new(Mark { line: Arc::clone(&self.line), state: AtomicU8::new(STANDS) });
        shard.marks.insert(key.clone(), Arc::clone(&mark));
        mark
    }

    /// The server has reported a change of `key`. It reports the next one once the key was read again.
    pub(crate) fn changed(&self, key: &[u8]) {
        let mark = self.shards[self.shard_of(key)].lock().marks.remove(key);
        if let Some(mark) = mark {
            mark.end(CHANGED);
        }
    }

    /// Any key may have changed without a report.
    pub(crate) fn forget_all(&self) {
        for shard in &self.shards {
            let marks = std::mem::take(&mut shard.lock().marks);
            marks.values().for_each(|mark| mark.end(FORGOTTEN));
        }
    }

    /// A beat that was sent at `sent` has been answered, and all reports from before the answer have been taken in.
    pub(crate) fn beat(&self, sent: Moment) {
        self.line.beat.store(sent.as_nanos() + 1, Ordering::Release);
    }

    /// The connection has ended: nothing is reported any more.
    pub(crate) fn end(&self) {
        self.line.is_over.store(true, Ordering::Release);
    }

    /// How many keys there are marks of.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().marks.len()).sum()
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Shard> {
        &self.shards[self.shard_of(key)]
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        (self.hasher.hash_one(key) >> 32) as usize % SHARDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_nanos(300);

    fn at(nanos: u64) -> Moment {
        Moment::from_nanos(nanos)
    }

    fn key(name: &str) -> ServerKey {
        ServerKey::copy_from_slice(name.as_bytes())
    }

    #[test]
    fn a_mark_vouches_from_the_first_beat_until_the_bound_after_the_last() {
        let marks = Marks::new();
        let mark = marks.place(&key("k"));
        assert!(!mark.vouches(at(1), BOUND), "nothing is known yet");
        marks.beat(at(1_000));
        assert!(mark.vouches(at(1_299), BOUND) && !mark.vouches(at(1_300), BOUND));
        assert!(!mark.vouches(at(1_050), Duration::ZERO), "zero asks the server");
        marks.beat(at(1_100));
        assert!(mark.vouches(at(1_399), BOUND));
        assert_eq!(mark.confirmed(), Some(at(1_100)));
    }

    #[test]
    fn a_report_ends_the_mark_for_ever_and_the_next_read_gets_another() {
        let marks = Marks::new();
        let (mark, other) = (marks.place(&key("k")), marks.place(&key("other")));
        marks.beat(at(1_000));
        marks.changed(b"k");
        assert!(!mark.vouches(at(1_001), BOUND) && mark.is_changed() && mark.confirmed().is_none());
        assert!(other.vouches(at(1_001), BOUND), "it's another key's");
        let next = marks.place(&key("k"));
        assert!(next.vouches(at(1_001), BOUND) && !mark.vouches(at(1_001), BOUND));
    }

    #[test]
    fn reads_of_one_key_share_the_mark_so_that_one_report_ends_both() {
        let marks = Marks::new();
        let (one, two) = (marks.place(&key("k")), marks.place(&key("k")));
        marks.beat(at(1_000));
        marks.changed(b"k");
        assert!(!one.vouches(at(1_001), BOUND) && !two.vouches(at(1_001), BOUND));
    }

    #[test]
    fn what_may_have_been_missed_ends_all_marks_and_is_no_report() {
        let marks = Marks::new();
        let mark = marks.place(&key("k"));
        marks.beat(at(1_000));
        marks.forget_all();
        assert!(!mark.vouches(at(1_001), BOUND) && !mark.is_changed());
        assert!(marks.place(&key("k")).vouches(at(1_001), BOUND), "it was read after that");
    }

    #[test]
    fn the_end_of_the_connection_ends_all_marks() {
        let marks = Marks::new();
        let mark = marks.place(&key("k"));
        marks.beat(at(1_000));
        marks.end();
        assert!(!mark.vouches(at(1_001), BOUND) && !mark.is_changed());
        assert_eq!(mark.confirmed(), Some(at(1_000)), "until then the server had it");
    }

    #[test]
    fn marks_that_nothing_holds_are_swept() {
        let marks = Marks::new();
        let held: Vec<_> = (0..100).map(|n| marks.place(&key(&format!("held {n}")))).collect();
        for n in 0..100_000 {
            marks.place(&key(&format!("read {n}")));
        }
        assert!(marks.len() < 20 * FEWEST_SWEPT * SHARDS / 10, "{}", marks.len());
        marks.beat(at(1));
        assert!(held.iter().all(|mark| mark.vouches(at(2), BOUND)));
        marks.changed(b"held 7");
        assert!(held[7].is_changed());
    }
}
