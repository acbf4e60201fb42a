//! What a handle leaves behind when it's gone: nothing.

use std::fs;
use std::time::Duration;

use cache_house::{CacheHandle, CacheOptions};
use tokio::runtime::Runtime;

use crate::support::{
    DEADLINE, Mode, Proxy, Server, alone, current_thread, finishes, multi_thread, standalone, until_connected,
    until_degraded, wait_until,
};

fn call() -> CacheOptions {
    CacheOptions::new("f")
}

/// How a handle ends.
type End = fn(CacheHandle);

const ENDS: [(&str, End); 3] = [
    ("dropped", drop),
    ("closed", |cache| {
        cache.close();
        // What is to be gone is gone by now, and not because the handle goes.
        std::mem::forget(cache);
    }),
    ("closed from async code", |cache| {
        current_thread().block_on(cache.close_async());
        std::mem::forget(cache);
    }),
];

fn used(server: &Server, pool: usize) -> CacheHandle {
    let cache = standalone(server.endpoint()).pool_size(pool).build().expect("the builder is right");
    until_connected(&cache);
    cache.cached(call(), || 1);
    cache.clear_namespace("main").expect("the server is there");
    assert_eq!(server.connections(), pool);
    cache
}

#[test]
fn a_handle_that_ends_leaves_no_connection() {
    let server = Server::start();
    for (how, end) in ENDS {
        for pool in [1, 3] {
            end(used(&server, pool));
            wait_until(&format!("the connections of a handle that was {how} are gone"), DEADLINE, || {
                server.connections() == 0
            });
        }
    }
}

#[test]
fn a_handle_that_was_closed_has_no_connection_when_close_returns() {
    let server = Server::start();
    let cache = used(&server, 3);
    cache.close();
    // The server may yet have to read of it.
    wait_until("the connections are gone", DEADLINE / 10, || server.connections() == 0);
}

#[test]
fn a_clone_keeps_the_connection_until_it_goes_too() {
    let server = Server::start();
    let cache = used(&server, 1);
    let (clone, scoped) = (cache.clone(), cache.scoped("other"));
    drop(cache);
    assert_eq!(clone.cached(call(), || 2), 2);
    assert!(server.connections() == 1 && clone.health().is_connected());
    drop(clone);
    assert_eq!(scoped.cached(call(), || 3), 3);
    assert_eq!(server.connections(), 1);
    drop(scoped);
    wait_until("the connection is gone", DEADLINE, || server.connections() == 0);
}

#[test]
fn a_handle_that_ends_leaves_no_task_in_its_runtime() {
    let server = Server::start();
    for (how, end) in ENDS {
        let runtime = multi_thread(2);
        let cache = {
            let _inside = runtime.enter();
            used(&server, 2)
        };
        assert!(tasks(&runtime) > 0, "its I/O is in this runtime");
        end(cache);
        wait_until(&format!("the tasks of a handle that was {how} are gone"), DEADLINE, || tasks(&runtime) == 0);
        wait_until("the connections are gone", DEADLINE, || server.connections() == 0);
    }
}

fn tasks(runtime: &Runtime) -> usize {
    runtime.metrics().num_alive_tasks()
}

#[test]
fn a_handle_may_be_dropped_in_async_code_and_in_its_own_work() {
    finishes("dropping a handle in async code", || {
        let server = Server::start();
        for runtime in [multi_thread(1), current_thread()] {
            runtime.block_on(async {
                let cache = standalone(server.endpoint()).build().expect("the builder is right");
                cache.ready(DEADLINE).await;
                let last = cache.clone();
                assert_eq!(cache.cached_async(call(), async move || drop(last)).await, ());
                drop(cache);
            });
            wait_until("the connection is gone", DEADLINE, || server.connections() == 0);
            server.command(&["FLUSHALL"]);
        }
    });
}

#[test]
fn a_handle_may_be_closed_by_the_only_worker_of_its_runtime() {
    finishes("closing a handle on the worker that its I/O runs on", || {
        let server = Server::start();
        let runtime = multi_thread(1);
        let cache = {
            let _inside = runtime.enter();
            used(&server, 2)
        };
        runtime.block_on(runtime.spawn(async move { cache.close() })).expect("it doesn't panic");
        wait_until("the connections are gone", DEADLINE, || server.connections() == 0);
    });
}

#[test]
fn a_lost_connection_is_not_kept() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = standalone(proxy.endpoint()).build().expect("the builder is right");
    until_connected(&cache);
    for _ in 0..5 {
        proxy.set(Mode::Refuse);
        until_degraded(&cache);
        proxy.set(Mode::Pass);
        until_connected(&cache);
    }
    wait_until("one connection stands", DEADLINE, || server.connections() == 1);
    drop(cache);
    wait_until("no connection stands", DEADLINE, || server.connections() == 0);
}

#[test]
fn a_handle_whose_server_is_silent_closes_all_the_same() {
    let server = Server::start();
    let cache = used(&server, 2);
    server.freeze();
    finishes("closing a handle of a frozen server", move || cache.close());
    server.thaw();
    wait_until("the connections are gone", DEADLINE, || server.connections() == 0);
}

#[cfg(target_os = "linux")]
#[test]
fn the_io_thread_ends_with_its_handle() {
    // Other tests of this process have such threads too.
    alone("leaks::the_io_thread_ends_with_its_handle", || {
        let server = Server::start();
        // Tokio keeps some sockets for the whole process once a runtime has been made.
        drop(used(&server, 1));
        wait_until("the thread of the first handle is gone", DEADLINE, || io_threads() == 0);
        let before = open_sockets();
        for (how, end) in ENDS {
            let caches: Vec<_> = (0..3).map(|_| used_one_more(&server)).collect();
            assert_eq!(io_threads(), 3, "each has its own");
            assert!(open_sockets() >= before + 3);
            caches.into_iter().for_each(end);
            wait_until(&format!("the threads of handles that were {how} are gone"), DEADLINE, || io_threads() == 0);
            wait_until(&format!("the sockets of handles that were {how} are gone"), DEADLINE, || {
                open_sockets() == before
            });
        }
        // Also where there never was a server.
        let absent = Server::absent();
        let cache = standalone(absent.endpoint()).build().expect("the builder is right");
        cache.cached(call(), || 1);
        // It names itself, once it runs.
        wait_until("there is a thread", DEADLINE, || io_threads() == 1);
        cache.close();
        wait_until("the thread of a handle without a server is gone", DEADLINE, || io_threads() == 0);
    });
}

#[cfg(target_os = "linux")]
fn used_one_more(server: &Server) -> CacheHandle {
    let cache = standalone(server.endpoint()).build().expect("the builder is right");
    until_connected(&cache);
    cache.cached(call(), || 1);
    cache
}

#[cfg(target_os = "linux")]
fn io_threads() -> usize {
    let threads = fs::read_dir("/proc/self/task").expect("Linux has it");
    let names = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim_end() == "cache-house-io").count()
}

#[cfg(target_os = "linux")]
fn open_sockets() -> usize {
    let files = fs::read_dir("/proc/self/fd").expect("Linux has it");
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

#[cfg(target_os = "linux")]
#[test]
fn many_outages_leave_nothing_behind() {
    alone("leaks::many_outages_leave_nothing_behind", || {
        let server = Server::start();
        let cache = used(&server, 2);
        let count = || (io_threads(), open_sockets(), fs::read_dir("/proc/self/task").expect("Linux has it").count());
        let before = count();
        for _ in 0..5 {
            server.kill();
            until_degraded(&cache);
            cache.cached(call(), || 1);
            server.restart();
            until_connected(&cache);
        }
        wait_until("threads and sockets are as many as before", Duration::from_secs(10), || count() == before);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_connection_takes_little_memory() {
    alone("leaks::a_connection_takes_little_memory", || {
        const LANES: u64 = 64;
        let server = Server::start();
        // What the process needs anyway.
        let small = used(&server, 1);
        let before = resident();
        let pool = standalone(server.endpoint()).pool_size(LANES as usize).build().expect("the builder is right");
        until_connected(&pool);
        let each = resident().saturating_sub(before) / LANES;
        assert!(each < 300 * 1024, "{each} bytes a connection");
        drop((small, pool));
    });
}

/// Bytes.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells it");
    let kib: u64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("it's a number");
    kib * 1024
}
