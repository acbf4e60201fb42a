use std::convert::Infallible;
use std::time::Duration;

use cache_house::codec::Json;
use cache_house::{CacheOptions, opts};

fn encode(n: &u64) -> Result<Vec<u8>, Infallible> {
    Ok(n.to_be_bytes().to_vec())
}

fn after_a_life() {
    let _ = opts!("price").expire_by(|n: &u64| Duration::from_secs(*n)).encoder(encode);
}

fn after_a_condition() {
    let _ = opts!("price").store_if(|n: &u64| *n > 0).encoder(encode);
}

fn codec_beside_a_pair() -> CacheOptions {
    opts!("price").encoder(encode).decoder(|b: &[u8]| b.try_into().map(u64::from_be_bytes)).codec(Json)
}

fn main() {
    after_a_life();
    after_a_condition();
    codec_beside_a_pair();
}
