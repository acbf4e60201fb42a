//! How long calls took.

use std::time::Duration;

/// In a fixed space: 16 steps for each doubling, so within 6%.
pub(crate) struct Times {
    steps: Vec<u64>,
    pub(crate) calls: u64,
    pub(crate) slowest: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { steps: vec![0; 64 * 16], calls: 0, slowest: Duration::ZERO }
    }
}

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(16);
        let doubling = nanos.ilog2();
        self.steps[(doubling * 16) as usize + (nanos >> (doubling - 4)) as usize % 16] += 1;
        self.calls += 1;
        self.slowest = self.slowest.max(time);
    }

    /// Adds the other's, which is empty then.
    pub(crate) fn take(&mut self, other: &mut Self) {
        self.steps.iter_mut().zip(&mut other.steps).for_each(|(step, more)| *step += std::mem::take(more));
        self.calls += std::mem::take(&mut other.calls);
        self.slowest = self.slowest.max(std::mem::take(&mut other.slowest));
    }

    /// The time that this share of the calls didn't exceed.
    pub(crate) fn at(&self, share: f64) -> Duration {
        let mut left = (self.calls as f64 * share) as u64;
        let reaches = |calls: &u64| {
            let within = *calls > left;
            left = left.saturating_sub(*calls);
            within
        };
        let step = self.steps.iter().position(reaches).unwrap_or(0) as u64;
        Duration::from_nanos((16 + step % 16 + 1) << (step / 16).saturating_sub(4))
    }
}
