use cache_house::cached;

#[cached]
fn find(id: u64) -> u64 {
    id
}

struct Users;

impl Users {
    #[cached]
    fn find(id: u64) -> u64 {
        id + 1
    }
}

fn main() {}
