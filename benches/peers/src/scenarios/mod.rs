//! What is measured.

pub(crate) mod absent;
pub(crate) mod frozen;
pub(crate) mod memory_hits;
mod outage;
pub(crate) mod redis_hits;
pub(crate) mod stampede;

/// Different ids, so that calls don't coalesce.
pub(crate) const KEYS: u64 = 1024;
