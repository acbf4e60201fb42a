//! The options of memory.

use super::CacheHouseBuilder;
use crate::clock::Clock;

/// Options of memory: how much it holds, and whether it serves while the server is away.
impl<S> CacheHouseBuilder<S> {
    /// Turns the memory tier beside a server on or off. Default: on.
    ///
    /// Off, no value is kept in this process, and each call in an outage runs its work. No effect without a server.
    #[doc(alias("circuit breaker", "outage", "L1", "L1/L2", "tiered"))]
    pub fn fallback_to_memory(mut self, on: bool) -> Self {
        self.common.fallback_to_memory = on;
        self
    }

    /// Sets how many entries memory holds. Default: 10,000; from 1 to 2³².
    #[doc(alias("capacity", "max_size", "maxsize", "evict", "lru"))]
    pub fn memory_max_entries(mut self, entries: u64) -> Self {
        self.common.memory.max_entries = entries;
        self
    }

    /// Sets how many bytes memory holds. Default: 64 MiB; from 1 KiB to 2⁵⁰ bytes.
    ///
    /// Keys, decoded values and the overhead of an entry count; beside a server, encoded values too. The size of a decoded value is
    /// [estimated](Self::memory_weight).
    #[doc(alias("capacity", "max_size", "maxmemory", "evict", "lru"))]
    pub fn memory_max_bytes(mut self, bytes: u64) -> Self {
        self.common.memory.max_bytes = bytes;
        self
    }

    /// Computes the size in memory of a decoded value of this type, in bytes, in place of the estimate.
    ///
    /// The estimate is the size of the type plus its texts, lists and maps as serde serializes them. It misses spare capacity and skipped
    /// fields, and counts a shared `Arc` each time. For a type with functions in place of serde, it's at least the encoded length. One
    /// function for each type; of two, the last counts.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// // A mebibyte of heap that JSON writes as a few bytes.
    /// let cache = CacheHouse::builder().memory_weight(|text: &String| text.capacity() as u64 + 40).memory().build()?;
    /// cache.insert(opts!("log"), &String::with_capacity(1 << 20))?;
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("weigher", "weight"))]
    pub fn memory_weight<T: 'static>(mut self, bytes: impl Fn(&T) -> u64 + Send + Sync + 'static) -> Self {
        self.common.memory.weighers.add(bytes);
        self
    }

    /// Sets the largest encoded value that is stored. Default: 16 MiB, or what memory has room for if that's less and there is no server.
    ///
    /// From 1 byte to 512 MiB, the server's own limit. A larger value is returned to its caller and not stored. `build()` returns an error if
    /// memory has no room for a value of this size.
    #[doc(alias("max_size", "value size"))]
    pub fn max_value_bytes(mut self, bytes: u64) -> Self {
        self.common.memory.max_value_bytes = Some(bytes);
        self
    }

    /// Sets the clock by which memory expires its entries, for tests: see [`ManualClock`](crate::ManualClock).
    #[doc(alias("mock", "fake time", "test"))]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.common.clock = clock.into();
        self
    }
}
