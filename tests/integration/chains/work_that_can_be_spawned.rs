use cache_house::{CacheHandle, CacheHouse, opts};

async fn answer(cache: CacheHandle, id: u64) -> u64 {
    let name = String::from("answer");
    // The work borrows from the task around it, and the future still is `Send`.
    let value = cache.cached_async(opts!("answer", id), || async { name.len() as u64 + id }).await;
    let same = cache.try_cached_async(opts!("answer", id), || async { Ok::<_, std::io::Error>(value) }).await;
    cache.insert_async(opts!("answer", id), &value).await.expect("memory takes it");
    let found = cache.get_async::<u64>(opts!("answer", id)).await;
    assert!(cache.contains_async(opts!("answer", id)).await && found == same.ok());
    assert_eq!(cache.remove_async(opts!("answer", id)).await.expect("memory forgets it").entries, 1);
    cache.clear_namespace_async("main").await.expect("memory forgets it");
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn it_compiles_and_runs() {
    let cache = CacheHouse::builder().memory().build().expect("the defaults are valid");
    assert_eq!(tokio::spawn(answer(cache.clone(), 1)).await.expect("it ends"), 7);
    let boxed: std::pin::Pin<Box<dyn Future<Output = u64> + Send>> = Box::pin(answer(cache.clone(), 2));
    assert_eq!(boxed.await, 8);
    cache.close_async().await;
}
