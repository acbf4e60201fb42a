//! A network between cache and server that can be broken, and mended, while they talk.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::server::{Server, free_port};

/// What the network does from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Pass,
    /// Replies come this much later.
    Delay(Duration),
    /// Nothing arrives any more, and nobody is told. A connection that lost bytes this way is dead for good.
    Blackhole,
    /// Requests arrive, and replies don't any more: a connection that has lost some this way gets none for good.
    SwallowReplies,
    /// Connections that stand now are held up: what is sent on them arrives when the mode is another. New ones pass.
    HoldStanding,
    /// A connection over which these bytes are sent is held up from there on, until
    /// all pass; others do.
    HoldFrom(&'static [u8]),
    /// After so many more bytes of replies, each connection is cut.
    CutRepliesAfter(usize),
    /// In place of replies these bytes come.
    Garbage(&'static [u8]),
    /// Connections that stand now are sent these bytes once, ahead of the next reply.
    Inject(&'static [u8]),
    /// Of the replies, what reports a changed key is left out.
    WithoutReports,
    /// Of the reply to HELLO, the field that names the server's mode is unreadable.
    Anonymous,
    /// New connections are accepted and never answered; those that stand are held up.
    Mute,
    /// Connections that stand are cut, and new ones are refused.
    Refuse,
}

/// A TCP proxy in front of a server.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: AtomicU16,
    mode: Mutex<(Mode, u64)>,
    ended: AtomicBool,
    standing: AtomicUsize,
    marked: AtomicUsize,
}

/// How long a thread may take to notice a change of mode.
const TICK: Duration = Duration::from_millis(2);

impl Proxy {
    pub(crate) fn of(server: &Server) -> Self {
        let shared = Shared {
            upstream: AtomicU16::new(server.port()),
            mode: Mutex::new((Mode::Pass, 0)),
            ended: AtomicBool::new(false),
            standing: AtomicUsize::new(0),
            marked: AtomicUsize::new(0),
        };
        let shared = Arc::new(shared);
        let (port, first) = loop {
            let port = free_port();
            if let Ok(listener) = listen(port) {
                break (port, listener);
            }
        };
        let accepting = Arc::clone(&shared);
        let listener = thread::spawn(move || accepting.accept(port, first));
        Self { port, shared, listener: Some(listener) }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Changes what the network does; in force when this returns.
    pub(crate) fn set(&self, mode: Mode) {
        {
            let mut now = self.shared.lock();
            *now = (mode, now.1 + 1);
        }
        if mode == Mode::Refuse {
            super::wait_until("the connections are cut", super::DEADLINE, || self.connections() == 0);
        }
    }

    /// Whether a connection is held up by [`Mode::HoldFrom`].
    pub(crate) fn holds(&self) -> bool {
        self.shared.marked.load(Ordering::SeqCst) > 0
    }

    /// New connections lead to this server; those that stand stay.
    pub(crate) fn lead_to(&self, server: &Server) {
        self.shared.upstream.store(server.port(), Ordering::SeqCst);
    }

    /// How many connections stand.
    pub(crate) fn connections(&self) -> usize {
        self.shared.standing.load(Ordering::SeqCst)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.mark(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Shared {
    fn mode(&self) -> (Mode, u64) {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, (Mode, u64)> {
        self.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    fn accept(self: Arc<Self>, port: u16, first: TcpListener) {
        let mut listener = Some(first);
        while !self.has_ended() {
            if self.mode().0 == Mode::Refuse {
                listener = None;
                thread::sleep(TICK);
                continue;
            }
            if listener.is_none() {
                listener = listen(port).ok();
            }
            match listener.as_ref().map(TcpListener::accept) {
                Some(Ok((client, _))) => self.serve(client),
                _ => thread::sleep(TICK),
            }
        }
    }

    fn serve(self: &Arc<Self>, client: TcpStream) {
        let (mode, born) = self.mode();
        if mode == Mode::Refuse {
            return;
        }
        let upstream = (mode != Mode::Mute)
            .then(|| TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream.load(Ordering::SeqCst))));
        let upstream = match upstream {
            Some(Ok(upstream)) => Some(upstream),
            // The server is down: so is the way to it.
            Some(Err(_)) => return,
            None => None,
        };
        let connection = Arc::new(Connection {
            shared: Arc::clone(self),
            born,
            dead: AtomicBool::new(upstream.is_none()),
            marked: AtomicBool::new(false),
            injected: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
        });
        self.standing.fetch_add(1, Ordering::SeqCst);
        for stream in upstream.iter().chain([&client]) {
            let _ = stream.set_nonblocking(false);
            let _ = stream.set_nodelay(true);
            let _ = stream.set_read_timeout(Some(TICK));
        }
        let other = upstream.as_ref().map_or_else(|| client.try_clone(), TcpStream::try_clone);
        let (Ok(other), Ok(client_again)) = (other, client.try_clone()) else { return };
        let requests = Arc::clone(&connection);
        if upstream.is_some() {
            let other = other.try_clone().expect("the socket can be shared");
            thread::spawn(move || connection.pump(other, client_again, true));
        }
        thread::spawn(move || {
            requests.pump(client, other, false);
            requests.shared.standing.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

struct Connection {
    shared: Arc<Shared>,
    /// The count of mode changes when it was accepted.
    born: u64,
    /// Bytes were lost, so nothing that follows makes sense.
    dead: AtomicBool,
    /// What [`Mode::HoldFrom`] names has been sent over it.
    marked: AtomicBool,
    /// It was sent what [`Mode::Inject`] holds.
    injected: AtomicBool,
    /// Replies were lost.
    deaf: AtomicBool,
}

impl Connection {
    /// Carries bytes one way until either end is gone.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, replies: bool) {
        let mut buffer = vec![0; 64 * 1024];
        let mut cut = None;
        loop {
            let (mode, changes) = self.shared.mode();
            if self.shared.has_ended() || mode == Mode::Refuse {
                break;
            }
            if mode == Mode::Pass {
                self.mark(false);
            }
            if self.is_held(mode, changes) {
                thread::sleep(TICK);
                continue;
            }
            let count = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            if !self.carry(&mut to, &buffer[..count], replies, &mut cut) {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Whether the connection goes on.
    fn carry(&self, to: &mut TcpStream, bytes: &[u8], replies: bool, cut: &mut Option<(u64, usize)>) -> bool {
        loop {
            // The mode may have changed while the read waited.
            let (mode, changes) = self.shared.mode();
            if self.shared.has_ended() || mode == Mode::Refuse {
                return false;
            }
            if let Mode::HoldFrom(what) = mode
                && !replies
                && bytes.windows(what.len()).any(|window| window == what)
            {
                self.mark(true);
            }
            if self.is_held(mode, changes) {
                thread::sleep(TICK);
                continue;
            }
            if mode == Mode::Blackhole {
                self.dead.store(true, Ordering::SeqCst);
            }
            if mode == Mode::SwallowReplies {
                self.deaf.store(true, Ordering::SeqCst);
            }
            if self.dead.load(Ordering::SeqCst) || replies && self.deaf.load(Ordering::SeqCst) {
                return true;
            }
            match mode {
                Mode::Delay(delay) if replies => thread::sleep(delay),
                Mode::Anonymous if replies => return to.write_all(&without_mode(bytes)).is_ok(),
                Mode::WithoutReports if replies => return to.write_all(&without_reports(bytes)).is_ok(),
                Mode::Garbage(bytes) if replies => return to.write_all(bytes).is_ok(),
                Mode::Inject(extra)
                    if replies && self.born < changes && !self.injected.swap(true, Ordering::SeqCst) =>
                {
                    return to.write_all(&[extra, bytes].concat()).is_ok();
                }
                Mode::CutRepliesAfter(allowed) if replies => {
                    let (_, left) = cut.filter(|(since, _)| *since == changes).unwrap_or((changes, allowed));
                    let now = left.min(bytes.len());
                    *cut = Some((changes, left - now));
                    return to.write_all(&bytes[..now]).is_ok() && now == bytes.len();
                }
                _ => {}
            }
            return to.write_all(bytes).is_ok();
        }
    }

    fn mark(&self, marked: bool) {
        match (self.marked.swap(marked, Ordering::SeqCst), marked) {
            (false, true) => _ = self.shared.marked.fetch_add(1, Ordering::SeqCst),
            (true, false) => _ = self.shared.marked.fetch_sub(1, Ordering::SeqCst),
            _ => {}
        }
    }

    fn is_held(&self, mode: Mode, changes: u64) -> bool {
        match mode {
            Mode::Mute => true,
            Mode::HoldStanding => self.born < changes,
            Mode::HoldFrom(_) => self.marked.load(Ordering::SeqCst),
            _ => false,
        }
    }
}

/// Without the pushes that report a changed key, each of which is here as a whole.
fn without_reports(bytes: &[u8]) -> Vec<u8> {
    const BEGIN: &[u8] = b">2\r\n$10\r\ninvalidate\r\n";
    let (mut kept, mut rest) = (Vec::new(), bytes);
    while let Some(at) = rest.windows(BEGIN.len()).position(|window| window == BEGIN) {
        kept.extend_from_slice(&rest[..at]);
        // The number of keys, then for each its length and itself.
        let mut lines = rest[at + BEGIN.len()..].split_inclusive(|byte| *byte == b'\n');
        let count = lines.next().map_or(0, |line| String::from_utf8_lossy(&line[1..]).trim().parse().unwrap_or(0));
        for _ in 0..2 * count {
            lines.next();
        }
        let left: usize = lines.map(<[u8]>::len).sum();
        rest = &rest[rest.len() - left..];
    }
    kept.extend_from_slice(rest);
    kept
}

fn without_mode(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(at) = bytes.windows(10).position(|window| window == b"$4\r\nmode\r\n") {
        bytes[at + 4] = b'?';
    }
    bytes
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
