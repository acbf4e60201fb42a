//! The surroundings of a program whose every step the checker decides: the same names as in `src/surroundings/real.rs`.
//!
//! All threads of a schedule are coroutines of one thread of the system. So what that thread has is what the schedule has: the time above
//! all, which passes only where [`pass`] is called.

use std::cell::{Cell, RefCell};
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use shuttle::thread::{self, Thread, ThreadId};
use tokio::runtime::Handle;

pub(crate) use shuttle::sync::atomic;
pub(crate) use shuttle::thread_local;
pub(crate) use tokio::sync::oneshot;

/// One, so that what walks over all of them takes few steps.
pub(crate) const SHARDS: usize = 1;

macro_rules! statics {
    ($(static $name:ident: $of:ty = $value:expr;)+) => {
        shuttle::lazy_static! { $(static ref $name: $of = $value;)+ }

        /// Makes them before any thread panics: what is made while one does, shuttle takes for poisoned.
        #[allow(dead_code)]
        pub(crate) fn make_statics() {
            $(shuttle::lazy_static::initialize(&$name);)+
        }
    };
}
pub(crate) use statics;

std::thread_local! {
    static START: Instant = Instant::now();
    static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static SLEEPERS: RefCell<Vec<(Instant, Thread)>> = const { RefCell::new(Vec::new()) };
}

/// Begins a schedule.
pub(crate) fn begin() {
    PASSED.set(Duration::ZERO);
    SLEEPERS.with_borrow_mut(Vec::clear);
}

pub(crate) fn now() -> Instant {
    START.with(|start| *start) + PASSED.get()
}

/// How much time the schedule has taken.
pub(crate) fn passed() -> Duration {
    PASSED.get()
}

/// Lets the time pass until the next thread is due that sleeps, and wakes it; `false` where none sleeps.
pub(crate) fn pass() -> bool {
    let Some(next) = SLEEPERS.with_borrow(|sleepers| sleepers.iter().map(|(until, _)| *until).min()) else {
        return false;
    };
    PASSED.set(PASSED.get().max(next - START.with(|start| *start)));
    let due =
        SLEEPERS.with_borrow_mut(|sleepers| sleepers.extract_if(.., |(until, _)| *until <= next).collect::<Vec<_>>());
    for (_, sleeper) in due {
        sleeper.unpark();
    }
    true
}

/// A point at which another thread may run.
pub(crate) fn step() {
    thread::sleep(Duration::ZERO);
}

pub(crate) struct Parker(Thread);

impl Parker {
    pub(crate) fn of_this_thread() -> Self {
        Self(thread::current())
    }

    pub(crate) fn unpark(&self) {
        self.0.unpark();
    }
}

pub(crate) fn park() {
    thread::park();
}

pub(crate) fn park_until(until: Instant) {
    if until <= now() {
        return step();
    }
    let me = thread::current();
    let id = me.id();
    SLEEPERS.with_borrow_mut(|sleepers| sleepers.push((until, me)));
    thread::park();
    wake(id);
}

/// The thread sleeps no longer.
fn wake(id: ThreadId) {
    SLEEPERS.with_borrow_mut(|sleepers| sleepers.retain(|(_, sleeper)| sleeper.id() != id));
}

pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(run).map(drop)
}

pub(crate) fn runtime() -> Option<Handle> {
    None
}

pub(crate) fn cores() -> usize {
    1
}

#[derive(Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// Always there, but for the time in which a [`Condvar`] waits.
    guard: Option<shuttle::sync::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { mutex: self, guard: Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)) }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.guard.as_ref().expect("nothing waits")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.guard.as_mut().expect("nothing waits")
    }
}

pub(crate) struct Condvar {
    waiting: parking_lot::Mutex<Vec<Thread>>,
}

pub(crate) struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    pub(crate) fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self { waiting: parking_lot::const_mutex(Vec::new()) }
    }

    pub(crate) fn notify_one(&self) {
        step();
        let one = self.waiting.lock().pop();
        if let Some(one) = one {
            one.unpark();
        }
    }

    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) -> WaitTimeoutResult {
        let me = thread::current();
        let id = me.id();
        self.waiting.lock().push(me);
        drop(guard.guard.take());
        let notified = loop {
            let waits = self.waiting.lock().iter().any(|waiting| waiting.id() == id);
            if !waits || until <= now() {
                break !waits;
            }
            park_until(until);
        };
        self.waiting.lock().retain(|waiting| waiting.id() != id);
        guard.guard = Some(guard.mutex.0.lock().unwrap_or_else(PoisonError::into_inner));
        WaitTimeoutResult(!notified)
    }
}

/// Tokio's own, with a step before each operation; waiting is its own too.
#[derive(Debug, Default)]
pub(crate) struct Notify(tokio::sync::Notify);

impl Notify {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        step();
        self.0.notified()
    }

    pub(crate) fn notify_one(&self) {
        step();
        self.0.notify_one();
    }

    pub(crate) fn notify_waiters(&self) {
        step();
        self.0.notify_waiters();
    }
}
