//! Direct use: reading, writing and invalidating without any work to run.

use super::CacheHandle;
use super::applied::Applied;
use super::blocking;
use super::caller::Caller;
use crate::codec::ValueCodec;
use crate::error::Error;
use crate::options::CacheOptions;

/// Direct use: reading, storing and removing. Each method has a sync twin without the suffix.
///
/// An outage isn't an [`Err`]: [`Applied::journalled`] is true then. The change is made in memory and journalled. The journal is replayed
/// before any call of this handle reads the key from the server. So `?` after a committed write doesn't fail a request in an outage.
impl CacheHandle {
    /// Returns the cached value of a call, if there is one. Runs no work and waits for none.
    ///
    /// A value that was stored as another type is returned if its bytes decode as `T`, whether a server has it or memory alone.
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
    #[doc(alias("lookup", "fetch"))]
    pub async fn get_async<T>(&self, mut options: CacheOptions<impl ValueCodec<T>>) -> Option<T>
    where
        T: Clone + Send + Sync + 'static,
    {
        self.engine.begin(&mut options, Caller::asynchronous).await;
        self.engine.get(&options, Caller::asynchronous()).await
    }

    /// Returns whether there is a cached value for a call.
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
    #[doc(alias("exists"))]
    pub async fn contains_async<C>(&self, mut options: CacheOptions<C>) -> bool {
        self.engine.begin(&mut options, Caller::asynchronous).await;
        self.engine.contains(&options).await
    }

    /// Stores a value for a call. Work for its key that is running now isn't stored over it.
    ///
    /// # Errors
    ///
    /// [`is_codec`](Error::is_codec), [`is_too_large`](Error::is_too_large): not stored, and the old value is removed.
    /// [`is_refused`](Error::is_refused): not stored on the server. The old value is removed all the same, except where the key holds
    /// another type: that belongs to another program. [`is_key`](Error::is_key), [`is_closed`](Error::is_closed): nothing was done.
    ///
    /// An outage is no error: the value is stored in memory, and the server removes the old one once it's back
    /// ([`journalled`](Applied::journalled)).
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
    #[doc(alias("set", "put"))]
    pub async fn insert_async<T>(
        &self,
        mut options: CacheOptions<impl ValueCodec<T>>,
        value: &T,
    ) -> Result<Applied, Error>
    where
        T: Clone + Send + Sync + 'static,
    {
        self.engine.insert_tagged(&mut options, value, Caller::asynchronous).await
    }

    /// Removes the value of a call. The value of work for its key that is running now isn't stored.
    ///
    /// # Errors
    ///
    /// [`is_refused`](Error::is_refused): removed from memory and journalled, but an administrator has to allow it on the server. Or the
    /// journal is full of 100,000 keys of your own making: then the value is removed from memory alone.
    /// [`is_key`](Error::is_key), [`is_closed`](Error::is_closed): nothing was done.
    ///
    /// An outage is no error: the value is removed from memory, and from the server once it's back
    /// ([`journalled`](Applied::journalled)).
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// cache.cached_async(opts!("get_user", 7), || async { "Ada".to_string() }).await;
    /// assert_eq!(cache.remove_async(opts!("get_user", 7)).await?.entries, 1);
    /// assert_eq!(cache.remove_async(opts!("get_user", 7)).await?.entries, 0); // there was none
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("invalidate", "evict", "del", "delete"))]
    pub async fn remove_async<C>(&self, mut options: CacheOptions<C>) -> Result<Applied, Error> {
        self.engine.remove_tagged(&mut options, Caller::asynchronous).await
    }

    /// Invalidates all calls with this [tag](CacheOptions::tag) in one step, however many entries there are.
    ///
    /// The calls have other keys from now on. Old values, and those of work that is running now, stay under the old keys until they expire.
    ///
    /// The server reports the removal to other processes. That takes one network hop while their connection is alive, and the near cache's
    /// bound at most (a second without a near cache). Calls with [`max_staleness`](CacheOptions::max_staleness) zero ask the server, so they
    /// see the removal once this has returned.
    ///
    /// [`entries`](Applied::entries) is 1 if a call has had the tag since it was last removed, else 0.
    ///
    /// # Errors
    ///
    /// As [`remove_async`](Self::remove_async); [`is_key`](Error::is_key) too if the tag is empty or longer than 512 bytes.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// # async fn run() -> Result<(), cache_house::Error> {
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let user = |id: u64| opts!("get_user", id).tag("team-7");
    /// cache.cached_async(user(1), || async { "Ada".to_string() }).await;
    /// cache.cached_async(user(2), || async { "Bob".to_string() }).await;
    ///
    /// cache.remove_tag_async("team-7").await?;
    /// assert!(!cache.contains_async(user(1)).await && !cache.contains_async(user(2)).await);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("invalidate", "evict", "group", "surrogate key", "dependency"))]
    pub async fn remove_tag_async(&self, tag: impl AsRef<str>) -> Result<Applied, Error> {
        self.engine.remove_tag(tag.as_ref()).await
    }

    /// Removes all values of a namespace under the handle's key prefix.
    ///
    /// `users` doesn't include `users2`. Glob characters are taken literally.
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
    /// assert_eq!(cache.clear_namespace("users")?.entries, 1);
    /// assert!(cache.contains(opts!("name", 1).namespace("users2")));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("flush", "purge", "invalidate"))]
    pub async fn clear_namespace_async(&self, namespace: impl AsRef<str>) -> Result<Applied, Error> {
        self.engine.clear_namespace(namespace.as_ref()).await
    }

    /// Removes all keys that begin with the parts of `prefix`.
    ///
    /// `cachehouse:users` includes `cachehouse:users` and `cachehouse:users:…`, but not `cachehouse:users2:…`. Parts are written as in the
    /// key, escapes included.
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
    /// assert_eq!(cache.clear_keys_async("cachehouse:users").await?.entries, 1);
    /// assert_eq!(cache.clear_keys_async("cachehouse").await?.entries, 1);
    /// assert_eq!(cache.clear_keys_async("other").await?.entries, 1);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Runtime::new().unwrap().block_on(run()).unwrap();
    /// ```
    #[doc(alias("flush", "purge", "invalidate"))]
    pub async fn clear_keys_async(&self, prefix: impl AsRef<str>) -> Result<Applied, Error> {
        self.engine.clear_keys(prefix.as_ref()).await
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
    #[doc(alias("lookup", "fetch"))]
    pub fn get<T>(&self, mut options: CacheOptions<impl ValueCodec<T>>) -> Option<T>
    where
        T: Clone + Send + Sync + 'static,
    {
        self.engine.begin_blocking(&mut options);
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
    #[doc(alias("exists"))]
    pub fn contains<C>(&self, mut options: CacheOptions<C>) -> bool {
        self.engine.begin_blocking(&mut options);
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
    #[doc(alias("set", "put"))]
    pub fn insert<T>(&self, mut options: CacheOptions<impl ValueCodec<T>>, value: &T) -> Result<Applied, Error>
    where
        T: Clone + Send + Sync + 'static,
    {
        blocking::block_on(self.engine.insert_tagged(&mut options, value, Caller::blocking))
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
    /// let cache = CacheHouse::builder().standalone("localhost:1").build()?; // no server there
    /// cache.cached(opts!("get_user", 7), || "Ada".to_string());
    ///
    /// let removed = cache.remove(opts!("get_user", 7))?;
    /// assert!(removed.journalled); // gone here, and on the server before any call reads it from there
    /// assert!(!cache.contains(opts!("get_user", 7)));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("invalidate", "evict", "del", "delete"))]
    pub fn remove<C>(&self, mut options: CacheOptions<C>) -> Result<Applied, Error> {
        blocking::block_on(self.engine.remove_tagged(&mut options, Caller::blocking))
    }

    /// [`remove_tag_async`](Self::remove_tag_async) for sync code, wherever it runs.
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
    /// cache.cached(opts!("get_user", 7).tag("team-7"), || "Ada".to_string());
    /// cache.remove_tag("team-7")?;
    /// assert!(!cache.contains(opts!("get_user", 7).tag("team-7")));
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("invalidate", "evict", "group", "surrogate key", "dependency"))]
    pub fn remove_tag(&self, tag: impl AsRef<str>) -> Result<Applied, Error> {
        blocking::block_on(self.remove_tag_async(tag))
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
    /// assert_eq!(cache.clear_namespace("users")?.entries, 1);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("flush", "purge", "invalidate"))]
    pub fn clear_namespace(&self, namespace: impl AsRef<str>) -> Result<Applied, Error> {
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
    /// assert_eq!(cache.clear_keys("cachehouse:a")?.entries, 0);
    /// assert_eq!(cache.clear_keys("cachehouse:a%3Ab")?.entries, 1);
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("flush", "purge", "invalidate"))]
    pub fn clear_keys(&self, prefix: impl AsRef<str>) -> Result<Applied, Error> {
        blocking::block_on(self.clear_keys_async(prefix))
    }
}
