//! Several processes that share a server: they call and invalidate at random for a while, and every answer is checked against the
//! invalidations that were confirmed before its call began.
//!
//! ```sh
//! cargo run --release --example fleet [-- OPTIONS]
//! ```
//!
//! Without `--endpoint` it runs over a `redis-server` of its own, and meanwhile it kills and freezes processes, cuts connections
//! and freezes the server. Ends with 1 if an answer was older than promised; see it happen with `--no-fence`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod history;
#[path = "../../tests/integration/support/mod.rs"]
#[expect(dead_code, unused_imports, reason = "the tests use the rest")]
mod support;

use std::net::Ipv4Addr;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use cache_house::{CacheHandle, CacheHouse};
use history::faults::Fault;
use history::tally::{Outcome, Tally};
use history::{History, Settings};
use support::Server;
use support::server::program;

const USAGE: &str = "usage: fleet [--endpoint HOST:PORT] [--processes N] [--callers N] [--seconds N] [--seed N]
             [--lease MILLISECONDS] [--no-fence]";

fn main() -> ExitCode {
    if std::env::var_os(history::MEMBER).is_some() {
        history::member::run();
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fleet: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    endpoint: Option<String>,
    processes: usize,
    seconds: u64,
    settings: Settings,
}

impl Arguments {
    fn read() -> Result<Self, String> {
        let settings = Settings { key_prefix: format!("fleet-{}", std::process::id()), ..Settings::default() };
        let mut read = Self { endpoint: None, processes: 4, seconds: 60, settings };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            if name == "--no-fence" {
                read.settings.fence = false;
                continue;
            }
            let value = arguments.next().ok_or_else(|| USAGE.to_owned())?;
            let number =
                || value.parse().ok().filter(|n| *n > 0).ok_or(format!("{name} {value}: not a number above 0"));
            match name.as_str() {
                "--endpoint" => read.endpoint = Some(value),
                "--processes" => read.processes = number()? as usize,
                "--callers" => read.settings.callers = number()? as usize,
                "--seconds" => read.seconds = number()?,
                "--seed" => read.settings.seed = number()?,
                "--lease" => read.settings.lease = Some(Duration::from_millis(number()?)),
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(read)
    }
}

/// Whether all was as promised.
fn run() -> Result<bool, String> {
    let Arguments { endpoint, processes, seconds, mut settings } = Arguments::read()?;
    let own = if endpoint.is_none() { Some(own_server()?) } else { None };
    settings.endpoint = endpoint.or(own.as_ref().map(Server::endpoint)).unwrap_or_default();
    let cache = connected(&settings)?;
    println!(
        "{processes} processes of {} callers for {seconds} s over {}, {}, {}, seed {}",
        settings.callers,
        settings.endpoint,
        if settings.fence { "with the fence" } else { "without a fence" },
        settings.lease.map_or("no lease".to_owned(), |lease| format!("lease {lease:?}")),
        settings.seed,
    );
    let history = History {
        settings,
        processes,
        host: Ipv4Addr::LOCALHOST,
        member: &|_| {
            let mut command = Command::new(std::env::current_exe().expect("the program has a path"));
            command.arg("member");
            command
        },
        servers: own.as_slice(),
        faults: if own.is_some() { Fault::ALL } else { &[] },
    };
    let outcome = history.run(Duration::from_secs(seconds), |_| false);
    report(&outcome);
    // Nothing is left on a server that goes on.
    let cleared = cache.clear_keys(&history.settings.key_prefix);
    cache.close();
    cleared.map_err(|error| format!("the keys are left: {error}"))?;
    match outcome.total().violations {
        0 => println!("no answer was older than promised"),
        violations => println!("{violations} answers were older than promised with the fence"),
    }
    let is_broken = history.settings.fence && outcome.total().violations > 0;
    Ok(!is_broken && outcome.failures.is_empty())
}

fn own_server() -> Result<Server, String> {
    let version = Command::new(program()).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if version.is_err() {
        return Err(
            "there is no `redis-server` to start: install it (apt-get install redis-server), or name a server \
                    with --endpoint HOST:PORT"
                .to_owned(),
        );
    }
    Ok(Server::start())
}

fn connected(settings: &Settings) -> Result<CacheHandle, String> {
    let builder = CacheHouse::builder().autodetect(&settings.endpoint).key_prefix(&settings.key_prefix);
    let cache = builder.build().map_err(|error| error.to_string())?;
    let health = cache.ready_blocking(Duration::from_secs(5));
    if !health.is_connected() {
        return Err(format!(
            "no server at {} ({health}): start one there, or leave --endpoint out, and the example starts its own",
            settings.endpoint
        ));
    }
    Ok(cache)
}

fn report(outcome: &Outcome) {
    println!(
        "\n{:<8} {:>9} {:>9} {:>9} {:>14} {:>13} {:>10} {:>11} {:>14}",
        "process",
        "calls",
        "hits",
        "runs",
        "invalidations",
        "refused fills",
        "not judged",
        "violations",
        "oldest answer"
    );
    for (number, tally) in outcome.tallies.iter().enumerate() {
        row(&(number + 1).to_string(), tally);
    }
    row("all", &outcome.total());
    let faults = &outcome.faults;
    println!(
        "\nfaults: processes killed {}, frozen {}; connections cut {}, server frozen {}",
        faults.kills, faults.freezes, faults.cuts, faults.server_freezes
    );
    println!("invalidations that the journal took first: {}", outcome.total().journalled);
    outcome.violations.iter().for_each(|violation| println!("{violation}"));
    outcome.failures.iter().for_each(|failure| println!("{failure}"));
}

fn row(name: &str, tally: &Tally) {
    let oldest = if tally.violations == 0 { "none".to_owned() } else { format!("{:.1?}", tally.oldest) };
    println!(
        "{name:<8} {:>9} {:>9} {:>9} {:>14} {:>13} {:>10} {:>11} {oldest:>14}",
        tally.judged + tally.not_judged,
        tally.hits,
        tally.runs,
        tally.invalidations,
        tally.fenced,
        tally.not_judged,
        tally.violations,
    );
}
