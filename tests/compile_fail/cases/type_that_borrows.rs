use cache_house::{CacheHandle, opts};

fn names(cache: &CacheHandle) -> Vec<&'static str> {
    cache.cached(opts!("names"), || vec!["Ada"])
}

fn main() {
    let _ = names;
}
