//! The options of memory.

use super::CacheHouseBuilder;
use crate::clock::Clock;

/// Options of memory: how much it holds, and whether it serves while the server is away.
impl<S> CacheHouseBuilder<S> {
    /// Whether memory serves while the server is away: on. Off, an outage means that the work runs each time, and
    /// no value is kept in this process. Without a server it means nothing.
    #[doc(alias("circuit breaker", "outage", "L1", "L1/L2", "tiered"))]
    pub fn fallback_to_memory(mut self, on: bool) -> Self {
        self.common.fallback_to_memory = on;
        self
    }

    /// How many entries memory holds at most: 10,000; from 1 to 2³².
    #[doc(alias("capacity", "max_size", "maxsize", "evict", "lru"))]
    pub fn memory_max_entries(mut self, entries: u64) -> Self {
        self.common.memory.max_entries = entries;
        self
    }

    /// How many bytes memory holds at most: 64 MiB; from 1 KiB to 2⁵⁰ bytes. Counted are keys, decoded values, beside a server encoded
    /// ones too, and what an entry costs beside them. What a decoded value takes up is [estimated](Self::memory_weight).
    #[doc(alias("capacity", "max_size", "maxmemory", "evict", "lru"))]
    pub fn memory_max_bytes(mut self, bytes: u64) -> Self {
        self.common.memory.max_bytes = bytes;
        self
    }

    /// How many bytes decoded values of this type take up in memory, in place of an estimate.
    ///
    /// That is the size of the type, and of what serde shows of its heap: texts, lists, maps. It doesn't see spare capacity, what
    /// `Serialize` leaves out, or that an `Arc` is shared; and of a type with functions in place of serde, all it knows is the encoded
    /// length, which a decoded value is taken to have at least. Called once a type; of two, the last counts.
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

    /// The largest encoded value that is stored: 16 MiB, without a server less if memory has less room; from 1 byte to 512 MiB, the
    /// server's own limit. A larger one is returned to its caller and not stored. An error of `build()` where memory has no room for it.
    #[doc(alias("max_size", "value size"))]
    pub fn max_value_bytes(mut self, bytes: u64) -> Self {
        self.common.memory.max_value_bytes = Some(bytes);
        self
    }

    /// The clock by which memory expires its entries, for tests: see [`ManualClock`](crate::ManualClock).
    #[doc(alias("mock", "fake time", "test"))]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.common.clock = clock.into();
        self
    }
}
