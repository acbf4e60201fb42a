use cache_house::CacheHouse;

fn main() {
    let _ = CacheHouse::builder().namespace("app").build();
}
