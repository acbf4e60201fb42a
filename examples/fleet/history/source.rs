//! The source: it has the versions, and judges the answers.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::link::{Change, Link, Reply, Said};
use super::tally::{Outcome, Tally, Violation};
use super::{KEYS, NAMESPACES, Settings};
use crate::support::resp::Connection;

/// Violations that are kept for a look.
const MOST_SHOWN: usize = 10;

pub(crate) struct Source {
    settings: Settings,
    address: SocketAddr,
    /// The servers whose connections of a killed member have to be over before others insert where it did.
    servers: Vec<u16>,
    is_over: AtomicBool,
    is_closed: AtomicBool,
    books: Mutex<Books>,
}

/// What the source knows.
struct Books {
    keys: Vec<Key>,
    /// Changes whose invalidations aren't confirmed yet, by number.
    changes: HashMap<u64, Pending>,
    next_change: u64,
    tallies: Vec<Tally>,
    violations: Vec<Violation>,
}

#[derive(Default)]
struct Key {
    version: u64,
    /// The versions of confirmed invalidations, ascending, and when each was confirmed. The last is the floor.
    confirmed: Vec<Confirmed>,
    /// Somebody inserts a value. Nobody else changes the key meanwhile: an insert that lands behind another's invalidation
    /// would put an old value back, and that would be the caller's own mistake.
    is_inserting: bool,
}

struct Confirmed {
    version: u64,
    since: Instant,
    process: usize,
    by: Change,
}

struct Pending {
    change: Change,
    /// The new version of each key that it concerns.
    versions: Vec<(usize, u64)>,
}

/// A caller, as its connection shows it.
struct Caller {
    process: usize,
    /// The key of the call that runs, its floor, when it began, and whether its work runs.
    key: usize,
    floor: u64,
    begin: Instant,
    runs: bool,
    /// Inserts that aren't confirmed.
    inserts: Vec<u64>,
    fenced: u64,
}

impl Source {
    pub(crate) fn start(host: Ipv4Addr, settings: Settings, processes: usize, servers: Vec<u16>) -> Arc<Self> {
        let listener = TcpListener::bind((host, 0)).expect("a port is free");
        let source = Arc::new(Self {
            settings,
            address: listener.local_addr().expect("it's bound"),
            servers,
            is_over: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            books: Mutex::new(Books {
                keys: (0..KEYS).map(|_| Key::default()).collect(),
                changes: HashMap::new(),
                next_change: 0,
                tallies: vec![Tally::default(); processes],
                violations: Vec::new(),
            }),
        });
        let listening = Arc::clone(&source);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if listening.is_closed.load(Ordering::SeqCst) {
                    return;
                }
                let source = Arc::clone(&listening);
                thread::spawn(move || source.serve(stream));
            }
        });
        source
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets callers begin nothing more.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Listens no longer: all members have ended.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let books = self.books();
        Outcome { tallies: books.tallies.clone(), violations: books.violations.clone(), ..Outcome::default() }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) {
        let Ok(mut link) = Link::new(stream) else { return };
        let mut caller =
            Caller { process: 0, key: 0, floor: 0, begin: Instant::now(), runs: false, inserts: Vec::new(), fenced: 0 };
        // An error is the end of a member, too.
        while let Ok(Some(said)) = link.receive::<Said>() {
            let reply = self.hear(&mut caller, said);
            if reply.is_some_and(|reply| link.send(&reply).is_err()) {
                break;
            }
        }
        if !caller.inserts.is_empty() && !self.is_over() {
            self.until_servers_have_read_all();
            let mut books = self.books();
            caller.inserts.iter().for_each(|change| books.give_up(*change));
        }
    }

    fn hear(&self, caller: &mut Caller, said: Said) -> Option<Reply> {
        let is_over = self.is_over();
        let mut books = self.books();
        match said {
            Said::Hello { process } => {
                caller.process = process;
                return Some(Reply::Settings(self.settings.clone()));
            }
            Said::Begin { .. } | Said::Change(_) if is_over => return Some(Reply::Over),
            Said::Begin { key } => {
                (caller.key, caller.floor) = (key, books.keys[key].floor());
                (caller.begin, caller.runs) = (Instant::now(), false);
                return Some(Reply::Go { floor: caller.floor });
            }
            Said::Read => {
                caller.runs = true;
                books.tallies[caller.process].runs += 1;
                return Some(Reply::Version(books.keys[caller.key].version));
            }
            Said::Answer { version } => books.judge(caller, version),
            Said::NotJudged => books.tallies[caller.process].not_judged += 1,
            Said::Change(change) => {
                let made = books.make(change);
                if let (Change::Insert(_), Reply::Changed { change, .. }) = (change, &made) {
                    caller.inserts.push(*change);
                }
                return Some(made);
            }
            Said::Journalled => books.tallies[caller.process].journalled += 1,
            Said::Confirmed { change } => {
                caller.inserts.retain(|insert| *insert != change);
                books.confirm(change, caller.process);
            }
            Said::Fenced { count } => {
                books.tallies[caller.process].fenced += count - caller.fenced;
                caller.fenced = count;
            }
        }
        None
    }

    /// Waits until the servers have carried out what a killed member sent them: what they answer now came later.
    fn until_servers_have_read_all(&self) {
        for port in &self.servers {
            let answers = || Connection::open(*port)?.command(&["PING"]);
            while answers().is_err() && !self.is_over() {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Key {
    /// The least version that a call may get which begins now.
    fn floor(&self) -> u64 {
        self.confirmed.last().map_or(0, |confirmed| confirmed.version)
    }
}

impl Books {
    fn make(&mut self, change: Change) -> Reply {
        let concerned: Vec<usize> = match change {
            Change::Remove(key) | Change::Insert(key) if self.keys[key].is_inserting => return Reply::Busy,
            Change::Remove(key) | Change::Insert(key) => vec![key],
            Change::ClearNamespace(number) => (0..KEYS).filter(|key| key % NAMESPACES == number).collect(),
            Change::ClearKeys => (0..KEYS).collect(),
        };
        let mut versions = Vec::new();
        for key in concerned {
            let entry = &mut self.keys[key];
            if !entry.is_inserting {
                entry.version += 1;
                entry.is_inserting = matches!(change, Change::Insert(_));
                versions.push((key, entry.version));
            }
        }
        let version = versions.last().map_or(0, |(_, version)| *version);
        self.next_change += 1;
        self.changes.insert(self.next_change, Pending { change, versions });
        Reply::Changed { change: self.next_change, version }
    }

    /// The invalidation of this change has returned: older versions aren't allowed from here on.
    fn confirm(&mut self, change: u64, process: usize) {
        let Some(Pending { change, versions }) = self.changes.remove(&change) else { return };
        self.tallies[process].invalidations += 1;
        let since = Instant::now();
        for (key, version) in versions {
            let entry = &mut self.keys[key];
            if version > entry.floor() {
                entry.confirmed.push(Confirmed { version, since, process, by: change });
            }
            if matches!(change, Change::Insert(_)) {
                entry.is_inserting = false;
            }
        }
    }

    /// Nobody will hear of this change.
    fn give_up(&mut self, change: u64) {
        let Some(Pending { versions, .. }) = self.changes.remove(&change) else { return };
        for (key, _) in versions {
            self.keys[key].is_inserting = false;
        }
    }

    fn judge(&mut self, caller: &Caller, version: u64) {
        let tally = &mut self.tallies[caller.process];
        tally.judged += 1;
        tally.hits += u64::from(!caller.runs);
        if version >= caller.floor {
            return;
        }
        let confirmed = &self.keys[caller.key].confirmed;
        let first = &confirmed[confirmed.partition_point(|confirmed| confirmed.version <= version)];
        let age = caller.begin.saturating_duration_since(first.since);
        tally.violations += 1;
        tally.oldest = tally.oldest.max(age);
        if self.violations.len() < MOST_SHOWN {
            self.violations.push(Violation {
                process: caller.process,
                key: caller.key,
                version,
                floor: caller.floor,
                age,
                invalidated: format!("{:?} in process {}", first.by, first.process + 1),
                ran_its_work: caller.runs,
            });
        }
    }
}
