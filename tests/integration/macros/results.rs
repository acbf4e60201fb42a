//! Whether a function returns a `Result` is decided by its type, not by what that is called.

use std::fmt::Display;
use std::io;
use std::marker::PhantomData;
use std::num::ParseIntError;

use cache_house::{CacheHandle, cached};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{memory, runs_and_hits};
use crate::support::{alone, current_thread, logs, multi_thread};

type Api<T> = Result<T, ParseIntError>;
type Parsed = Api<u8>;

mod of_another_library {
    pub(super) type Result<T, E = super::ParseIntError> = std::result::Result<T, E>;

    /// Called so, and none.
    pub(super) mod query {
        use serde::{Deserialize, Serialize};

        #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
        pub(crate) struct Result<T>(pub(crate) T);

        #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
        pub(crate) struct QueryResult {
            pub(crate) rows: u8,
        }
    }
}

use of_another_library::query;

#[cached(handle = cache, skip(cache))]
fn by_alias(cache: &CacheHandle, text: &str) -> Api<u8> {
    text.parse()
}

#[cached(handle = cache, skip(cache))]
async fn by_alias_of_an_alias(cache: &CacheHandle, text: &str) -> Parsed {
    tokio::task::yield_now().await;
    text.parse()
}

#[cached(handle = cache, skip(cache))]
fn by_another_library_s_alias(cache: &CacheHandle, text: &str) -> of_another_library::Result<u8> {
    text.parse()
}

#[cached(handle = cache, skip(cache), siblings = false)]
fn without_siblings(cache: &CacheHandle, text: &str) -> Api<u8> {
    let n: u8 = text.parse()?;
    Ok(n)
}

#[cached(handle = cache, skip(cache), siblings = false)]
async fn without_siblings_async(cache: CacheHandle, text: String) -> Api<u8> {
    tokio::task::yield_now().await;
    let n: u8 = text.parse()?;
    Ok(n)
}

#[cached(handle = cache, skip(cache), store_if = |n| *n > 0)]
fn with_a_condition(cache: &CacheHandle, text: &str) -> Api<u8> {
    text.parse()
}

/// Calls both twice, `x` first, which is no number.
fn expect_only_ok_stored(mut call: impl FnMut(&CacheHandle, &str) -> Api<u8>) {
    let cache = memory();
    assert!(call(&cache, "x").is_err() && call(&cache, "x").is_err());
    assert_eq!((call(&cache, "7"), call(&cache, "7")), (Ok(7), Ok(7)));
    assert_eq!(runs_and_hits(&cache), (3, 1));
}

#[test]
fn of_an_alias_only_ok_is_stored() {
    expect_only_ok_stored(by_alias);
    expect_only_ok_stored(by_alias_refresh_once);
    expect_only_ok_stored(|cache, text| current_thread().block_on(by_alias_of_an_alias(cache, text)));
    expect_only_ok_stored(by_another_library_s_alias);
    expect_only_ok_stored(without_siblings);
    expect_only_ok_stored(with_a_condition);
    let runtime = multi_thread(1);
    expect_only_ok_stored(|cache, text| {
        let call = runtime.spawn(without_siblings_async(cache.clone(), text.into()));
        runtime.block_on(call).expect("it ends")
    });

    let cache = memory();
    assert_eq!(by_alias(&cache, "7"), Ok(7));
    assert_eq!(cache.get::<u8>(by_alias_options("7")), Some(7), "as it's stored of a `Result` by its name");
    assert!(with_a_condition(&cache, "0").is_ok() && !cache.contains(with_a_condition_options("0")));
}

/// A refresh before the first call for a text; `by_alias` for others.
fn by_alias_refresh_once(cache: &CacheHandle, text: &str) -> Api<u8> {
    if cache.contains(by_alias_options(text)) { by_alias(cache, text) } else { by_alias_refresh(cache, text) }
}

#[cached(handle = cache, skip(cache))]
fn called_result(cache: &CacheHandle, n: u8) -> query::Result<u8> {
    query::Result(n)
}

#[cached(handle = cache, skip(cache), store_if = |result| result.rows > 0)]
async fn ends_in_result(cache: &CacheHandle, rows: u8) -> query::QueryResult {
    query::QueryResult { rows }
}

#[test]
fn a_type_that_is_only_called_so_is_stored_whole() {
    let cache = memory();
    assert_eq!([called_result(&cache, 7), called_result(&cache, 7)], [query::Result(7), query::Result(7)]);
    assert_eq!(runs_and_hits(&cache), (1, 1));
    let call = |rows| current_thread().block_on(ends_in_result(&cache, rows)).rows;
    assert_eq!([call(7), call(7), call(0), call(0)], [7, 7, 0, 0]);
    assert_eq!(runs_and_hits(&cache), (4, 2));
}

trait Value: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {}
impl<T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Value for T {}

#[cached(handle = cache, skip(cache, value))]
fn of_a_generic_alias<T: Value>(cache: &CacheHandle, value: Option<T>) -> Result<T, io::Error> {
    value.ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cached(handle = cache, skip(cache))]
fn whatever<T: Value>(cache: &CacheHandle, value: T) -> T {
    value
}

#[cached(handle = cache, skip(cache))]
async fn whatever_async<T: Value>(cache: CacheHandle, value: T) -> T {
    tokio::task::yield_now().await;
    value
}

#[cached(handle = cache, skip(cache), result = false)]
fn whole<T: Value>(cache: &CacheHandle, value: T) -> T {
    value
}

struct Store<T>(CacheHandle, PhantomData<T>);

impl<T: Value> Store<T> {
    #[cached(handle = self.0)]
    fn keep(&self, value: T) -> T {
        value
    }
}

trait Load {
    type Output: Value;
    fn load(&self) -> Self::Output;

    #[cached(handle = cache, skip(cache))]
    fn cached(&self, cache: &CacheHandle) -> Self::Output {
        self.load()
    }
}

struct Fixed<T>(T);

impl<T: Value> Load for Fixed<T> {
    type Output = T;

    #[cached(handle = cache, skip(cache), siblings = false)]
    fn cached(&self, cache: &CacheHandle) -> Self::Output {
        self.load()
    }

    fn load(&self) -> T {
        self.0.clone()
    }
}

#[test]
fn a_generic_value_is_stored_and_a_generic_result_never() {
    alone("macros::results::a_generic_value_is_stored_and_a_generic_result_never", || {
        logs::capture();
        let cache = memory();
        assert_eq!([whatever(&cache, 7), whatever(&cache, 7)], [7, 7]);
        assert_eq!(runs_and_hits(&cache), (1, 1));
        let none: Option<u8> = None;
        assert!(of_a_generic_alias(&cache, none).is_err() && of_a_generic_alias(&cache, none).is_err());
        assert_eq!(runs_and_hits(&cache), (3, 1));

        let failed: Result<u8, String> = Err("no".into());
        let runtime = current_thread();
        let store = Store(cache.clone(), PhantomData);
        assert_eq!(logs::containing("the call runs uncached").len(), 0);
        for _ in 0..2 {
            assert_eq!(whatever(&cache, failed.clone()), failed);
            assert_eq!(runtime.block_on(whatever_async(cache.clone(), failed.clone())), failed);
            assert_eq!(store.keep(failed.clone()), failed);
            assert_eq!(Fixed(failed.clone()).cached(&cache), failed);
        }
        assert_eq!(runs_and_hits(&cache), (11, 1));
        let warnings = logs::containing("the call runs uncached");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].text.contains("write `result = false`"), "{warnings:?}");

        assert_eq!([whole(&cache, failed.clone()), whole(&cache, failed.clone())], [failed.clone(), failed]);
        assert_eq!(runs_and_hits(&cache), (12, 2));
    });
}

type Shown<T> = Result<T, ParseIntError>;

/// What can be stored, and be shown.
trait Show: Value + Display {}
impl<T: Value + Display> Show for T {}

#[cached(handle = cache, skip(cache))]
fn unnamed(cache: &CacheHandle, text: &str) -> Shown<impl Show + use<>> {
    text.parse::<u8>()
}

#[cached(handle = cache, skip(cache))]
async fn unnamed_async(cache: &CacheHandle, text: &str) -> Result<impl Show + use<>, ParseIntError> {
    text.parse::<u8>()
}

#[cached(handle = cache, skip(cache), siblings = false)]
fn unnamed_alone(cache: &CacheHandle, text: &str) -> impl Show + use<> {
    text.len()
}

#[test]
fn a_type_without_a_name_is_looked_at_too() {
    let cache = memory();
    let call = |text| unnamed(&cache, text).map(|n| n.to_string());
    assert!(call("x").is_err() && call("x").is_err());
    assert_eq!([call("7"), call("7")], [Ok("7".into()), Ok("7".into())]);
    assert_eq!(runs_and_hits(&cache), (3, 1));
    let call = |text| current_thread().block_on(unnamed_async(&cache, text)).map(|n| n.to_string());
    assert!(call("x").is_err() && call("x").is_err());
    assert_eq!([call("7"), call("7")], [Ok("7".into()), Ok("7".into())]);
    assert_eq!(runs_and_hits(&cache), (6, 2));
    assert_eq!([unnamed_alone(&cache, "x").to_string(), unnamed_alone(&cache, "y").to_string()], ["1", "1"]);
    assert_eq!(runs_and_hits(&cache), (8, 2));
}

const CITIES: [&str; 2] = ["Oslo", "Bergen"];

#[cached(
    handle = cache,
    skip(cache),
    encoder = |city: &&'static str| Ok::<_, io::Error>(city.as_bytes().to_vec()),
    decoder = |bytes: &[u8]| CITIES.into_iter().find(|city| city.as_bytes() == bytes).ok_or(io::Error::from(io::ErrorKind::InvalidData)),
)]
fn city(cache: &CacheHandle, n: usize) -> Result<&'static str, &'static str> {
    CITIES.get(n).copied().ok_or("no such city")
}

/// Called as the trait is, and none.
#[derive(Clone, PartialEq, Debug, Serialize, serde::Deserialize)]
struct Future(u8);

#[cached(handle = cache, skip(cache))]
fn future(cache: &CacheHandle, n: u8) -> Box<Future> {
    Box::new(Future(n))
}

#[test]
fn a_pair_may_return_what_the_program_has_and_a_name_makes_no_future() {
    let cache = memory();
    assert_eq!([city(&cache, 1), city(&cache, 1), city(&cache, 2)], [Ok("Bergen"), Ok("Bergen"), Err("no such city")]);
    assert_eq!([future(&cache, 7), future(&cache, 7)], [Box::new(Future(7)), Box::new(Future(7))]);
    assert_eq!(runs_and_hits(&cache), (3, 2));
}
