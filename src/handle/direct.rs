//! Direct use: reading, writing and invalidating without any work to run.

use std::any::Any;
use std::time::Instant;

use super::CacheHandle;
use super::blocking;
use super::caller::Caller;
use super::coalescing::Stores;
use crate::backend::fallback::{Read, Route};
use crate::backend::server::{Server, ServerError, Unavailable};
use crate::codec::ValueCodec;
use crate::error::Error;
use crate::key::{CallKey, KeyPrefix};
use crate::options::CacheOptions;
use crate::telemetry::metrics::Answer;

/// Direct use, each with a sync twin without the suffix.
///
/// An [`Err`] whose [`is_unavailable`](Error::is_unavailable) is true means: done in memory, journalled, and done on the server
/// when it's back. Until then no call reads the value from the server.
impl CacheHandle {
    /// The value that is cached for a call, if there is one. Runs nothing and waits for no work.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// assert_eq!(cache.get::<u32>(opts!("answer")), None);
    /// cache.insert(opts!("answer"), &42_u32)?;
    /// assert_eq!(cache.get::<u32>(opts!("answer")), Some(42));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub async fn get_async<T>(&self, options: CacheOptions<impl ValueCodec<T>>) -> Option<T>
    where
        T: Clone + Send + Sync + 'static,
    {
        let key = self.open_key(&options).ok()?;
        self.find(&key, &options).await
    }

    /// Whether there is a value for a call.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// assert!(!cache.contains_async(opts!("answer")).await);
    /// cache.insert_async(opts!("answer"), &42).await?;
    /// assert!(cache.contains_async(opts!("answer")).await);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    pub async fn contains_async<C>(&self, options: CacheOptions<C>) -> bool {
        let Ok(key) = self.open_key(&options) else { return false };
        let tiers = &self.core.tiers;
        if let (Route::Server, Some(server)) = (tiers.route(&key), &tiers.server) {
            let contained = server.contains(&key.server_key()).await;
            if let Ok(contained) = contained {
                return contained;
            }
        }
        tiers.memory.as_ref().is_some_and(|memory| memory.find(&key).is_some())
    }

    /// Stores a value for a call, in place of what there is and of what is being computed.
    ///
    /// # Errors
    ///
    /// [`is_unavailable`](Error::is_unavailable): stored in memory; on the server the old value goes when it's back.
    /// [`is_codec`](Error::is_codec), [`is_too_large`](Error::is_too_large): not stored.
    /// [`is_refused`](Error::is_refused): not stored on the server. The old value goes all the same, but for a key that holds another
    /// type, which is somebody else's. [`is_key`](Error::is_key), [`is_closed`](Error::is_closed): nothing was done.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// cache.insert_async(opts!("answer"), &42).await?;
    /// assert_eq!(cache.cached_async(opts!("answer"), || async { 0 }).await, 42); // doesn't run
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    pub async fn insert_async<T>(&self, options: CacheOptions<impl ValueCodec<T>>, value: &T) -> Result<(), Error>
    where
        T: Clone + Send + Sync + 'static,
    {
        let key = self.open_key(&options)?;
        let tiers = &self.core.tiers;
        let request = self.request(&key, &options);
        if request.life.is_zero() {
            // Not to be stored, and what it would have replaced is out of date.
            return self.remove_key(&key).await.map(|_| ());
        }
        let (lead, stores) = self.core.flights.take_over(&key, Caller::asynchronous());
        // Until the new value is confirmed the old one has to go. The new one stays in memory either way.
        let pending = Pending::new(self, What::Key(&key), stores, false);
        // Not what a later writer may have put there since.
        tiers.forget_within(&lead, &key);
        // Who waits needn't wait for the server.
        lead.publish(value, Some(request.life));
        let in_order = pending.stores_end().await;
        let to_server = match (&tiers.server, tiers.route(&key)) {
            (None, _) => Ok(false),
            (Some(server), Route::Server) => {
                let checked = server.check_type(&key.server_key()).await;
                match checked {
                    Ok(()) => Ok(true),
                    // Somebody else's: there is nothing of ours that would have to go.
                    Err(ServerError::WrongType) => {
                        pending.confirm();
                        return Err(ServerError::WrongType.into());
                    }
                    // Setting it is allowed all the same; `set` finds out.
                    Err(ServerError::Refused { .. }) => Ok(true),
                    Err(error) => Err(error.into()),
                }
            }
            (Some(_), _) => Err(ServerError::Unavailable(Unavailable::NotConnected).into()),
        };
        let stored = tiers.store(&request, &lead, value, matches!(to_server, Ok(true))).await;
        let result = to_server.and(stored);
        if result.is_ok()
            && let Some(server) = &tiers.server
        {
            server.replaced(&key.server_key());
        }
        // The journal first: once the flight is over, others read from the server what it doesn't name.
        if result.is_ok() && in_order {
            pending.confirm()
        } else {
            drop(pending)
        }
        lead.finish(value);
        result
    }

    /// Removes the value of a call; whether there was one. What is being computed for it now isn't stored either.
    ///
    /// # Errors
    ///
    /// [`is_unavailable`](Error::is_unavailable): removed from memory and journalled. [`is_refused`](Error::is_refused): the same,
    /// but the server has to be told to allow it. [`is_key`](Error::is_key), [`is_closed`](Error::is_closed): nothing was done.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// cache.cached_async(opts!("get_user", 7), || async { "Ada".to_string() }).await;
    /// assert!(cache.remove_async(opts!("get_user", 7)).await?);
    /// assert!(!cache.remove_async(opts!("get_user", 7)).await?); // there was none
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    pub async fn remove_async<C>(&self, options: CacheOptions<C>) -> Result<bool, Error> {
        self.remove_key(&self.open_key(&options)?).await
    }

    async fn remove_key(&self, key: &CallKey) -> Result<bool, Error> {
        let tiers = &self.core.tiers;
        let pending = Pending::new(self, What::Key(key), self.core.flights.invalidate(key), true);
        let in_memory = tiers.forget(key);
        let in_order = pending.stores_end().await;
        let Some(server) = &tiers.server else {
            pending.confirm();
            return Ok(in_memory);
        };
        let removed = server.remove(&key.server_key()).await;
        match removed {
            Ok(on_server) if in_order => {
                pending.confirm();
                Ok(on_server || in_memory)
            }
            Ok(_) => Err(pending.give_up(ServerError::Unavailable(Unavailable::TimedOut))),
            Err(error) => Err(pending.give_up(error)),
        }
    }

    /// Removes all values of a namespace under the handle's key prefix; how many there were. `users` spares `users2`, and glob
    /// characters mean themselves.
    ///
    /// # Errors
    ///
    /// As [`remove_async`](Self::remove_async). An empty namespace is refused, with [`is_config`](Error::is_config).
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// cache.insert(opts!("name", 1).namespace("users"), &"Ada".to_string())?;
    /// cache.insert(opts!("name", 1).namespace("users2"), &"Bob".to_string())?;
    /// assert_eq!(cache.clear_namespace("users")?, 1);
    /// assert!(cache.contains(opts!("name", 1).namespace("users2")));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub async fn clear_namespace_async(&self, namespace: impl AsRef<str>) -> Result<u64, Error> {
        let scope = self.scope.overridden(None, Some(namespace.as_ref()))?;
        self.clear(KeyPrefix::of_scope(scope.as_str())).await
    }

    /// Removes all keys that begin with `prefix`, up to the end of one of their parts: `cachehouse:users` names
    /// `cachehouse:users` and `cachehouse:users:…`, and spares `cachehouse:users2:…`. How many there were. Parts are written as
    /// in the key itself, escapes included.
    ///
    /// # Errors
    ///
    /// As [`remove_async`](Self::remove_async). An empty prefix is refused, with [`is_config`](Error::is_config).
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// cache.insert_async(opts!("name", 1).namespace("users"), &1).await?;
    /// cache.insert_async(opts!("name", 1).namespace("users2"), &1).await?;
    /// cache.insert_async(opts!("name", 1).key_prefix("other"), &1).await?;
    /// assert_eq!(cache.clear_keys_async("cachehouse:users").await?, 1);
    /// assert_eq!(cache.clear_keys_async("cachehouse").await?, 1);
    /// assert_eq!(cache.clear_keys_async("other").await?, 1);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    pub async fn clear_keys_async(&self, prefix: impl AsRef<str>) -> Result<u64, Error> {
        self.clear(KeyPrefix::new(prefix.as_ref())?).await
    }

    async fn clear(&self, prefix: KeyPrefix) -> Result<u64, Error> {
        if self.is_closed() {
            return Err(Error::closed());
        }
        let tiers = &self.core.tiers;
        let stores = self.core.flights.invalidate_matching(&prefix);
        let pending = Pending::new(self, What::Matching(&prefix), stores, true);
        let in_memory = tiers.forget_matching(&prefix);
        let in_order = pending.stores_end().await;
        let Some(server) = &tiers.server else {
            pending.confirm();
            return Ok(in_memory);
        };
        let cleared = server.clear(&prefix).await;
        match cleared {
            Ok(on_server) if in_order => {
                pending.confirm();
                Ok(on_server)
            }
            Ok(_) => Err(pending.give_up(ServerError::Unavailable(Unavailable::TimedOut))),
            Err(error) => Err(pending.give_up(error)),
        }
    }

    async fn find<T, C>(&self, key: &CallKey, options: &CacheOptions<C>) -> Option<T>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let tiers = &self.core.tiers;
        let request = self.request(key, options);
        let (Route::Server, Some(server)) = (tiers.route(key), &tiers.server) else {
            return self.memory_or_miss(&request, options);
        };
        // A read of its own, whoever computes the value: no call is kept waiting by one that brings no work.
        let observer = self.core.flights.observe(key, Caller::asynchronous());
        match tiers.read_server(server, &request, &observer).await {
            Read::Hit(value) => {
                self.answered(options, Answer::ServerHit);
                Some(value)
            }
            Read::Miss | Read::Foreign => {
                self.answered(options, Answer::ServerMiss);
                None
            }
            Read::Unavailable => self.memory_or_miss(&request, options),
        }
    }

    /// The key of a call, on a handle that isn't closed.
    fn open_key<C>(&self, options: &CacheOptions<C>) -> Result<CallKey, Error> {
        if self.is_closed() { Err(Error::closed()) } else { self.call_key(options) }
    }
}

/// The sync twins.
impl CacheHandle {
    /// [`get_async`](Self::get_async) for sync code, wherever it runs.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    ///
    /// cache.insert(opts!("answer"), &42)?;
    /// assert_eq!(cache.get(opts!("answer")), Some(42));
    /// assert_eq!(cache.get::<String>(opts!("question")), None);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn get<T>(&self, options: CacheOptions<impl ValueCodec<T>>) -> Option<T>
    where
        T: Clone + Send + Sync + 'static,
    {
        blocking::block_on(self.get_async(options))
    }

    /// [`contains_async`](Self::contains_async) for sync code, wherever it runs.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    ///
    /// cache.insert(opts!("answer"), &42)?;
    /// assert!(cache.contains(opts!("answer")));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn contains<C>(&self, options: CacheOptions<C>) -> bool {
        blocking::block_on(self.contains_async(options))
    }

    /// [`insert_async`](Self::insert_async) for sync code, wherever it runs.
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    ///
    /// let cache = CacheHouse::builder().memory().max_value_bytes(100).build()?;
    /// cache.insert(opts!("answer"), &42)?;
    /// assert!(cache.insert(opts!("text"), &"x".repeat(200)).unwrap_err().is_too_large());
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn insert<T>(&self, options: CacheOptions<impl ValueCodec<T>>, value: &T) -> Result<(), Error>
    where
        T: Clone + Send + Sync + 'static,
    {
        blocking::block_on(self.insert_async(options, value))
    }

    /// [`remove_async`](Self::remove_async) for sync code, wherever it runs.
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    ///
    /// let cache = CacheHouse::builder().standalone("localhost:1").build()?; // nobody is there
    /// cache.cached(opts!("get_user", 7), || "Ada".to_string());
    ///
    /// let error = cache.remove(opts!("get_user", 7)).unwrap_err();
    /// assert!(error.is_unavailable()); // gone here, and on the server before it's read from
    /// assert!(!cache.contains(opts!("get_user", 7)));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn remove<C>(&self, options: CacheOptions<C>) -> Result<bool, Error> {
        blocking::block_on(self.remove_async(options))
    }

    /// [`clear_namespace_async`](Self::clear_namespace_async) for sync code, wherever it runs.
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    ///
    /// cache.cached(opts!("get_user", 7).namespace("users"), || "Ada".to_string());
    /// assert_eq!(cache.clear_namespace("users")?, 1);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn clear_namespace(&self, namespace: impl AsRef<str>) -> Result<u64, Error> {
        blocking::block_on(self.clear_namespace_async(namespace))
    }

    /// [`clear_keys_async`](Self::clear_keys_async) for sync code, wherever it runs.
    ///
    /// # Errors
    ///
    /// The same.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    ///
    /// cache.cached(opts!("get_user", 7).namespace("a:b"), || "Ada".to_string());
    /// assert_eq!(cache.clear_keys("cachehouse:a")?, 0);
    /// assert_eq!(cache.clear_keys("cachehouse:a%3Ab")?, 1);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    pub fn clear_keys(&self, prefix: impl AsRef<str>) -> Result<u64, Error> {
        blocking::block_on(self.clear_keys_async(prefix))
    }
}

/// An invalidation that the server hasn't confirmed. However it's left, also by dropping the call's future half-way, nothing is
/// forgotten: what isn't confirmed is journalled.
#[must_use = "dropped at once, it's journalled"]
struct Pending<'a> {
    handle: &'a CacheHandle,
    what: What<'a>,
    /// Stores that were on their way to the server when it began.
    stores: Stores,
    /// Whether memory is to hold nothing in the end. What read the old value from the server meanwhile may have kept it.
    forget_again: bool,
    confirmed: bool,
}

#[derive(Clone, Copy)]
enum What<'a> {
    Key(&'a CallKey),
    Matching(&'a KeyPrefix),
}

impl<'a> Pending<'a> {
    fn new(handle: &'a CacheHandle, what: What<'a>, stores: Stores, forget_again: bool) -> Self {
        // Without a server, memory is all there is to invalidate.
        let confirmed = handle.core.tiers.server.is_none();
        Self { handle, what, stores, forget_again, confirmed }
    }

    /// Waits for the stores, so that the next command to the server comes after them. Whether it does: they may take too long for a
    /// sync caller, where the program keeps the I/O from running.
    async fn stores_end(&self) -> bool {
        let Some(server) = &self.handle.core.tiers.server else { return true };
        self.stores.ended(Instant::now() + server.patience()).await
    }

    /// The server has done it.
    fn confirm(mut self) {
        self.confirmed = true;
    }

    /// The server hasn't done it, because of `error`.
    fn give_up(mut self, error: ServerError) -> Error {
        self.confirmed = true;
        self.journal().err().unwrap_or_else(|| error.into())
    }

    fn journal(&self) -> Result<(), Error> {
        let tiers = &self.handle.core.tiers;
        // What they bring after the journal has been replayed has to go too.
        self.stores.overtake(&tiers.journal);
        match self.what {
            What::Key(key) => tiers.journal_key(key),
            What::Matching(prefix) => {
                tiers.journal.add_prefix(prefix.clone());
                Ok(())
            }
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.confirmed
            && let Err(error) = self.journal()
        {
            tracing::warn!(target: "cache_house", %error, "an invalidation is lost");
        }
        if !self.forget_again {
            return;
        }
        // Journalled or confirmed first: whoever looks from here on can't read the old value from the server.
        let core = &self.handle.core;
        match self.what {
            What::Key(key) => {
                core.flights.invalidate(key);
                core.tiers.forget(key);
            }
            What::Matching(prefix) => {
                core.flights.invalidate_matching(prefix);
                core.tiers.forget_matching(prefix);
            }
        }
    }
}
