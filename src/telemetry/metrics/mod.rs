//! Reports through the facade `metrics`, with the feature of that name; without it, nothing, at no cost.
//!
//! Two modules with one interface, so that callers needn't know which of them it is. `docs/metrics.md` has the table of names.

#[cfg(not(feature = "metrics"))]
mod disabled;
#[cfg(feature = "metrics")]
mod enabled;
mod event;
#[cfg(feature = "metrics")]
mod kept;

#[cfg(not(feature = "metrics"))]
pub(crate) use disabled::{
    Length, Requests, Series, Timer, coalesced, decode_failed, describe, evicted, fenced, refreshed, set_circuit,
    set_near_cache, stale_hit,
};
#[cfg(feature = "metrics")]
pub(crate) use enabled::{
    Length, Requests, Series, Timer, coalesced, decode_failed, describe, evicted, fenced, refreshed, set_circuit,
    set_near_cache, stale_hit,
};
pub(crate) use event::{Answer, Circuit, Operation, Outcome};
