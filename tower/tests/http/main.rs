//! The layer over services in memory, over real servers, and in axum.
#![expect(clippy::unwrap_used, reason = "what a helper of tests can't do fails the test")]

mod bodies;
mod freshness;
mod in_axum;
mod keys;
mod logs;
mod servers;
mod support;
mod table;
mod together;
