//! The work whose result is cached, and a record of its runs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use crate::user::{User, user};

/// How long the work takes; at first no time at all.
static MILLIS: AtomicU64 = AtomicU64::new(0);
static RUNS: AtomicU64 = AtomicU64::new(0);
static RUN: LazyLock<Mutex<HashSet<u64>>> = LazyLock::new(Mutex::default);

pub(crate) async fn load(id: u64) -> User {
    RUNS.fetch_add(1, Ordering::Relaxed);
    RUN.lock().expect("nobody panics with it").insert(id);
    match MILLIS.load(Ordering::Relaxed) {
        0 => {}
        millis => tokio::time::sleep(Duration::from_millis(millis)).await,
    }
    user(id)
}

/// From now on.
pub(crate) fn takes(time: Duration) {
    MILLIS.store(time.as_millis() as u64, Ordering::Relaxed);
}

pub(crate) fn runs() -> u64 {
    RUNS.load(Ordering::Relaxed)
}

/// Whether the work was ever run for this one, since it was last asked.
pub(crate) fn has_run(id: u64) -> bool {
    RUN.lock().expect("nobody panics with it").remove(&id)
}
