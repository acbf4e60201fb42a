use cache_house::cached;

struct Users;

impl Users {
    #[cached(skip(self))]
    fn find(&self, id: u64) -> u64 {
        id
    }
}

#[cached(skip(db))]
fn unknown(id: u64) -> u64 {
    id
}

#[cached(skip(id, id))]
fn twice(id: u64) -> u64 {
    id
}

fn main() {}
