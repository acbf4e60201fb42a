//! Caches the results of sync and async work: in memory, and in Redis or Valkey.
//!
//! The promise: **the cache never makes a program slower, wrong or dead.** The server may be absent, frozen or full; calls go on
//! from memory within a bounded time, and no invalidated value ever comes back. `docs/resilience.md` has the limits of this.
//!
//! # The first call
//!
//! You name a call and its arguments and hand over the work, which runs only if its result isn't cached yet.
//!
//! ```
//! use cache_house::{CacheHouse, opts};
//!
//! let cache = CacheHouse::builder().memory().build()?;
//! let sum = |n: u64| cache.cached(opts!("sum", n), || (1..=n).sum::<u64>());
//!
//! assert_eq!(sum(1_000), 500_500); // runs
//! assert_eq!(sum(1_000), 500_500); // served from the cache
//! assert_eq!(cache.stats().runs, 1);
//! # Ok::<(), cache_house::Error>(())
//! ```
//!
//! | work | sync | async |
//! | --- | --- | --- |
//! | always has a result | [`cached`](CacheHandle::cached) | [`cached_async`](CacheHandle::cached_async) |
//! | may fail: only `Ok` is stored, and an `Err` is your own | [`try_cached`](CacheHandle::try_cached) | [`try_cached_async`](CacheHandle::try_cached_async) |
//! | runs once for many keys | [`cached_many`](CacheHandle::cached_many) | [`cached_many_async`](CacheHandle::cached_many_async) |
//! | runs once for many keys, and may fail | [`try_cached_many`](CacheHandle::try_cached_many) | [`try_cached_many_async`](CacheHandle::try_cached_many_async) |
//!
//! Sync calls work on plain threads and inside runtimes. Concurrent callers of one key share one run of the work. What is cached
//! has to be `Clone + Send + Sync + 'static` and to implement serde's `Serialize` and `Deserialize`, or to come with
//! [functions of its own](CacheOptions::encoder).
//!
//! # A server
//!
//! One word more, and all processes that use the server share what is cached:
//!
//! ```
//! use cache_house::{CacheHouse, opts};
//!
//! # #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
//! # struct User { name: String }
//! # async fn load_user(_: u64) -> Result<User, std::io::Error> { Ok(User { name: "Ada".into() }) }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! // Returns at once. Connecting goes on in the background; until it succeeds, memory serves.
//! let cache = CacheHouse::builder().namespace("app").standalone("localhost:6379").build()?;
//!
//! let id = 7;
//! let user: User = cache.try_cached_async(opts!("get_user", id), || load_user(id)).await?;
//! # assert_eq!(user.name, "Ada");
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new()?.block_on(run())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`CacheHouseBuilder`] has all options with their defaults and bounds. What it makes, a [`CacheHandle`], is one type whatever is
//! behind it, and cheap to clone.
//!
//! # Options and keys
//!
//! [`opts!`] makes [`CacheOptions`] of a name, arguments and keyword arguments; on them a call overrides what the handle has by default.
//!
//! ```
//! use cache_house::{CacheHouse, opts};
//! use std::time::Duration;
//!
//! let cache = CacheHouse::builder().memory().build()?;
//! let options = opts!("list_users", 3, lang = "no").namespace("users").expire(Duration::from_secs(60));
//! assert!(cache.key(&options)?.starts_with("cachehouse:users:"));
//! # Ok::<(), cache_house::Error>(())
//! ```
//!
//! A key is `{prefix}:{namespace}:{sha1}`, over the module, the name and the arguments: the same in every process and build.
//! A [`KeyBuilder`] of your own replaces that, and a [`Codec`] the JSON that values are stored as.
//!
//! # The attribute
//!
//! [`#[cached]`][attribute] does the same for a function where it's written, sync or `async`. `get_user_options`,
//! `get_user_refresh` and `get_user_uncached` come with it. `#[evict(get_user(id))]` stands above functions that change a user.
//!
#![cfg_attr(feature = "macros", doc = "```")]
#![cfg_attr(not(feature = "macros"), doc = "```ignore")]
//! use cache_house::{CacheHouse, cached};
//!
//! #[cached(namespace = "users", expire = "5m")]
//! fn get_user(id: u64) -> String {
//!     format!("user {id}")
//! }
//!
//! let cache = CacheHouse::builder().memory().build()?;
//! CacheHouse::install(cache.clone()); // the handle of functions that name none
//!
//! assert_eq!((get_user(7), get_user(7)), ("user 7".into(), "user 7".into()));
//! assert_eq!(cache.stats().runs, 1);
//! assert_eq!(cache.remove(get_user_options(7))?.entries, 1);
//! # Ok::<(), cache_house::Error>(())
//! ```
//!
#![cfg_attr(feature = "macros", doc = "[attribute]: macro@cached")]
#![cfg_attr(not(feature = "macros"), doc = "[attribute]: #features")]
//! # Errors and invalidation
//!
//! A cached call never returns an error of the cache: the crate logs and counts it, and the work runs.
//! [`insert`](CacheHandle::insert), [`remove`](CacheHandle::remove) and the clearings return [`Applied`], or an [`Error`] that the
//! caller has to act on. An outage is no error.
//!
#![cfg_attr(feature = "macros", doc = "```")]
#![cfg_attr(not(feature = "macros"), doc = "```ignore")]
//! use cache_house::{CacheHouse, cached};
//!
//! #[cached(namespace = "users")]
//! fn get_user(id: u64) -> String {
//!     format!("user {id}")
//! }
//!
//! let cache = CacheHouse::builder().memory().build()?;
//! cache.insert(get_user_options(7), &"Ada".to_string())?;
//! assert_eq!(cache.get::<String>(get_user_options(7)).as_deref(), Some("Ada"));
//! assert_eq!(cache.remove(get_user_options(7))?.entries, 1);
//! assert_eq!(cache.clear_namespace("users")?.entries, 0);
//! # Ok::<(), cache_house::Error>(())
//! ```
//!
//! Without the attribute, [`opts!`] names the call: `opts!("get_user", 7)` with the same namespace, in the same module.
//!
//! Each has an async twin: [`get_async`](CacheHandle::get_async), [`insert_async`](CacheHandle::insert_async),
//! [`remove_async`](CacheHandle::remove_async) and so on.
//!
//! # In an outage
//!
//! The server may go away at any time, or be away from the beginning. Memory serves what it has, and the work computes the rest.
//! Invalidations are journalled, and replayed on the server before any call reads their keys from it again.
//!
//! ```
//! use cache_house::{CacheHouse, opts};
//!
//! let cache = CacheHouse::builder().standalone("localhost:1").build()?; // no server there
//!
//! assert_eq!(cache.cached(opts!("answer"), || 42), 42);
//! assert_eq!(cache.cached(opts!("answer"), || 43), 42); // from memory
//!
//! let removed = cache.remove(opts!("answer"))?;
//! assert!(removed.journalled); // removed from memory, and from the server once it's back: there is nothing to retry
//! assert_eq!(cache.cached(opts!("answer"), || 44), 44);
//! # Ok::<(), cache_house::Error>(())
//! ```
//!
//! [`health`](CacheHandle::health) returns its status, [`watch_health`](CacheHandle::watch_health) a receiver of its changes, and
//! [`stats`](CacheHandle::stats) what has been done. What each kind of outage costs a call, and what isn't promised, is in
//! `docs/resilience.md`.
//!
//! # Configuration from a file
//!
//! [`CacheHouse::load`] takes `cachehouse.toml` and the variables `CACHEHOUSE_*`, [`CacheHouse::from_file`] a file by its path. What is set
//! in code wins.
//!
//! ```
//! use cache_house::CacheHouse;
//!
//! let cache = CacheHouse::from_file("examples/cachehouse.toml").namespace("shop").build()?;
//! # Ok::<(), cache_house::Error>(())
//! ```
//!
//! # A cluster
//!
//! ```
//! use cache_house::CacheHouse;
//!
//! // Two nodes to begin with; one that answers is enough, and names the others.
//! let cache = CacheHouse::builder().cluster("10.0.0.1:7000").node("10.0.0.2:7000").build()?;
//!
//! // A server or a cluster: found out at each connect.
//! let cache = CacheHouse::builder().autodetect("localhost:6379").build()?;
//! # Ok::<(), cache_house::Error>(())
//! ```
//!
//! Calls are the same. Each shard is given up on and used again by itself: while one is away, memory serves its keys alone.
//!
//! # In tests
//!
//! Tests use [`memory`](CacheHouseBuilder::memory), and a [`ManualClock`] where time matters:
//!
//! ```
//! use cache_house::{CacheHouse, ManualClock, opts};
//! use std::time::Duration;
//!
//! let clock = ManualClock::new();
//! let cache = CacheHouse::builder().memory().expire(Duration::from_secs(60)).clock(clock.clone()).build()?;
//!
//! assert_eq!(cache.cached(opts!("n"), || 1), 1);
//! clock.advance(Duration::from_secs(60));
//! assert_eq!(cache.cached(opts!("n"), || 2), 2);
//! # Ok::<(), cache_house::Error>(())
//! ```
//!
//! # Features
//!
//! | feature | by default | what it adds |
//! | --- | --- | --- |
//! | `encryption` | off | `codec::Encrypted`, and `encryption` on the builder and in a file: AES-256-GCM by ring |
//! | `lz4` | off | `codec::Compressed`, and `compression` on the builder and in a file |
//! | `macros` | on | the attributes `cached` and `evict` |
//! | `metrics` | off | counters, histograms and gauges through the facade `metrics` |
//! | `messagepack` | on | `codec::MessagePack`, and `codec = "messagepack"` in a file |
//! | `operate` | off | the module `operate`: looks at the keys on a server, for operators; the command `cachehouse` is made of it |
//! | `tls` | on | `rediss://` endpoints and [`Tls`], by rustls with the ring provider and the system's root certificates |
//!
//! Without any, memory, servers and clusters over plain TCP or Unix sockets, JSON and configuration from files are there.
//!
//! Recipes are in `docs/cookbook.md`. `docs/coming-from.md` is for users of moka, `cached`, FusionCache and Spring,
//! `docs/from-python.md` for those of the Python library cache-house.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod apart;
mod backend;
mod clock;
pub mod codec;
pub mod config;
mod connect;
mod deadline;
mod error;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
#[path = "../tests/golden/golden.rs"]
mod golden;
mod handle;
mod health;
mod key;
#[cfg(feature = "operate")]
pub mod operate;
mod options;
mod policy;
mod surroundings;
mod telemetry;
mod watchdog;

pub use backend::ServerReport;
/// Caches the results of a function, sync or `async`, by its arguments.
///
#[cfg(feature = "macros")]
#[doc = include_str!("../docs/attribute.md")]
pub use cache_house_macros::cached;
/// Removes cached values once a function has ended, sync or `async`.
///
/// `#[evict(get_user(id))]` removes what `#[cached]` has stored of `get_user(id)`. Described, with an example, on the page of
/// [`cached`](macro@cached#eviction).
#[cfg(feature = "macros")]
pub use cache_house_macros::evict;
pub use clock::{Clock, ManualClock};
#[doc(inline)]
pub use codec::Codec;
#[doc(inline)]
pub use config::{CacheHouseBuilder, Config, Endpoint, NamespaceOptions, Reconnect, Secret, Tls};
pub use connect::CacheHouse;
pub use error::{Error, ErrorKind};
pub use figment;
#[doc(hidden)]
pub use handle::attribute as __attribute;
#[cfg(cache_house_model)]
#[doc(hidden)]
pub use handle::model;
pub use handle::{Applied, CacheHandle, Entry, Source, WorkContext};
pub use health::{Health, NearCache, Reason, ReasonKind, Topology};
pub use key::{KeyBuilder, KeyContext};
pub use options::CacheOptions;
pub use telemetry::Stats;

/// The README's examples, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The guides' examples. Those of `docs/attribute.md` run as the attribute's.
#[cfg(doctest)]
#[doc = include_str!("../docs/cookbook.md")]
struct Cookbook;

#[cfg(all(doctest, feature = "encryption", feature = "lz4"))]
#[doc = include_str!("../docs/cookbook-values.md")]
struct CookbookOfValues;

#[cfg(doctest)]
#[doc = include_str!("../docs/cookbook-programs.md")]
struct CookbookOfPrograms;

#[cfg(doctest)]
#[doc = include_str!("../docs/coherence.md")]
struct Coherence;

#[cfg(doctest)]
#[doc = include_str!("../docs/freshness.md")]
struct FreshnessGuide;

#[cfg(doctest)]
#[doc = include_str!("../docs/from-python.md")]
struct FromPython;
