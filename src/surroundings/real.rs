//! The surroundings of a program that runs.

use std::io;
use std::thread::{self, Thread};
use std::time::Instant;

pub(crate) use std::sync::atomic;
pub(crate) use std::thread_local;

pub(crate) use parking_lot::{Condvar, Mutex};
use tokio::runtime::Handle;
pub(crate) use tokio::sync::{Notify, oneshot};

/// How many shards what many threads use is split into. A power of two, so that the top bits of a hash choose one.
pub(crate) const SHARDS: usize = 64;

/// Statics that the model makes anew for each schedule.
macro_rules! statics {
    ($(static $name:ident: $of:ty = $value:expr;)+) => { $(static $name: $of = $value;)+ };
}
pub(crate) use statics;

/// The time by which deadlines are kept.
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A thread that parks.
pub(crate) struct Parker(Thread);

impl Parker {
    pub(crate) fn of_this_thread() -> Self {
        Self(thread::current())
    }

    /// Has the thread go on, now or as soon as it parks.
    pub(crate) fn unpark(&self) {
        self.0.unpark();
    }
}

/// Parks this thread until it's unparked, but not past `until`; it may go on sooner.
pub(crate) fn park_until(until: Instant) {
    thread::park_timeout(until.saturating_duration_since(now()));
}

/// Runs `run` on a thread of this name.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(run).map(drop)
}

/// The runtime that this code runs in, whose tasks this thread may block.
pub(crate) fn runtime() -> Option<Handle> {
    Handle::try_current().ok()
}

/// How many threads run at once.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
