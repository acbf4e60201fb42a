use cache_house::CacheHouse;

fn main() {
    let _ = CacheHouse::builder().pool_size(2).standalone("localhost").build();
}
