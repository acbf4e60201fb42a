//! `cachehouse check`: the configuration in effect, and whether the server can be used as it should.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheOptions, Config, Error, Health, NearCache, ServerReport};
use serde::Serialize;

use crate::arguments::Common;
use crate::failure::Failure;
use crate::output;
use crate::session::{PATIENCE, config, reason, settled};

const ROUND_TRIPS: u32 = 9;

/// What was found.
#[derive(Default, Serialize)]
struct Report {
    ok: bool,
    configuration: Vec<Setting>,
    /// As the handle has it, once it's known.
    health: Option<String>,
    servers: Vec<Server>,
    /// Of a lookup, the median.
    round_trip_us: Option<u64>,
    /// Whether a value was stored, read and removed.
    trial: Option<bool>,
    near_cache: Option<String>,
    problems: Vec<String>,
}

#[derive(Serialize)]
struct Setting {
    key: String,
    value: String,
    source: String,
}

#[derive(Serialize)]
struct Server {
    endpoint: String,
    version: Option<String>,
    round_trip_us: Option<u64>,
    /// Commands that the user may not run.
    missing: Vec<String>,
}

pub(crate) async fn run(common: &Common) -> Result<(), Failure> {
    let mut report = Report::default();
    check(config(common), &mut report, common.json).await?;
    report.ok = report.problems.is_empty();
    if common.json {
        output::print_json(&report)?;
        return if report.ok { Ok(()) } else { Err(Failure::Told) };
    }
    if report.ok {
        return output::print("\nall is well");
    }
    Err(Failure::finding(report.problems.join("\n\n")))
}

/// Finds out, and unless it's `silent` prints what is found at once: some of it takes seconds.
async fn check(config: Result<Config, Error>, report: &mut Report, silent: bool) -> Result<(), Failure> {
    let print = |text: &str| if silent { Ok(()) } else { output::print(text) };
    let wrong = |error: Error| format!("the configuration is wrong\n\n{error}");
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            report.problems.push(wrong(error));
            return Ok(());
        }
    };
    print(&format!("the configuration in effect\n\n{}\n", output::harmless(&config.to_string())))?;
    report.configuration = config.settings().iter().map(Setting::of).collect();
    let cache = match config.into_builder().build() {
        Ok(cache) => cache,
        Err(error) => {
            report.problems.push(wrong(error));
            return Ok(());
        }
    };
    let tried = try_server(&cache, report, print).await;
    cache.close_async().await;
    tried
}

/// Connects, and adds what it finds to the report.
async fn try_server(
    cache: &CacheHandle,
    report: &mut Report,
    print: impl Fn(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let health = settled(cache).await;
    report.health = Some(health.to_string());
    report.servers = cache.inspect_async().await.into_iter().map(Server::of).collect();
    for server in &report.servers {
        print(&server.line())?;
    }
    let missing: BTreeSet<_> = report.servers.iter().flat_map(|server| &server.missing).cloned().collect();
    let missing = missing.into_iter().collect::<Vec<_>>().join(", ");
    match health {
        Health::Memory => return print("there is no server to try: [memory]"),
        Health::Connected { .. } => {
            print(&health.to_string())?;
            try_calls(cache, report, print).await?;
        }
        health => report.problems.push(format!("the server can't be used\n\n{}", reason(&health))),
    }
    if !missing.is_empty() {
        let head = if report.problems.is_empty() { "the server can be used in part\n\n" } else { "" };
        report.problems.push(format!(
            "{head}the user may not run: {missing}\n\
             allow it with ACL SETUSER, or name another user; docs/permissions.md says what each is for"
        ));
    }
    Ok(())
}

/// What calls do, on a server that is connected.
async fn try_calls(
    cache: &CacheHandle,
    report: &mut Report,
    print: impl Fn(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let round_trip = round_trip(cache).await;
    report.round_trip_us = Some(micros(round_trip));
    print(&format!("round trip: {round_trip:.1?}, the median of {ROUND_TRIPS}"))?;
    let trial = trial(cache).await;
    report.trial = Some(trial.is_ok());
    match trial {
        Ok(()) => print("insert, get, remove: fine")?,
        Err(problem) => report.problems.push(format!("the server can't be used as it should\n\n{problem}")),
    }
    let near_cache = settled_near_cache(cache).await;
    report.near_cache = Some(near_cache.to_string());
    match near_cache {
        NearCache::Off => {}
        NearCache::On => print("near cache: on")?,
        status => report.problems.push(format!("the server can be used, and there is no near cache\n\n{status}")),
    }
    Ok(())
}

impl Setting {
    fn of(setting: &cache_house::config::Setting) -> Self {
        let [key, value, source] = [setting.key(), setting.value(), setting.source()].map(str::to_owned);
        Self { key, value, source }
    }
}

impl Server {
    fn of(report: ServerReport) -> Self {
        let ServerReport { endpoint, version, round_trip, missing, .. } = report;
        Self { endpoint, version, round_trip_us: round_trip.map(micros), missing }
    }

    fn line(&self) -> String {
        let version = self.version.as_deref().unwrap_or("a server that doesn't tell its version");
        let round_trip = self.round_trip_us.map(Duration::from_micros);
        let round_trip = round_trip.map_or("no answer".to_owned(), |time| format!("{time:.1?}"));
        format!("{}: {}, {round_trip}", self.endpoint, output::one_line(version))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whether there is a near cache, once that's known.
async fn settled_near_cache(cache: &CacheHandle) -> NearCache {
    let begin = Instant::now();
    while cache.near_cache() == NearCache::Connecting && begin.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cache.near_cache()
}

async fn round_trip(cache: &CacheHandle) -> Duration {
    let mut times = Vec::new();
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        cache.contains_async(call()).await;
        times.push(start.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

/// Stores a value in the configured namespace, reads it and removes it.
async fn trial(cache: &CacheHandle) -> Result<(), String> {
    let value = format!("{:?}", Instant::now());
    let at = |step: &str, error: Error| format!("{step}: {error}");
    let inserted = cache.insert_async(call(), &value).await.map_err(|error| at("insert", error))?;
    if inserted.journalled {
        return Err(format!("insert: the server is gone ({})", cache.health()));
    }
    let before = cache.stats().server_hits;
    let read = cache.get_async::<String>(call()).await;
    if read.as_ref() != Some(&value) || cache.stats().server_hits == before {
        return Err(format!("get: what was just inserted isn't read from the server ({})", cache.health()));
    }
    if cache.remove_async(call()).await.map_err(|error| at("remove", error))?.entries == 0 {
        return Err("remove: what was just inserted isn't there".into());
    }
    Ok(())
}

/// A key that no program has.
fn call() -> CacheOptions {
    CacheOptions::new("cachehouse check").arg(std::process::id()).expire(Duration::from_secs(10))
}
