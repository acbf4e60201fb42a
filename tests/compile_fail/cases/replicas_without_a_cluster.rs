use cache_house::CacheHouse;

fn main() {
    let _ = CacheHouse::builder().autodetect("localhost").read_from_replicas(true).build();
    let _ = CacheHouse::builder().standalone("localhost").read_from_replicas(true).build();
}
