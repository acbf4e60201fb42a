use cache_house::CacheHouse;
use std::time::Duration;

fn main() {
    let _ = CacheHouse::builder().memory().password("secret").build();
    let _ = CacheHouse::builder().memory().command_timeout(Duration::from_secs(1)).build();
    let _ = CacheHouse::builder().memory().near_cache(Duration::from_secs(1)).build();
}
