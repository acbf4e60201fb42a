//! Servers that aren't any: each command is answered as the test wants.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::server::free_port;

pub(crate) enum Answer {
    Reply(Vec<u8>),
    /// The connection ends soon after it.
    Last(Vec<u8>),
}

type Answers = dyn Fn(&[String]) -> Answer + Send + Sync;

pub(crate) struct Fake {
    port: u16,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    answers: Box<Answers>,
    ended: AtomicBool,
    accepted: AtomicUsize,
}

impl Fake {
    pub(crate) fn answering(answers: impl Fn(&[String]) -> Answer + Send + Sync + 'static) -> Self {
        let (ended, accepted) = (AtomicBool::new(false), AtomicUsize::new(0));
        let shared = Arc::new(Shared { answers: Box::new(answers), ended, accepted });
        let (port, listener) = loop {
            let port = free_port();
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                break (port, listener);
            }
        };
        listener.set_nonblocking(true).expect("a socket can be asked without waiting");
        let accepting = Arc::clone(&shared);
        let listener = thread::spawn(move || {
            while !accepting.ended.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((client, _)) => {
                        accepting.accepted.fetch_add(1, Ordering::SeqCst);
                        let serving = Arc::clone(&accepting);
                        thread::spawn(move || serving.serve(client));
                    }
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        Self { port, shared, listener: Some(listener) }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Shared {
    fn serve(&self, client: TcpStream) -> Option<()> {
        client.set_nonblocking(false).ok()?;
        client.set_nodelay(true).ok()?;
        let mut reader = BufReader::new(client);
        while !self.ended.load(Ordering::SeqCst) {
            let words = command(&mut reader)?;
            match (self.answers)(&words) {
                Answer::Reply(reply) => reader.get_mut().write_all(&reply).ok()?,
                Answer::Last(reply) => {
                    reader.get_mut().write_all(&reply).ok()?;
                    // So that what comes of it is seen first.
                    thread::sleep(Duration::from_millis(20));
                    return Some(());
                }
            }
        }
        Some(())
    }
}

/// The next command, inline or not.
fn command(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let first = line(reader)?;
    let Some(count) = first.strip_prefix('*') else {
        return Some(first.split(' ').map(String::from).collect());
    };
    let word = |_| {
        let length: usize = line(reader)?.strip_prefix('$')?.parse().ok()?;
        let mut bytes = vec![0; length + 2];
        reader.read_exact(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    };
    (0..count.parse().ok()?).map(word).collect()
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    (reader.read_line(&mut line).ok()? > 0).then(|| line.trim_end_matches("\r\n").to_owned())
}

/// What a standalone server answers that is empty, and takes what it's sent.
pub(crate) fn healthy(words: &[String]) -> Answer {
    let reply: &[u8] = match words[0].to_ascii_uppercase().as_str() {
        "HELLO" => b"%1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n",
        "INFO" => b"$0\r\n\r\n",
        "GET" => b"_\r\n",
        "SET" if words.iter().any(|word| word == "XX") => b"_\r\n",
        "UNLINK" | "EXISTS" | "STRLEN" => b":0\r\n",
        "PTTL" => b":-2\r\n",
        _ => b"+OK\r\n",
    };
    Answer::Reply(reply.to_vec())
}
