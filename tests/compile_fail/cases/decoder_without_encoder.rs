use cache_house::{CacheHandle, opts};

fn price(cache: &CacheHandle) -> u64 {
    let options = opts!("price").decoder(|b: &[u8]| b.try_into().map(u64::from_be_bytes));
    cache.cached(options, || 7)
}

fn main() {
    let _ = price;
}
