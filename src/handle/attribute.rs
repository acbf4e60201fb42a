//! What the attributes `cached` and `evict` write calls this: by its type, a function returns a `Result` or it doesn't.
//!
//! The text of a return type doesn't say so: `Api<User>` may be an alias of one, and a type of the program's own may be called
//! `Result`. A method of a type itself is found before one of a trait, so [`Returned::way`] is the one for a `Result` wherever the
//! type is known to be one, and [`Otherwise::way`] for all else. Nothing of this is left when the program runs.

use std::any::type_name;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;

use super::CacheHandle;
use super::applied::Applied;
use crate::codec::{ExpireBy, StoreIf, ValueCodec};
use crate::error::Error;
use crate::options::CacheOptions;

const GENERIC_RESULT: &str = "the cached function's generic return type is a `Result` here; have it return `Result<T, E>`, or \
                              write `result = false`";

/// The type that a function returns.
pub struct Returned<R>(PhantomData<fn() -> R>);

/// The way of a function whose value is stored as it is.
pub struct Whole<R>(PhantomData<fn() -> R>);

/// The way of a function that may fail: what `Ok` holds is stored.
pub struct Fallible<T>(PhantomData<fn() -> T>);

/// A handle for work that may fail.
pub struct Tries<'a>(&'a CacheHandle);

/// Types that aren't known to be a `Result`.
pub trait Otherwise<R> {
    /// The value is stored as it is.
    fn way(self) -> Whole<R>;
}

/// What is stored of the result of work that may fail.
#[diagnostic::on_unimplemented(
    message = "`{Self}` isn't a `Result`",
    label = "only of a `Result` is the `Ok` stored",
    note = "leave out `result = true`, or return a `Result`"
)]
pub trait OkOf {
    /// What is stored.
    type Ok;
}

/// What can be part of the key.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be part of the key",
    label = "doesn't implement `serde::Serialize`",
    note = "write `skip(…)` with the argument's name if it isn't to be part of the key, as for a connection pool,",
    note = "or `key(…)` with what is part of it, or derive `serde::Serialize` for the type"
)]
pub trait Keyed: Serialize {}

// So that the message is that of `Keyed`, not of `Serialize`.
#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> Keyed for T {}

/// Runs a sync function's body, which may hand on what it borrows.
#[inline]
pub fn run<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// Removes the value of a call once `writer` is done. That the removal failed isn't the writer's error.
pub fn evict<C>(handle: &CacheHandle, options: CacheOptions<C>, writer: &str) {
    let call = options.name().into_owned();
    log(&call, writer, handle.remove(options));
}

/// The same for an async writer.
pub async fn evict_async<C>(handle: &CacheHandle, options: CacheOptions<C>, writer: &str) {
    let call = options.name().into_owned();
    log(&call, writer, handle.remove_async(options).await);
}

fn log(call: &str, writer: &str, removed: Result<Applied, Error>) {
    if let Err(error) = removed {
        tracing::warn!(target: "cache_house", call, writer, %error, "the value isn't evicted");
    }
}

impl<C> CacheOptions<C> {
    /// Adds an argument of the function.
    #[doc(hidden)]
    #[inline]
    pub fn __argument<T: Keyed + ?Sized>(self, argument: &T) -> Self {
        self.arg(argument)
    }
}

impl<R> Returned<R> {
    /// A type that has a name.
    #[inline]
    #[must_use]
    pub fn named() -> Self {
        Self(PhantomData)
    }

    /// The type that sync work returns.
    #[inline]
    pub fn by(_: &impl FnOnce() -> R) -> Self {
        Self(PhantomData)
    }

    /// The type that async work returns.
    #[inline]
    pub fn by_async<Fut: Future<Output = R>>(_: &impl FnOnce() -> Fut) -> Self {
        Self(PhantomData)
    }

    /// The type of this value.
    #[inline]
    pub fn of(_: &R) -> Self {
        Self(PhantomData)
    }

    /// As `result = false` says.
    #[inline]
    #[must_use]
    pub fn whole(self) -> Whole<R> {
        Whole(PhantomData)
    }
}

/// As `result = true` says. No method, so that the compiler's message is that of [`OkOf`].
#[inline]
pub fn fallible<R: OkOf>(_: Returned<R>) -> Fallible<R::Ok> {
    Fallible(PhantomData)
}

impl<T, E> Returned<Result<T, E>> {
    /// Only `Ok` is stored.
    #[inline]
    #[must_use]
    pub fn way(self) -> Fallible<T> {
        Fallible(PhantomData)
    }
}

impl<R> Otherwise<R> for Returned<R> {
    #[inline]
    fn way(self) -> Whole<R> {
        Whole(PhantomData)
    }
}

impl<T, E> OkOf for Result<T, E> {
    type Ok = T;
}

impl<R> Whole<R> {
    /// The handle, whose own methods do.
    #[inline]
    #[must_use]
    pub fn on<'a>(&self, handle: &'a CacheHandle) -> &'a CacheHandle {
        handle
    }

    /// A function that returns has done its work.
    #[inline]
    #[must_use]
    pub fn is_done(&self, _: &R) -> bool {
        true
    }

    /// The options, or such that have the call run uncached: inside of generic code a `Result` looks like any other type, and its
    /// errors must not be stored.
    #[inline]
    pub fn checked<C>(&self, options: CacheOptions<C>) -> CacheOptions<C> {
        // A constant for each type, so that the compiler leaves one of the two.
        if type_name::<R>().starts_with("core::result::Result<") {
            return options.without_key(GENERIC_RESULT);
        }
        options
    }

    /// [`CacheOptions::expire_by`] of this very type.
    #[inline]
    pub fn expire_by<C, F: Fn(&R) -> Duration>(
        &self,
        options: CacheOptions<C>,
        ttl: F,
    ) -> CacheOptions<ExpireBy<C, R, F>> {
        options.expire_by(ttl)
    }

    /// [`CacheOptions::store_if`] of this very type.
    #[inline]
    pub fn store_if<C, F: Fn(&R) -> bool>(
        &self,
        options: CacheOptions<C>,
        condition: F,
    ) -> CacheOptions<StoreIf<C, R, F>> {
        options.store_if(condition)
    }
}

impl<T> Fallible<T> {
    /// The handle, with its methods for work that may fail.
    #[inline]
    #[must_use]
    pub fn on<'a>(&self, handle: &'a CacheHandle) -> Tries<'a> {
        Tries(handle)
    }

    /// Whether the work is done.
    #[inline]
    #[must_use]
    pub fn is_done<E>(&self, returned: &Result<T, E>) -> bool {
        returned.is_ok()
    }

    /// The options as they are.
    #[inline]
    pub fn checked<C>(&self, options: CacheOptions<C>) -> CacheOptions<C> {
        options
    }

    /// [`CacheOptions::expire_by`] of what `Ok` holds.
    #[inline]
    pub fn expire_by<C, F: Fn(&T) -> Duration>(
        &self,
        options: CacheOptions<C>,
        ttl: F,
    ) -> CacheOptions<ExpireBy<C, T, F>> {
        options.expire_by(ttl)
    }

    /// [`CacheOptions::store_if`] of what `Ok` holds.
    #[inline]
    pub fn store_if<C, F: Fn(&T) -> bool>(
        &self,
        options: CacheOptions<C>,
        condition: F,
    ) -> CacheOptions<StoreIf<C, T, F>> {
        options.store_if(condition)
    }
}

impl<'a> Tries<'a> {
    /// [`CacheHandle::try_cached`].
    #[inline]
    pub fn cached<T, E>(
        self,
        options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Clone + Send + Sync + 'static,
    {
        self.0.try_cached(options, work)
    }

    /// [`CacheHandle::try_cached_async`].
    #[inline]
    pub fn cached_async<T, E, Fut>(
        self,
        options: CacheOptions<impl ValueCodec<T>>,
        work: impl FnOnce() -> Fut,
    ) -> impl Future<Output = Result<T, E>>
    where
        T: Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>>,
    {
        self.0.try_cached_async(options, work)
    }
}
