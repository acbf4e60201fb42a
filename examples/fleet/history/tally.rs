//! What is counted of a history.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

use super::faults::Counts;

/// What became of a history.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// By process.
    pub(crate) tallies: Vec<Tally>,
    /// The first of them, for a look.
    pub(crate) violations: Vec<Violation>,
    pub(crate) faults: Counts,
    /// Members that hang or have ended by themselves.
    pub(crate) failures: Vec<String>,
}

impl Outcome {
    pub(crate) fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.tallies.iter().for_each(|tally| total += *tally);
        total
    }
}

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    /// Calls whose answers were judged.
    pub(crate) judged: u64,
    /// Calls in which the process was cut off.
    pub(crate) not_judged: u64,
    /// Judged calls whose own work didn't run.
    pub(crate) hits: u64,
    /// Runs of the work.
    pub(crate) runs: u64,
    /// Confirmed ones.
    pub(crate) invalidations: u64,
    /// Those that the journal got first.
    pub(crate) journalled: u64,
    /// Refused fills.
    pub(crate) fenced: u64,
    pub(crate) violations: u64,
    /// How long before its call the oldest answer had been invalidated.
    pub(crate) oldest: Duration,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.judged += other.judged;
        self.not_judged += other.not_judged;
        self.hits += other.hits;
        self.runs += other.runs;
        self.invalidations += other.invalidations;
        self.journalled += other.journalled;
        self.fenced += other.fenced;
        self.violations += other.violations;
        self.oldest = self.oldest.max(other.oldest);
    }
}

/// An answer that was older than promised.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) process: usize,
    pub(crate) key: usize,
    pub(crate) version: u64,
    /// The least that was allowed.
    pub(crate) floor: u64,
    /// How long before the call the answer had been invalidated.
    pub(crate) age: Duration,
    /// What invalidated it, and in which process.
    pub(crate) invalidated: String,
    pub(crate) ran_its_work: bool,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, key, version, floor, age, invalidated, ran_its_work } = self;
        let by = if *ran_its_work { "its own work" } else { "the cache" };
        write!(
            f,
            "process {}, key {key}: {by} gave version {version} instead of {floor}, {age:.1?} after {invalidated}",
            process + 1
        )
    }
}
