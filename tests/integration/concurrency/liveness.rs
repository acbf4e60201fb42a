//! What is never polled again, is dropped or comes late holds nothing else up, and brings nothing back.

use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheOptions};
use serde::{Deserialize, Serialize};
use tokio::task::{LocalSet, spawn_blocking, spawn_local};

use super::{Count, call, in_memory};
use crate::support::{
    DEADLINE, Server, connect, connect_in, connected, current_thread, eventually, finishes, let_others_run,
    multi_thread, standalone, until_connected, wait_until,
};

/// Keys whose value is the version that the work saw.
struct Versions([AtomicU64; 8]);

impl Versions {
    fn work(&self, key: usize) -> u64 {
        self.0[key].load(Ordering::SeqCst)
    }
}

#[test]
fn after_a_confirmed_removal_nothing_older_is_read_however_many_remove_at_once() {
    const ROUNDS: usize = 4_000;
    // A busy machine does fewer of them.
    const LONGEST: Duration = Duration::from_secs(10);
    finishes("removals and fills of a few keys", || {
        let server = Server::start();
        let cache = connected(&server);
        let versions = Arc::new(Versions(Default::default()));
        let stale = Count::default();
        let end = Instant::now() + LONGEST;
        multi_thread(4).block_on(async {
            let workers = (0..8).map(|worker| {
                let (cache, versions, stale) = (cache.clone(), Arc::clone(&versions), stale.clone());
                tokio::spawn(async move {
                    for round in (0..ROUNDS).take_while(|_| Instant::now() < end) {
                        let key = (round * 7 + worker * 3) % 8;
                        let options = || call("f").arg(key);
                        if (round + worker) % 3 == 0 {
                            let version = versions.0[key].fetch_add(1, Ordering::SeqCst) + 1;
                            cache.remove_async(options()).await.expect("the server is there");
                            // Also what arrives behind the removal.
                            for _ in 0..2 {
                                let seen: Option<u64> = cache.get_async(options()).await;
                                if seen.is_some_and(|seen| seen < version) {
                                    stale.add_one();
                                }
                                tokio::task::yield_now().await;
                            }
                        } else {
                            cache.cached_async(options(), async || versions.work(key)).await;
                        }
                    }
                })
            });
            for worker in workers.collect::<Vec<_>>() {
                worker.await.expect("it doesn't panic");
            }
        });
        assert_eq!(stale.read(), 0);
    });
}

/// A fill that was polled until its value was on its way to the server, and then no more; with its call.
async fn filled_and_left<'a>(
    cache: &'a CacheHandle,
    server: &Server,
    name: &'static str,
) -> (CacheOptions, Pin<Box<dyn Future<Output = String> + 'a>>) {
    for attempt in 0.. {
        let options = move || call(name).arg(attempt);
        let runs = Count::default();
        let counted = runs.clone();
        let work = async move || {
            counted.add_one();
            "old".to_owned()
        };
        let mut fill: Pin<Box<dyn Future<Output = String>>> = Box::pin(cache.cached_async(options(), work));
        let mut has_ended = false;
        while runs.read() == 0 {
            has_ended = futures::poll!(fill.as_mut()).is_ready();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if has_ended {
            // The server was quicker than the poll in which the work ran.
            continue;
        }
        let key = cache.key(&options()).expect("it has a key");
        eventually("the value is on the server", || server.has(&key)).await;
        return (options(), fill);
    }
    unreachable!("it tries without end")
}

#[test]
fn an_invalidation_goes_on_beside_a_fill_that_is_never_polled_again() {
    finishes("invalidations beside a fill that isn't polled", || {
        let server = Server::start();
        for cache in [connected(&server), connect(standalone(server.endpoint()).pool_size(2))] {
            multi_thread(2).block_on(async {
                let (options, removed) = filled_and_left(&cache, &server, "removed").await;
                assert_eq!(cache.remove_async(options.clone()).await.expect("the server is there").entries, 1);
                let (inserted_options, inserted) = filled_and_left(&cache, &server, "inserted").await;
                let new = "new".to_owned();
                cache.insert_async(inserted_options.clone(), &new).await.expect("the server is there");
                assert_eq!(cache.get_async(inserted_options).await, Some(new));
                let (cleared_options, cleared) = filled_and_left(&cache, &server, "cleared").await;
                assert!(cache.clear_namespace_async("main").await.expect("the server is there").entries >= 1);
                // And when it is polled again after all, it brings nothing back.
                assert_eq!((removed.await, inserted.await, cleared.await), ("old".into(), "old".into(), "old".into()));
                for options in [options, cleared_options] {
                    assert!(!cache.contains_async(options.clone()).await);
                    assert_eq!(cache.get_async::<String>(options).await, None);
                }
            });
        }
    });
}

#[test]
fn a_handler_of_select_may_invalidate_what_another_branch_fills() {
    finishes("a removal in a handler of select", || {
        let server = Server::start();
        let cache = connected(&server);
        current_thread().block_on(async {
            for round in 0..200 {
                let mut fill = pin!(cache.cached_async(call("f"), async || 1));
                for polls in 0.. {
                    tokio::select! {
                        biased;
                        _ = fill.as_mut() => break,
                        () = tokio::time::sleep(Duration::from_micros(20)) => {}
                    }
                    // Once, while it looks, or stores, or after.
                    if polls == round % 20 {
                        cache.remove_async(call("f")).await.expect("the server is there");
                    }
                }
                cache.remove_async(call("f")).await.expect("the server is there");
            }
        });
    });
}

#[test]
fn a_sync_invalidation_ends_beside_fills_that_only_its_own_thread_could_poll() {
    finishes("sync invalidations in a current-thread runtime and in a LocalSet", || {
        let server = Server::start();
        let cache = connected(&server);
        let round = |n: usize, cache: &CacheHandle| match n % 3 {
            0 => cache.clear_namespace("main").expect("the server is there"),
            1 => cache.insert(call("f").arg(n), &2).expect("the server is there"),
            _ => cache.remove(call("f").arg(n)).expect("the server is there"),
        };
        current_thread().block_on(async {
            for n in 0..60 {
                let filling = cache.clone();
                let fill = tokio::spawn(async move { filling.cached_async(call("f").arg(n), async || 1).await });
                // Some are asking, some are storing.
                for _ in 0..n {
                    tokio::time::sleep(Duration::from_micros(50)).await;
                }
                round(n, &cache);
                fill.await.expect("it doesn't panic");
            }
        });
        LocalSet::new().block_on(&multi_thread(1), async {
            for n in 0..60 {
                let filling = cache.clone();
                let fill = spawn_local(async move { filling.cached_async(call("f").arg(n), async || 1).await });
                for _ in 0..n {
                    tokio::time::sleep(Duration::from_micros(50)).await;
                }
                round(n, &cache);
                fill.await.expect("it doesn't panic");
            }
        });
    });
}

#[test]
fn a_full_blocking_pool_and_blocked_workers_end_by_their_own_clocks() {
    const THREADS: usize = 12;
    for with_server in [true, false] {
        finishes("sync calls on all workers while the blocking pool is full", move || {
            let server = if with_server { Server::start() } else { Server::absent() };
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let runtime =
                builder.worker_threads(2).max_blocking_threads(THREADS).enable_all().build().expect("a runtime");
            let cache = {
                let _inside = runtime.enter();
                let quick = Duration::from_millis(200);
                standalone(server.endpoint()).command_timeout(quick).build().expect("the builder is right")
            };
            if with_server {
                until_connected(&cache);
            }
            // `max_blocking_threads` counts the workers' own threads too.
            runtime.block_on(async {
                for round in 0..3 {
                    let blocking = (0..2 * THREADS).map(|n| {
                        let cache = cache.clone();
                        spawn_blocking(move || cache.cached(call("f").arg(round).arg(n % 5), || n % 5))
                    });
                    let blocking: Vec<_> = blocking.collect();
                    let tasks = (0..8).map(|n| {
                        let cache = cache.clone();
                        tokio::spawn(async move { cache.cached(call("f").arg(round).arg(n % 5), || n % 5) })
                    });
                    for task in tasks.collect::<Vec<_>>().into_iter().chain(blocking) {
                        task.await.expect("it doesn't panic");
                    }
                }
            });
            if with_server {
                let before = cache.stats().server_hits;
                wait_until("the server is used again", DEADLINE, || {
                    cache.cached(call("f").arg(0).arg(1), || 1);
                    cache.stats().server_hits > before
                });
            }
        });
    }
}

#[test]
fn async_calls_elsewhere_end_while_all_workers_of_the_handles_runtime_are_blocked() {
    finishes("async calls of another executor", || {
        let server = Server::start();
        let runtime = multi_thread(1);
        let cache = connect_in(&runtime, standalone(server.endpoint()).command_timeout(Duration::from_millis(100)));
        let (free, freed) = mpsc::channel::<()>();
        let blocked = runtime.spawn(async move { freed.recv() });
        thread::sleep(Duration::from_millis(20));
        futures::executor::block_on(async {
            for n in 0..8 {
                assert_eq!(cache.cached_async(call("f").arg(n), async || n).await, n);
                // Confirmed by a thread of the handle's own, or journalled.
                let _ = cache.remove_async(call("f").arg(n)).await;
                assert_eq!(cache.get_async::<i32>(call("f").arg(n)).await, None);
            }
        });
        drop(free);
        assert!(runtime.block_on(blocked).expect("it doesn't panic").is_err());
    });
}

#[test]
fn sync_calls_use_the_server_while_all_workers_of_the_handles_runtime_are_blocked() {
    finishes("sync calls while all workers are blocked", || {
        let server = Server::start();
        let runtime = multi_thread(2);
        let cache = connect_in(&runtime, standalone(server.endpoint()).command_timeout(Duration::from_millis(100)));
        cache.insert(call("f"), &1).expect("the server is there");
        let (free, freed) = mpsc::channel::<()>();
        let freed = Arc::new(gate::Gate::new(freed));
        let blocked: Vec<_> = (0..2)
            .map(|_| {
                let freed = Arc::clone(&freed);
                runtime.spawn(async move { freed.wait() })
            })
            .collect();
        wait_until("the workers are blocked", DEADLINE, || freed.waiting() == 2);
        let before = cache.stats();
        wait_until("the server is used by a thread of the handle's own", DEADLINE, || {
            assert_eq!(cache.cached(call("f"), || 1), 1);
            cache.stats().server_hits > before.server_hits + 10
        });
        assert_eq!(cache.stats().circuit_openings, before.circuit_openings, "the server was never at fault");
        futures::executor::block_on(async {
            assert_eq!(cache.cached_async(call("async"), async || 1).await, 1);
            assert_eq!(cache.get_async::<i32>(call("async")).await, Some(1));
        });
        cache.insert(call("f"), &2).expect("the server is there");
        assert_eq!(cache.remove(call("f")).expect("the server is there").entries, 1);
        drop(free);
        for task in blocked {
            runtime.block_on(task).expect("it doesn't panic");
        }
        // What the former place had is gone, now that it gets to run.
        wait_until("one connection is left", DEADLINE, || server.connections() == 1);
        assert_eq!(runtime.block_on(cache.cached_async(call("f"), async || 3)), 3);
        cache.close();
        wait_until("none is left", DEADLINE, || server.connections() == 0);
    });
}

/// A gate at which threads wait until its sender is gone.
mod gate {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::Receiver;

    pub(super) struct Gate(Mutex<Receiver<()>>, AtomicUsize);

    impl Gate {
        pub(super) fn new(receiver: Receiver<()>) -> Self {
            Self(Mutex::new(receiver), AtomicUsize::new(0))
        }

        pub(super) fn wait(&self) {
            self.1.fetch_add(1, Ordering::SeqCst);
            let receiver = self.0.lock().expect("no holder panics");
            assert!(receiver.recv().is_err());
        }

        pub(super) fn waiting(&self) -> usize {
            self.1.load(Ordering::SeqCst)
        }
    }
}

#[test]
fn a_sync_caller_doesnt_wait_for_a_leader_whose_runtime_has_stopped() {
    for cache in [in_memory(), connected(&Server::start())] {
        finishes("a sync call after block_on of its leader's runtime has returned", move || {
            let runtime = current_thread();
            runtime.block_on(async {
                let leading = cache.clone();
                let work = async || std::future::pending::<i32>().await;
                tokio::spawn(async move { leading.cached_async(call("f"), work).await });
                let_others_run().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            });
            assert_eq!(cache.cached(call("f"), || 1), 1, "on the thread that would have to go on");
            let elsewhere = cache.clone();
            let value = thread::spawn(move || elsewhere.cached(call("f"), || 2)).join().expect("it doesn't panic");
            assert_eq!(value, 2, "on another thread, once the leader is seen not to run");
        });
    }
}

#[test]
fn an_async_caller_takes_over_from_a_leader_that_isnt_polled_any_more() {
    for cache in [in_memory(), connected(&Server::start())] {
        finishes("calls beside a leader that isn't polled", move || {
            #[expect(clippy::async_yields_async, reason = "it's left for a while")]
            let lead = async |name: &'static str| {
                let (begun, begins) = tokio::sync::oneshot::channel();
                let leading = cache.clone();
                let mut leader = Box::pin(async move {
                    let work = async || {
                        begun.send(()).expect("the test waits for it");
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        1
                    };
                    leading.cached_async(call(name), work).await
                });
                tokio::select! {
                    _ = leader.as_mut() => unreachable!("its work has hardly begun"),
                    begun = begins => begun.expect("the work begins"),
                }
                leader
            };
            current_thread().block_on(async {
                let leader = lead("awaited").await;
                assert_eq!(cache.cached_async(call("awaited"), async || 2).await, 2);
                assert_eq!(cache.cached_async(call("awaited"), async || 3).await, 2, "what it brings is kept");
                assert_eq!(leader.await, 1, "and the late one has its own");
                assert_eq!(cache.cached_async(call("awaited"), async || 4).await, 2);
            });
            let leader = current_thread().block_on(lead("without a runtime"));
            let waits = cache.cached_async(call("without a runtime"), async || 2);
            assert_eq!(futures::executor::block_on(waits), 2);
            drop(leader);
        });
    }
}

#[test]
fn a_sync_caller_waits_for_a_leader_that_is_slow_and_runs() {
    finishes("a sync call beside slow async work", || {
        let cache = in_memory();
        let runtime = multi_thread(1);
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let leading = cache.clone();
        let leader = runtime
            .spawn(async move { leading.cached_async(call("f"), async || told.await.map(|()| 1).unwrap_or(0)).await });
        wait_until("the work runs", DEADLINE, || cache.stats().runs == 1);
        let waiting = cache.clone();
        let waiter = thread::spawn(move || waiting.cached(call("f"), || 2));
        // Longer than it takes to see that a leader doesn't run.
        thread::sleep(Duration::from_millis(3_500));
        assert!(!waiter.is_finished());
        tell.send(()).expect("the work waits for it");
        assert_eq!(waiter.join().expect("it doesn't panic"), 1);
        assert_eq!(runtime.block_on(leader).expect("it doesn't panic"), 1);
    });
}

/// Asks for its own key while it's written.
#[derive(Clone)]
struct Nosy(CacheHandle, Arc<AtomicBool>);

impl Serialize for Nosy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.1.store(true, Ordering::SeqCst);
        let inner = self.clone();
        let own = self.0.cached(call("f"), move || inner);
        drop(own);
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Nosy {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("never needed"))
    }
}

#[test]
fn a_value_may_ask_for_its_own_key_while_it_is_encoded() {
    for cache in [in_memory(), connected(&Server::start())] {
        finishes("a value whose Serialize asks for its own key", move || {
            let asked = Arc::new(AtomicBool::new(false));
            cache.cached(call("f"), || Nosy(cache.clone(), Arc::clone(&asked)));
            assert!(asked.swap(false, Ordering::SeqCst));
            cache.remove(call("f")).expect("the cache is there");
            let work = async || Nosy(cache.clone(), Arc::clone(&asked));
            current_thread().block_on(cache.cached_async(call("f"), work));
            assert!(asked.load(Ordering::SeqCst));
        });
    }
}

#[test]
fn a_get_in_a_loop_keeps_no_work_from_its_turn() {
    finishes("work beside a loop of gets", || {
        let server = Server::start();
        let cache = connected(&server);
        let runtime = multi_thread(2);
        let stop = Arc::new(AtomicBool::new(false));
        let loops: Vec<_> = (0..2)
            .map(|_| {
                let (cache, stop) = (cache.clone(), Arc::clone(&stop));
                runtime.spawn(async move {
                    while !stop.load(Ordering::SeqCst) {
                        let _: Option<i32> = cache.get_async(call("f")).await;
                    }
                })
            })
            .collect();
        runtime.block_on(async {
            for n in 0..20 {
                let value = tokio::spawn({
                    let cache = cache.clone();
                    async move { cache.cached_async(call("f"), async || n).await }
                });
                assert_eq!(value.await.expect("it doesn't panic"), n);
                cache.remove_async(call("f")).await.expect("the server is there");
            }
            stop.store(true, Ordering::SeqCst);
            for task in loops {
                task.await.expect("it doesn't panic");
            }
        });
    });
}

#[test]
fn after_failed_work_a_waiter_doesnt_overwrite_another_programs_key() {
    finishes("a waiter that takes over on a foreign key", || {
        let server = Server::start();
        let cache = connected(&server);
        let key = cache.key(&call("f")).expect("it has a key");
        server.command(&["RPUSH", &key, "theirs"]);
        multi_thread(2).block_on(async {
            let (tell, told) = tokio::sync::oneshot::channel::<()>();
            let leading = cache.clone();
            let leader = tokio::spawn(async move {
                let work = async || {
                    let _ = told.await;
                    Err::<i32, _>("on purpose")
                };
                leading.try_cached_async(call("f"), work).await
            });
            eventually("the leader works", || cache.stats().runs == 1).await;
            let waiters: Vec<_> = (0..4)
                .map(|_| {
                    let cache = cache.clone();
                    tokio::spawn(async move { cache.try_cached_async(call("f"), async || Ok::<_, ()>(1)).await })
                })
                .collect();
            tokio::time::sleep(Duration::from_millis(50)).await;
            tell.send(()).expect("the work waits for it");
            assert!(leader.await.expect("it doesn't panic").is_err());
            for waiter in waiters {
                assert_eq!(waiter.await.expect("it doesn't panic"), Ok(1));
            }
        });
        assert_eq!(server.command(&["LLEN", &key]).integer(), 1);
    });
}

#[test]
fn a_waiter_on_an_insert_has_its_value_before_the_server_does() {
    finishes("a call beside an insert on a frozen server", || {
        let server = Server::start();
        let cache = connected(&server);
        current_thread().block_on(async {
            server.freeze();
            let mut insert = pin!(cache.insert_async(call("f"), &1));
            assert!(futures::poll!(insert.as_mut()).is_pending());
            assert_eq!(cache.cached_async(call("f"), async || 2).await, 1);
            assert!(futures::poll!(insert.as_mut()).is_pending());
            server.thaw();
            insert.await.expect("the server is back");
        });
    });
}

#[test]
fn a_refused_insert_leaves_nothing_of_the_old_value_to_an_outage() {
    const ROUNDS: usize = 150;
    finishes("inserts that the server refuses, beside readers", || {
        let server = Server::start();
        let cache = connected(&server);
        let runtime = multi_thread(2);
        let options = || CacheOptions::new("f").expire(Duration::from_secs(600));
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..4)
            .map(|reader| {
                let (cache, stop) = (cache.clone(), Arc::clone(&stop));
                runtime.spawn(async move {
                    while !stop.load(Ordering::SeqCst) {
                        if reader % 2 == 0 {
                            cache.cached_async(options(), async || 0).await;
                        } else {
                            let _: Option<u64> = cache.get_async(options()).await;
                        }
                    }
                })
            })
            .collect();
        let key = cache.key(&options()).expect("it has a key");
        let mut wrong = 0;
        for round in 1..=ROUNDS as u64 {
            server.command(&["CONFIG", "SET", "maxmemory", "0"]);
            wait_until("readers have seen the old value", DEADLINE, || {
                // What the journal has to remove, or a reader has computed, may come in between.
                server.set(&key, (round * 10).to_string());
                cache.get(options()) == Some(round * 10)
            });
            server.command(&["CONFIG", "SET", "maxmemory", "1"]);
            let refused = cache.insert(options(), &(round * 10 + 1));
            assert!(refused.expect_err("the server has no room").is_refused());
            // The old value has to go, and until it has the server isn't read; memory knows the new one or none.
            for _ in 0..20 {
                let seen: Option<u64> = cache.get(options());
                wrong += u32::from(seen.is_some_and(|seen| seen == round * 10));
            }
        }
        stop.store(true, Ordering::SeqCst);
        for reader in readers {
            runtime.block_on(reader).expect("it doesn't panic");
        }
        assert_eq!(wrong, 0);
    });
}
