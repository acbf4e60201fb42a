use cache_house::{CacheHandle, opts};

#[derive(Clone)]
struct User {
    name: String,
}

fn user(cache: &CacheHandle) -> User {
    cache.cached(opts!("user"), || User { name: "Ada".into() })
}

fn main() {
    let _ = user;
}
