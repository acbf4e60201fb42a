use cache_house::{CacheHandle, opts};

fn user(cache: &CacheHandle, id: u64) {
    cache.cached(opts!("user", id), || async move { format!("user {id}") });
}

fn main() {
    let _ = user;
}
