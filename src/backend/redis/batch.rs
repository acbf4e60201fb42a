//! Reads that are sent together.
//!
//! fred writes to its socket whenever its queue is empty. Callers who send one by one, between all else that a call does, get
//! a packet each; and packets are what costs. In a crowd one task sends for all who are ready.

use std::future::Future;
use std::sync::Arc;

use fred::clients::Client;
use fred::error::{Error as FredError, ErrorKind};
use fred::types::Value;
use futures_util::StreamExt;
use futures_util::future::join;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::link::{self, Command, Sent, send_all};

/// The reads that wait to be sent over one connection, and the task that sends them. The task ends when this is dropped; the
/// callers' deadlines see to those who wait for it then.
pub(super) struct Batcher {
    queue: Arc<Queue>,
    task: AbortHandle,
}

#[derive(Default)]
struct Queue {
    reads: Mutex<Vec<Read>>,
    added: Notify,
}

struct Read {
    command: Command,
    answer: oneshot::Sender<Sent>,
}

/// So many commands leave together at most.
const MOST: usize = 256;

impl Batcher {
    pub(super) fn start(client: Client) -> Self {
        let queue = Arc::new(Queue::default());
        let task = tokio::spawn(run(Arc::clone(&queue), client)).abort_handle();
        Self { queue, task }
    }

    /// Sends a read with those of others. Only reads: a write that waited here could be overtaken by one that is sent at once.
    pub(super) fn send(&self, command: &'static str, args: Vec<Value>) -> impl Future<Output = Sent> + Send + use<> {
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut reads = self.queue.reads.lock();
            reads.push(Read { command: (command, args), answer });
            reads.len() == 1
        };
        if is_first {
            self.queue.added.notify_one();
        }
        async { answered.await.unwrap_or_else(|_| Err(FredError::new(ErrorKind::Canceled, "the connection ended"))) }
    }
}

impl Drop for Batcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(queue: Arc<Queue>, client: Client) {
    let mut on_their_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = queue.added.notified() => {
                // Behind all who are ready to add theirs.
                tokio::task::yield_now().await;
                let mut reads = std::mem::take(&mut *queue.reads.lock());
                while !reads.is_empty() {
                    let rest = reads.split_off(reads.len().min(MOST));
                    on_their_way.push(send(&client, reads));
                    reads = rest;
                }
            }
            Some(()) = on_their_way.next() => {}
        }
    }
}

/// Sends reads back to back. fred writes each command of a pipeline by itself unless something is queued behind it, so the last goes
/// behind the others.
async fn send(client: &Client, mut reads: Vec<Read>) {
    let Some(last) = reads.pop() else { return };
    let (commands, answers): (Vec<_>, Vec<_>) = reads.into_iter().map(|read| (read.command, read.answer)).unzip();
    let others = async {
        if commands.is_empty() {
            return;
        }
        // Without an answer their callers are told that the connection is lost.
        let Ok(Ok(replies)) = send_all(client, commands).await else { return drop(answers) };
        for (answer, reply) in answers.into_iter().zip(replies) {
            // Who has given up isn't there any more.
            let _ = answer.send(Ok(reply));
        }
    };
    let (command, args) = last.command;
    let ((), sent) = join(others, link::send(client, command, args)).await;
    let _ = last.answer.send(sent);
}
