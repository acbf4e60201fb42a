use cache_house::{CacheHandle, opts};

fn price(cache: &CacheHandle) -> u32 {
    let options = opts!("price")
        .encoder(|v: &u64| Ok::<_, std::convert::Infallible>(v.to_be_bytes().to_vec()))
        .decoder(|b: &[u8]| b.try_into().map(u64::from_be_bytes));
    cache.cached(options, || 7_u32)
}

fn main() {
    let _ = price;
}
