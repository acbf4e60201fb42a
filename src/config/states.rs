//! The states of a [`CacheHouseBuilder`](crate::CacheHouseBuilder), for functions that take or return one.
//!
//! A state is what the builder knows about the topology: `CacheHouseBuilder<WantsTopology>` has no `build` yet,
//! `CacheHouseBuilder<Standalone>` has. The traits say which methods a state has.
//!
//! ```
//! use cache_house::config::states::{Buildable, WantsTopology};
//! use cache_house::{CacheHandle, CacheHouse, CacheHouseBuilder, Error};
//!
//! /// What all caches of this program share.
//! fn common() -> CacheHouseBuilder<WantsTopology> {
//!     CacheHouse::builder().key_prefix("shop")
//! }
//!
//! fn finish<S: Buildable>(builder: CacheHouseBuilder<S>) -> Result<CacheHandle, Error> {
//!     builder.fallback_to_memory(true).build()
//! }
//!
//! let cache = finish(common().memory())?;
//! # Ok::<(), cache_house::Error>(())
//! ```
//!
//! | trait | method | states |
//! | --- | --- | --- |
//! | [`OwesTopology`] | `standalone`, `cluster`, `autodetect`, `memory` | [`WantsTopology`] |
//! | [`Buildable`] | `build` | all others |
//! | [`Connects`] | connection options, such as `password` and `command_timeout` | [`Standalone`], [`Cluster`], [`Autodetect`] |
//! | [`TakesDatabase`] | `database` | [`Standalone`] |
//! | [`TakesNodes`] | `node` | [`Cluster`], [`Autodetect`] |
//! | [`ReadsFromReplicas`] | `read_from_replicas` | [`Cluster`] |

#[doc(inline)]
pub use super::state::{
    Autodetect, Buildable, Cluster, Connects, Loaded, Memory, OwesTopology, ReadsFromReplicas, Standalone,
    TakesDatabase, TakesNodes, WantsTopology,
};
