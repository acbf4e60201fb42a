use cache_house::cached;

#[cached(expires = "5m")]
fn sum(n: u64) -> u64 {
    n
}

#[cached(ttl = "5m")]
fn product(n: u64) -> u64 {
    n
}

fn main() {
    sum(1);
    product(1);
}
