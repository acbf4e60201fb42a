//! Where values are kept: in memory, on a server, and the policy between the two.

pub(crate) mod invalidation;
pub(crate) mod invalidations;
pub(crate) mod journal;
pub(crate) mod lease;
pub(crate) mod measured;
pub(crate) mod memory;
pub(crate) mod near;
mod prefixes;
pub(crate) mod redis;
pub(crate) mod script;
pub(crate) mod server;
pub(crate) mod slots;
pub(crate) mod tiers;

pub use self::server::ServerReport;
