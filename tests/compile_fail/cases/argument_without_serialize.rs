use cache_house::opts;

struct Id(u64);

fn main() {
    let _ = opts!("user", Id(7));
}
