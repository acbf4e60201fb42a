//! Caches the results of sync and async work: in memory, and in Redis or Valkey.
//!
//! The promise: **the cache never makes a program slower, wrong or dead.** The server may be absent, frozen or full; calls go on
//! from memory within a bounded time, and no invalidated value ever comes back.
//!
//! ```
//! use cache_house::{CacheHouse, opts};
//!
//! # async fn load_user(id: u64) -> String { format!("user {id}") }
//! # async fn run() -> Result<(), cache_house::Error> {
//! let cache = CacheHouse::builder().namespace("app").standalone("localhost:6379").build()?;
//!
//! // Runs `load_user` the first time; later calls, of any process, are served from the cache.
//! let id = 7;
//! let user: String = cache.cached_async(opts!("get_user", id), || load_user(id)).await;
//! # assert_eq!(user, "user 7");
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
//! ```
//!
//! 1. [`CacheHouse::builder`] makes a [`CacheHandle`]: see [`CacheHouseBuilder`] for all options. [`CacheHouse::load`] takes them from a file and
//!    the environment.
//! 2. [`CacheHandle::cached`] and [`cached_async`](CacheHandle::cached_async) cache the result of work;
//!    [`try_cached`](CacheHandle::try_cached) and [`try_cached_async`](CacheHandle::try_cached_async) that of work which may fail.
//! 3. [`opts!`] and [`CacheOptions`] name a call and its arguments, and override namespace, expiry, codec or key for it.
//! 4. The attribute `cached` does the same for a function where it's written (feature `macros`, which is on).
//! 5. [`CacheHandle::remove`], [`clear_namespace`](CacheHandle::clear_namespace) and their async twins invalidate.
//! 6. [`CacheHandle::health`] and [`stats`](CacheHandle::stats) tell how it's doing.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backend;
mod clock;
pub mod codec;
pub mod config;
mod connect;
mod error;
#[cfg(test)]
#[path = "../tests/golden/golden.rs"]
mod golden;
mod handle;
mod health;
mod key;
mod options;
mod telemetry;

pub use backend::ServerReport;
#[cfg(feature = "macros")]
#[doc = include_str!("../docs/attribute.md")]
pub use cache_house_macros::cached;
pub use clock::{Clock, ManualClock};
pub use codec::Codec;
pub use config::{CacheHouseBuilder, Config, Endpoint, NamespaceOptions, Reconnect, Secret, Tls};
pub use connect::CacheHouse;
pub use error::Error;
pub use figment;
pub use handle::CacheHandle;
pub use health::{Health, Reason, ReasonKind, Topology};
pub use key::{KeyBuilder, KeyContext};
pub use options::CacheOptions;
pub use telemetry::Stats;

/// The README's examples, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
