use std::cell::Cell;
use std::rc::Rc;

use cache_house::{CacheHouse, opts};

#[test]
fn it_compiles_and_runs() {
    let cache = CacheHouse::builder().memory().build().expect("the defaults are valid");
    let runs = Cell::new(0);
    let borrowed = String::from("borrowed");

    // Sync work, neither `Send` nor `'static`.
    let value = cache.cached(opts!("sync"), || {
        runs.set(runs.get() + 1);
        borrowed.clone()
    });
    assert_eq!(value, borrowed);

    // Async work, on a current-thread runtime and in a `LocalSet`.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let local = Rc::new(runs);
    let value: String = runtime.block_on(cache.cached_async(opts!("async"), || async {
        local.set(local.get() + 1);
        borrowed.clone()
    }));
    assert_eq!(value, borrowed);
    let (kept, handle) = (Rc::clone(&local), cache.clone());
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let spawned = tokio::task::spawn_local(async move {
            let work = || async {
                kept.set(kept.get() + 1);
                Ok::<_, std::io::Error>(1)
            };
            handle.try_cached_async(opts!("local"), work).await
        });
        assert_eq!(spawned.await.expect("it ends").ok(), Some(1));
    });
    assert_eq!(local.get(), 3);
}
