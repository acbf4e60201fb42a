use cache_house::evict;

fn not_cached(id: u64) -> u64 {
    id
}

#[evict(not_cached(id))]
fn write(id: u64) {
    not_cached(id);
}

fn main() {}
