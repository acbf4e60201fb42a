use cache_house::{CacheHandle, cached, evict};

#[cached]
fn get_user(id: u64) -> String {
    format!("user {id}")
}

#[evict]
fn nothing(id: u64) {
    let _ = id;
}

#[evict(handle = cache)]
fn only_a_handle(cache: &CacheHandle) {
    let _ = cache;
}

#[evict(get_user)]
fn without_a_call(id: u64) {
    let _ = id;
}

#[evict(get_user(id), expire = 5)]
fn unknown_argument(id: u64) {
    let _ = id;
}

#[evict(get_user(id))]
struct NotAFunction;

#[evict(get_user(id))]
const fn constant(id: u64) -> u64 {
    id
}

#[evict(get_user(id))]
fn future(id: u64) -> impl Future<Output = u64> {
    async move { id }
}

#[evict(get_user(id))]
fn boxed(id: u64) -> std::pin::Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move { id })
}

#[evict(get_user(id))]
#[cached]
fn cached_too(id: u64) -> u64 {
    id
}

#[evict(get_user("seven"))]
fn of_another_type(id: u64) {
    let _ = id;
}

fn main() {}
