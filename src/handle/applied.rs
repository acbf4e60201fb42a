//! What an insert, a removal or a clearing has done.

/// What [`insert`](crate::CacheHandle::insert), [`remove`](crate::CacheHandle::remove) or a clearing has done. All of it is done
/// already, or will be without the caller: there is nothing to retry.
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
    /// The server wasn't available, or hasn't answered in time. It's done in memory and written to the journal, which the server gets
    /// before any call reads the keys from it again. Until then other processes may still read the old value. `false`: the server has
    /// confirmed it, or there is no server.
    pub journalled: bool,
}
