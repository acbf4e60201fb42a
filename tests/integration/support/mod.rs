//! What the tests stand on: real servers, a network that can be broken, and waits that end.

pub(crate) mod cluster;
pub(crate) mod fake;
pub(crate) mod hosts;
pub(crate) mod logs;
pub(crate) mod process;
pub(crate) mod proxy;
#[cfg(feature = "metrics")]
pub(crate) mod recorder;
pub(crate) mod resp;
pub(crate) mod server;

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::config::Standalone;
use cache_house::{CacheHandle, CacheHouse, CacheHouseBuilder, Reconnect, Stats};
use tokio::runtime::{Builder, Runtime};

pub(crate) use cluster::Cluster;
pub(crate) use process::Process;
pub(crate) use proxy::{Mode, Proxy};
pub(crate) use server::Server;

/// How long anything may take that is bound to happen: far more than it needs on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Waits for `condition`, and panics naming `what` if it doesn't come true in time.
#[track_caller]
pub(crate) fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < deadline, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The same for async code, whose runtime goes on meanwhile.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Runs `code` on a thread of its own, so that a hang is a failure which names `what` and not the end of all tests.
#[track_caller]
pub(crate) fn finishes<R: Send + 'static>(what: &str, code: impl FnOnce() -> R + Send + 'static) -> R {
    finishes_within(DEADLINE, what, code)
}

/// The same for code that computes for so long that a busy machine needs more time.
#[track_caller]
pub(crate) fn finishes_within<R: Send + 'static>(
    deadline: Duration,
    what: &str,
    code: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let _ = sender.send(code());
    });
    match receiver.recv_timeout(deadline) {
        Ok(output) => output,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("hangs: {what}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("it sends before it ends"),
        },
    }
}

/// Lets tasks that are ready run, so that those which are going to wait do; for a current-thread runtime.
pub(crate) async fn let_others_run() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// What the line begins with that a test [says](say) in place of what the system can't do.
pub(crate) const SKIPPED: &str = "SKIPPED";

/// Writes a line past what catches a test's output, so that it's seen.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Runs the test of this name in a process of its own, for what the tests of one process would disturb for each other.
/// `name` is the test's path.
#[track_caller]
pub(crate) fn alone(name: &str, test: impl FnOnce()) {
    alone_in(name, Path::new("."), &[], test);
}

/// The same in this folder, with these variables.
#[track_caller]
pub(crate) fn alone_in(name: &str, folder: &Path, variables: &[(&str, &str)], test: impl FnOnce()) {
    let mut command = Command::new(std::env::current_exe().expect("the test binary has a path"));
    command.current_dir(folder).envs(variables.iter().copied());
    run_alone(command, name, test);
}

/// The same by a command that runs this binary with the arguments that it's given.
#[track_caller]
pub(crate) fn run_alone(mut command: Command, name: &str, test: impl FnOnce()) {
    const MARK: &str = "CACHE_HOUSE_TEST_ALONE";
    if std::env::var_os(MARK).is_some() {
        return test();
    }
    command.args([name, "--exact", "--nocapture"]).env(MARK, "1");
    let output = command.output().expect("the test binary runs");
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(told.contains("1 passed"), "{told}\n{errors}");
    errors.lines().filter(|line| line.starts_with(SKIPPED)).for_each(say);
}

/// A builder for this server, that looks for it often once it's lost.
pub(crate) fn standalone(endpoint: impl AsRef<str>) -> CacheHouseBuilder<Standalone> {
    let quick = Reconnect::default().min_delay(Duration::from_millis(10)).max_delay(Duration::from_millis(50));
    // Long enough that a busy machine isn't taken for an outage; tests of timeouts set their own.
    CacheHouse::builder().standalone(endpoint.as_ref()).reconnect(quick).command_timeout(Duration::from_secs(5))
}

/// A handle that is connected to this server.
pub(crate) fn connected(server: &Server) -> CacheHandle {
    connect(standalone(server.endpoint()))
}

/// The handle of this builder, built inside the runtime so that its I/O lives there, once it's connected.
#[track_caller]
pub(crate) fn connect_in(runtime: &Runtime, builder: CacheHouseBuilder<Standalone>) -> CacheHandle {
    let _inside = runtime.enter();
    connect(builder)
}

/// The handle of this builder, once it's connected.
#[track_caller]
pub(crate) fn connect(builder: CacheHouseBuilder<Standalone>) -> CacheHandle {
    let cache = builder.build().expect("the builder is right");
    until_connected(&cache);
    cache
}

#[track_caller]
pub(crate) fn until_connected(cache: &CacheHandle) {
    wait_until("the server is used", DEADLINE, || cache.health().is_connected());
}

#[track_caller]
pub(crate) fn until_degraded(cache: &CacheHandle) {
    wait_until("the server is given up", DEADLINE, || !cache.health().is_connected());
}

/// Hits, whichever tier they came from.
pub(crate) fn hits(stats: &Stats) -> u64 {
    stats.memory_hits + stats.server_hits
}

pub(crate) fn multi_thread(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().expect("a runtime can be made")
}

pub(crate) fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

/// How often something happened, on any thread.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicU32>);

impl Count {
    pub(crate) fn add_one(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn read(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}
