use cache_house::CacheHouse;

fn main() {
    let _ = CacheHouse::builder().cluster("localhost:7000").database(1).build();
    let _ = CacheHouse::builder().autodetect("localhost").database(1).build();
}
