//! What a call asks of the engine: which value, and how its work runs.

use std::any::Any;
use std::sync::Arc;

use super::entry::Decisions;
use crate::options::CacheOptions;

/// What a call asks for beside the value.
pub(super) struct Want<E> {
    /// What remains of the value's TTL.
    pub(super) ttl: bool,
    /// The work is run, whatever is cached.
    pub(super) forced: bool,
    /// One failure of the work for all that wait for it.
    pub(super) shares: Option<Shared<E>>,
}

/// How an error is shared.
pub(super) struct Shared<E> {
    pub(super) share: fn(&E) -> Arc<dyn Any + Send + Sync>,
    /// The error that another call has shared; `None` where it's of another type.
    pub(super) take: fn(Arc<dyn Any + Send + Sync>) -> Option<E>,
}

/// The work of a call: it's handed what is about to be replaced.
pub(super) struct Work<'a, W> {
    pub(super) run: W,
    /// What it decides about its value, where it may.
    pub(super) decisions: Option<&'a Decisions>,
    /// It runs in a task of its own. The caller that has spawned the task keeps the soft timeout, and counts the call.
    pub(super) is_detached: bool,
}

impl<E> Want<E> {
    pub(super) const VALUE: Self = Self { ttl: false, forced: false, shares: None };
    pub(super) const ENTRY: Self = Self { ttl: true, ..Self::VALUE };

    /// The value, by whichever way the call's options say.
    #[inline]
    pub(super) fn of<C>(options: &CacheOptions<C>) -> Self {
        Self { forced: options.is_forced(), ..Self::VALUE }
    }
}

impl<'a, W> Work<'a, W> {
    pub(super) fn plain(run: W) -> Self {
        Work { run, decisions: None, is_detached: false }
    }

    pub(super) fn detached(run: W) -> Self {
        Work { is_detached: true, ..Self::plain(run) }
    }

    pub(super) fn deciding(run: W, decisions: &'a Decisions) -> Self {
        Work { decisions: Some(decisions), ..Self::plain(run) }
    }
}

impl<E: Send + Sync + 'static> Want<Arc<E>> {
    pub(super) fn shared() -> Self {
        let share = |error: &Arc<E>| Arc::clone(error) as Arc<dyn Any + Send + Sync>;
        let take = |shared: Arc<dyn Any + Send + Sync>| shared.downcast().ok();
        Self { shares: Some(Shared { share, take }), ..Self::VALUE }
    }
}
