use std::future::Future;
use std::pin::Pin;

use cache_house::cached;

struct Users;

impl Users {
    // As `async_trait` writes it.
    #[cached]
    fn boxed<'a>(&'a self, id: &'a u64) -> Pin<Box<dyn Future<Output = u64> + Send + 'a>> {
        Box::pin(async move { *id })
    }
}

#[cached]
fn unnamed(id: u64) -> impl Future<Output = u64> + Send {
    async move { id }
}

fn main() {}
