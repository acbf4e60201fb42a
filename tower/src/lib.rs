#![doc = include_str!("../README.md")]

mod body;
mod conditional;
mod directives;
mod exchange;
mod invalidation;
mod key;
mod layer;
mod rules;
mod service;
mod state;
mod status;
mod stored;

pub use body::CacheBody;
pub use layer::CacheLayer;
pub use service::Cache;
