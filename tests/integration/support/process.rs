//! Processes that are frozen and killed, and never left behind.

use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A running process, and who ends it if this one can't: where a test hangs, nothing is dropped.
pub(crate) struct Process {
    child: Child,
    watchdog: Child,
}

impl Process {
    pub(crate) fn watched(child: Child) -> Self {
        // Reads "done", or the end of this process.
        let script = format!("read -r word; [ \"$word\" = done ] || kill -9 {}", child.id());
        let watchdog = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
        Self { child, watchdog: watchdog.expect("`sh` can be run") }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended, once it has.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Stops it from running, with its connections open; [`thaw`](Self::thaw) lets it go on.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        // SIGKILL, which a frozen process heeds too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn signal(&self, signal: &str) {
        let process = self.id().to_string();
        let status = Command::new("kill").args([signal, &process]).status().expect("`kill` can be run");
        assert!(status.success(), "kill {signal} {process}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Told first: once it's been waited for, the process's number may be another's.
        if let Some(mut words) = self.watchdog.stdin.take() {
            let _ = words.write_all(b"done\n");
        }
        let _ = self.watchdog.wait();
        self.kill();
    }
}
