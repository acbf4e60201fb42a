//! Invalidations that the server has confirmed a moment ago: its replicas may not know of them yet.
//!
//! Replication is asynchronous. So what was invalidated lately isn't read from a replica, and is invalidated once more where a replica
//! has become the primary.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::backend::invalidation::Invalidation;
use crate::key::{KeyPrefix, ServerKey};

/// How far a replica may be behind its primary before what it has is read, or kept, for good.
const LAG: Duration = Duration::from_secs(10);
/// Invalidations that are kept in mind; older ones are forgotten first.
const MOST: usize = 10_000;
/// Old ones that one call forgets at most. All calls read under the same lock, and thousands may grow old at once.
const AT_ONCE: usize = 32;
/// A key of more parts isn't taken apart: each part costs hashing all before it.
const MOST_PARTS: usize = 8;

#[derive(Default)]
pub(super) struct RecentInvalidations {
    items: Mutex<Items>,
}

/// Each is in its map once, with the time of its newest confirmation, and in the queue once, with that time or an older one.
#[derive(Default)]
struct Items {
    keys: HashMap<ServerKey, Instant>,
    /// By their text.
    prefixes: HashMap<Bytes, (KeyPrefix, Instant)>,
    queue: VecDeque<(Instant, Invalidation<ServerKey>)>,
    /// When the last one was forgotten before its time.
    overflowed: Option<Instant>,
}

impl RecentInvalidations {
    pub(super) fn note(&self, invalidated: Invalidation<ServerKey>) {
        self.items.lock().note(invalidated, Instant::now());
    }

    /// Whether a replica may have a value of `key` that was invalidated.
    pub(super) fn concerns(&self, key: &ServerKey) -> bool {
        self.items.lock().concern(key, Instant::now())
    }

    pub(super) fn all(&self) -> Vec<Invalidation<ServerKey>> {
        self.items.lock().all(Instant::now())
    }
}

impl Items {
    fn note(&mut self, invalidated: Invalidation<ServerKey>, now: Instant) {
        self.forget_old(now);
        if self.renew(&invalidated, now) {
            return;
        }
        while self.queue.len() >= MOST {
            if let Some((_, oldest)) = self.queue.pop_front()
                && self.forget(&oldest).is_some_and(|since| !is_old(since, now))
            {
                self.overflowed = Some(now);
            }
        }
        match &invalidated {
            Invalidation::Key(key) => _ = self.keys.insert(key.clone(), now),
            Invalidation::Matching(prefix) => _ = self.prefixes.insert(text_of(prefix), (prefix.clone(), now)),
        }
        self.queue.push_back((now, invalidated));
    }

    /// Whether it's there already; its time is a newer one then.
    fn renew(&mut self, invalidated: &Invalidation<ServerKey>, now: Instant) -> bool {
        let since = match invalidated {
            Invalidation::Key(key) => self.keys.get_mut(key),
            Invalidation::Matching(prefix) => self.prefixes.get_mut(prefix.as_str().as_bytes()).map(|(_, since)| since),
        };
        since.map(|since| *since = now).is_some()
    }

    fn concern(&mut self, key: &ServerKey, now: Instant) -> bool {
        self.forget_old(now);
        let is_recent = |since: &Instant| !is_old(*since, now);
        self.overflowed.as_ref().is_some_and(is_recent)
            || self.keys.get(key).is_some_and(is_recent)
            || self.matching(key).any(|since| is_recent(&since))
    }

    /// When the prefixes that name `key` were cleared.
    fn matching(&self, key: &ServerKey) -> impl Iterator<Item = Instant> {
        let by_parts = self.prefixes.len() > MOST_PARTS && beginnings(key).nth(MOST_PARTS).is_none();
        let parts = by_parts.then(|| beginnings(key).filter_map(|text| self.prefixes.get(text)));
        let all = (!by_parts).then(|| self.prefixes.values().filter(|(prefix, _)| prefix.matches(key)));
        parts.into_iter().flatten().chain(all.into_iter().flatten()).map(|(_, since)| *since)
    }

    fn all(&mut self, now: Instant) -> Vec<Invalidation<ServerKey>> {
        let keys = self.keys.iter().filter(|(_, since)| !is_old(**since, now));
        let prefixes = self.prefixes.values().filter(|(_, since)| !is_old(*since, now));
        keys.map(|(key, _)| Invalidation::Key(key.clone()))
            .chain(prefixes.map(|(prefix, _)| Invalidation::Matching(prefix.clone())))
            .collect()
    }

    /// Forgets some of what is old. The rest is judged by its time.
    fn forget_old(&mut self, now: Instant) {
        for _ in 0..AT_ONCE {
            if self.queue.front().is_none_or(|(since, _)| !is_old(*since, now)) {
                return;
            }
            let Some((_, oldest)) = self.queue.pop_front() else { return };
            match self.since(&oldest) {
                // Confirmed once more meanwhile.
                Some(since) if !is_old(since, now) => self.queue.push_back((since, oldest)),
                _ => _ = self.forget(&oldest),
            }
        }
    }

    fn since(&self, invalidated: &Invalidation<ServerKey>) -> Option<Instant> {
        match invalidated {
            Invalidation::Key(key) => self.keys.get(key).copied(),
            Invalidation::Matching(prefix) => self.prefixes.get(prefix.as_str().as_bytes()).map(|(_, since)| *since),
        }
    }

    fn forget(&mut self, invalidated: &Invalidation<ServerKey>) -> Option<Instant> {
        match invalidated {
            Invalidation::Key(key) => self.keys.remove(key),
            Invalidation::Matching(prefix) => self.prefixes.remove(prefix.as_str().as_bytes()).map(|(_, since)| since),
        }
    }
}

fn is_old(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) > LAG
}

/// The texts that a prefix may have which names `key`: all of it, and what goes on with `:`.
fn beginnings(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    let colons = key.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    colons.chain([key.len()]).map(|end| &key[..end])
}

fn text_of(prefix: &KeyPrefix) -> Bytes {
    Bytes::copy_from_slice(prefix.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: impl Into<String>) -> ServerKey {
        ServerKey::from(text.into())
    }

    fn removed(number: usize) -> Invalidation<ServerKey> {
        Invalidation::Key(key(format!("p:n:{number}")))
    }

    fn cleared(prefix: impl AsRef<str>) -> Invalidation<ServerKey> {
        Invalidation::Matching(KeyPrefix::of_scope(prefix.as_ref()))
    }

    #[test]
    fn what_was_invalidated_lately_is_known_by_key_and_by_prefix() {
        let recent = RecentInvalidations::default();
        recent.note(Invalidation::Key(key("p:n:1")));
        recent.note(cleared("p:m:"));
        assert!(recent.concerns(&key("p:n:1")) && recent.concerns(&key("p:m:7")));
        assert!(!recent.concerns(&key("p:n:2")) && !recent.concerns(&key("p:m2:7")));
        assert_eq!(recent.all().len(), 2);
    }

    #[test]
    fn a_prefix_among_many_is_found_by_the_parts_of_a_key() {
        let recent = RecentInvalidations::default();
        (0..1_000).for_each(|number| recent.note(cleared(format!("p:n{number}:"))));
        recent.note(cleared("p:a:b:c"));
        let deep = (0..100).map(|part| part.to_string()).collect::<Vec<_>>().join(":");
        for named in ["p:n7", "p:n7:", "p:n7:x", "p:n7:x:y", "p:a:b:c", "p:a:b:c:d", &format!("p:n7:{deep}")] {
            assert!(recent.concerns(&key(named)), "{named}");
        }
        for spared in ["", ":", "p", "p:", "p:n1000", "p:n77x", "p:a:b", "p:a:b:cd", &format!("p:m:{deep}")] {
            assert!(!recent.concerns(&key(spared)), "{spared}");
        }
    }

    #[test]
    fn too_many_make_every_key_a_suspect() {
        let recent = RecentInvalidations::default();
        (0..MOST).for_each(|number| recent.note(removed(number)));
        assert!(!recent.concerns(&key(format!("p:n:{MOST}"))));
        recent.note(removed(0));
        assert!(!recent.concerns(&key(format!("p:n:{MOST}"))), "the same again is none more");
        recent.note(removed(MOST));
        assert!(recent.concerns(&key("p:n:0")) && recent.concerns(&key(format!("p:n:{}", 2 * MOST))));
        assert_eq!(recent.all().len(), MOST);
    }

    #[test]
    fn what_is_old_is_no_suspect_and_is_forgotten_by_and_by() {
        let (mut items, begin) = (Items::default(), Instant::now());
        let later = |tenths: u32| begin + LAG * tenths / 10;
        (0..MOST).for_each(|number| items.note(removed(number), begin));
        items.note(cleared("p:m"), later(5));
        items.note(removed(7), later(6));
        items.note(cleared("p:m"), later(6));
        assert!(items.concern(&key("p:x"), later(15)), "it was one too many");
        for (text, is_recent) in [("p:n:7", true), ("p:m:1", true), ("p:n:8", false), ("p:x", false)] {
            assert_eq!(items.concern(&key(text), later(15) + LAG / 100), is_recent, "{text}");
        }
        assert!(items.queue.len() > MOST / 2, "no call forgets all of them");
        (0..MOST).for_each(|_| items.forget_old(later(30)));
        assert!(items.queue.is_empty() && items.keys.is_empty() && items.prefixes.is_empty());
    }

    #[test]
    fn many_invalidations_cost_a_read_no_more_than_few() {
        let nanos_with = |count: usize| {
            let recent = RecentInvalidations::default();
            (0..count).for_each(|number| recent.note(removed(number)));
            let keys: Vec<_> = (0..1_000).map(|number| key(format!("p:n:{number}x"))).collect();
            let round = || {
                let begin = Instant::now();
                assert!(!keys.iter().any(|key| recent.concerns(key)));
                begin.elapsed().as_nanos()
            };
            // The best of some: whatever else runs only adds.
            (0..5).map(|_| round()).min().unwrap_or_default()
        };
        let (few, many) = (nanos_with(10), nanos_with(9_900));
        assert!(many < 20 * few.max(1), "{few} ns for 1,000 reads with 10, {many} ns with 9,900");
    }
}
