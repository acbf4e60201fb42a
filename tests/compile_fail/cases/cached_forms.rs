use cache_house::cached;

#[cached(expire("5m"))]
fn not_a_list(n: u64) -> u64 {
    n
}

#[cached(skip = n)]
fn a_list(n: u64) -> u64 {
    n
}

#[cached(name = 5)]
fn not_a_text(n: u64) -> u64 {
    n
}

#[cached(result = yes)]
fn not_a_bool(n: u64) -> u64 {
    n
}

#[cached(expire = 5 result = true)]
fn no_comma(n: u64) -> u64 {
    n
}

fn main() {}
