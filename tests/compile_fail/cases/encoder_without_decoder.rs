use cache_house::{CacheHandle, opts};

fn price(cache: &CacheHandle) -> u64 {
    let options = opts!("price").encoder(|v: &u64| Ok::<_, std::convert::Infallible>(v.to_be_bytes().to_vec()));
    cache.cached(options, || 7)
}

fn main() {
    let _ = price;
}
