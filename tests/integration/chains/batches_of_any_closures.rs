use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use cache_house::{CacheHandle, CacheHouse, Error, opts};

fn sent<T: Send>(future: T) -> T {
    future
}

/// The options and the work borrow from the task around them, and the future still is `Send`.
async fn names(cache: CacheHandle, ids: Vec<u64>) -> HashMap<u64, String> {
    let (kind, prefix) = (String::from("user"), String::from("user "));
    let load = async |missing: Vec<u64>| missing.into_iter().map(|id| (id, format!("{prefix}{id}"))).collect();
    cache.cached_many_async(ids.iter().copied(), |id| opts!("name", &kind, id), load).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_future_can_be_spawned() -> Result<(), Error> {
    let cache = CacheHouse::builder().memory().build()?;
    let found = tokio::spawn(sent(names(cache.clone(), vec![1, 2]))).await.expect("it ends");
    assert_eq!(found[&2], "user 2");
    // Keys that own, and values that share.
    let keys = [String::from("a"), String::from("b")];
    let lengths = cache.try_cached_many_async(
        keys,
        |key| opts!("length", key),
        |missing| async { Ok::<_, std::io::Error>(missing.into_iter().map(|key| (key.clone(), key.len())).collect()) },
    );
    assert_eq!(sent(lengths).await.expect("it doesn't fail")["a"], 1);
    Ok(())
}

#[test]
fn work_may_be_once_only_and_mutate_and_stay_on_its_thread() -> Result<(), Error> {
    let cache = CacheHouse::builder().memory().build()?;
    // `FnOnce`: it gives away what it has.
    let table = HashMap::from([(1, "one"), (2, "two")]);
    assert_eq!(cache.cached_many([1, 2], |n: &i32| opts!("once", n), |_| drop_others(table)).len(), 2);
    // `FnMut`, and neither `Send` nor `'static`.
    let (mut runs, shared) = (0, Rc::new(Cell::new(0)));
    let names = ["x".to_string(), "y".to_string()];
    let lengths = cache.cached_many(
        &names,
        |name| opts!("len", name),
        |missing| {
            runs += 1;
            shared.set(missing.len());
            missing.into_iter().map(|name| (name, name.len())).collect()
        },
    );
    assert_eq!((lengths[&names[0]], runs, shared.get()), (1, 1, 2));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let kept = Rc::clone(&shared);
    let squares: Result<HashMap<u32, u32>, ()> = runtime.block_on(cache.try_cached_many_async(
        1..4,
        |n| opts!("square", n),
        async |missing| {
            runs += 1;
            kept.set(9);
            Ok(missing.into_iter().map(|n| (n, n * n)).collect())
        },
    ));
    assert_eq!((squares.map(|squares| squares[&3]), runs, shared.get()), (Ok(9), 2, 9));
    let tried = cache.try_cached_many(
        [7],
        |n: &u8| opts!("tried", n),
        |missing| missing.into_iter().map(|n| Ok::<_, std::num::ParseIntError>((n, "7".parse::<u8>()?))).collect(),
    );
    assert_eq!(tried.expect("it's a number")[&7], 7);
    Ok(())
}

fn drop_others(table: HashMap<i32, &'static str>) -> HashMap<i32, String> {
    table.into_iter().map(|(n, name)| (n, name.to_string())).collect()
}
