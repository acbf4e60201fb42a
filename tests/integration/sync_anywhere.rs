//! Sync calls, wherever they're made.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cache_house::{CacheHandle, CacheHouse, CacheOptions};
use tokio::runtime::Runtime;
use tokio::task::{LocalSet, spawn_blocking, spawn_local};

use crate::support::{
    DEADLINE, Server, connect_in, connected, current_thread, finishes, let_others_run, multi_thread, standalone,
    until_connected, wait_until,
};

fn call(name: &str) -> CacheOptions {
    CacheOptions::new(name)
}

/// A round of every sync operation, in a namespace of its own.
fn use_in_sync(cache: &CacheHandle, place: &str) {
    let cache = cache.scoped(place);
    assert_eq!(cache.cached(call("f"), || 1), 1, "{place}");
    assert_eq!(cache.cached(call("f"), || 2), 1, "{place}");
    assert_eq!(cache.try_cached(call("g"), || Err::<i32, _>(3)), Err(3), "{place}");
    assert_eq!(cache.get::<i32>(call("f")), Some(1), "{place}");
    cache.insert(call("g"), &4).unwrap_or_else(|error| panic!("{place}: {error}"));
    assert!(cache.contains(call("g")), "{place}");
    assert_eq!(cache.remove(call("g")).unwrap_or_else(|error| panic!("{place}: {error}")).entries, 1, "{place}");
    assert_eq!(cache.clear_namespace(place).unwrap_or_else(|error| panic!("{place}: {error}")).entries, 1);
    let health = cache.ready_blocking(DEADLINE);
    assert_eq!(health, cache.health(), "{place}");
}

/// The handles to try: built outside and inside of runtimes, with and without a server.
fn handles(server: &Server) -> Vec<(&'static str, CacheHandle, Option<Runtime>)> {
    let memory = CacheHouse::builder().memory().build().expect("the builder is right");
    let mut handles = vec![("memory", memory, None), ("built outside", connected(server), None)];
    for (name, runtime) in [
        ("built in one worker", multi_thread(1)),
        ("built in two workers", multi_thread(2)),
        ("built in a current-thread runtime", current_thread()),
    ] {
        let cache = connect_in(&runtime, standalone(server.endpoint()));
        handles.push((name, cache, Some(runtime)));
    }
    handles
}

/// Runs `place` over all handles; the handle's own runtime is handed over where it has one, else another of two workers.
fn over_all_handles(what: &'static str, place: impl Fn(CacheHandle, &Runtime) + Send + 'static) {
    finishes(what, move || {
        let server = Server::start();
        for (_, cache, runtime) in handles(&server) {
            let runtime = runtime.unwrap_or_else(|| multi_thread(2));
            place(cache, &runtime);
            server.command(&["FLUSHALL"]);
        }
    });
}

#[test]
fn on_a_plain_thread() {
    over_all_handles("sync calls on a plain thread", |cache, _| use_in_sync(&cache, "plain"));
}

#[test]
fn in_the_root_of_the_runtime_that_the_handle_was_built_in() {
    over_all_handles("sync calls in the root of a runtime", |cache, runtime| {
        runtime.block_on(async { use_in_sync(&cache, "root") });
    });
}

#[test]
fn in_a_task_of_the_runtime_that_the_handle_was_built_in() {
    over_all_handles("sync calls in a task", |cache, runtime| {
        let task = runtime.spawn(async move { use_in_sync(&cache, "task") });
        runtime.block_on(task).expect("it doesn't panic");
    });
}

#[test]
fn in_many_tasks_at_once() {
    over_all_handles("sync calls in many tasks at once", |cache, runtime| {
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let cache = cache.clone();
                runtime.spawn(async move { use_in_sync(&cache, &format!("task {n}")) })
            })
            .collect();
        for task in tasks {
            runtime.block_on(task).expect("it doesn't panic");
        }
    });
}

#[test]
fn in_spawn_blocking() {
    over_all_handles("sync calls in spawn_blocking", |cache, runtime| {
        runtime.block_on(async {
            spawn_blocking(move || use_in_sync(&cache, "blocking")).await.expect("it doesn't panic");
        });
    });
}

#[test]
fn in_a_runtime_that_isnt_the_handles_own() {
    over_all_handles("sync calls in another runtime", |cache, _| {
        for other in [current_thread(), multi_thread(1)] {
            let (in_root, in_task) = (cache.clone(), cache.clone());
            other.block_on(async move {
                use_in_sync(&in_root, "root");
                tokio::spawn(async move { use_in_sync(&in_task, "task") }).await.expect("it doesn't panic");
            });
        }
    });
}

#[test]
fn in_a_local_set() {
    over_all_handles("sync calls in a LocalSet", |cache, runtime| {
        let in_root = cache.clone();
        LocalSet::new().block_on(runtime, async move {
            use_in_sync(&in_root, "root");
            for _ in 0..2 {
                let cache = cache.clone();
                spawn_local(async move { use_in_sync(&cache, "task") }).await.expect("it doesn't panic");
            }
        });
    });
}

#[test]
fn in_an_executor_that_isnt_tokio() {
    over_all_handles("calls in another executor", |cache, _| {
        futures::executor::block_on(async {
            use_in_sync(&cache, "sync");
            let cache = cache.scoped("async");
            assert_eq!(cache.cached_async(call("f"), async || 1).await, 1);
            assert_eq!(cache.cached_async(call("f"), async || 2).await, 1);
            cache.insert_async(call("g"), &3).await.expect("the cache is there");
            assert_eq!(cache.get_async::<i32>(call("g")).await, Some(3));
        });
    });
}

#[test]
fn in_the_work_of_another_call() {
    over_all_handles("sync calls in the work of others", |cache, runtime| {
        let inner = cache.scoped("inner");
        runtime.block_on(cache.cached_async(call("async"), async || use_in_sync(&inner, "in async work")));
        cache.cached(call("sync"), || use_in_sync(&inner, "in sync work"));
    });
}

/// An async call of `f` that is at work, in a task of the current runtime, until it's told to end.
async fn pending_leader(cache: &CacheHandle, local: bool) -> tokio::sync::oneshot::Sender<()> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let (begun, begins) = tokio::sync::oneshot::channel();
    let cache = cache.clone();
    let leader = async move {
        let work = async || {
            begun.send(()).expect("the test waits for it");
            let _ = told.await;
            "leader".to_owned()
        };
        cache.cached_async(call("led"), work).await;
    };
    if local {
        spawn_local(leader);
    } else {
        tokio::spawn(leader);
    }
    begins.await.expect("the work begins");
    tell
}

fn sync_call(cache: &CacheHandle) -> String {
    cache.cached(call("led"), || "own".to_owned())
}

#[test]
fn beside_a_pending_async_call_of_a_current_thread_runtime_it_runs_its_own_work() {
    over_all_handles("a sync call beside an async one, in a current-thread runtime", |cache, _| {
        current_thread().block_on(async {
            let tell = pending_leader(&cache, false).await;
            assert_eq!(sync_call(&cache), "own");
            let in_task = cache.clone();
            assert_eq!(tokio::spawn(async move { sync_call(&in_task) }).await.expect("it ends"), "own");
            tell.send(()).expect("the leader waits for it");
            let_others_run().await;
        });
        wait_until("the leader's value is kept", DEADLINE, || cache.contains(call("led")) || cache.stats().runs == 3);
    });
}

#[test]
fn beside_a_pending_async_call_of_a_local_set_it_runs_its_own_work() {
    over_all_handles("a sync call in a task beside an async one of the same LocalSet", |cache, runtime| {
        LocalSet::new().block_on(runtime, async {
            let tell = pending_leader(&cache, true).await;
            let in_task = cache.clone();
            assert_eq!(spawn_local(async move { sync_call(&in_task) }).await.expect("it ends"), "own");
            drop(tell);
        });
    });
}

#[test]
fn in_the_root_of_a_local_set_beside_a_pending_async_call_it_runs_its_own_work() {
    over_all_handles("a sync call in the root beside an async one of the same LocalSet", |cache, runtime| {
        LocalSet::new().block_on(runtime, async {
            let tell = pending_leader(&cache, true).await;
            assert_eq!(sync_call(&cache), "own");
            drop(tell);
        });
    });
}

#[test]
fn beside_a_pending_async_call_of_a_multi_thread_runtime_it_shares_the_value() {
    for workers in [1, 2] {
        finishes("a sync call beside an async one, in a multi-thread runtime", move || {
            let runtime = multi_thread(workers);
            let cache = CacheHouse::builder().memory().build().expect("the builder is right");
            runtime.block_on(async {
                let tell = pending_leader(&cache, false).await;
                let (waits, waiting) = mpsc::channel();
                let waiter = cache.clone();
                let waiter = tokio::spawn(async move {
                    waits.send(()).expect("the test waits for it");
                    sync_call(&waiter)
                });
                waiting.recv_timeout(DEADLINE).expect("the waiter begins");
                // On a single worker, this runs only once that is handed to another thread.
                tokio::spawn(async move { tell.send(()) }).await.expect("it ends").expect("the leader waits for it");
                waiter.await.expect("it ends");
            });
            let stats = cache.stats();
            assert_eq!((stats.runs, stats.coalesced + stats.memory_hits), (1, 1), "{stats:?}");
        });
    }
}

#[test]
fn a_worker_that_once_ran_a_local_set_is_none_the_worse() {
    finishes("a sync call on a worker that once ran a LocalSet", || {
        let server = Server::start();
        let runtime = multi_thread(1);
        let cache = connect_in(&runtime, standalone(server.endpoint()));
        runtime.block_on(async {
            // A thread of the pool runs a `LocalSet` in which a sync call is made …
            let (in_local, handle) = (cache.clone(), tokio::runtime::Handle::current());
            let blocking = spawn_blocking(move || {
                let local = LocalSet::new();
                let task = local.spawn_local(async move { use_in_sync(&in_local, "local") });
                handle.block_on(local);
                handle.block_on(task).expect("it doesn't panic");
            });
            blocking.await.expect("it doesn't panic");
            // … and then takes the place of the only worker, which blocks.
            let cache = cache.clone();
            let task = tokio::spawn(async move {
                let nested = cache.clone();
                tokio::task::block_in_place(|| {
                    let (sender, receiver) = mpsc::channel();
                    tokio::spawn(async move {
                        use_in_sync(&nested, "as a worker");
                        sender.send(()).expect("the test waits for it");
                    });
                    receiver.recv_timeout(DEADLINE / 2).expect("the task on the other thread ends");
                });
            });
            task.await.expect("it doesn't panic");
        });
    });
}

#[test]
fn a_handle_outlives_the_runtime_that_it_was_built_in() {
    for workers in [1, 2] {
        finishes("calls after the end of the handle's runtime", move || {
            let server = Server::start();
            let runtime = multi_thread(workers);
            let cache = connect_in(&runtime, standalone(server.endpoint()));
            use_in_sync(&cache, "before");
            drop(runtime);
            assert_eq!(cache.cached(call("f"), || 1), 1);
            let key = cache.key(&call("f")).expect("it has a key");
            wait_until("the server is used again", DEADLINE, || {
                let _ = cache.insert(call("f"), &1);
                server.has(&key)
            });
            until_connected(&cache);
            wait_until("the journal is empty", DEADLINE, || cache.stats().journal_length == 0);
            use_in_sync(&cache, "after, in sync");
            multi_thread(1).block_on(async { use_in_sync(&cache, "after, in another runtime") });
            // And it still ends when it's told to.
            cache.close();
            wait_until("the connections are gone", DEADLINE, || server.connections() == 0);
        });
    }
}

#[test]
fn calls_under_way_when_the_handles_runtime_ends_return() {
    finishes("calls under way at the end of the handle's runtime", || {
        let server = Server::start();
        let runtime = multi_thread(2);
        let cache = connect_in(&runtime, standalone(server.endpoint()).command_timeout(Duration::from_secs(5)));
        thread::scope(|scope| {
            for thread in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    for n in 0..400 {
                        assert_eq!(cache.cached(call("f").arg(thread).arg(n % 50), || n % 50), n % 50);
                    }
                });
            }
            wait_until("the server is in use", DEADLINE, || cache.stats().server_hits > 20);
            runtime.shutdown_background();
        });
        until_connected(&cache);
    });
}

#[test]
fn a_runtime_that_ends_before_it_has_run_anything_leaves_the_io_a_thread_of_its_own() {
    finishes("a connection without its runtime", || {
        let server = Server::start();
        let runtime = multi_thread(1);
        let handle = runtime.handle().clone();
        runtime.shutdown_background();
        let cache = {
            let _inside = handle.enter();
            standalone(server.endpoint()).build().expect("the builder is right")
        };
        until_connected(&cache);
        cache.close();
    });
}
