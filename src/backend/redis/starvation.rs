//! Whether the program keeps the cache's I/O from running.

use std::sync::atomic::{AtomicU32, Ordering};

/// Blocked callers that gave up because the tasks of the I/O didn't run, since those ran last.
#[derive(Default)]
pub(super) struct Starvation(AtomicU32);

/// So many callers in a row are no accident.
const LIMIT: u32 = 3;

impl Starvation {
    /// A caller has given up.
    pub(super) fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The tasks run.
    pub(super) fn relieve(&self) {
        // Read before written: the line stays shared between cores while all is well.
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn is_chronic(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= LIMIT
    }
}
