//! What the services of a layer know in common, beside what is cached.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many renewals run in the background at once.
const MOST_RENEWALS: usize = 64;

/// For how long a URI counts as one whose response isn't stored.
const UNSTORABLE_FOR: Duration = Duration::from_secs(10);

/// How many such URIs are known.
const MOST_UNSTORABLE: usize = 10_000;

/// What the services of a layer know in common.
#[derive(Debug, Default)]
pub(crate) struct State {
    renewals: Mutex<HashSet<String>>,
    /// URIs whose last response couldn't be stored, and until when that counts.
    unstorable: Mutex<HashMap<String, Instant>>,
}

/// The right to renew one response; no other renewal of it runs meanwhile.
#[derive(Debug)]
pub(crate) struct Renewal {
    state: Arc<State>,
    key: String,
}

impl State {
    /// `None` where that response is being renewed, or too many are.
    pub(crate) fn renew(self: &Arc<Self>, key: String) -> Option<Renewal> {
        let mut renewals = lock(&self.renewals);
        let may_begin = renewals.len() < MOST_RENEWALS && renewals.insert(key.clone());
        may_begin.then(|| Renewal { state: Arc::clone(self), key })
    }

    /// Whether requests for this URI needn't wait for each other, because what comes isn't stored anyway.
    pub(crate) fn is_unstorable(&self, key: &str) -> bool {
        lock(&self.unstorable).get(key).is_some_and(|until| Instant::now() < *until)
    }

    pub(crate) fn note_unstorable(&self, key: &str) {
        let mut unstorable = lock(&self.unstorable);
        let now = Instant::now();
        if unstorable.len() >= MOST_UNSTORABLE {
            unstorable.retain(|_, until| now < *until);
        }
        if unstorable.len() < MOST_UNSTORABLE {
            unstorable.insert(key.to_owned(), now + UNSTORABLE_FOR);
        }
    }

    pub(crate) fn note_storable(&self, key: &str) {
        lock(&self.unstorable).remove(key);
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        lock(&self.state.renewals).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_renewal_of_a_response_runs_and_64_in_all() {
        let state = Arc::new(State::default());
        let first = state.renew("0".into()).unwrap();
        assert!(state.renew("0".into()).is_none());
        let others: Vec<_> = (1..MOST_RENEWALS).map(|n| state.renew(n.to_string()).unwrap()).collect();
        assert!(state.renew("more".into()).is_none());
        drop(first);
        assert!(state.renew("0".into()).is_some());
        assert_eq!(others.len(), 63);
    }

    #[test]
    fn unstorable_uris_are_bounded() {
        let state = State::default();
        (0..=MOST_UNSTORABLE).for_each(|n| state.note_unstorable(&n.to_string()));
        assert!(state.is_unstorable("0") && !state.is_unstorable(&MOST_UNSTORABLE.to_string()));
        state.note_storable("0");
        assert!(!state.is_unstorable("0"));
    }
}
