use std::time::Duration;

use cache_house::{CacheHandle, opts};

fn life(cache: &CacheHandle) -> u64 {
    cache.cached(opts!("price").expire_by(|text: &String| Duration::from_secs(text.len() as u64)), || 7)
}

fn condition(cache: &CacheHandle) -> u64 {
    cache.cached(opts!("price").store_if(|text: &String| text.is_empty()), || 7)
}

fn both(cache: &CacheHandle) -> u64 {
    let options = opts!("price").expire_by(|n: &u64| Duration::from_secs(*n)).store_if(|text: &String| text.is_empty());
    cache.cached(options, || 7)
}

fn main() {
    let _ = (life, condition, both);
}
