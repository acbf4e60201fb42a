use cache_house::CacheHouse;

fn main() {
    let _ = CacheHouse::builder().standalone(6379).build();
}
