//! Where sync calls are made: the same surroundings for the work whatever the cache does, and no panic on the way.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use cache_house::{CacheHandle, CacheHouse};
use tokio::runtime::Handle;
use tokio::task::{LocalSet, spawn_blocking, spawn_local};

use super::{Count, call, in_memory};
use crate::support::{
    Server, alone, connect_in, connected, current_thread, finishes, let_others_run, multi_thread, standalone,
    until_degraded,
};

#[test]
fn no_panic_hook_fires_for_a_sync_call_wherever_it_is_made() {
    alone("concurrency::places::no_panic_hook_fires_for_a_sync_call_wherever_it_is_made", || {
        let fired = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&fired);
        std::panic::set_hook(Box::new(move |_| _ = counter.fetch_add(1, Ordering::SeqCst)));
        finishes("sync calls in a LocalSet of a multi-thread runtime", || {
            let server = Server::start();
            let runtime = multi_thread(2);
            let cache = connect_in(&runtime, standalone(server.endpoint()));
            LocalSet::new().block_on(&runtime, async {
                assert_eq!(cache.cached(call("root"), || 1), 1);
                let in_task = cache.clone();
                let local = spawn_local(async move { in_task.cached(call("local"), || 2) });
                assert_eq!(local.await.expect("it doesn't panic"), 2);
                let blocking = cache.clone();
                let blocking = spawn_blocking(move || blocking.cached(call("blocking"), || 3));
                assert_eq!(blocking.await.expect("it doesn't panic"), 3);
            });
            assert_eq!(runtime.block_on(async { cache.cached(call("block_on"), || 4) }), 4);
            let task = cache.clone();
            let task = runtime.spawn(async move { task.cached(call("task"), || 5) });
            assert_eq!(runtime.block_on(task).expect("it doesn't panic"), 5);
        });
        assert_eq!(fired.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn in_spawn_blocking_of_a_current_thread_runtime_a_sync_call_shares_the_run() {
    finishes("sync calls in spawn_blocking of a current-thread runtime", || {
        let cache = in_memory();
        let runs = Count::default();
        current_thread().block_on(async {
            let (tell, told) = tokio::sync::oneshot::channel::<()>();
            let (leading, leaders) = (cache.clone(), runs.clone());
            let leader = tokio::spawn(async move {
                let work = async || {
                    leaders.add_one();
                    let _ = told.await;
                    1
                };
                leading.cached_async(call("f"), work).await
            });
            let_others_run().await;
            let begun = Count::default();
            let waiters: Vec<_> = (0..8)
                .map(|_| {
                    let (cache, runs, begun) = (cache.clone(), runs.clone(), begun.clone());
                    spawn_blocking(move || {
                        begun.add_one();
                        cache.cached(call("f"), || {
                            runs.add_one();
                            2
                        })
                    })
                })
                .collect();
            crate::support::eventually("the waiters wait", || begun.read() == 8).await;
            tell.send(()).expect("the work waits for it");
            assert_eq!(leader.await.expect("it doesn't panic"), 1);
            for waiter in waiters {
                assert_eq!(waiter.await.expect("it doesn't panic"), 1);
            }
        });
        assert_eq!(runs.read(), 1);
    });
}

#[test]
fn work_that_blocks_on_a_handle_does_so_connected_and_in_an_outage() {
    finishes("work that calls Handle::block_on", || {
        let server = Server::start();
        let runtime = multi_thread(2);
        let cache = connect_in(&runtime, standalone(server.endpoint()));
        let blocks = |name: &'static str| {
            let cache = cache.clone();
            let task = runtime.spawn(async move {
                cache.cached(call(name), || Handle::current().block_on(async { tokio::task::yield_now().await }));
                cache.try_cached(call(name).arg(1), || Ok::<_, ()>(Handle::current().block_on(async { 1 })))
            });
            assert_eq!(runtime.block_on(task).expect("it doesn't panic"), Ok(1), "{name}");
        };
        blocks("connected");
        server.kill();
        until_degraded(&cache);
        blocks("in an outage");
        cache.close();
        blocks("closed");
    });
}

thread_local! {
    static LAST: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
}

/// Uses the cache while its thread ends.
struct AtTheEnd(CacheHandle, Count);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        assert_eq!(self.0.cached(call("at the end"), || 7), 7);
        self.0.remove(call("at the end")).expect("the cache is there");
        self.0.close();
        assert_eq!(self.0.cached(call("at the end"), || 8), 8);
        self.1.add_one();
    }
}

#[test]
fn the_cache_may_be_used_and_closed_while_a_thread_drops_its_values() {
    alone("concurrency::places::the_cache_may_be_used_and_closed_while_a_thread_drops_its_values", || {
        let server = Server::start();
        let handles = [
            ("memory", CacheHouse::builder().memory().build().expect("the builder is right")),
            ("server", connected(&server)),
        ];
        for (name, cache) in handles {
            let ended = Count::default();
            let count = ended.clone();
            thread::spawn(move || {
                // The cache's own values of the thread are made later, and so are dropped earlier.
                LAST.set(Some(AtTheEnd(cache.clone(), count)));
                assert_eq!(cache.cached(call("f"), || 1), 1);
            })
            .join()
            .expect("it doesn't panic");
            assert_eq!(ended.read(), 1, "{name}");
        }
    });
}
