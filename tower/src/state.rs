//! What the services of a layer know in common, beside what is cached.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::AbortHandle;

/// How many renewals run in the background at once.
const MOST_RENEWALS: usize = 64;

/// After so long a renewal is given up, once another needs its place: its inner service may never answer.
const LONGEST_RENEWAL: Duration = Duration::from_secs(60);

/// For how long a URI counts as one whose response isn't stored.
const UNSTORABLE_FOR: Duration = Duration::from_secs(10);

/// How many such URIs are known.
const MOST_UNSTORABLE: usize = 10_000;

/// How often a removal that fails is a warning.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// What the services of a layer know in common.
#[derive(Debug, Default)]
pub(crate) struct State {
    renewals: Mutex<HashMap<String, Running>>,
    /// What the last response of couldn't be stored, by its hash, and until when that counts. Of two with one hash, which is next to
    /// impossible, the other isn't stored as long.
    unstorable: Mutex<HashMap<u64, Instant>>,
    hasher: RandomState,
    /// When a removal that failed was last a warning.
    warned: Mutex<Option<Instant>>,
}

/// A renewal, as others see it.
#[derive(Debug)]
struct Running {
    since: SystemTime,
    /// Ends its task.
    abort: Option<AbortHandle>,
    /// The same as that of its [`Renewal`].
    id: Arc<()>,
}

/// The right to renew one response; no other renewal of it runs meanwhile.
#[derive(Debug)]
pub(crate) struct Renewal {
    state: Arc<State>,
    key: String,
    id: Arc<()>,
}

impl State {
    /// Renews a response in a task of its own, which owns the right to; unless that response is being renewed, or too many are.
    pub(crate) fn renew<T>(self: &Arc<Self>, key: String, now: SystemTime, task: impl FnOnce(Renewal) -> T)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        let Some(renewal) = self.begin(key, now) else { return };
        let (key, id) = (renewal.key.clone(), Arc::clone(&renewal.id));
        let abort = tokio::spawn(task(renewal)).abort_handle();
        if let Some(running) = lock(&self.renewals).get_mut(&key)
            && Arc::ptr_eq(&running.id, &id)
        {
            running.abort = Some(abort);
        }
    }

    fn begin(self: &Arc<Self>, key: String, now: SystemTime) -> Option<Renewal> {
        let mut given_up = Vec::new();
        let renewal = {
            let mut renewals = lock(&self.renewals);
            let is_overdue =
                |running: &mut Running| now.duration_since(running.since).is_ok_and(|age| age > LONGEST_RENEWAL);
            given_up.extend(renewals.extract_if(|_, running| is_overdue(running)));
            let may_begin = renewals.len() < MOST_RENEWALS && !renewals.contains_key(&key);
            may_begin.then(|| {
                let id = Arc::new(());
                renewals.insert(key.clone(), Running { since: now, abort: None, id: Arc::clone(&id) });
                Renewal { state: Arc::clone(self), key, id }
            })
        };
        // Outside the lock: a task that ends takes it.
        given_up.into_iter().filter_map(|(_, running)| running.abort).for_each(|task| task.abort());
        renewal
    }

    /// Whether requests for this needn't wait for each other, because what comes isn't stored anyway.
    pub(crate) fn is_unstorable(&self, what: impl Hash) -> bool {
        let unstorable = lock(&self.unstorable);
        // As on a site where all is stored.
        !unstorable.is_empty()
            && unstorable.get(&self.hasher.hash_one(what)).is_some_and(|until| Instant::now() < *until)
    }

    pub(crate) fn note_unstorable(&self, what: impl Hash) {
        let what = self.hasher.hash_one(what);
        let mut unstorable = lock(&self.unstorable);
        let now = Instant::now();
        if unstorable.len() >= MOST_UNSTORABLE {
            unstorable.retain(|_, until| now < *until);
        }
        if unstorable.len() < MOST_UNSTORABLE {
            unstorable.insert(what, now + UNSTORABLE_FOR);
        }
    }

    pub(crate) fn note_storable(&self, what: impl Hash) {
        let what = self.hasher.hash_one(what);
        lock(&self.unstorable).remove(&what);
    }

    /// Logs that a stored response isn't removed: as a warning once a minute, else for debugging.
    pub(crate) fn not_removed(&self, error: &cache_house::Error) {
        if self.may_warn(Instant::now()) {
            tracing::warn!(target: "cache_house", %error, "a stored response isn't removed; logged once a minute");
        } else {
            tracing::debug!(target: "cache_house", %error, "a stored response isn't removed");
        }
    }

    fn may_warn(&self, now: Instant) -> bool {
        let mut warned = lock(&self.warned);
        let is_due = warned.is_none_or(|last| now.duration_since(last) >= WARNING_INTERVAL);
        if is_due {
            *warned = Some(now);
        }
        is_due
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        let mut renewals = lock(&self.state.renewals);
        // One that was given up may have a successor.
        if renewals.get(&self.key).is_some_and(|running| Arc::ptr_eq(&running.id, &self.id)) {
            renewals.remove(&self.key);
        }
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
        let (state, now) = (Arc::new(State::default()), SystemTime::now());
        let first = state.begin("0".into(), now).unwrap();
        assert!(state.begin("0".into(), now).is_none());
        let others: Vec<_> = (1..MOST_RENEWALS).map(|n| state.begin(n.to_string(), now).unwrap()).collect();
        assert!(state.begin("more".into(), now).is_none());
        drop(first);
        assert!(state.begin("0".into(), now).is_some());
        assert_eq!(others.len(), 63);
    }

    #[test]
    fn what_was_given_up_takes_no_place_of_its_successor() {
        let (state, now) = (Arc::new(State::default()), SystemTime::now());
        let hung = state.begin("0".into(), now).unwrap();
        assert!(state.begin("0".into(), now + LONGEST_RENEWAL).is_none());
        let later = now + LONGEST_RENEWAL * 2;
        let next = state.begin("0".into(), later).unwrap();
        drop(hung);
        assert!(state.begin("0".into(), later).is_none(), "the successor runs");
        drop(next);
        assert!(state.begin("0".into(), later).is_some());
    }

    #[test]
    fn unstorable_uris_are_bounded() {
        let state = State::default();
        (0..=MOST_UNSTORABLE).for_each(|n| state.note_unstorable(n));
        assert!(state.is_unstorable(0_usize) && !state.is_unstorable(MOST_UNSTORABLE));
        state.note_storable(0_usize);
        assert!(!state.is_unstorable(0_usize));
    }

    #[test]
    fn a_warning_comes_once_a_minute() {
        let (state, now) = (State::default(), Instant::now());
        assert!(state.may_warn(now) && !state.may_warn(now + WARNING_INTERVAL / 2));
        assert!(state.may_warn(now + WARNING_INTERVAL));
    }
}
