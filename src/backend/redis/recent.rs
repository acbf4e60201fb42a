//! Invalidations that the server has confirmed a moment ago: its replicas may not know of them yet.
//!
//! Replication is asynchronous. So what was invalidated lately isn't read from a replica, and is invalidated once more where a replica
//! has become the primary.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::key::{KeyPrefix, ServerKey};

/// How far a replica may be behind its primary before what it has is read, or kept, for good.
const LAG: Duration = Duration::from_secs(10);
/// Invalidations that are kept in mind; older ones are forgotten first.
const MOST: usize = 10_000;

#[derive(Default)]
pub(super) struct Recent {
    items: Mutex<Items>,
}

#[derive(Default)]
struct Items {
    newest_last: VecDeque<(Instant, Invalidated)>,
    /// When the last one was forgotten before its time.
    overflowed: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Invalidated {
    Key(ServerKey),
    Matching(KeyPrefix),
}

impl Invalidated {
    fn is_of(&self, key: &ServerKey) -> bool {
        match self {
            Self::Key(invalidated) => invalidated == key,
            Self::Matching(prefix) => prefix.matches(key),
        }
    }
}

impl Recent {
    pub(super) fn note(&self, invalidated: Invalidated) {
        let mut items = self.items.lock();
        let now = Instant::now();
        items.drop_old(now);
        if items.newest_last.len() >= MOST {
            items.newest_last.pop_front();
            items.overflowed = Some(now);
        }
        items.newest_last.push_back((now, invalidated));
    }

    /// Whether a replica may have a value of `key` that was invalidated.
    pub(super) fn concerns(&self, key: &ServerKey) -> bool {
        let mut items = self.items.lock();
        items.drop_old(Instant::now());
        items.overflowed.is_some() || items.newest_last.iter().any(|(_, invalidated)| invalidated.is_of(key))
    }

    pub(super) fn all(&self) -> Vec<Invalidated> {
        let mut items = self.items.lock();
        items.drop_old(Instant::now());
        items.newest_last.iter().map(|(_, invalidated)| invalidated.clone()).collect()
    }
}

impl Items {
    fn drop_old(&mut self, now: Instant) {
        let is_old = |since: Instant| now.duration_since(since) > LAG;
        while self.newest_last.front().is_some_and(|(since, _)| is_old(*since)) {
            self.newest_last.pop_front();
        }
        self.overflowed = self.overflowed.filter(|since| !is_old(*since));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_invalidated_lately_is_known_by_key_and_by_prefix() {
        let recent = Recent::default();
        let key = |text: &'static str| ServerKey::from_static(text.as_bytes());
        recent.note(Invalidated::Key(key("p:n:1")));
        recent.note(Invalidated::Matching(KeyPrefix::of_scope("p:m:")));
        assert!(recent.concerns(&key("p:n:1")) && recent.concerns(&key("p:m:7")));
        assert!(!recent.concerns(&key("p:n:2")) && !recent.concerns(&key("p:m2:7")));
        assert_eq!(recent.all().len(), 2);
    }

    #[test]
    fn too_many_make_every_key_a_suspect() {
        let recent = Recent::default();
        let key = |number: usize| ServerKey::from(format!("p:n:{number}"));
        (0..MOST).for_each(|number| recent.note(Invalidated::Key(key(number))));
        assert!(!recent.concerns(&key(MOST)));
        recent.note(Invalidated::Key(key(MOST)));
        assert!(recent.concerns(&key(0)) && recent.concerns(&key(2 * MOST)));
        assert_eq!(recent.all().len(), MOST);
    }
}
