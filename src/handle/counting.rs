//! What each call is counted as, and logged.

use super::engine::Engine;
use super::entry::Source;
use super::freshness::{Fetched, Verdict};
use crate::backend::server::Server;
use crate::error::Error;
use crate::key::CallKey;
use crate::options::CacheOptions;
use crate::telemetry::metrics::{self, Answer, Timer};

impl<S: Server> Engine<S> {
    #[inline]
    pub(super) fn count_stale(&self, verdict: Verdict) {
        if verdict.is_stale() {
            self.inner.tiers.counters.stale_hits.add_one();
            metrics::stale_hit();
        }
    }

    /// Counts a hit, once a call.
    #[inline]
    pub(super) fn served<T, C>(&self, options: &CacheOptions<C>, key: &CallKey, found: &Fetched<T>, verdict: Verdict) {
        self.count_stale(verdict);
        match found.source {
            Source::Server => {
                self.answered(options, Answer::ServerHit);
                tracing::debug!(target: "cache_house", ?key, "hit on the server");
            }
            Source::Near => {
                self.answered(options, Answer::NearHit);
                tracing::debug!(target: "cache_house", ?key, "near hit");
            }
            Source::Memory | Source::Work | Source::Coalesced => {
                self.answered(options, Answer::MemoryHit);
                tracing::debug!(target: "cache_house", ?key, "hit in memory");
            }
        }
    }

    /// Counts how a call was answered, once a call.
    #[inline]
    pub(super) fn answered<C>(&self, options: &CacheOptions<C>, answer: Answer) {
        if options.is_token() {
            // It's no call of the user's.
            return;
        }
        let counters = &self.inner.tiers.counters;
        match answer {
            Answer::MemoryHit => counters.memory_hits.add_one(),
            Answer::ServerHit => counters.server_hits.add_one(),
            Answer::NearHit => counters.near_hits.add_one(),
            Answer::MemoryMiss | Answer::ServerMiss | Answer::NowhereMiss => counters.misses.add_one(),
            Answer::Coalesced => {
                counters.coalesced.add_one();
                metrics::coalesced();
            }
            Answer::Uncached => {}
        }
        self.inner.requests.count(&self.series, options.own_namespace(), answer);
    }

    /// Counts a call whose work runs without any lookup; the timer is for the work.
    pub(super) fn runs_alone<C>(&self, options: &CacheOptions<C>) -> Timer {
        self.answered(options, Answer::Uncached);
        self.inner.tiers.counters.runs.add_one();
        Timer::start()
    }

    pub(super) fn warn_unkeyable<C>(&self, options: &CacheOptions<C>, error: &Error) {
        let counters = &self.inner.tiers.counters;
        counters.uncached.add_one();
        if counters.unkeyable_warning.first() {
            tracing::warn!(target: "cache_house", call = %options.name(), %error, "the call runs uncached; logged once");
        }
    }
}
