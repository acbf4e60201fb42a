//! What every backend does alike: one suite, run over each of them.

mod codecs;
mod direct;
mod keys;
mod lifecycle;
mod values;

use std::cell::Cell;
use std::time::Duration;

use cache_house::{CacheHandle, CacheHouse, CacheHouseBuilder, CacheOptions, ManualClock};
use tokio::runtime::Runtime;

use crate::support::cluster::Borrowed;
use crate::support::{self, Cluster, DEADLINE, Server, wait_until};

/// A backend to run the suite over.
pub(crate) trait Fixture: Sized {
    fn start() -> Self;

    /// A handle with these options; where there is a server, connected to it.
    fn build_with(&self, options: impl FnOnce(CacheHouseBuilder) -> CacheHouseBuilder) -> CacheHandle;

    /// What is on the server, where there is one.
    fn server(&self) -> Option<&dyn Stored>;

    /// Lets the whole TTL of the value at `key` go by, and not a moment more.
    fn outlive(&self, key: &str, ttl: Duration);

    fn build(&self) -> CacheHandle {
        self.build_with(|builder| builder)
    }

    /// Where there is a server: that it holds exactly these bytes.
    fn assert_stored(&self, key: &str, bytes: &[u8]) {
        if let Some(server) = self.server() {
            assert_eq!(server.get(key).as_deref(), Some(bytes));
        }
    }

    /// Where there is a server: that it holds no key.
    fn assert_server_is_empty(&self) {
        if let Some(server) = self.server() {
            assert_eq!(server.keys(), Vec::<String>::new());
        }
    }
}

/// What a server holds, looked at behind the cache's back.
pub(crate) trait Stored {
    fn get(&self, key: &str) -> Option<Vec<u8>>;
    fn set(&self, key: &str, value: &[u8]);
    fn keys(&self) -> Vec<String>;
    fn millis_left(&self, key: &str) -> i64;
}

impl Stored for Server {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.get(key)
    }

    fn set(&self, key: &str, value: &[u8]) {
        self.set(key, value);
    }

    fn keys(&self) -> Vec<String> {
        self.keys()
    }

    fn millis_left(&self, key: &str) -> i64 {
        self.millis_left(key)
    }
}

impl Stored for Cluster {
    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.get(key)
    }

    fn set(&self, key: &str, value: &[u8]) {
        self.owner(key).set(key, value);
    }

    fn keys(&self) -> Vec<String> {
        self.keys()
    }

    fn millis_left(&self, key: &str) -> i64 {
        self.owner(key).millis_left(key)
    }
}

/// No server at all, and a clock that the tests move.
pub(crate) struct Memory(ManualClock);

impl Fixture for Memory {
    fn start() -> Self {
        Self(ManualClock::new())
    }

    fn build_with(&self, options: impl FnOnce(CacheHouseBuilder) -> CacheHouseBuilder) -> CacheHandle {
        options(CacheHouse::builder()).memory().clock(self.0.clone()).build().expect("the builder is right")
    }

    fn server(&self) -> Option<&dyn Stored> {
        None
    }

    fn outlive(&self, _: &str, ttl: Duration) {
        self.0.advance(ttl);
    }
}

/// A server, and I/O on the handle's own thread.
pub(crate) struct Standalone(Server);

impl Fixture for Standalone {
    fn start() -> Self {
        Self(Server::start())
    }

    fn build_with(&self, options: impl FnOnce(CacheHouseBuilder) -> CacheHouseBuilder) -> CacheHandle {
        support::connect(at(&self.0, options))
    }

    fn server(&self) -> Option<&dyn Stored> {
        Some(&self.0)
    }

    fn outlive(&self, key: &str, ttl: Duration) {
        outlive_on(&self.0, key, ttl);
    }
}

/// A server, four connections to it, and I/O in a multi-thread runtime.
pub(crate) struct Pooled(Server, Runtime);

impl Fixture for Pooled {
    fn start() -> Self {
        Self(Server::start(), support::multi_thread(2))
    }

    fn build_with(&self, options: impl FnOnce(CacheHouseBuilder) -> CacheHouseBuilder) -> CacheHandle {
        let _inside = self.1.enter();
        support::connect(at(&self.0, options).pool_size(4))
    }

    fn server(&self) -> Option<&dyn Stored> {
        Some(&self.0)
    }

    fn outlive(&self, key: &str, ttl: Duration) {
        outlive_on(&self.0, key, ttl);
    }
}

/// A server, and nothing in this process's memory.
pub(crate) struct ServerOnly(Server);

impl Fixture for ServerOnly {
    fn start() -> Self {
        Self(Server::start())
    }

    fn build_with(&self, options: impl FnOnce(CacheHouseBuilder) -> CacheHouseBuilder) -> CacheHandle {
        let cache = support::connect(at(&self.0, options).fallback_to_memory(false));
        assert_eq!(cache.stats().memory_entries, 0);
        cache
    }

    fn server(&self) -> Option<&dyn Stored> {
        Some(&self.0)
    }

    fn outlive(&self, key: &str, ttl: Duration) {
        outlive_on(&self.0, key, ttl);
    }
}

/// A cluster of three shards.
pub(crate) struct Clustered(Borrowed);

impl Fixture for Clustered {
    fn start() -> Self {
        Self(Borrowed::get())
    }

    fn build_with(&self, options: impl FnOnce(CacheHouseBuilder) -> CacheHouseBuilder) -> CacheHandle {
        let builder = options(CacheHouse::builder()).cluster(self.0.endpoint());
        let cache = builder.command_timeout(Duration::from_secs(5)).build().expect("the builder is right");
        support::until_connected(&cache);
        cache
    }

    fn server(&self) -> Option<&dyn Stored> {
        Some(&*self.0)
    }

    fn outlive(&self, key: &str, ttl: Duration) {
        outlive_on(&*self.0, key, ttl);
    }
}

fn at(
    server: &Server,
    options: impl FnOnce(CacheHouseBuilder) -> CacheHouseBuilder,
) -> CacheHouseBuilder<cache_house::config::Standalone> {
    options(CacheHouse::builder()).standalone(server.endpoint()).command_timeout(Duration::from_secs(5))
}

fn outlive_on(server: &dyn Stored, key: &str, ttl: Duration) {
    let left = server.millis_left(key);
    assert!(left <= i64::try_from(ttl.as_millis()).expect("a short TTL"), "{left} ms left of {ttl:?}");
    assert_ne!(left, -1, "{key} never expires");
    wait_until("the key expires on the server", DEADLINE, || server.get(key).is_none());
}

/// Work that counts how often it's run.
#[derive(Default)]
pub(crate) struct Runs(Cell<u32>);

impl Runs {
    /// Counts, and gives `value`.
    pub(crate) fn gives<T>(&self, value: T) -> impl FnOnce() -> T {
        move || {
            self.0.set(self.0.get() + 1);
            value
        }
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.get()
    }
}

/// A call of this name, in no module.
pub(crate) fn call(name: &str) -> CacheOptions {
    CacheOptions::new(name)
}

/// Makes a test of each function, over each backend.
macro_rules! over_every_backend {
    ($($behaviour:ident),+ $(,)?) => {
        $crate::conformance::over_every_backend!(@ memory: Memory, $($behaviour)+);
        $crate::conformance::over_every_backend!(@ standalone: Standalone, $($behaviour)+);
        $crate::conformance::over_every_backend!(@ pooled: Pooled, $($behaviour)+);
        $crate::conformance::over_every_backend!(@ server_only: ServerOnly, $($behaviour)+);
        $crate::conformance::over_every_backend!(@ clustered: Clustered, $($behaviour)+);
    };
    (@ $backend:ident: $fixture:ident, $($behaviour:ident)+) => {
        mod $backend {
            use $crate::conformance::{Fixture, $fixture};

            $(
                #[test]
                fn $behaviour() {
                    super::$behaviour(&$fixture::start());
                }
            )+
        }
    };
}
pub(crate) use over_every_backend;
