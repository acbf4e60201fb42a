//! A configuration that has been checked as a whole.

use std::fmt;
use std::sync::Arc;

use super::connection::Topology;
use super::memory::CheckedMemory;
use super::namespace::Namespaces;
use crate::clock::Clock;
use crate::codec::Sealing;
use crate::key::{KeyBuilder, Scope};
use crate::policy::Overrides;

/// Made only by [`CacheHouseBuilder::into_config`](super::builder::CacheHouseBuilder).
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) scope: Scope,
    pub(crate) overrides: Overrides,
    pub(crate) namespaces: Namespaces,
    pub(crate) key_builder: Option<Builder>,
    pub(crate) fallback_to_memory: bool,
    pub(crate) memory: CheckedMemory,
    pub(crate) clock: Clock,
    pub(crate) sealing: Sealing,
    pub(crate) topology: Topology,
}

/// A key builder that can be shown.
#[derive(Clone)]
pub(crate) struct Builder(pub(crate) Arc<dyn KeyBuilder>);

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBuilder")
    }
}
