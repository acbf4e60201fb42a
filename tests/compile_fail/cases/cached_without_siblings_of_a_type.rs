use cache_house::cached;

trait Find {
    fn find(id: u64) -> u64;
}

struct Users;

impl Find for Users {
    #[cached(siblings = false)]
    fn find(id: u64) -> u64 {
        id
    }
}

impl Users {
    #[cached(siblings = false)]
    fn count(id: u64) -> u64 {
        id
    }
}

fn main() {}
