use cache_house::CacheHouse;

fn main() {
    let _ = CacheHouse::builder().standalone("localhost").memory().build();
    let _ = CacheHouse::builder().memory().standalone("localhost").build();
    let _ = CacheHouse::builder().cluster("localhost:7000").standalone("localhost").build();
    let _ = CacheHouse::builder().cluster("localhost:7000").cluster("localhost:7001").build();
}
