//! A process that does with its handle what a test tells it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use cache_house::CacheOptions;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::this_binary;
use crate::support::{DEADLINE, Process, Server, connect, multi_thread, standalone, wait_until};

/// The variable that tells a puppet where its test and its server are.
const PUPPET: &str = "CACHE_HOUSE_FLEET_PUPPET";

/// What a test tells a puppet.
#[derive(Debug, Serialize, Deserialize)]
enum Order {
    /// Begin a call, sync for odd numbers and async for even ones.
    Call {
        number: u32,
        lease: Option<Duration>,
    },
    /// End the work of this call with this value.
    End {
        number: u32,
        value: String,
    },
    Invalidate(Invalidation),
    Get,
    Count,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Invalidation {
    Remove,
    ClearNamespace,
    ClearKeys,
    /// Of the value "new".
    Insert,
}

/// What a puppet tells its test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Event {
    Runs(u32),
    Answered(u32, String),
    Invalidated { journalled: bool },
    Got(Option<String>),
    Counted { fenced: u64, lease_waits: u64 },
}

/// The key that all puppets work with.
pub(super) fn options() -> CacheOptions {
    CacheOptions::new("f")
}

/// A puppet, as its test sees it. Killed on drop.
pub(super) struct Puppet {
    pub(super) process: Process,
    orders: TcpStream,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Puppet {
    pub(super) fn start(server: &Server) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("it's bound");
        let mut command = this_binary("fleet::puppet");
        command.env(PUPPET, format!("{address} {}", server.endpoint())).stdin(Stdio::null()).stdout(Stdio::null());
        let process = Process::watched(command.spawn().expect("the test binary can be run again"));
        listener.set_nonblocking(true).expect("it's a socket");
        let mut orders = None;
        wait_until("the puppet comes", DEADLINE, || {
            orders = listener.accept().ok();
            orders.is_some()
        });
        let (orders, _) = orders.expect("it came");
        orders.set_nonblocking(false).expect("it's a socket");
        let events = Arc::new(Mutex::new(Vec::new()));
        let (kept, stream) = (Arc::clone(&events), orders.try_clone().expect("the socket can be shared"));
        thread::spawn(move || read(stream, |event| lock(&kept).push(event)));
        Self { process, orders, events }
    }

    pub(super) fn call(&mut self, number: u32, lease: Option<Duration>) {
        self.tell(&Order::Call { number, lease });
    }

    pub(super) fn end(&mut self, number: u32, value: &str) {
        self.tell(&Order::End { number, value: value.into() });
    }

    pub(super) fn runs(&self, number: u32) -> bool {
        lock(&self.events).contains(&Event::Runs(number))
    }

    /// How often the work has run.
    pub(super) fn all_runs(&self) -> Vec<u32> {
        let events = lock(&self.events);
        events.iter().filter_map(|event| if let Event::Runs(number) = event { Some(*number) } else { None }).collect()
    }

    #[track_caller]
    pub(super) fn until_it_runs(&self, number: u32) {
        wait_until("the work runs", DEADLINE, || self.runs(number));
    }

    /// What a call has returned, once it has.
    #[track_caller]
    pub(super) fn answer(&self, number: u32) -> String {
        self.event("the call returns", |event| match event {
            Event::Answered(call, value) if *call == number => Some(value.clone()),
            _ => None,
        })
    }

    /// Invalidates, and is confirmed.
    #[track_caller]
    pub(super) fn invalidate(&mut self, invalidation: Invalidation) {
        self.tell(&Order::Invalidate(invalidation));
        let journalled = self.take("it's invalidated", |event| match event {
            Event::Invalidated { journalled } => Some(*journalled),
            _ => None,
        });
        assert!(!journalled, "the server is there");
    }

    #[track_caller]
    pub(super) fn get(&mut self) -> Option<String> {
        self.tell(&Order::Get);
        self.take("the value is read", |event| if let Event::Got(value) = event { Some(value.clone()) } else { None })
    }

    /// Its `Stats::fenced` and `Stats::lease_waits`.
    #[track_caller]
    pub(super) fn counts(&mut self) -> (u64, u64) {
        self.tell(&Order::Count);
        self.take("it's counted", |event| match event {
            Event::Counted { fenced, lease_waits } => Some((*fenced, *lease_waits)),
            _ => None,
        })
    }

    fn tell(&mut self, order: &Order) {
        write(&mut self.orders, order).expect("the puppet is there");
    }

    #[track_caller]
    fn event<T>(&self, what: &str, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let mut found = None;
        wait_until(what, DEADLINE, || {
            found = lock(&self.events).iter().find_map(&wanted);
            found.is_some()
        });
        found.expect("it was just found")
    }

    /// The same, for what comes more than once.
    #[track_caller]
    fn take<T>(&self, what: &str, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let found = self.event(what, &wanted);
        lock(&self.events).retain(|event| wanted(event).is_none());
        found
    }
}

/// Does what a test tells, until the test is over; nothing without the variable [`PUPPET`].
pub(super) fn run() {
    let Ok(puppet) = std::env::var(PUPPET) else { return };
    let (test, server) = puppet.split_once(' ').expect("two addresses");
    let (cache, runtime) = (connect(standalone(server)), multi_thread(1));
    let orders = TcpStream::connect(test).expect("the test listens");
    let events = Arc::new(Mutex::new(orders.try_clone().expect("the socket can be shared")));
    let mut works: HashMap<u32, Sender<String>> = HashMap::new();
    read(orders, |order| match order {
        Order::Call { number, lease } => {
            let (end, ends) = mpsc::channel();
            works.insert(number, end);
            let (cache, runtime, events) = (cache.clone(), runtime.handle().clone(), Arc::clone(&events));
            thread::spawn(move || {
                let work = || {
                    tell(&events, &Event::Runs(number));
                    ends.recv().unwrap_or_default()
                };
                let options = lease.into_iter().fold(options(), |options, lease| options.lease(lease));
                let value = match number % 2 {
                    // The thread is the call's own, so its work may block.
                    0 => runtime.block_on(cache.cached_async(options, || async { work() })),
                    _ => cache.cached(options, work),
                };
                tell(&events, &Event::Answered(number, value));
            });
        }
        Order::End { number, value } => {
            // The call may have got another's value.
            let _ = works[&number].send(value);
        }
        Order::Invalidate(invalidation) => {
            let applied = match invalidation {
                Invalidation::Remove => cache.remove(options()),
                Invalidation::ClearNamespace => cache.clear_namespace("main"),
                Invalidation::ClearKeys => cache.clear_keys("cachehouse"),
                Invalidation::Insert => cache.insert(options(), &"new".to_owned()),
            };
            let journalled = applied.expect("nothing is wrong").journalled;
            tell(&events, &Event::Invalidated { journalled });
        }
        Order::Get => tell(&events, &Event::Got(cache.get(options()))),
        Order::Count => {
            let stats = cache.stats();
            tell(&events, &Event::Counted { fenced: stats.fenced, lease_waits: stats.lease_waits });
        }
    });
    // Calls may hang that were told to.
    std::process::exit(0);
}

fn tell(events: &Mutex<TcpStream>, event: &Event) {
    // The test may be over.
    let _ = write(&mut lock(events), event);
}

fn write(stream: &mut TcpStream, message: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Reads until the other end is gone.
fn read<M: DeserializeOwned>(stream: TcpStream, mut message: impl FnMut(M)) {
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        message(serde_json::from_str(&line).expect("the other end is this binary too"));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
