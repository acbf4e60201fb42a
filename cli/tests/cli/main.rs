//! The program as operators run it: against real servers, without one, and with mistakes.

mod configuration;
mod help;
mod keys;
mod metrics;
mod removals;
mod support;
