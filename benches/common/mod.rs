//! What the benches have in common.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::unwrap_used, reason = "a bench that can't go on stops")]
#![allow(dead_code, reason = "each bench is a program of its own and needs a part of this")]

use std::hint::black_box;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cache_house::{CacheHandle, CacheHouse, CacheOptions, opts};
use fred::prelude::{Client, ClientLike, Config, KeysInterface, ServerConfig};
use serde::{Deserialize, Serialize};

/// 175 bytes of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct User {
    id: u64,
    name: String,
    email: String,
    bio: String,
    active: bool,
    balance: f64,
}

pub(crate) fn user(id: u64) -> User {
    User {
        id,
        name: "Ada Lovelace".into(),
        email: "ada@example.com".into(),
        bio: "Wrote the first program, for a machine that was never built in her time.".into(),
        active: true,
        balance: 1234.5,
    }
}

/// Different keys, so that calls don't coalesce.
pub(crate) const KEYS: u64 = 1024;

pub(crate) fn options(id: u64) -> CacheOptions {
    opts!("get_user", id, "full").expire(Duration::from_secs(3600))
}

/// Prints calls a second of the handle and of the raw client, and their ratio: measured in turn, the median of the pairs.
pub(crate) async fn beside_raw<Fut>(
    tasks: &[u64],
    cache: &CacheHandle,
    options: fn(u64) -> CacheOptions,
    raw_calls: impl Fn(u64, Instant) -> Fut,
) where
    Fut: Future<Output = u64> + Send + 'static,
{
    println!("{:>6} {:>12} {:>12} {:>7}", "tasks", "cache-house", "raw fred", "ratio");
    for &tasks in tasks {
        let mut pairs: Vec<(f64, f64)> = Vec::new();
        for round in 0..=ROUNDS {
            let ours = throughput(tasks, |task, start| cached_calls(cache.clone(), options, task, start)).await;
            let raw = throughput(tasks, &raw_calls).await;
            if round > 0 {
                pairs.push((ours, raw));
            }
        }
        let ours = median(pairs.iter().map(|pair| pair.0));
        let raw = median(pairs.iter().map(|pair| pair.1));
        let ratio = median(pairs.iter().map(|pair| pair.0 / pair.1));
        println!("{tasks:>6} {ours:>12.0} {raw:>12.0} {ratio:>7.2}");
    }
}

pub(crate) const ROUNDS: usize = 9;
pub(crate) const ROUND: Duration = Duration::from_millis(400);

/// Calls until the round is over; how many.
pub(crate) async fn cached_calls(
    cache: CacheHandle,
    options: fn(u64) -> CacheOptions,
    task: u64,
    start: Instant,
) -> u64 {
    let mut done = 0;
    while start.elapsed() < ROUND {
        let work = || async { unreachable!("every call is a hit") };
        let found: User = cache.cached_async(options((task * 7 + done) % KEYS), work).await;
        black_box(found);
        done += 1;
    }
    done
}

/// The same by fred's own `get`, which it sends in company; a custom command has a packet to itself.
pub(crate) async fn raw_calls(fred: Client, keys: Arc<[String]>, task: u64, start: Instant) -> u64 {
    let mut done = 0;
    while start.elapsed() < ROUND {
        let data: Bytes = fred.get(keys[((task * 7 + done) % KEYS) as usize].as_str()).await.unwrap();
        black_box(serde_json::from_slice::<User>(&data).unwrap());
        done += 1;
    }
    done
}

/// A handle with its server's connection; `expire` is that of calls that set none.
pub(crate) async fn connected(server: &RedisServer, expire: Duration) -> CacheHandle {
    let builder = CacheHouse::builder().standalone(("127.0.0.1", server.port));
    let cache = builder.command_timeout(Duration::from_secs(2)).expire(expire).build().unwrap();
    assert!(cache.ready(Duration::from_secs(5)).await.is_connected());
    cache
}

pub(crate) async fn fred_client(port: u16) -> Client {
    let config = Config { server: ServerConfig::new_centralized("127.0.0.1", port), ..Config::default() };
    let client = Client::new(config, None, None, None);
    client.init().await.unwrap();
    client
}

/// Calls a second by so many tasks.
pub(crate) async fn throughput<Fut>(tasks: u64, calls: impl Fn(u64, Instant) -> Fut) -> f64
where
    Fut: Future<Output = u64> + Send + 'static,
{
    let start = Instant::now();
    let tasks: Vec<_> = (0..tasks).map(|task| tokio::spawn(calls(task, start))).collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    done as f64 / start.elapsed().as_secs_f64()
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) struct RedisServer {
    process: Child,
    pub(crate) port: u16,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self::start_at(port, arguments)
    }

    pub(crate) fn start_at(port: u16, arguments: &[&str]) -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"]).args(arguments);
        command.stdout(Stdio::null());
        let process = command.spawn().expect("redis-server is installed (apt-get install redis-server)");
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Self { process, port }
    }

    pub(crate) fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
