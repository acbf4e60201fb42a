//! What is reported, in words of the cache's own.

/// How a call was answered, and by which tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    MemoryHit,
    NearHit,
    ServerHit,
    MemoryMiss,
    ServerMiss,
    /// The server is away and memory is switched off.
    NowhereMiss,
    /// With the value that another call was fetching or computing.
    Coalesced,
    /// Its work ran without a look into any tier.
    Uncached,
}

/// An operation of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Contains,
    CheckType,
    Lease,
    Set,
    Remove,
    Clear,
}

impl Operation {
    /// The label `op`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Contains => "contains",
            Self::CheckType => "check_type",
            Self::Lease => "lease",
            Self::Set => "set",
            Self::Remove => "remove",
            Self::Clear => "clear",
        }
    }
}

/// What came of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered,
    Refused,
    WrongType,
    NotConnected,
    TimedOut,
    ConnectionLost,
    Shed,
    NotReady,
}

/// Whether calls go to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Circuit {
    /// All of them do.
    Closed,
    /// Only calls whose shard is reachable do.
    PartlyOpen,
    /// None does.
    Open,
}
