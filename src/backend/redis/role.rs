//! What a node of the layout is to be, and what a server turns out to be.

/// What a node is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// That's to be found out.
    Any,
    Standalone,
    Primary,
    /// Of a cluster, and read from.
    Replica,
}

/// What kind of server a pool leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Standalone,
    Cluster,
}
