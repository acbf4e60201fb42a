//! What a model asks of flights in the end.

use super::Flights;

impl Flights {
    /// How many flights there are: those that callers join, those apart, and those left behind.
    pub(crate) fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for shard in &self.shards {
            let shard = shard.lock();
            let of_shard = [shard.current.len(), shard.apart.len(), shard.behind.len()];
            counts.iter_mut().zip(of_shard).for_each(|(all, more)| *all += more);
        }
        counts
    }
}
