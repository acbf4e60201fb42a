use cache_house::cached;

#[cached(expire = "5 minuts")]
fn misspelt(n: u64) -> u64 {
    n
}

#[cached(expire = "")]
fn empty(n: u64) -> u64 {
    n
}

#[cached(expire = 1.5)]
fn fraction(n: u64) -> u64 {
    n
}

#[cached(expire = 5m)]
fn without_quotes(n: u64) -> u64 {
    n
}

#[cached(expire = std::time::Instant::now())]
fn of_another_type(n: u64) -> u64 {
    n
}

#[cached(expire = 0)]
fn zero(n: u64) -> u64 {
    n
}

#[cached(expire = "0s", stale_while_revalidate = "1m")]
fn zero_as_text(n: u64) -> u64 {
    n
}

fn main() {}
