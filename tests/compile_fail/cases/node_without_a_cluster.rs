use cache_house::CacheHouse;

fn main() {
    let _ = CacheHouse::builder().standalone("localhost").node("localhost:7001").build();
    let _ = CacheHouse::builder().memory().node("localhost:7001").build();
    let _ = CacheHouse::builder().node("localhost:7001").cluster("localhost:7000").build();
}
