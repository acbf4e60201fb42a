//! Reads that are sent together.
//!
//! fred writes to its socket whenever its queue is empty. Callers that send one by one get a packet each, and packets are what
//! costs. Under contention one task sends the reads of all callers that are ready.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use fred::error::{Error as FredError, ErrorKind};
use fred::types::Resp3Frame as Frame;
use futures_util::StreamExt;
use futures_util::future::join;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::command::Command;
use super::wire::{SendError, Sent, Wire, out_of_step};

/// The reads that wait to be sent over one connection, and the task that sends them. The task ends when this is dropped; the
/// callers' deadlines end the reads that still wait then.
pub(super) struct Batcher {
    queue: Arc<Queue>,
    task: AbortHandle,
}

#[derive(Default)]
struct Queue {
    reads: Mutex<Vec<Read>>,
    added: Notify,
    /// Set once a reply was seen that answers another command.
    out_of_step: AtomicBool,
}

struct Read {
    key: Bytes,
    answer: oneshot::Sender<Sent>,
}

/// So many commands leave together at most.
const MOST: usize = 256;

impl Batcher {
    /// `absent` is a key that never exists. Without it, each key has a `GET` of its own: a cluster's keys have different slots.
    pub(super) fn start(wire: Wire, absent: Option<Bytes>) -> Self {
        let queue = Arc::new(Queue::default());
        let task = tokio::spawn(run(Arc::clone(&queue), wire, absent)).abort_handle();
        Self { queue, task }
    }

    /// Whether a reply was seen that answers another command than the one it came to.
    pub(super) fn is_out_of_step(&self) -> bool {
        self.queue.out_of_step.load(Ordering::Relaxed)
    }

    /// Reads `key` together with concurrent reads of other keys. Only for reads: a write that waited here could be overtaken by one that
    /// is sent at once.
    pub(super) fn get(&self, key: Bytes) -> impl Future<Output = Sent> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut reads = self.queue.reads.lock();
            reads.push(Read { key, answer });
            reads.len() == 1
        };
        if is_first {
            self.queue.added.notify_one();
        }
        async {
            answered.await.unwrap_or_else(|_| Err(FredError::new(ErrorKind::Canceled, "the connection ended").into()))
        }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(queue: Arc<Queue>, wire: Wire, absent: Option<Bytes>) {
    let multi_get = MultiGet { allowed: AtomicBool::new(absent.is_some()), absent: absent.unwrap_or_default() };
    let mut on_their_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = queue.added.notified() => {
                // Lets all callers that are ready add their reads first.
                tokio::task::yield_now().await;
                let mut reads = std::mem::take(&mut *queue.reads.lock());
                while !reads.is_empty() {
                    let rest = reads.split_off(reads.len().min(MOST));
                    on_their_way.push(send(&queue, &wire, &multi_get, reads));
                    reads = rest;
                }
            }
            Some(()) = on_their_way.next() => {}
        }
    }
}

/// Whether and how reads go in one command.
struct MultiGet {
    allowed: AtomicBool,
    /// Leads each `MGET`, so that the reply begins with null. fred takes an array of three to five elements that begins with `message`,
    /// `subscribe` or the like for a message to subscribers, and drops it; all later replies would go to the wrong commands. So no
    /// stored value may stand first. And an answer that doesn't begin with null belongs to another command.
    absent: Bytes,
}

/// Sends one `MGET` for all reads, if it may: it costs fred and the server a fraction of as many `GET`s. `MGET` also answers null for a
/// key of another type, which `GET` refuses: then the work runs as for a miss, and its store is refused.
async fn send(queue: &Queue, wire: &Wire, multi_get: &MultiGet, reads: Vec<Read>) {
    if reads.len() < 2 || !multi_get.allowed.load(Ordering::Relaxed) {
        return send_in_line(wire, reads).await;
    }
    let keys = [&multi_get.absent].into_iter().chain(reads.iter().map(|read| &read.key)).cloned().collect();
    match wire.send(Command::MultiGet(keys)).await {
        Ok(Frame::Array { data, .. }) if data.len() == 1 + reads.len() && matches!(data[0], Frame::Null) => {
            for (read, value) in reads.into_iter().zip(data.into_iter().skip(1)) {
                // The caller may have given up.
                let _ = read.answer.send(Ok(value));
            }
        }
        Ok(_) => {
            queue.out_of_step.store(true, Ordering::Relaxed);
            reads.into_iter().for_each(|read| _ = read.answer.send(Err(out_of_step().into())));
        }
        Err(SendError::Refused(reply)) if reply.is_not_ready() => {
            reads.into_iter().for_each(|read| _ = read.answer.send(Err(reply.clone().into())));
        }
        // The user may not, or may not all of the keys: each for itself, then, and from now on.
        Err(SendError::Refused(_)) => {
            multi_get.allowed.store(false, Ordering::Relaxed);
            send_in_line(wire, reads).await;
        }
        // Without an answer the callers get the error of a lost connection.
        Err(SendError::Lost(_)) => drop(reads),
    }
}

/// Back to back. fred writes each command of a pipeline by itself unless something is queued behind it, so the last goes behind the
/// others.
async fn send_in_line(wire: &Wire, mut reads: Vec<Read>) {
    let Some(last) = reads.pop() else { return };
    let (commands, answers): (Vec<_>, Vec<_>) =
        reads.into_iter().map(|read| (Command::Get(read.key), read.answer)).unzip();
    let others = async {
        if commands.is_empty() {
            return;
        }
        let Ok(replies) = wire.send_all(commands).await else { return drop(answers) };
        for (answer, reply) in answers.into_iter().zip(replies) {
            let _ = answer.send(reply.map_err(SendError::from));
        }
    };
    let ((), sent) = join(others, wire.send(Command::Get(last.key))).await;
    let _ = last.answer.send(sent);
}
