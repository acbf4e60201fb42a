//! What the program is called with.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const MORE: &str = "\
The configuration is that of the service, read by the library's own loader: `cachehouse.toml` in the
current folder, or the file that --config or CACHEHOUSE_CONFIG names, then variables CACHEHOUSE_*.
For one run: CACHEHOUSE_AUTODETECT__ENDPOINT=10.0.0.7:6379 cachehouse check

Exit codes:
  0  all is well, or done
  1  a finding: a wrong configuration, a server that can't be used, a key that isn't there,
     a removal that wasn't confirmed
  2  usage: wrong arguments, or a question without a terminal to ask on

Results go to stdout; errors, questions and progress to stderr. Colours are for terminals alone, and
NO_COLOR turns them off.";

const MORE_OF_NAMESPACES: &str = "\
Looks at a sample of each server's keys and estimates from it, unless the server has no more. Bytes
are those of keys and values, without what the server adds to them.";

const MORE_OF_KEY: &str = "\
It's the key that the library makes of the same name, arguments and options. `opts!` and `#[cached]`
add the module that the call is written in, so it has to be given here. Arguments that aren't plain
JSON, such as `Some(None)` or a map whose keys are numbers, have keys that can't be made here.";

const MORE_OF_TOP: &str = "\
q, Esc and Ctrl-C end it. With --json and without --once it prints a line of JSON each time.";

/// Looks at what cache-house keeps on a Redis or Valkey server, and removes it.
#[derive(Debug, Parser)]
#[command(name = "cachehouse", version, after_long_help = MORE)]
#[command(after_help = "`cachehouse --help` tells of the configuration and the exit codes.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What all commands take.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The configuration's file, in place of `cachehouse.toml`
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Prints JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows the configuration in effect and where each value comes from, then tries the server
    Check,
    /// Counts keys, bytes and expiry by namespace
    #[command(after_help = MORE_OF_NAMESPACES)]
    Namespaces(Namespaces),
    /// Shows a key: what it is, how long it lives, and its value
    Show(Show),
    /// Prints the server's key of a call
    #[command(after_help = MORE_OF_KEY)]
    Key(Key),
    /// Removes keys
    Remove(Remove),
    /// Removes all keys of a namespace
    Clear(Clear),
    /// Removes all that was cached by calls with a tag
    RemoveTag(RemoveTag),
    /// Follows the metrics of a service: hit rate by namespace, time of work, circuit, journal, evictions
    #[command(after_help = MORE_OF_TOP)]
    Top(Top),
}

#[derive(Debug, Args)]
pub(crate) struct Namespaces {
    /// Looks at all keys, however many there are
    #[arg(long)]
    pub(crate) exact: bool,
    /// Keys of each server that are looked at
    #[arg(long, value_name = "KEYS", default_value_t = 10_000, conflicts_with = "exact")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) sample: u64,
    /// Namespaces that the table shows, the largest first; JSON has all
    #[arg(long, value_name = "COUNT", default_value_t = 50)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The key on the server, as `cachehouse key` prints it
    pub(crate) key: String,
    /// Prints the bytes of the value as they are, and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(crate) raw: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Key {
    /// The name of the call
    pub(crate) name: String,
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    #[arg(help = "Its arguments, each as JSON: 7, '\"a text\"', '[1,2]', null")]
    pub(crate) args: Vec<String>,
    /// A keyword argument, as JSON: 'lang="no"'
    #[arg(long, value_name = "NAME=ARG")]
    pub(crate) kwarg: Vec<String>,
    /// The module of the call: `shop::users`
    #[arg(long)]
    pub(crate) module: Option<String>,
    /// Its namespace, in place of the configuration's
    #[arg(long)]
    pub(crate) namespace: Option<String>,
    /// A tag of the call; its token is looked up on the server, and made where there is none, as a call does
    #[arg(long)]
    pub(crate) tag: Vec<String>,
    /// The version of the value's type, in place of the configuration's
    #[arg(long, value_name = "NUMBER")]
    pub(crate) type_version: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Keys on the server, as `cachehouse key` prints them
    #[arg(required = true)]
    pub(crate) key: Vec<String>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, Args)]
pub(crate) struct Clear {
    /// The namespace, as calls name it
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveTag {
    /// The tag, as calls name it
    pub(crate) tag: String,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, Args)]
pub(crate) struct Consent {
    /// Doesn't ask; needed where there is no terminal
    #[arg(long, short)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[arg(help = "Where the service tells its metrics as Prometheus reads them: http://HOST[:PORT][/metrics]")]
    pub(crate) url: String,
    /// Prints one table, of all since the service began, and ends
    #[arg(long)]
    pub(crate) once: bool,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds, conflicts_with = "once")]
    pub(crate) interval: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "accepts a number".to_owned())?;
    if (0.1..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("accepts a number from 0.1 to 3600".to_owned()) }
}
