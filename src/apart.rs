//! Work that may hang, each on a thread of its own: reading from a mount that is gone, asking a resolver that doesn't answer.
//!
//! Neither a runtime's worker nor its blocking pool, which the program shares, waits for it. A caller that asks for work that is under way
//! joins it, so that work which hangs doesn't cost a thread at each attempt. It's begun anew after 10 s, 20 s, 40 s and so on: what was
//! wrong may have been mended without an end of what hangs, and a year of it costs 22 threads.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// One thread at a time for each key.
pub(crate) struct Apart<K, V> {
    running: Mutex<HashMap<K, Arc<Running<V>>>>,
    /// How long the first is joined.
    patience: Duration,
}

/// Work under way, or done.
pub(crate) struct Running<V> {
    outcome: Mutex<Option<V>>,
    done: Condvar,
    ended: Notify,
    /// Until when it's joined, and for how long that is.
    joined: (Instant, Duration),
}

impl<K, V> Default for Apart<K, V> {
    fn default() -> Self {
        Self { running: Mutex::default(), patience: Duration::from_secs(10) }
    }
}

impl<K, V> Apart<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// The work for `key` that is under way, else this, which must not panic.
    ///
    /// # Errors
    ///
    /// Where no thread can be started.
    pub(crate) fn begin(
        self: &Arc<Self>,
        key: K,
        work: impl FnOnce(&K) -> V + Send + 'static,
    ) -> io::Result<Arc<Running<V>>> {
        // Held while the thread starts: its end waits for this lock.
        let mut running = self.running.lock();
        let patience = match running.get(&key) {
            Some(running) if Instant::now() < running.joined.0 => return Ok(Arc::clone(running)),
            Some(stuck) => stuck.joined.1 * 2,
            None => self.patience,
        };
        let joined = (Instant::now() + patience, patience);
        let begun = Arc::new(Running { outcome: Mutex::new(None), done: Condvar::new(), ended: Notify::new(), joined });
        let (apart, ours, own) = (Arc::clone(self), Arc::clone(&begun), key.clone());
        thread::Builder::new().name("cache-house-apart".into()).spawn(move || {
            let outcome = work(&own);
            // First, so that a later caller begins anew.
            apart.end(&own, &ours);
            *ours.outcome.lock() = Some(outcome);
            ours.done.notify_all();
            ours.ended.notify_waiters();
        })?;
        running.insert(key, Arc::clone(&begun));
        Ok(begun)
    }

    fn end(&self, key: &K, ended: &Arc<Running<V>>) {
        let mut running = self.running.lock();
        // Another may have taken its place.
        if running.get(key).is_some_and(|running| Arc::ptr_eq(running, ended)) {
            running.remove(key);
        }
    }
}

impl<V: Clone> Running<V> {
    /// What came of it; `None` if it isn't done by then.
    pub(crate) fn by(&self, deadline: Instant) -> Option<V> {
        let mut outcome = self.outcome.lock();
        self.done.wait_while_until(&mut outcome, |outcome| outcome.is_none(), deadline);
        outcome.clone()
    }

    /// The outcome. Waits without a bound.
    pub(crate) async fn outcome(&self) -> V {
        loop {
            let mut ended = pin!(self.ended.notified());
            // Before looking, so that an end in between isn't missed.
            ended.as_mut().enable();
            let outcome = self.outcome.lock().clone();
            match outcome {
                Some(outcome) => return outcome,
                None => ended.await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn work_that_hangs_is_joined_and_not_begun_again() {
        let (apart, begun) = (Arc::<Apart<&str, usize>>::default(), Arc::new(AtomicUsize::new(0)));
        let (end, ended) = mpsc::channel::<()>();
        let mut ended = Some(ended);
        let mut begin = || {
            let (begun, ended) = (Arc::clone(&begun), ended.take());
            let work = move |_: &_| {
                let count = begun.fetch_add(1, Ordering::SeqCst) + 1;
                ended.map(|ended| ended.recv());
                count
            };
            apart.begin("hangs", work).expect("a thread can be started")
        };
        let first = begin();
        for _ in 0..100 {
            assert_eq!(begin().by(Instant::now()), None);
        }
        let other = apart.begin("another", |_| 7).expect("a thread can be started");
        assert_eq!(other.by(Instant::now() + LONG), Some(7));
        end.send(()).expect("it waits");
        assert_eq!(first.by(Instant::now() + LONG), Some(1));
        assert_eq!(begin().by(Instant::now() + LONG), Some(2));
    }

    #[test]
    fn work_that_hangs_is_begun_anew_after_ever_longer_times() {
        let apart = Arc::new(Apart { running: Mutex::default(), patience: Duration::from_millis(1) });
        let (begun, over) = (Arc::new(AtomicUsize::new(0)), Instant::now() + Duration::from_millis(100));
        let mut last = None;
        while Instant::now() < over {
            let begun = Arc::clone(&begun);
            let running = apart.begin((), move |()| {
                begun.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(200));
            });
            last = Some(running.expect("a thread can be started"));
        }
        // 1 + 2 + 4 + … ms.
        assert!((2..=7).contains(&begun.load(Ordering::SeqCst)), "{begun:?}");
        assert_eq!(last.and_then(|last| last.by(Instant::now() + LONG)), Some(()));
        wait_for_the_end(&apart);
    }

    /// A stuck one that ends takes no other out of the table, and the last takes itself.
    fn wait_for_the_end(apart: &Apart<(), ()>) {
        let deadline = Instant::now() + LONG;
        while !apart.running.lock().is_empty() {
            assert!(Instant::now() < deadline, "it's still in the table");
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn a_task_hears_of_the_end_whenever_it_comes() {
        let apart = Arc::<Apart<u32, u32>>::default();
        for key in 0..1_000 {
            let running = apart.begin(key, |key| key + 1).expect("a thread can be started");
            let outcome = tokio::time::timeout(LONG, running.outcome()).await;
            assert_eq!(outcome, Ok(key + 1));
        }
    }
}
