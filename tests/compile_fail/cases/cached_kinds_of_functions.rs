use cache_house::cached;

#[cached]
const fn constant(n: u64) -> u64 {
    n
}

#[cached]
unsafe fn not_safe(n: u64) -> u64 {
    n
}

#[cached]
extern "C" fn of_another_language(n: u64) -> u64 {
    n
}

#[cached]
struct NotAFunction;

trait Find {
    #[cached]
    fn find(&self, id: u64) -> u64;
}

fn main() {}
