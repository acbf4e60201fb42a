//! Calls whose renewals run in tasks of their own.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;

use super::caller::Caller;
use super::engine::Engine;
use super::entry::Source;
use super::freshness::{Fetched, Old};
use super::read_through::{Lookup, Outcome, Turn};
use super::renewals::Start;
use super::run::until;
use super::want::{Want, Work};
use crate::backend::server::Server;
use crate::codec::ValueCodec;
use crate::key::CallKey;
use crate::options::CacheOptions;
use crate::surroundings::{self, oneshot};
use crate::telemetry::metrics::Answer;

impl<S: Server> Engine<S> {
    /// As [`read_through`](Self::read_through), but a renewal of what is there runs where `start` has it run, and no caller waits for it
    /// while the old value may be served.
    pub(super) async fn refreshing<T, E, C, W, Fut>(
        &self,
        mut options: CacheOptions<C>,
        caller: fn() -> Caller,
        work: W,
        start: Start,
    ) -> Result<T, E>
    where
        T: Clone + Any + Send + Sync,
        E: Send + 'static,
        C: ValueCodec<T> + Send + Sync + 'static,
        W: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.begin(&mut options, caller).await;
        let want = &Want::VALUE;
        let (key, old) = match self.lookup_memory(&options, want) {
            Lookup::Found(found) => return Ok(found.value),
            Lookup::Open(key, old) => (key, old),
            Lookup::Uncached => {
                let timer = self.runs_alone(&options);
                let result = work().await;
                timer.worked();
                return result;
            }
        };
        let options = Arc::new(options);
        let turn = match self.fetch(&key, &options, caller(), old.as_ref(), want).await {
            Outcome::Found(found) => return Ok(found.value),
            Outcome::Failed(error) => return Err(error),
            Outcome::Run(turn) => turn,
            Outcome::Alone => {
                let timer = self.runs_alone(&options);
                let result = work().await;
                timer.worked();
                return result;
            }
        };
        let (old, slot) = match &turn.old {
            Some(old) => (Some(old.clone()), self.inner.renewals.slot()),
            None => (None, None),
        };
        match (old, slot) {
            (Some(old), Some(slot)) => {
                // Before the renewal gets to run: a caller on this very thread would take it for work that it can't wait for.
                turn.leader.announce(&old);
                let (done, renewed) = oneshot::channel();
                let (engine, key_of_task, options_of_task) = (self.clone(), key.clone(), Arc::clone(&options));
                let renewal = async move {
                    let renewal = engine.renew(&key_of_task, &options_of_task, turn, work);
                    if let Some(result) = renewal.await {
                        // The caller may be gone.
                        let _ = done.send(result);
                    }
                };
                start(slot, Box::pin(renewal));
                self.renewed(&key, &options, old, renewed).await
            }
            // All places are taken: the next caller renews it.
            (Some(Old { fetched, verdict }), None) if verdict.is_served() => {
                drop(turn);
                self.served(&options, &key, &fetched, verdict);
                Ok(fetched.value)
            }
            _ => {
                let work = Work::plain(|_| work());
                Box::pin(self.run(&key, &options, turn, want, work)).await.map(|found| found.value)
            }
        }
    }

    /// Renews a value; `None` where the work panics, which harms no caller.
    async fn renew<T, E, C, Fut>(
        &self,
        key: &CallKey,
        options: &CacheOptions<C>,
        turn: Turn<T>,
        work: impl FnOnce() -> Fut,
    ) -> Option<Result<Fetched<T>, E>>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
        Fut: Future<Output = Result<T, E>>,
    {
        let want = Want::VALUE;
        let run = self.run(key, options, turn, &want, Work::detached(|_| work()));
        let ran = AssertUnwindSafe(run).catch_unwind().await;
        if ran.is_err() {
            self.inner.retries.note(key, self.policy(options).freshness.retry_after);
            tracing::warn!(target: "cache_house", call = %options.name(), "the work that was to renew a value panicked");
        }
        ran.ok()
    }

    /// What a caller gets whose renewal runs: the old value at once, where it's served; else what comes of the renewal, or the old value
    /// where that takes longer than `soft_timeout`.
    async fn renewed<T, E, C>(
        &self,
        key: &CallKey,
        options: &CacheOptions<C>,
        old: Old<T>,
        renewed: oneshot::Receiver<Result<Fetched<T>, E>>,
    ) -> Result<T, E>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        let Old { fetched, verdict } = old;
        if verdict.is_served() {
            self.served(options, key, &fetched, verdict);
            return Ok(fetched.value);
        }
        let freshness = self.policy(options).freshness;
        let deadline = freshness.soft_timeout.and_then(|soft| surroundings::now().checked_add(soft));
        match until(deadline, pin!(renewed)).await {
            Some(Ok(Ok(found))) if found.source == Source::Work => {
                let was_on_server = fetched.source == Source::Server;
                self.answered(options, if was_on_server { Answer::ServerMiss } else { Answer::MemoryMiss });
                Ok(found.value)
            }
            // The old value, or one that another process has stored.
            Some(Ok(Ok(found))) => {
                self.served(options, key, &found, self.verdict(&self.resolve(key, options), options, &found));
                Ok(found.value)
            }
            Some(Ok(Err(error))) => Err(error),
            // It has panicked or been aborted.
            Some(Err(_)) => {
                self.served(options, key, &fetched, verdict);
                Ok(fetched.value)
            }
            None => {
                self.inner.retries.note(key, freshness.retry_after);
                self.served(options, key, &fetched, verdict);
                Ok(fetched.value)
            }
        }
    }
}
