//! What is served while an origin is slow, then down, then back: a row for each second.
//!
//! ```sh
//! cargo run --release --example freshness [-- --server ENDPOINT] [--scale FACTOR]
//! ```
//!
//! In memory, or on the Redis or Valkey at the endpoint. Takes 12 s; a scale of 0.25 runs through it in 3 s.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to its user")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse, CacheOptions, Source, opts};
use tokio::time::{sleep, sleep_until};

/// Seconds of the whole, and callers that ask at once.
const SECONDS: u32 = 12;
const CALLERS: u32 = 8;

/// A source of values with troubles of its own.
struct Origin {
    begun: Instant,
    second: Duration,
    answers: Mutex<u32>,
}

/// How the origin does.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Well,
    Slow,
    Down,
}

/// What came of the calls of a second.
#[derive(Default)]
struct Row {
    fresh: u32,
    stale: u32,
    computed: u32,
    failed: u32,
    slowest: Duration,
    oldest: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("freshness: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let (mut server, mut scale) = (None, 1.0);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--server" => server = Some(value),
            "--scale" => scale = value.parse().map_err(|error| format!("--scale {value}: {error}"))?,
            _ => return Err(format!("unknown argument {argument}").into()),
        }
    }
    let second =
        Duration::try_from_secs_f64(scale).ok().filter(|second| !second.is_zero()).ok_or("the scale is above 0")?;
    let cache = match &server {
        Some(endpoint) => CacheHouse::builder().namespace("freshness").standalone(endpoint).build()?,
        None => CacheHouse::builder().memory().build()?,
    };
    println!("the cache: {}", cache.ready(Duration::from_secs(2)).await);
    println!(
        "a value is fresh for 1 s, then served for 1 s while one caller renews it, and kept for 5 s against errors\n"
    );
    println!("second  origin    fresh  stale  computed  failed    slowest  oldest value");

    let origin = Origin { begun: Instant::now(), second, answers: Mutex::new(0) };
    let run = std::process::id(); // a key that no earlier run has left
    for number in 0..SECONDS {
        let until = origin.begun + second * (number + 1);
        let state = origin.state();
        let rows = (0..CALLERS).map(|caller| ask_until(&cache, &origin, run, until, second * caller / 80));
        let mut total = Row::default();
        for row in futures::future::join_all(rows).await {
            total.add(&row);
        }
        print_row(number, state, &total);
        sleep_until(until.into()).await;
    }
    let stats = cache.stats();
    println!("\nruns of the work: {}, stale hits: {}, refreshes: {}", stats.runs, stats.stale_hits, stats.refreshes);
    println!("the origin answered {} times", *origin.answers.lock().expect("no holder panics"));
    cache.close_async().await;
    Ok(())
}

fn options(run: u32, second: Duration) -> CacheOptions {
    opts!("rate", run)
        .expire(second)
        .stale_while_revalidate(second)
        .stale_if_error(second * 5)
        .retry_after(second / 2)
        .soft_timeout(second / 5)
}

/// Asks ten times a second.
async fn ask_until(cache: &CacheHandle, origin: &Origin, run: u32, until: Instant, pause: Duration) -> Row {
    let mut row = Row::default();
    sleep(pause).await;
    while Instant::now() < until {
        let begun = Instant::now();
        let entry = cache.try_entry_async(options(run, origin.second), |_| origin.answer()).await;
        row.slowest = row.slowest.max(begun.elapsed());
        match entry {
            Err(_) => row.failed += 1,
            Ok(entry) => {
                row.oldest = row.oldest.max(entry.age().unwrap_or_default());
                match (entry.source(), entry.is_stale()) {
                    (_, true) => row.stale += 1,
                    (Source::Work, _) => row.computed += 1,
                    _ => row.fresh += 1,
                }
            }
        }
        sleep(origin.second / 10).await;
    }
    row
}

impl Origin {
    /// Well, slow from the third second on, down from the fifth, and back from the eleventh.
    fn state(&self) -> State {
        match self.begun.elapsed().as_secs_f64() / self.second.as_secs_f64() {
            0.0..2.0 | 10.0.. => State::Well,
            2.0..4.0 => State::Slow,
            _ => State::Down,
        }
    }

    async fn answer(&self) -> Result<u32, &'static str> {
        match self.state() {
            State::Well => sleep(self.second / 50).await,
            State::Slow => sleep(self.second * 3 / 5).await,
            State::Down => return Err("no route to the origin"),
        }
        let mut answers = self.answers.lock().expect("no holder panics");
        *answers += 1;
        Ok(*answers)
    }
}

impl Row {
    fn add(&mut self, other: &Self) {
        self.fresh += other.fresh;
        self.stale += other.stale;
        self.computed += other.computed;
        self.failed += other.failed;
        self.slowest = self.slowest.max(other.slowest);
        self.oldest = self.oldest.max(other.oldest);
    }
}

fn print_row(second: u32, state: State, row: &Row) {
    let origin = match state {
        State::Well => "well",
        State::Slow => "slow",
        State::Down => "down",
    };
    let Row { fresh, stale, computed, failed, slowest, oldest } = row;
    let (slowest, oldest) =
        (format!("{:.1} ms", slowest.as_secs_f64() * 1e3), format!("{:.1} s", oldest.as_secs_f64()));
    println!("{second:>6}  {origin:<8} {fresh:>6} {stale:>6} {computed:>9} {failed:>7} {slowest:>10}  {oldest:>12}");
}
