//! Batches: many keys in one call, and one run of the work for those that are missing.

mod bounds;
mod outage;
mod reads;
mod sharing;
mod stale;
mod values;

use std::collections::HashMap;

use cache_house::{CacheHandle, CacheHouse, CacheOptions};

use crate::support::current_thread;

type Values = HashMap<u32, u32>;
type Outcome = Result<Values, &'static str>;

/// Sync callers, and async ones.
const SIDES: [bool; 2] = [false, true];

fn call(id: u32) -> CacheOptions {
    CacheOptions::new("square").arg(id)
}

fn in_memory() -> CacheHandle {
    CacheHouse::builder().memory().build().expect("the builder is right")
}

/// Calls `try_cached_many`, or its async twin.
fn ask(
    is_async: bool,
    cache: &CacheHandle,
    keys: impl IntoIterator<Item = u32>,
    options: impl Fn(&u32) -> CacheOptions,
    work: impl FnOnce(Vec<u32>) -> Outcome,
) -> Outcome {
    match is_async {
        false => cache.try_cached_many(keys, options, work),
        true => current_thread().block_on(cache.try_cached_many_async(keys, options, async |missing| work(missing))),
    }
}

/// The work of most batches.
fn squares(keys: impl IntoIterator<Item = u32>) -> Values {
    keys.into_iter().map(|key| (key, key.wrapping_mul(key))).collect()
}

/// What mustn't run.
fn never<R>(_: Vec<u32>) -> R {
    panic!("the work runs")
}
