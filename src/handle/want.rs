//! What a call asks of the engine: which value, and how its work runs.

use std::any::Any;
use std::sync::Arc;

use super::entry::Decisions;
use crate::options::CacheOptions;

/// What a call wants beside the value.
pub(super) struct Want<E> {
    /// What remains of the value's TTL.
    pub(super) ttl: bool,
    /// The work is run, whatever is cached.
    pub(super) forced: bool,
    /// The work runs in a task of its own, and the call is counted by its caller.
    pub(super) detached: bool,
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
}

impl<E> Want<E> {
    pub(super) const VALUE: Self = Self { ttl: false, forced: false, detached: false, shares: None };
    pub(super) const ENTRY: Self = Self { ttl: true, ..Self::VALUE };
    pub(super) const DETACHED: Self = Self { detached: true, ..Self::VALUE };

    /// The value, by whichever way the call's options say.
    #[inline]
    pub(super) fn of<C>(options: &CacheOptions<C>) -> Self {
        Self { forced: options.is_forced(), ..Self::VALUE }
    }
}

impl<W> Work<'_, W> {
    pub(super) fn plain(run: W) -> Self {
        Work { run, decisions: None }
    }
}

impl<E: Send + Sync + 'static> Want<Arc<E>> {
    pub(super) fn shared() -> Self {
        let share = |error: &Arc<E>| Arc::clone(error) as Arc<dyn Any + Send + Sync>;
        let take = |shared: Arc<dyn Any + Send + Sync>| shared.downcast().ok();
        Self { shares: Some(Shared { share, take }), ..Self::VALUE }
    }
}
