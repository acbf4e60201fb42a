//! What an insert, a removal or a clearing has done.

/// The result of [`insert`](crate::CacheHandle::insert), [`remove`](crate::CacheHandle::remove) and the clearings.
///
/// The change is made, or journalled and made later: there is nothing to retry.
///
/// ```
/// use cache_house::{CacheHouse, opts};
///
/// let cache = CacheHouse::builder().standalone("localhost:1").build()?; // no server is there
/// cache.cached(opts!("get_user", 7), || "Ada".to_string());
///
/// // After the commit to the database: an outage of the cache is no failure of the request.
/// let removed = cache.remove(opts!("get_user", 7))?;
/// assert_eq!((removed.entries, removed.journalled), (1, true));
/// # Ok::<(), cache_house::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// How many entries were removed; for an insert, how many were stored. A removal counts an entry that is on the server and in memory
    /// once, and a clearing counts those of the server. In an outage it's what memory had.
    pub entries: u64,
    /// Whether the change waits in the journal, because the server wasn't available or hasn't answered in time.
    ///
    /// It's made in memory. The journal is replayed before any call reads these keys from the server again. Until then other processes may
    /// read the old value. `false`: the server has confirmed the change, or there is no server.
    pub journalled: bool,
}
