//! How far the end of something has come.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Stage {
    Running,
    /// Nothing new begins, and what is under way may end.
    Draining,
    Closing,
    Closed,
}

/// A [`Stage`] that only goes on, and can be waited for.
///
/// Tokio's `watch` would do, but for a thread that is ending: it needs a thread-local value, which no longer exists by then.
pub(super) struct Stages {
    now: AtomicU8,
    changed: Notify,
}

impl Stages {
    pub(super) fn new() -> Self {
        Self { now: AtomicU8::new(Stage::Running as u8), changed: Notify::new() }
    }

    pub(super) fn now(&self) -> Stage {
        match self.now.load(Ordering::Acquire) {
            0 => Stage::Running,
            1 => Stage::Draining,
            2 => Stage::Closing,
            _ => Stage::Closed,
        }
    }

    /// Goes on to `stage`, never back.
    pub(super) fn advance(&self, stage: Stage) {
        if self.now.fetch_max(stage as u8, Ordering::AcqRel) < stage as u8 {
            self.changed.notify_waiters();
        }
    }

    pub(super) async fn reached(&self, stage: Stage) {
        loop {
            let changed = self.changed.notified();
            if self.now() >= stage {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_and_never_back() {
        let stages = Stages::new();
        let mut closed = std::pin::pin!(stages.reached(Stage::Closed));
        let mut poll = || futures::FutureExt::now_or_never(closed.as_mut()).is_some();
        assert!(stages.now() == Stage::Running && !poll());
        for stage in [Stage::Draining, Stage::Closing] {
            stages.advance(stage);
            assert!(stages.now() == stage && !poll());
        }
        stages.advance(Stage::Closed);
        stages.advance(Stage::Closing);
        assert!(stages.now() == Stage::Closed && poll());
    }
}
