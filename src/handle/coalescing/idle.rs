//! What tests ask of flights in the end.

use super::Flights;

impl Flights {
    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.shards.iter().all(|shard| {
            let shard = shard.lock();
            shard.current.is_empty() && shard.apart.is_empty() && shard.behind.is_empty()
        })
    }
}
