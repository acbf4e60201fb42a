//! A counter that is kept, so that a hit needn't look for it in the recorder.
//!
//! Only counters of the program's recorder are kept, which is never freed. A thread may have another one for a while, whose address may
//! be that of one before it: there each report looks its counter up.

use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use ::metrics::{Counter, Key, Metadata, Recorder, with_recorder};
use arc_swap::ArcSwapOption;

/// How long a counter is kept. Recorders may drop one that wasn't added to for some time, and what is added to it afterwards is lost.
const KEEP: Duration = Duration::from_secs(1);

pub(super) struct KeptCounter {
    pub(super) key: Key,
    kept: ArcSwapOption<Kept>,
}

struct Kept {
    counter: Counter,
    since: Duration,
}

impl KeptCounter {
    pub(super) fn new(key: Key) -> Self {
        Self { key, kept: ArcSwapOption::empty() }
    }

    #[inline]
    pub(super) fn add_one(&self, metadata: &Metadata<'_>) {
        with_recorder(|recorder| {
            if !is_the_programs(recorder) {
                return recorder.register_counter(&self.key, metadata).increment(1);
            }
            let now = now();
            if let Some(kept) = &*self.kept.load()
                && now.saturating_sub(kept.since) < KEEP
            {
                return kept.counter.increment(1);
            }
            let counter = recorder.register_counter(&self.key, metadata);
            counter.increment(1);
            self.kept.store(Some(Arc::new(Kept { counter, since: now })));
        });
    }
}

/// The address of the program's recorder; 0 while it isn't known.
static THE_PROGRAMS: AtomicUsize = AtomicUsize::new(0);

#[inline]
fn is_the_programs(recorder: &dyn Recorder) -> bool {
    let address = address_of(recorder);
    match THE_PROGRAMS.load(Ordering::Relaxed) {
        0 => {
            look_for_the_programs(address);
            false
        }
        known => known == address,
    }
}

/// 0 for a recorder without a size, such as the one that stands for none: others may have its address.
fn address_of(recorder: &dyn Recorder) -> usize {
    match size_of_val(recorder) {
        0 => 0,
        _ => ptr::from_ref(recorder).cast::<()>().addr(),
    }
}

/// Has a new thread look, once a recorder of this address: that thread has none of its own, so it sees the program's. Nobody waits for it.
#[cold]
fn look_for_the_programs(address: usize) {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    static LOOKS_LEFT: AtomicU8 = AtomicU8::new(16);
    if address == 0 || LAST.swap(address, Ordering::Relaxed) == address {
        return;
    }
    let one_less = |left: u8| left.checked_sub(1);
    if LOOKS_LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
        let look = || THE_PROGRAMS.store(with_recorder(address_of), Ordering::Relaxed);
        // Without a thread, counters are looked up as before.
        drop(thread::Builder::new().name("cache-house-metrics".into()).spawn(look));
    }
}

/// To a few milliseconds, which is quicker to read.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    // Neither is negative.
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn now() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;

    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
