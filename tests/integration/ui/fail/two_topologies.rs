use cache_house::CacheHouse;

fn main() {
    let _ = CacheHouse::builder().standalone("localhost").memory().build();
    let _ = CacheHouse::builder().memory().standalone("localhost").build();
}
