use cache_house::cached;

struct Wrapper(u8);

#[cached]
fn tuple((a, b): (u8, u8)) -> u8 {
    a + b
}

#[cached]
fn wrapper(Wrapper(a): Wrapper) -> u8 {
    a
}

#[cached]
fn wildcard(_: u8) -> u8 {
    1
}

#[cached]
fn by_ref(ref a: u8) -> u8 {
    *a
}

#[cached]
fn unnamed_type(a: &[impl ToString]) -> usize {
    a.len()
}

#[cached]
fn conditional(#[cfg(all())] a: u8) -> u8 {
    a
}

fn main() {}
