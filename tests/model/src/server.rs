//! A server, and a process's connection to it: commands are executed in the order in which they were sent, each answer comes in a step
//! of its own, and any of them may be late or lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use atomic_waker::AtomicWaker;
use bytes::Bytes;
use parking_lot::Mutex;
use shuttle::rand::{Rng, thread_rng};

use crate::backend::journal::{Cleared, Clearings, Invalidate, Journal, Refusals};
use crate::backend::lease::{Lease, Proof, Stored, Terms, lease_key};
use crate::backend::server::{Epoch, Server, ServerError, Ttl, Unavailable, UnderWay};
use crate::backend::slots::SlotSet;
use crate::key::{CallKey, KeyPrefix, ServerKey};
use crate::surroundings::{self, Parker, now, park_until, step};

/// When a command is late.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_millis(250);

/// How long the server is away, if it's not back at once; and how long a replay is put off that has failed.
const OUTAGE: Duration = Duration::from_secs(1);

/// What the server holds. Locked for a moment only, in which no other thread runs.
pub(super) type Data = Arc<Mutex<BTreeMap<ServerKey, Bytes>>>;

/// A process's connection.
#[derive(Clone)]
pub(super) struct Link(Arc<State>);

struct State {
    data: Data,
    line: Mutex<Line>,
    /// Executes commands.
    actor: Mutex<Option<Parker>>,
    /// Polls the supervisor.
    supervisor: AtomicWaker,
    /// How many commands may be lost, their connection with them.
    losses: AtomicU32,
    /// The first stores are, and nothing else.
    loses_stores: AtomicBool,
    /// How many may be late.
    delays: AtomicU32,
    leases: AtomicU32,
}

struct Line {
    commands: VecDeque<Command>,
    /// There is a connection.
    is_open: bool,
    /// Calls may use it: the journal's first part has been replayed.
    serves: bool,
    has_ended: bool,
}

struct Command {
    of: Of,
    execute: Box<dyn FnOnce(&mut BTreeMap<ServerKey, Bytes>) + Send>,
    /// With an error where there is no answer.
    answer: Box<dyn FnOnce(Option<ServerError>) + Send>,
}

/// What a command belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Call,
    /// A call that stores.
    Store,
    Replay,
}

/// What becomes of a command.
enum Fate {
    Answered,
    Late,
    /// Whether it's executed before the connection breaks.
    Lost(bool),
}

struct Reply<T> {
    answer: Mutex<Option<Result<T, ServerError>>>,
    asker: AtomicWaker,
}

impl Link {
    /// A connection of which so many commands may be lost or late.
    pub(super) fn to(data: &Data, losses: u32, delays: u32) -> Self {
        let line = Line { commands: VecDeque::new(), is_open: true, serves: true, has_ended: false };
        let link = Self(Arc::new(State {
            data: Arc::clone(data),
            line: Mutex::new(line),
            actor: Mutex::new(None),
            supervisor: AtomicWaker::new(),
            losses: losses.into(),
            loses_stores: false.into(),
            delays: delays.into(),
            leases: AtomicU32::new(0),
        }));
        let actor = link.clone();
        surroundings::spawn("server", move || actor.serve()).expect("a thread is spawned");
        link
    }

    /// Its first stores are lost, rather than any commands.
    pub(super) fn loses_stores(&self) {
        self.0.loses_stores.store(true, Ordering::Relaxed);
    }

    /// Ends the threads of the connection, once they have nothing to do.
    pub(super) fn end(&self) {
        self.0.line.lock().has_ended = true;
        self.wake_actor();
        self.0.supervisor.wake();
    }

    fn wake_actor(&self) {
        let actor = self.0.actor.lock().take();
        if let Some(actor) = actor {
            actor.unpark();
        }
    }

    fn serve(&self) {
        loop {
            let (command, has_ended) = {
                let mut line = self.0.line.lock();
                (line.commands.pop_front(), line.has_ended)
            };
            let Some(command) = command else {
                if has_ended {
                    return;
                }
                *self.0.actor.lock() = Some(Parker::of_this_thread());
                if self.0.line.lock().commands.is_empty() {
                    surroundings::park();
                }
                continue;
            };
            match self.fate(command.of) {
                Fate::Answered => {
                    self.execute(command.execute);
                    (command.answer)(None);
                }
                Fate::Late => {
                    wait(COMMAND_TIMEOUT);
                    (command.answer)(Some(ServerError::Unavailable(Unavailable::TimedOut)));
                    self.execute(command.execute);
                }
                Fate::Lost(is_executed) => {
                    if is_executed {
                        self.execute(command.execute);
                    }
                    self.breaks(command.answer);
                }
            }
            step();
        }
    }

    fn execute(&self, execute: Box<dyn FnOnce(&mut BTreeMap<ServerKey, Bytes>) + Send>) {
        execute(&mut self.0.data.lock());
        step();
    }

    fn fate(&self, of: Of) -> Fate {
        let may = |left: &AtomicU32, is_due: &dyn Fn() -> bool| {
            let may = left.load(Ordering::Relaxed) > 0 && is_due();
            may && left.fetch_sub(1, Ordering::Relaxed) > 0
        };
        let any = || thread_rng().gen_ratio(1, 4);
        if may(&self.0.losses, &|| if self.0.loses_stores.load(Ordering::Relaxed) { of == Of::Store } else { any() }) {
            return Fate::Lost(thread_rng().gen_ratio(1, 2));
        }
        if may(&self.0.delays, &any) { Fate::Late } else { Fate::Answered }
    }

    /// The connection breaks: what was sent over it has no answer, and isn't executed any more.
    fn breaks(&self, first: Box<dyn FnOnce(Option<ServerError>) + Send>) {
        let rest = {
            let mut line = self.0.line.lock();
            (line.is_open, line.serves) = (false, false);
            std::mem::take(&mut line.commands)
        };
        // The supervisor reconnects while callers get their errors.
        self.0.supervisor.wake();
        for answer in std::iter::once(first).chain(rest.into_iter().map(|command| command.answer)) {
            answer(Some(ServerError::Unavailable(Unavailable::ConnectionLost)));
        }
    }

    /// Connects anew whenever the connection is broken, and replays the journal as `backend/redis/supervisor.rs` does.
    pub(super) async fn supervise(&self, journal: &Journal) {
        loop {
            let mut added = std::pin::pin!(journal.added());
            let has_ended = std::future::poll_fn(|cx| {
                self.0.supervisor.register(cx.waker());
                let (is_open, has_ended) = {
                    let line = self.0.line.lock();
                    (line.is_open, line.has_ended)
                };
                if has_ended || !is_open || added.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(has_ended);
                }
                Poll::Pending
            })
            .await;
            if has_ended {
                return;
            }
            if !self.0.line.lock().is_open {
                if thread_rng().gen_ratio(1, 2) {
                    wait(OUTAGE);
                }
                step();
                self.0.line.lock().is_open = true;
                if journal.begin_replay(self).await.is_err() {
                    continue;
                }
                let mut line = self.0.line.lock();
                line.serves = line.is_open;
            }
            step();
            while journal.replay(self).await.is_err() && self.0.line.lock().is_open {
                wait(OUTAGE);
            }
        }
    }

    /// Sends a command; `ended` is told what came of it before the asker is.
    async fn send<T: Send + 'static>(
        &self,
        of: Of,
        execute: impl FnOnce(&mut BTreeMap<ServerKey, Bytes>) -> T + Send + 'static,
        ended: impl FnOnce(&Result<T, ServerError>) + Send + 'static,
    ) -> Result<T, ServerError> {
        step();
        let reply = Arc::new(Reply { answer: Mutex::new(None), asker: AtomicWaker::new() });
        let (to, executed) = (Arc::clone(&reply), Arc::new(Mutex::new(None)));
        let result = Arc::clone(&executed);
        let command = Command {
            of,
            execute: Box::new(move |data| *executed.lock() = Some(execute(data))),
            answer: Box::new(move |error| {
                let result = result.lock().take();
                let answer = match error {
                    Some(error) => Err(error),
                    None => Ok(result.expect("it was executed")),
                };
                ended(&answer);
                *to.answer.lock() = Some(answer);
                to.asker.wake();
            }),
        };
        let unsent = {
            let mut line = self.0.line.lock();
            let is_taken = if of == Of::Replay { line.is_open } else { line.serves };
            if is_taken {
                line.commands.push_back(command);
                None
            } else {
                Some(command)
            }
        };
        match unsent {
            None => self.wake_actor(),
            Some(command) => (command.answer)(Some(ServerError::Unavailable(Unavailable::NotConnected))),
        }
        std::future::poll_fn(|cx| {
            reply.asker.register(cx.waker());
            match reply.answer.lock().take() {
                Some(answer) => Poll::Ready(answer),
                None => Poll::Pending,
            }
        })
        .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        execute: impl FnOnce(&mut BTreeMap<ServerKey, Bytes>) -> T + Send + 'static,
    ) -> Result<T, ServerError> {
        self.send(Of::Call, execute, |_| ()).await
    }
}

/// Blocks this thread.
fn wait(time: Duration) {
    let until = now() + time;
    while now() < until {
        park_until(until);
    }
}

/// What every removal does, of whichever process.
pub(super) fn remove(data: &mut BTreeMap<ServerKey, Bytes>, key: &ServerKey) -> bool {
    data.remove(&lease_of(key));
    data.remove(key).is_some()
}

fn lease_of(key: &ServerKey) -> ServerKey {
    lease_key(key, "p").expect("each key here has one")
}

impl Server for Link {
    fn is_available(&self, _: &CallKey) -> bool {
        step();
        self.0.line.lock().serves
    }

    async fn get(&self, key: &ServerKey) -> Result<Option<Bytes>, ServerError> {
        let key = key.clone();
        self.ask(move |data| data.get(&key).cloned()).await
    }

    async fn get_with_ttl(&self, key: &ServerKey) -> Result<Option<(Bytes, Ttl)>, ServerError> {
        let found = self.get(key).await?;
        Ok(found.map(|bytes| (bytes, Ttl::Remaining(Duration::from_secs(60)))))
    }

    async fn contains(&self, key: &ServerKey) -> Result<bool, ServerError> {
        let key = key.clone();
        self.ask(move |data| data.contains_key(&key)).await
    }

    async fn check_type(&self, key: &ServerKey) -> Result<(), ServerError> {
        let lease = lease_of(key);
        self.ask(move |data| _ = data.remove(&lease)).await
    }

    async fn take_lease(&self, key: &ServerKey, _: Option<Duration>) -> Result<Option<Lease>, ServerError> {
        let lease = lease_of(key);
        let number = self.0.leases.fetch_add(1, Ordering::Relaxed);
        let own = Bytes::from(format!("{:p} {number}", Arc::as_ptr(&self.0)));
        let name = lease.clone();
        let (token, is_shared) = self
            .ask(move |data| {
                let is_shared = data.contains_key(&name);
                (data.entry(name).or_insert(own).clone(), is_shared)
            })
            .await?;
        Ok(Some(Lease { proof: Proof { lease, token }, is_shared, renewal: Box::new(()) }))
    }

    async fn release_lease(&self, proof: &Proof) -> Result<(), ServerError> {
        let Proof { lease, token } = proof.clone();
        self.ask(move |data| {
            if data.get(&lease) == Some(&token) {
                data.remove(&lease);
            }
        })
        .await
    }

    async fn set(
        &self,
        key: &ServerKey,
        value: Bytes,
        _: Duration,
        terms: Terms,
        mut under_way: impl UnderWay,
    ) -> Result<Stored, ServerError> {
        let key = key.clone();
        let set = move |data: &mut BTreeMap<ServerKey, Bytes>| {
            if let Terms::Fenced(Proof { lease, token }) = terms {
                if data.get(&lease) != Some(&token) {
                    return Stored::Refused;
                }
                data.remove(&lease);
            }
            data.insert(key, value);
            Stored::Kept
        };
        self.send(Of::Store, set, move |stored| {
            under_way.end(stored);
            drop(under_way);
        })
        .await
    }

    fn patience(&self) -> Duration {
        COMMAND_TIMEOUT
    }

    fn replaced(&self, _: &ServerKey, _: Epoch) {}

    async fn remove(&self, key: &ServerKey) -> Result<bool, ServerError> {
        let key = key.clone();
        self.ask(move |data| remove(data, &key)).await
    }

    async fn clear(&self, prefix: &KeyPrefix) -> Result<u64, ServerError> {
        let prefix = prefix.clone();
        self.ask(move |data| {
            // As in a real walk, the leases come first; here it's one step.
            let is_lease = |key: &ServerKey| crate::backend::lease::fenced_by(key).any(|key| prefix.matches(key));
            data.retain(|key, _| !is_lease(key));
            data.extract_if(.., |key, _| prefix.matches(key)).count() as u64
        })
        .await
    }
}

impl Invalidate for Link {
    const HAS_PARTS: bool = false;

    async fn remove_all(&self, keys: &[ServerKey]) -> Vec<Result<(), ServerError>> {
        let mut results = Vec::new();
        for key in keys {
            let key = key.clone();
            results.push(self.send(Of::Replay, move |data| _ = remove(data, &key), |_| ()).await);
        }
        results
    }

    async fn clear(&self, clearings: &Clearings) -> Result<Cleared, ServerError> {
        let named: Vec<_> =
            self.0.data.lock().keys().filter(|key| clearings.names(key, &Refusals::default())).cloned().collect();
        for removed in self.remove_all(&named).await {
            removed?;
        }
        Ok(Cleared { certain: SlotSet::all(), refusals: Refusals::default() })
    }
}
