//! What the engine has around it: time, threads, locks and notifications.
//!
//! The engine reads the time, parks, spawns and locks through this module alone, so that a model checker can stand in for all of it:
//! `tests/model` builds the crate with `cfg(cache_house_model)`, where a scheduler decides what runs next and when time passes.
//! Otherwise each item is the real one, under its own name, and costs nothing.
//!
//! The clock of the memory tier, which tests of a user's program move, is another: [`clock`](crate::clock). A deadline isn't kept by
//! that one, because a call has to return also while a test's clock stands still.

#[cfg(not(cache_house_model))]
mod real;
#[cfg(not(cache_house_model))]
pub(crate) use real::*;

#[cfg(cache_house_model)]
#[path = "../tests/model/src/surroundings.rs"]
mod modelled;
#[cfg(cache_house_model)]
pub(crate) use modelled::*;
