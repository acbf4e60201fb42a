//! Real servers, one for each test.

use std::env;
use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::Process;
use super::resp::{Connection, Reply};
use super::{DEADLINE, wait_until};

/// A `redis-server` on a free loopback port, without persistence unless asked for; killed on drop.
pub(crate) struct Server {
    port: u16,
    arguments: Vec<String>,
    /// Of the default user, for looking behind the cache's back.
    password: Option<String>,
    folder: TempDir,
    process: Mutex<Option<Process>>,
}

/// What became of an attempt to start.
enum Start {
    Running(Process),
    /// Most likely the port was taken by another.
    Exited,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With more arguments of `redis-server`; relative paths in them are inside the server's own folder.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        for _ in 0..20 {
            let server = Self::absent_with(arguments);
            if server.try_start() {
                return server;
            }
        }
        panic!("`redis-server` exits at once, with the arguments {arguments:?}");
    }

    /// With more arguments, and the command `DEBUG`, which from version 7 on has to be allowed.
    pub(crate) fn debuggable(arguments: &[&str]) -> Self {
        let allowed: &[&str] = if is_before_7() { &[] } else { &["--enable-debug-command", "yes"] };
        Self::start_with(&[arguments, allowed].concat())
    }

    /// A server to be: nothing listens on its port until [`restart`](Self::restart).
    pub(crate) fn absent() -> Self {
        Self::absent_with(&[])
    }

    /// A server to be, on a port that is another's as long as that one runs.
    pub(crate) fn at(port: u16) -> Self {
        let mut server = Self::absent();
        server.port = port;
        server
    }

    fn absent_with(arguments: &[&str]) -> Self {
        let position = arguments.iter().position(|argument| *argument == "--requirepass");
        Self {
            port: free_port(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            password: position.map(|at| arguments[at + 1].to_owned()),
            folder: TempDir::new().expect("a temporary folder can be made"),
            process: Mutex::new(None),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What follows this argument, if it was given.
    pub(crate) fn argument(&self, name: &str) -> Option<String> {
        let position = self.arguments.iter().position(|argument| argument == name)?;
        self.arguments.get(position + 1).cloned()
    }

    /// Whether it runs, and isn't frozen or dead.
    pub(crate) fn answers(&self) -> bool {
        self.process().is_some() && self.connect().and_then(|mut connection| connection.command(&["PING"])).is_ok()
    }

    /// A path inside the server's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&self) {
        drop(self.process().take());
    }

    /// Starts it again, or for the first time, on the same port.
    pub(crate) fn restart(&self) {
        assert!(self.process().is_none(), "kill it first");
        wait_until("the server starts on its old port", DEADLINE, || self.try_start());
    }

    pub(crate) fn crash_and_restart(&self) {
        self.kill();
        self.restart();
    }

    /// Stops it from running, with its connections open; [`thaw`](Self::thaw) lets it go on.
    pub(crate) fn freeze(&self) {
        self.process().as_ref().expect("the server runs").freeze();
    }

    pub(crate) fn thaw(&self) {
        self.process().as_ref().expect("the server runs").thaw();
    }

    /// Sends a command behind the cache's back, as the default user on database 0.
    pub(crate) fn command(&self, words: &[&str]) -> Reply {
        let bytes: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
        self.command_bytes(&bytes)
    }

    pub(crate) fn command_bytes(&self, words: &[&[u8]]) -> Reply {
        let reply = self.connect().and_then(|mut connection| connection.command(words));
        reply.unwrap_or_else(|error| panic!("the server doesn't answer {words:?}: {error}"))
    }

    /// A connection that is logged in.
    pub(crate) fn connect(&self) -> std::io::Result<Connection> {
        let mut connection = Connection::open(self.port)?;
        if let Some(password) = &self.password {
            connection.command(&["AUTH", password])?;
        }
        Ok(connection)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.command(&["GET", key]).bytes()
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.command(&["EXISTS", key]).integer() == 1
    }

    pub(crate) fn set(&self, key: &str, value: impl AsRef<[u8]>) {
        let reply = self.command_bytes(&[b"SET", key.as_bytes(), value.as_ref()]);
        assert_eq!(reply, Reply::Simple("OK".into()));
    }

    /// Milliseconds that a key has left; negative without an expiry or without the key.
    pub(crate) fn millis_left(&self, key: &str) -> i64 {
        self.command(&["PTTL", key]).integer()
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        let Reply::Array(keys) = self.command(&["KEYS", "*"]) else { panic!("KEYS lists") };
        keys.into_iter().map(Reply::text).collect()
    }

    /// How many connections there are beside the one that asks.
    pub(crate) fn connections(&self) -> usize {
        let list = self.command(&["CLIENT", "LIST"]).text();
        list.lines().filter(|line| !line.contains("cmd=client")).count()
    }

    /// How often the server has been sent this command.
    pub(crate) fn calls(&self, command: &str) -> u64 {
        let stats = self.command(&["INFO", "commandstats"]).text();
        let calls = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        calls.and_then(|calls| calls.split(',').next()).map_or(0, |calls| calls.parse().expect("it's a number"))
    }

    fn try_start(&self) -> bool {
        match self.spawn() {
            Start::Running(process) => {
                *self.process() = Some(process);
                true
            }
            Start::Exited => false,
        }
    }

    fn spawn(&self) -> Start {
        let mut command = Command::new(program());
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(&self.arguments).current_dir(self.folder.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| {
            let program = program();
            panic!(
                "can't run {program:?}, which these tests need: {error}; apt-get install redis-server, or have {PROGRAM} name \
                 another server's program"
            )
        });
        let mut process = Process::watched(child);
        let begin = Instant::now();
        loop {
            if self.is_answered_by(process.id()) {
                return Start::Running(process);
            }
            if process.has_ended() {
                return Start::Exited;
            }
            assert!(begin.elapsed() < DEADLINE, "`redis-server` doesn't answer within {DEADLINE:?}");
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Whether it's this very process that answers, and no stranger on the same port.
    fn is_answered_by(&self, process: u32) -> bool {
        let Ok(mut connection) = self.connect() else { return false };
        let ready = connection.command(&["PING"]).is_ok_and(|reply| reply == Reply::Simple("PONG".into()));
        let info = connection.command(&["INFO", "server"]);
        let own = format!("process_id:{process}\r\n");
        ready && matches!(info, Ok(Reply::Bulk(info)) if String::from_utf8_lossy(&info).contains(&own))
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The variable that names the program of the server to test with, if it isn't `redis-server`.
const PROGRAM: &str = "CACHEHOUSE_TEST_SERVER";

/// The program of the server to test with.
pub(crate) fn program() -> OsString {
    env::var_os(PROGRAM).unwrap_or_else(|| "redis-server".into())
}

/// Whether the server is of a version before 7, which lacks some of what tests of newer ones use.
pub(crate) fn is_before_7() -> bool {
    static IS_BEFORE_7: OnceLock<bool> = OnceLock::new();
    *IS_BEFORE_7.get_or_init(|| {
        let version = Command::new(program()).arg("--version").output().expect("the server's program can be run");
        String::from_utf8_lossy(&version.stdout).contains("v=6.")
    })
}

/// A port that nobody listens on. Below the range from which systems choose the near end of outgoing connections: there, a
/// client that seeks a server which is down could connect to itself, or take the port that the server wants back.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    for _ in 0..COUNT {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        // Several runs of the tests at once begin at different places.
        let port = FIRST + (std::process::id().wrapping_mul(7919).wrapping_add(step)) % COUNT;
        let port = u16::try_from(port).expect("the range is one of ports");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} on");
}
