//! Invalidations that the server has confirmed a moment ago: its replicas may not know of them yet.
//!
//! Replication is asynchronous. So what was invalidated lately isn't read from a replica, and is invalidated once more where a replica
//! has become the primary. For the latter it's kept longer, because a handle without traffic learns of a failover with its next map.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::backend::invalidation::Invalidation;
use crate::key::{KeyPrefix, ServerKey, widest_of};

/// How far a replica may be behind its primary before what it has is read, or kept, for good.
const LAG: Duration = Duration::from_secs(10);
/// How long ago an invalidation may have been confirmed that is repeated: [`LAG`], and the age of a map, with room for looks that fail.
const REPEATED: Duration = Duration::from_secs(30);
/// Invalidations that are kept in mind. Of older ones only the key prefix is.
const MOST: usize = 30_000;
/// Key prefixes that are kept for those, the newest. A program has one or two; only keys of its own that have no `:` are each one.
const MOST_FOLDED: usize = 100;
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
    /// When the last one was forgotten that a replica may not know yet.
    overflowed: Option<Instant>,
    /// The key prefixes of those that were forgotten before their time, with the time of the newest: there all is invalidated once more.
    folded: HashMap<Bytes, Instant>,
}

impl RecentInvalidations {
    pub(super) fn note(&self, invalidated: Invalidation<ServerKey>) {
        self.items.lock().note(invalidated, Instant::now());
    }

    /// Whether a replica may have a value of `key` that was invalidated.
    pub(super) fn concerns(&self, key: &ServerKey) -> bool {
        self.items.lock().concern(key, Instant::now())
    }

    /// Whether `key` is among what is repeated on a replica that takes over.
    pub(super) fn is_repeated(&self, key: &ServerKey) -> bool {
        self.items.lock().repeats(key, Instant::now())
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
                && let Some(since) = self.forget(&oldest)
            {
                self.fold(&oldest, since, now);
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
        self.overflowed.is_some_and(|since| is_within(LAG, since, now)) || self.names(key, LAG, now)
    }

    fn repeats(&self, key: &ServerKey, now: Instant) -> bool {
        let folded = self.folded.get(widest_of(key));
        folded.is_some_and(|since| is_within(REPEATED, *since, now)) || self.names(key, REPEATED, now)
    }

    fn names(&self, key: &ServerKey, within: Duration, now: Instant) -> bool {
        let is_recent = |since: &Instant| is_within(within, *since, now);
        self.keys.get(key).is_some_and(is_recent) || self.matching(key).any(|since| is_recent(&since))
    }

    /// When the prefixes that name `key` were cleared.
    fn matching(&self, key: &ServerKey) -> impl Iterator<Item = Instant> {
        let by_parts = self.prefixes.len() > MOST_PARTS && beginnings(key).nth(MOST_PARTS).is_none();
        let parts = by_parts.then(|| beginnings(key).filter_map(|text| self.prefixes.get(text)));
        let all = (!by_parts).then(|| self.prefixes.values().filter(|(prefix, _)| prefix.matches(key)));
        parts.into_iter().flatten().chain(all.into_iter().flatten()).map(|(_, since)| *since)
    }

    fn all(&mut self, now: Instant) -> Vec<Invalidation<ServerKey>> {
        let keys = self.keys.iter().filter(|(_, since)| is_within(REPEATED, **since, now));
        let prefixes = self.prefixes.values().filter(|(_, since)| is_within(REPEATED, *since, now));
        let folded = self.folded.iter().filter(|(_, since)| is_within(REPEATED, **since, now));
        // A key prefix came from a `str`.
        let folded = folded.filter_map(|(prefix, _)| std::str::from_utf8(prefix).ok());
        keys.map(|(key, _)| Invalidation::Key(key.clone()))
            .chain(prefixes.map(|(prefix, _)| Invalidation::Matching(prefix.clone())))
            .chain(folded.map(|prefix| Invalidation::Matching(KeyPrefix::of_scope(prefix))))
            .collect()
    }

    /// Keeps no more of `invalidated` than its key prefix, or that of the tags under it.
    fn fold(&mut self, invalidated: &Invalidation<ServerKey>, since: Instant, now: Instant) {
        if is_within(LAG, since, now) {
            self.overflowed = Some(now);
        }
        if !is_within(REPEATED, since, now) {
            return;
        }
        let widest = widest_of(match invalidated {
            Invalidation::Key(key) => key,
            Invalidation::Matching(prefix) => prefix.as_str().as_bytes(),
        });
        match self.folded.get_mut(widest) {
            Some(newest) => *newest = since.max(*newest),
            None => {
                if self.folded.len() >= MOST_FOLDED
                    && let Some(oldest) = self.folded.iter().min_by_key(|(_, since)| **since)
                {
                    let oldest = oldest.0.clone();
                    self.folded.remove(&oldest);
                }
                self.folded.insert(Bytes::copy_from_slice(widest), since);
            }
        }
    }

    /// Forgets some of what is old. The rest is judged by its time.
    fn forget_old(&mut self, now: Instant) {
        for _ in 0..AT_ONCE {
            if self.queue.front().is_none_or(|(since, _)| is_within(REPEATED, *since, now)) {
                return;
            }
            let Some((_, oldest)) = self.queue.pop_front() else { return };
            match self.since(&oldest) {
                // Confirmed once more meanwhile.
                Some(since) if is_within(REPEATED, since, now) => self.queue.push_back((since, oldest)),
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

fn is_within(time: Duration, since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) <= time
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

    const SHORT: Duration = Duration::from_millis(1);

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
    }

    #[test]
    fn of_too_many_none_is_left_out_where_they_are_repeated() {
        let recent = RecentInvalidations::default();
        (0..2 * MOST).for_each(|number| recent.note(removed(number)));
        (0..2 * MOST_FOLDED).for_each(|number| recent.note(Invalidation::Key(key(format!("q{number}")))));
        let all = recent.all();
        assert!(all.len() <= MOST + MOST_FOLDED);
        let names = |text: &str| {
            all.iter().any(|invalidated| match invalidated {
                Invalidation::Key(named) => *named == key(text),
                Invalidation::Matching(prefix) => prefix.matches(&key(text)),
            })
        };
        for (text, is_named) in
            [("p:n:0", true), (&*format!("p:n:{MOST}"), true), ("q0", true), ("q", false), ("pp:n:0", false)]
        {
            assert_eq!((names(text), recent.is_repeated(&key(text))), (is_named, is_named), "{text}");
        }
    }

    #[test]
    fn tags_are_folded_apart_from_the_keys_beside_them() {
        let recent = RecentInvalidations::default();
        recent.note(Invalidation::Key(key("p::tag:t")));
        (0..MOST).for_each(|number| recent.note(removed(number)));
        let names = |text: &str| {
            let is_named = |invalidated: &Invalidation<_>| matches!(invalidated, Invalidation::Matching(prefix) if prefix.matches(&key(text)));
            recent.all().iter().any(is_named)
        };
        assert!(names("p::tag:t") && recent.is_repeated(&key("p::tag:t")));
        assert!(!names("p:n:0") && !names("p::near:0"), "none of these was forgotten");
        recent.note(removed(MOST));
        assert!(names("p:n:0") && names("p::tag:t"));
    }

    #[test]
    fn what_is_folded_is_repeated_for_as_long_as_the_newest_of_it() {
        let (mut items, begin) = (Items::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        items.note(removed(0), begin);
        items.note(removed(1), at(1));
        items.note(removed(0), at(20));
        (2..=MOST + 1).for_each(|number| items.note(removed(number), at(21)));
        assert!(items.repeats(&key("p:n:0"), at(45)), "it was confirmed once more");
        assert!(!items.repeats(&key("p:n:0"), at(52)));
    }

    #[test]
    fn an_invalidation_is_repeated_for_longer_than_it_keeps_reads_from_replicas() {
        let (mut items, begin) = (Items::default(), Instant::now());
        items.note(removed(1), begin);
        let name = key("p:n:1");
        assert!(items.concern(&name, begin + LAG) && items.all(begin + LAG).len() == 1);
        assert!(!items.concern(&name, begin + LAG + SHORT) && items.all(begin + REPEATED).len() == 1);
        assert_eq!(items.all(begin + REPEATED + SHORT), []);
    }

    #[test]
    fn what_is_old_is_no_suspect_and_is_forgotten_by_and_by() {
        let (mut items, begin) = (Items::default(), Instant::now());
        let later = |tenths: u32| begin + REPEATED * tenths / 10;
        (0..MOST).for_each(|number| items.note(removed(number), begin));
        items.note(cleared("p:m"), later(5));
        items.note(removed(7), later(6));
        items.note(cleared("p:m"), later(6));
        let all = items.all(later(15));
        assert!(all.len() == 2 && all.contains(&removed(7)) && all.contains(&cleared("p:m")));
        let named = |text: &str, items: &mut Items| items.concern(&key(text), later(6) + LAG);
        for (text, is_recent) in [("p:n:7", true), ("p:m:1", true), ("p:n:8", false), ("p:x", false)] {
            assert_eq!(named(text, &mut items), is_recent, "{text}");
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
