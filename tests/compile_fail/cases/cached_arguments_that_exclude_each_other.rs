use cache_house::cached;

#[cached(expire = 1, expire = 2)]
fn twice(n: u64) -> u64 {
    n
}

#[cached(skip(m), key(n))]
fn skip_and_key(n: u64, m: u64) -> u64 {
    n + m
}

#[cached(encoder = encode)]
fn encoder_alone(n: u64) -> u64 {
    n
}

#[cached(decoder = decode)]
fn decoder_alone(n: u64) -> u64 {
    n
}

#[cached(encoder = encode, codec = cache_house::codec::Json, decoder = decode)]
fn pair_and_codec(n: u64) -> u64 {
    n
}

#[cached(expire = 1)]
#[cached(expire = 2)]
fn attribute_twice(n: u64) -> u64 {
    n
}

fn main() {}
