//! The way up: how what a server reports of changed keys reaches the values that are kept of them above it.

/// Hears that values on the server may have changed. Called on the I/O's own tasks, so it's short and never blocks.
pub(crate) trait Invalidations: Send + Sync + 'static {
    /// Any key may have changed: a connection is new, and what happened before it is unknown.
    fn all_changed(&self);
}

/// Does nothing. Enough while values in memory are checked against the server at each read.
pub(crate) struct Unheard;

impl Invalidations for Unheard {
    fn all_changed(&self) {}
}
