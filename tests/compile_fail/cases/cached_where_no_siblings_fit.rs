use cache_house::cached;

trait Find {
    fn find(&self, id: u64) -> u64;
}

struct Users;

impl Find for Users {
    #[cached]
    fn find(&self, id: u64) -> u64 {
        id
    }
}

impl Users {
    #[cached]
    fn neither_self_nor_its_type(id: u64) -> u64 {
        id
    }
}

fn main() {}
