use cache_house::CacheHouse;

fn main() {
    let _ = CacheHouse::builder().memory().database(1).build();
    let _ = CacheHouse::builder().database(1).standalone("localhost").build();
}
