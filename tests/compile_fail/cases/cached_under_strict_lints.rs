//! With every lint that a strict program might turn on. They find one mistake, at the end, and none in what the attribute writes.
#![deny(warnings, unused, unused_qualifications, unreachable_pub, missing_docs, clippy::all, clippy::pedantic)]
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use cache_house::codec::Json;
use cache_house::{CacheHandle, CacheHouse, CacheOptions, cached, evict};

/// What services are made of.
pub struct State {
    /// Where values are kept.
    pub cache: CacheHandle,
}

/// Documented, and so are its siblings.
#[must_use]
#[inline]
#[cached(expire = 5)]
pub fn sum(n: u64) -> u64 {
    (1..=n).sum()
}

#[cached(handle = state.cache, skip(state), codec = Json, expire = Duration::from_secs(1))]
async fn load(state: &State, id: u64) -> Result<String, std::io::Error> {
    Err(std::future::ready(std::io::Error::other(id.to_string())).await)
}

#[cached(handle = state.cache.clone(), key(id))]
async fn load_moved(state: State, id: String) -> String {
    std::future::ready(id).await + &state.cache.stats().runs.to_string()
}

#[cfg(not(test))]
#[cached]
#[cfg_attr(all(), doc = "Conditional.", cfg(all()))]
#[deprecated = "an example"]
#[expect(unused_variables, reason = "an example")]
fn conditional(n: u8) -> Option<u8> {
    None
}

#[cached]
#[cfg(any())]
fn never() -> NoSuchType {
    no_such_function()
}

trait Named {
    #[cached(expire = "250ms")]
    fn long_name(&self, title: &str) -> String {
        format!("the {title}")
    }
}

impl Named for State {}

/// What others implement, too.
pub trait Find {
    /// Looks for one.
    fn find(&self, id: u64) -> Option<u64>;
    /// Loads one.
    fn load(&self, id: u64) -> impl Future<Output = Result<String, std::io::Error>> + Send;
}

impl Find for State {
    #[cached(siblings = false, handle = self.cache, store_if = Option::is_some)]
    fn find(&self, mut id: u64) -> Option<u64> {
        id = id.checked_sub(1)?;
        Some(id)
    }

    #[cached(siblings = false, handle = self.cache, jitter = "1s", expire_by = |text| Duration::from_secs(text.len() as u64))]
    async fn load(&self, id: u64) -> Result<String, std::io::Error> {
        let text = load_uncached(self, id).await?;
        Ok(text)
    }
}

/// Alone, without a handle.
#[cached(siblings = false, hard_timeout = "5s", refresh_early = 1.0)]
pub async fn alone(mut text: String) -> String {
    text.push('!');
    std::future::ready(text).await
}

/// Generic, with a namespace and tags that take up arguments.
#[cached(handle = state.cache, namespace = "{tenant}-{{{day}}}", key(day), tags("{tenant}", "all", day.as_str()))]
pub async fn generic<T: Display, const N: usize>(state: State, tenant: T, day: String) -> usize {
    std::future::ready(()).await;
    day.len() + N
}

/// Evicts what others cache.
#[must_use]
#[evict(handle = state.cache, sum(n), load(n))]
pub fn write(state: &State, mut n: u64) -> Option<u64> {
    n = n.checked_sub(state.cache.stats().runs)?;
    Some(n)
}

#[evict(sum(*n))]
#[evict(load(*n))]
async fn write_async(n: &mut u64) -> Result<&u64, std::io::Error> {
    *n += std::future::ready(1).await;
    Ok(n)
}

#[evict(sum(1))]
fn write_nothing() {}

impl State {
    /// Public, as are its siblings.
    ///
    /// # Errors
    ///
    /// Where the text is no number.
    #[cached(handle = self.cache)]
    pub fn parse(&self, text: &str) -> Result<u8, std::num::ParseIntError> {
        text.parse()
    }

    /// The same for async code.
    ///
    /// # Errors
    ///
    /// The same.
    #[cached(handle = self.cache)]
    pub async fn parse_async<'a>(&'a self, text: &'a str) -> Result<u8, std::num::ParseIntError> {
        std::future::ready(text).await.parse()
    }

    #[cached]
    fn new_name() -> String {
        Self::prefix().to_owned()
    }

    fn prefix() -> &'static str {
        "name"
    }
}

fn is_send<T>(future: impl Future<Output = T> + Send) -> impl Future<Output = T> + Send {
    future
}

fn main() {
    let mistake = ();
    let state = State { cache: CacheHouse::builder().memory().build().expect("the defaults are valid") };
    let _ = (sum(3), sum_uncached(3));
    let options: CacheOptions = sum_options(3);
    let _ = write(&state, 3);
    drop(is_send(write_async(&mut 3)));
    write_nothing();
    let _ = state.cache.contains(options);
    drop(is_send(load(&state, 1)));
    drop(is_send(load_uncached(&state, 1)));
    let _ = state.long_name("state");
    let _ = State::new_name();
    let _ = state.parse("7");
    drop(is_send(state.parse_async("7")));
    #[allow(deprecated)]
    {
        let _ = conditional(1);
    }
    let _ = state.find(7);
    drop(is_send(Find::load(&state, 7)));
    drop(is_send(alone(String::new())));
    let _ = generic_options::<_, 1>(7, String::new());
    drop(is_send(generic::<_, 1>(State { cache: state.cache.clone() }, 7, String::new())));
    drop(is_send(load_moved(state, String::new())));
}
