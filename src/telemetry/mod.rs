//! Diagnostics: counters, metrics, and warnings that are logged once.

pub(crate) mod metrics;
pub(crate) mod spans;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One counter of events since the handle was built.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

/// The counters behind [`Stats`], shared by all clones of a handle.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) memory_hits: Counter,
    pub(crate) server_hits: Counter,
    pub(crate) near_hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) coalesced: Counter,
    pub(crate) runs: Counter,
    pub(crate) server_errors: Counter,
    pub(crate) server_timeouts: Counter,
    pub(crate) shed: Counter,
    pub(crate) failed_writes: Counter,
    pub(crate) decode_failures: Counter,
    pub(crate) uncached: Counter,
    pub(crate) circuit_openings: Counter,
    pub(crate) desyncs: Counter,
    pub(crate) fenced: Counter,
    pub(crate) unfenced: Counter,
    pub(crate) lease_waits: Counter,
    pub(crate) invalidations: Counter,
    pub(crate) outdated: Counter,
    pub(crate) stale_hits: Counter,
    pub(crate) refreshes: Counter,
    pub(crate) unkeyable_warning: Once,
    pub(crate) encode_warning: Once,
    pub(crate) too_large_warning: Once,
    pub(crate) decode_warning: Once,
    pub(crate) decision_warning: Once,
}

/// The counters of a handle and its clones since it was built, and their current sizes.
///
/// ```
/// use cache_house::{CacheHouse, opts};
///
/// let cache = CacheHouse::builder().memory().build()?;
/// cache.cached(opts!("answer"), || 42);
/// cache.cached(opts!("answer"), || 42);
///
/// let stats = cache.stats();
/// assert_eq!((stats.runs, stats.misses, stats.memory_hits), (1, 1, 1));
/// # Ok::<(), cache_house::Error>(())
/// ```
#[doc(alias("metrics", "counters", "hit rate", "hit ratio"))]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls answered from memory.
    #[doc(alias("L1"))]
    pub memory_hits: u64,
    /// Calls answered by the server.
    #[doc(alias("L2"))]
    pub server_hits: u64,
    /// Hits of the [near cache](crate::CacheHouseBuilder::near_cache): calls answered from memory because the server is known to have the value.
    #[doc(alias("client-side caching", "L1"))]
    pub near_hits: u64,
    /// Calls answered with a value that had outlived its `expire`; each is a hit or coalesced too.
    #[doc(alias("stale-while-revalidate", "stale-if-error"))]
    pub stale_hits: u64,
    /// Calls that found no value in the tier that they looked into.
    pub misses: u64,
    /// Calls answered with the value that another call of the same key was already fetching or computing, or with its failure where
    /// failures are shared.
    #[doc(alias("stampede", "single-flight", "dogpile", "thundering herd"))]
    pub coalesced: u64,
    /// How often the work was run; a batch's work counts once.
    pub runs: u64,
    /// Runs of the work that renewed a value which was there: in a stale window, early, or by a forced refresh.
    pub refreshes: u64,
    /// Error replies of the server, redirects of a cluster that couldn't be followed, and connections lost in the middle of an operation.
    pub server_errors: u64,
    /// Operations that the server didn't answer within `command_timeout`, or that a cluster redirected when that was over.
    pub server_timeouts: u64,
    /// Operations that went to memory or to the work because too many others were in flight.
    pub shed: u64,
    /// Values that a healthy server refused to store: out of memory, read-only, no permission, a key of
    /// another type.
    pub failed_writes: u64,
    /// Stored bytes that didn't decode; each was a miss.
    pub decode_failures: u64,
    /// Values that couldn't be stored: no key, not encodable, larger than `max_value_bytes`, or without a server than memory has
    /// room for.
    pub uncached: u64,
    /// How often the circuit of a server opened.
    #[doc(alias("circuit breaker"))]
    pub circuit_openings: u64,
    /// Connections that were ended because a reply answered another command than the one it came to. Always 0, unless the server, a
    /// proxy or the client library has a bug.
    pub desyncs: u64,
    /// Values that the server's fence refused: their key was invalidated, by any process, after their work began, or another process
    /// was faster.
    pub fenced: u64,
    /// Values that were computed without the [fence](crate::CacheHouseBuilder::fence) although it's on: their keys' braces allow no lease,
    /// or the user lacks a permission.
    pub unfenced: u64,
    /// Misses that waited for another process to compute their value.
    pub lease_waits: u64,
    /// Calls of `insert`, `remove` and the clearings, in outages too.
    pub invalidations: u64,
    /// Copies in memory that were dropped in an outage, because the server had confirmed them longer ago than
    /// [`fallback_max_age`](crate::CacheHouseBuilder::fallback_max_age).
    pub outdated: u64,
    /// Invalidations that wait for the server to come back: keys and whole namespaces.
    pub journal_length: u64,
    /// Entries that were dropped from memory to make room for others. Many, and few hits: memory is too small, see
    /// [`memory_max_entries`](crate::CacheHouseBuilder::memory_max_entries) and
    /// [`memory_max_bytes`](crate::CacheHouseBuilder::memory_max_bytes). What expires or is invalidated isn't counted.
    pub evictions: u64,
    /// Entries in memory, expired ones that no call has met included.
    pub memory_entries: u64,
    /// Estimated bytes of those entries, which `memory_max_bytes` bounds: keys, values in the forms that are kept, and what an
    /// entry costs beside them. See [`memory_weight`](crate::CacheHouseBuilder::memory_weight).
    pub memory_bytes: u64,
}

impl Counters {
    /// The counters; what is held now is for the caller to add.
    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            memory_hits: self.memory_hits.read(),
            server_hits: self.server_hits.read(),
            near_hits: self.near_hits.read(),
            misses: self.misses.read(),
            coalesced: self.coalesced.read(),
            runs: self.runs.read(),
            server_errors: self.server_errors.read(),
            server_timeouts: self.server_timeouts.read(),
            shed: self.shed.read(),
            failed_writes: self.failed_writes.read(),
            decode_failures: self.decode_failures.read(),
            uncached: self.uncached.read(),
            circuit_openings: self.circuit_openings.read(),
            desyncs: self.desyncs.read(),
            fenced: self.fenced.read(),
            unfenced: self.unfenced.read(),
            lease_waits: self.lease_waits.read(),
            invalidations: self.invalidations.read(),
            outdated: self.outdated.read(),
            stale_hits: self.stale_hits.read(),
            refreshes: self.refreshes.read(),
            ..Stats::default()
        }
    }
}

/// A flag that is up for the first caller only.
#[derive(Debug, Default)]
pub(crate) struct Once(AtomicBool);

impl Once {
    pub(crate) fn first(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }
}
