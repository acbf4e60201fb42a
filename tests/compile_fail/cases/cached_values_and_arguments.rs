use cache_house::cached;

#[derive(Clone)]
struct Opaque(u8);

#[cached]
fn value_without_serde(n: u8) -> Opaque {
    Opaque(n)
}

#[cached]
fn argument_without_serde(n: Opaque) -> u8 {
    n.0
}

#[cached(handle = "redis://localhost")]
fn not_a_handle(n: u8) -> u8 {
    n
}

fn main() {}
