//! The layer over services in memory, over real servers, and in axum.

mod bodies;
mod freshness;
mod keys;
mod support;
mod table;
mod together;
