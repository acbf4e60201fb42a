//! What the members do.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, Source};
use rand::Rng;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::times::Times;
use super::world::{Begun, Change, KEYS, NAMESPACES, World, namespace};

/// Tasks of each member that call.
const CALLERS: usize = 16;
/// Threads of each member that call.
pub(crate) const SYNC_CALLERS: usize = 2;
/// The tasks of a member: its callers, and what invalidates.
pub(crate) const TASKS: usize = CALLERS + 1;
/// A call that takes longer counts as hung.
const HUNG: Duration = Duration::from_secs(10);
/// How long the work of some calls takes at most.
pub(crate) const SLOWEST_WORK: Duration = Duration::from_millis(20);

/// Begins the traffic of a member, which ends with the world.
pub(crate) fn begin(runtime: &Handle, cache: &CacheHandle, world: &Arc<World>, member: usize) -> Vec<JoinHandle<()>> {
    let mut all: Vec<_> = (0..CALLERS).map(|_| runtime.spawn(call(cache.clone(), Arc::clone(world), member))).collect();
    for _ in 0..SYNC_CALLERS {
        let (cache, world) = (cache.clone(), Arc::clone(world));
        all.push(runtime.spawn_blocking(move || call_blocking(&cache, &world, member)));
    }
    all.push(runtime.spawn(invalidate(cache.clone(), Arc::clone(world), member)));
    all
}

async fn call(cache: CacheHandle, world: Arc<World>, member: usize) {
    let mut times = Times::default();
    while !world.is_over() {
        let (key, pause) = choice();
        let begun = (world.begin(member, key), Instant::now());
        let work = |_| async {
            let version = world.read(key);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            version
        };
        let entry = tokio::time::timeout(HUNG, cache.entry_async(world.options(key), work)).await;
        let answer = entry.ok().map(|entry| (*entry.value(), entry.source()));
        if ended(&world, &mut times, &begun, answer) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    world.add(&mut times);
}

fn call_blocking(cache: &CacheHandle, world: &World, member: usize) {
    let mut times = Times::default();
    while !world.is_over() {
        let (key, pause) = choice();
        let begun = (world.begin(member, key), Instant::now());
        let entry = cache.entry(world.options(key), |_| {
            let version = world.read(key);
            thread::sleep(pause);
            version
        });
        let is_hung = begun.1.elapsed() > HUNG;
        if ended(world, &mut times, &begun, (!is_hung).then_some((*entry.value(), entry.source()))) {
            thread::sleep(Duration::from_millis(1));
        }
    }
    world.add(&mut times);
}

/// A key, and how long its work takes: most work is quick, and the rest ends behind invalidations.
fn choice() -> (usize, Duration) {
    let mut rng = rand::thread_rng();
    let pause = if rng.gen_bool(0.1) { SLOWEST_WORK.mul_f64(rng.gen_range(0.0..1.0)) } else { Duration::ZERO };
    (rng.gen_range(0..KEYS), pause)
}

/// Notes a call, which is hung without an answer; whether a pause is due.
fn ended(world: &World, times: &mut Times, (begun, at): &(Begun, Instant), answer: Option<(u64, Source)>) -> bool {
    let took = at.elapsed();
    match answer {
        Some((version, source)) => world.judge(begun, version, source),
        None => _ = world.counts.hung.fetch_add(1, Ordering::Relaxed),
    }
    if took > world.settings.bound {
        world.counts.late.fetch_add(1, Ordering::Relaxed);
    }
    times.add(took);
    if times.calls >= 16 {
        world.add(times);
    }
    times.calls == 0
}

/// Changes what the work reads, and says so to the cache: mostly a key, now and then all of a namespace.
async fn invalidate(cache: CacheHandle, world: Arc<World>, member: usize) {
    let mut journalled: Vec<Change> = Vec::new();
    while !world.is_over() {
        tokio::time::sleep(Duration::from_millis(4)).await;
        let key = rand::thread_rng().gen_range(0..KEYS);
        let is_whole = rand::thread_rng().gen_bool(0.01);
        let change =
            world.change(if is_whole { (key % NAMESPACES..KEYS).step_by(NAMESPACES).collect() } else { vec![key] });
        let applied = match (is_whole, world.is_tagged(key)) {
            (false, _) => cache.remove_async(world.options(key)).await,
            (true, true) => cache.remove_tag_async(namespace(key)).await,
            (true, false) => cache.clear_namespace_async(namespace(key)).await,
        };
        let applied = applied.expect("an outage is no error, and nothing else is wrong");
        world.returned(member, &change);
        if applied.journalled {
            journalled.push(change);
        } else {
            world.confirmed(&change);
        }
        if !journalled.is_empty() && cache.stats().journal_length == 0 {
            journalled.drain(..).for_each(|change| world.confirmed(&change));
        }
    }
}
