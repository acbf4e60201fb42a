//! Integration tests: the whole crate through its public API, against real servers.

mod chains;
mod clusters;
mod coherence;
mod concurrency;
mod configuration;
mod conformance;
mod faults;
mod first_connection;
#[cfg(unix)]
mod fleet;
mod freshness;
mod leaks;
mod login;
#[cfg(feature = "macros")]
mod macros;
mod many;
mod memory;
#[cfg(feature = "metrics")]
mod metrics;
mod near;
#[cfg(feature = "operate")]
mod operate;
mod outage;
#[cfg(all(feature = "encryption", feature = "lz4"))]
mod sealing;
#[cfg(all(unix, feature = "macros", feature = "metrics"))]
mod service;
mod spans;
mod standalone;
mod support;
mod sync_anywhere;
mod tags;
