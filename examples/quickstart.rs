//! Counts the words of every text file under a folder, twice: the first pass does the work, the second finds it cached.
//!
//! ```sh
//! cargo run --release --example quickstart [PATH [ENDPOINT]]
//! ```
//!
//! With a Redis or Valkey at the endpoint, localhost:6379 where none is named, the counts outlive the program: run it again and it starts warm. Without
//! one they are cached in memory.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to its user")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, io};

use cache_house::config::Standalone;
use cache_house::{CacheHandle, CacheHouse, CacheHouseBuilder, Health, Stats, opts};
use futures::{StreamExt, stream};

/// How often each word occurs in a file; `None` for a file that isn't text.
type Words = Option<BTreeMap<String, u64>>;

/// A file, and what tells one version of it from the next.
struct Source {
    path: PathBuf,
    len: u64,
    modified: SystemTime,
}

/// What one pass over all files found.
#[derive(Default)]
struct Pass {
    total: BTreeMap<String, u64>,
    not_text: usize,
    unreadable: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let root = env::args_os().nth(1).map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), PathBuf::from);
    let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
    let (mut sources, mut unreadable) = (Vec::new(), 0);
    find(&root, &mut sources, &mut unreadable);

    let endpoint = env::args().nth(2).unwrap_or_else(|| "localhost:6379".into());
    let cache = builder(&endpoint).build()?;
    match cache.ready(Duration::from_millis(500)).await {
        Health::Connected { .. } => {
            println!("Redis on {endpoint}: what is counted now is still there for the next run")
        }
        _ => println!("no Redis on {endpoint}: caching in memory"),
    }
    let here = env::current_dir()?;
    let shown = root.strip_prefix(here).ok().filter(|path| !path.as_os_str().is_empty()).unwrap_or(&root);
    println!("counting words under {}, files: {}\n", shown.display(), sources.len());

    println!(
        "{:<8} {:>10} {:>7} {:>7} {:>12} {:>12} {:>8}",
        "pass", "time", "hits", "misses", "from memory", "from server", "counted"
    );
    let (first, from_server) = timed_pass("first", &cache, &sources).await;
    timed_pass("second", &cache, &sources).await;

    if from_server > 0 {
        println!("\nstarts warm: {from_server} of {} counts were on the server, left by an earlier run", sources.len());
    }
    unreadable += first.unreadable;
    if first.not_text + unreadable > 0 {
        println!("\nskipped: {} not text, {unreadable} not readable", first.not_text);
    }
    println!("\nthe most frequent words");
    let mut words: Vec<_> = first.total.iter().collect();
    words.sort_by(|one, two| two.1.cmp(one.1).then(one.0.cmp(two.0)));
    for (word, count) in words.into_iter().take(5) {
        println!("{count:>8}  {word}");
    }

    cache.close_async().await;
    Ok(())
}

fn builder(endpoint: &str) -> CacheHouseBuilder<Standalone> {
    CacheHouse::builder().namespace("quickstart").expire(Duration::from_secs(600)).standalone(endpoint)
}

/// Goes over all files, and prints what the cache did meanwhile; how many counts came from the server.
async fn timed_pass(name: &str, cache: &CacheHandle, sources: &[Source]) -> (Pass, u64) {
    let (before, start) = (cache.stats(), Instant::now());
    let pass = count_all(cache, sources).await;
    let (after, time) = (cache.stats(), start.elapsed());

    let grown = |counter: fn(&Stats) -> u64| counter(&after) - counter(&before);
    let (memory, server) = (grown(|stats| stats.memory_hits), grown(|stats| stats.server_hits));
    let (misses, runs) = (grown(|stats| stats.misses), grown(|stats| stats.runs));
    let millis = format!("{:.1} ms", time.as_secs_f64() * 1e3);
    println!("{name:<8} {millis:>10} {:>7} {misses:>7} {memory:>12} {server:>12} {runs:>8}", memory + server);
    (pass, server)
}

/// Several files at once, so that no file waits for the disk or the server of another.
async fn count_all(cache: &CacheHandle, sources: &[Source]) -> Pass {
    let mut counts = stream::iter(sources).map(|source| cached_words(cache, source)).buffered(32);
    let mut pass = Pass::default();
    while let Some(words) = counts.next().await {
        match words {
            Ok(Some(words)) => words.into_iter().for_each(|(word, n)| *pass.total.entry(word).or_default() += n),
            Ok(None) => pass.not_text += 1,
            Err(_) => pass.unreadable += 1,
        }
    }
    pass
}

/// A file that has changed is another call. Only `Ok` is stored: what can't be read now is tried again next time.
async fn cached_words(cache: &CacheHandle, Source { path, len, modified }: &Source) -> io::Result<Words> {
    cache.try_cached_async(opts!("words", path, len, modified), || count(path)).await
}

/// The work that is worth caching.
async fn count(path: &Path) -> io::Result<Words> {
    let Ok(text) = String::from_utf8(tokio::fs::read(path).await?) else { return Ok(None) };
    if text.contains('\0') {
        return Ok(None);
    }
    let mut words = BTreeMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *words.entry(word.to_lowercase()).or_default() += 1;
    }
    Ok(Some(words))
}

/// Adds the files under `path`, or `path` itself; links aren't followed.
fn find(path: &Path, sources: &mut Vec<Source>, unreadable: &mut usize) {
    let found = fs::symlink_metadata(path).and_then(|metadata| {
        if metadata.is_file() {
            let modified = metadata.modified()?;
            sources.push(Source { path: path.to_owned(), len: metadata.len(), modified });
        } else if metadata.is_dir() {
            let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
            entries.sort_by_key(fs::DirEntry::path);
            entries.iter().for_each(|entry| find(&entry.path(), sources, unreadable));
        }
        Ok(())
    });
    *unreadable += usize::from(found.is_err());
}
