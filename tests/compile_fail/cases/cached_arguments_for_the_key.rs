use cache_house::cached;

struct Pool;

#[cached]
async fn user(pool: &Pool, id: u64) -> String {
    let _ = pool;
    format!("user {id}")
}

fn main() {}
