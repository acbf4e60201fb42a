//! Reports nothing: these types have no size and their methods do nothing.

use super::event::{Answer, Circuit, Operation, Outcome};
use crate::surroundings::atomic::{AtomicUsize, Ordering};

pub(crate) struct Requests;

#[derive(Clone)]
pub(crate) struct Series;

#[must_use = "it's stopped by saying what it has measured"]
pub(crate) struct Timer;

#[derive(Default)]
pub(crate) struct Length(AtomicUsize);

impl Requests {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn series(&self, _: &str) -> Series {
        Series
    }

    #[inline]
    pub(crate) fn count(&self, _: &Series, _: Option<&str>, _: Answer) {}
}

impl Timer {
    #[inline]
    pub(crate) fn start() -> Self {
        Self
    }

    #[inline]
    pub(crate) fn waited(self) {}

    #[inline]
    pub(crate) fn worked(self) {}

    #[inline]
    pub(crate) fn served(self, _: Operation, _: Outcome) {}
}

impl Length {
    pub(crate) fn of(_: &str) -> Self {
        Self::default()
    }

    #[inline]
    pub(crate) fn load(&self, ordering: Ordering) -> usize {
        self.0.load(ordering)
    }

    #[inline]
    pub(crate) fn store(&self, now: usize, ordering: Ordering) {
        self.0.store(now, ordering);
    }
}

pub(crate) fn describe() {}

#[inline]
pub(crate) fn coalesced() {}

#[inline]
pub(crate) fn stale_hit() {}

pub(crate) fn refreshed() {}

pub(crate) fn fenced() {}

pub(crate) fn evicted(_: u64) {}

pub(crate) fn decode_failed() {}

pub(crate) fn set_circuit(_: &str, _: Circuit) {}

pub(crate) fn set_near_cache(_: &str, _: bool) {}
