//! A `redis-server` of one's own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) struct Server {
    process: Child,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start() -> Self {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
        let folder = std::env::temp_dir().join(format!("peers-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the server's dump");
        let process = spawn(port, &folder);
        Self { process, folder, port }
    }

    /// Writes what it holds to disk, for a server that is restarted.
    pub(crate) fn save(&self) {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).expect("the server");
        connection.write_all(b"SAVE\r\n").expect("the server");
        let mut answer = [0; 5];
        connection.read_exact(&mut answer).expect("the server");
        assert_eq!(&answer, b"+OK\r\n");
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("the server's process");
        self.process.wait().expect("the server's process");
    }

    /// Done when it answers, with what was saved.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(self.port, &self.folder);
    }

    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(status.expect("`kill` is there").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is already gone needn't be ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(port: u16, folder: &PathBuf) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--save", "", "--appendonly", "no", "--dir"]).arg(folder);
    command.stdout(Stdio::null());
    let process = command.spawn().expect("redis-server is installed (apt-get install redis-server)");
    while !answers(port) {
        std::thread::sleep(Duration::from_millis(5));
    }
    process
}

fn answers(port: u16) -> bool {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = [0; 7];
    connection.write_all(b"PING\r\n").and_then(|()| connection.read_exact(&mut answer)).is_ok()
        && &answer == b"+PONG\r\n"
}
