//! The layer over services in memory, over real servers, and in axum.

mod bodies;
mod freshness;
mod in_axum;
mod keys;
mod servers;
mod support;
mod table;
mod together;
