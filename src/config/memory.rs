//! How much memory may hold.

use super::limits::{MAX_VALUE_BYTES, MEMORY_MAX_BYTES, MEMORY_MAX_ENTRIES, MIB, in_range};
use crate::codec::Weighers;
use crate::error::Error;

/// What was set of it.
#[derive(Debug, Clone)]
pub(super) struct MemoryOptions {
    pub(super) max_entries: u64,
    pub(super) max_bytes: u64,
    /// `None` is [`DEFAULT_MAX_VALUE_BYTES`], or without a server what memory can hold, if that's less.
    pub(super) max_value_bytes: Option<u64>,
    pub(super) weighers: Weighers,
}

/// Bounds that can hold together.
#[derive(Debug)]
pub(crate) struct CheckedMemory {
    pub(crate) max_entries: u64,
    pub(crate) max_bytes: u64,
    pub(crate) max_value_bytes: u64,
    pub(crate) weighers: Weighers,
}

/// Where the values are to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    MemoryAlone,
    MemoryBesideServer,
    ServerAlone,
}

const DEFAULT_MAX_VALUE_BYTES: u64 = 16 * MIB;

/// What an entry takes up beside its value: more than it does with a key of ordinary length.
const BESIDE_THE_VALUE: u64 = 768;

impl Tier {
    pub(super) fn of(has_server: bool, fallback_to_memory: bool) -> Self {
        match (has_server, fallback_to_memory) {
            (false, _) => Self::MemoryAlone,
            (true, true) => Self::MemoryBesideServer,
            (true, false) => Self::ServerAlone,
        }
    }
}

impl Default for MemoryOptions {
    fn default() -> Self {
        Self { max_entries: 10_000, max_bytes: 64 * MIB, max_value_bytes: None, weighers: Weighers::default() }
    }
}

impl MemoryOptions {
    /// # Errors
    ///
    /// Where a bound is out of its range, or memory has no room for a value of the size that was set.
    pub(super) fn check(self, tier: Tier) -> Result<CheckedMemory, Error> {
        let max_bytes = in_range("memory_max_bytes", self.max_bytes, &MEMORY_MAX_BYTES)?;
        let room = self.room(tier);
        if let Some(bytes) = self.max_value_bytes
            && in_range("max_value_bytes", bytes, &MAX_VALUE_BYTES)? > room
        {
            let (forms, instead) = match tier {
                Tier::MemoryAlone => ("", ""),
                _ => (", encoded and decoded", ", or `.fallback_to_memory(…)` off"),
            };
            let problem = format!(
                "is {bytes}, but {max_bytes} bytes of memory have room for values of {room}{forms}; accepts up to that, \
                 a larger `.memory_max_bytes(…)`{instead}"
            );
            return Err(Error::config("max_value_bytes", problem));
        }
        Ok(CheckedMemory {
            max_entries: in_range("memory_max_entries", self.max_entries, &MEMORY_MAX_ENTRIES)?,
            max_bytes,
            max_value_bytes: self.value_bytes_in_effect(tier),
            weighers: self.weighers,
        })
    }

    fn value_bytes_in_effect(&self, tier: Tier) -> u64 {
        let default = match tier {
            Tier::MemoryAlone => DEFAULT_MAX_VALUE_BYTES.min(self.room(tier)),
            // What is too large for memory is kept by the server.
            Tier::MemoryBesideServer | Tier::ServerAlone => DEFAULT_MAX_VALUE_BYTES,
        };
        self.max_value_bytes.unwrap_or(default)
    }

    /// The largest encoded value that memory can hold: beside a server, encoded and decoded.
    fn room(&self, tier: Tier) -> u64 {
        let room = self.max_bytes.saturating_sub(BESIDE_THE_VALUE).max(1);
        match tier {
            Tier::MemoryAlone => room,
            Tier::MemoryBesideServer => (room / 2).max(1),
            Tier::ServerAlone => u64::MAX,
        }
    }
}
