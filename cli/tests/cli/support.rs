//! Runs the program, and what it's run against.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cache_house::{CacheHandle, CacheHouse};
use serde_json::Value;
use tempfile::TempDir;

// What starts the servers of the library's own tests.
#[path = "../../../tests/integration/support/cluster.rs"]
#[allow(dead_code, reason = "the library's tests need more of it")]
pub(crate) mod cluster;
#[path = "../../../tests/integration/support/process.rs"]
#[allow(dead_code, reason = "the library's tests need more of it")]
pub(crate) mod process;
#[path = "../../../tests/integration/support/resp.rs"]
#[allow(dead_code, reason = "the library's tests need more of it")]
pub(crate) mod resp;
#[path = "../../../tests/integration/support/server.rs"]
#[allow(dead_code, reason = "the library's tests need more of it")]
pub(crate) mod server;

pub(crate) use server::Server;

/// How long anything may take that is bound to happen: far more than it needs on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

#[track_caller]
pub(crate) fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < deadline, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[track_caller]
pub(crate) fn until_connected(cache: &CacheHandle) {
    wait_until("the server is used", DEADLINE, || cache.health().is_connected());
}

/// A service's handle on this server.
pub(crate) fn service(server: &Server) -> CacheHandle {
    let builder = CacheHouse::builder().standalone(server.endpoint().as_str()).command_timeout(Duration::from_secs(5));
    let cache = builder.build().expect("the builder is right");
    until_connected(&cache);
    cache
}

/// The program in a folder of its own.
pub(crate) struct Program {
    folder: TempDir,
    variables: Vec<(String, String)>,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("it's UTF-8");
        let code = output.status.code().expect("it ends by itself");
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Program {
    /// Without a configuration.
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().expect("a temporary folder can be made"), variables: Vec::new() }
    }

    /// Configured for this server, with patience for a busy machine.
    pub(crate) fn on(endpoint: &str) -> Self {
        let timeout = ("CACHEHOUSE_CONNECTION__COMMAND_TIMEOUT", "5s");
        Self::new().with("CACHEHOUSE_AUTODETECT__ENDPOINT", endpoint).with(timeout.0, timeout.1)
    }

    pub(crate) fn with(mut self, variable: &str, value: &str) -> Self {
        self.variables.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// A file in its folder.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.folder.path().join(name), text).expect("the folder can be written to");
        self
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().expect("the program runs"))
    }

    /// The same with an output whose reader has gone before the first line.
    #[track_caller]
    pub(crate) fn run_unread(&self, arguments: &[&str]) -> Run {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        drop(reader);
        let mut child =
            self.command(arguments).stdout(writer).stderr(Stdio::piped()).spawn().expect("the program runs");
        let begin = Instant::now();
        while child.try_wait().expect("it can be waited for").is_none() {
            if begin.elapsed() > DEADLINE {
                child.kill().expect("it can be ended");
                panic!("not within {DEADLINE:?}: {arguments:?} ends");
            }
            thread::sleep(Duration::from_millis(2));
        }
        Run::of(child.wait_with_output().expect("it has ended"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_cachehouse")));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CACHEHOUSE_") {
                command.env_remove(name);
            }
        }
        // The width of help.
        command.env("COLUMNS", "100").envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// What it prints where all is well.
    #[track_caller]
    pub(crate) fn prints(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{arguments:?}: {run:?}");
        run.out.trim_end().to_owned()
    }

    /// The same as JSON.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let out = self.prints(&[&["--json"], arguments].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Its error, where it ends with this code and prints nothing else.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.out.as_str()), (code, ""), "{arguments:?}: {run:?}");
        assert!(run.err.starts_with("error: "), "{run:?}");
        run.err
    }
}
