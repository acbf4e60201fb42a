//! A server whose operations are timed and counted for the metrics.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use pin_project_lite::pin_project;

use super::lease::{Lease, Proof, Stored, Terms};
use super::server::{Epoch, NearReply, ReadReply, Server, ServerError, Ttl, Unavailable, UnderWay};
use crate::key::{CallKey, KeyPrefix, ServerKey};
use crate::telemetry::metrics::{Operation, Outcome, Timer};
use crate::telemetry::spans::{self, InSpan};

/// Reports each operation of `S` that a call makes.
pub(crate) struct Measured<S>(S);

impl<S> Measured<S> {
    pub(crate) fn new(server: S) -> Self {
        Self(server)
    }

    /// The server, for what isn't an operation of a call.
    pub(crate) fn inner(&self) -> &S {
        &self.0
    }
}

impl<S: Server> Server for Measured<S> {
    fn wants_reports(&self) {
        self.0.wants_reports();
    }

    fn is_available(&self, key: &CallKey) -> bool {
        self.0.is_available(key)
    }

    fn is_available_for_all(&self) -> bool {
        self.0.is_available_for_all()
    }

    async fn get(&self, key: &ServerKey) -> Result<Option<Bytes>, ServerError> {
        measure(Operation::Get, self.0.get(key)).await
    }

    async fn get_near(&self, key: &ServerKey, asks_ttl: bool) -> Result<Option<NearReply>, ServerError> {
        measure(Operation::Get, self.0.get_near(key, asks_ttl)).await
    }

    async fn get_with_ttl(&self, key: &ServerKey) -> Result<Option<(Bytes, Ttl)>, ServerError> {
        measure(Operation::Get, self.0.get_with_ttl(key)).await
    }

    async fn get_many(&self, keys: &[(&ServerKey, bool)]) -> Option<Vec<ReadReply>> {
        let timer = Timer::start();
        let answers = self.0.get_many(keys).await?;
        // One operation, whose errors are those of all keys or of the keys themselves.
        timer.served(Operation::Get, answers.first().map_or(Outcome::Answered, outcome));
        Some(answers)
    }

    async fn contains(&self, key: &ServerKey) -> Result<bool, ServerError> {
        measure(Operation::Contains, self.0.contains(key)).await
    }

    async fn check_type(&self, key: &ServerKey) -> Result<(), ServerError> {
        measure(Operation::CheckType, self.0.check_type(key)).await
    }

    async fn take_lease(&self, key: &ServerKey, limit: Option<Duration>) -> Result<Option<Lease>, ServerError> {
        measure(Operation::Lease, self.0.take_lease(key, limit)).await
    }

    async fn release_lease(&self, proof: &Proof) -> Result<(), ServerError> {
        measure(Operation::Lease, self.0.release_lease(proof)).await
    }

    async fn set(
        &self,
        key: &ServerKey,
        value: Bytes,
        ttl: Duration,
        terms: Terms,
        under_way: impl UnderWay,
    ) -> Result<Stored, ServerError> {
        measure(Operation::Set, self.0.set(key, value, ttl, terms, under_way)).await
    }

    fn patience(&self) -> Duration {
        self.0.patience()
    }

    fn epoch(&self) -> Epoch {
        self.0.epoch()
    }

    fn replaced(&self, key: &ServerKey, sent: Epoch) {
        self.0.replaced(key, sent);
    }

    async fn remove(&self, key: &ServerKey) -> Result<bool, ServerError> {
        measure(Operation::Remove, self.0.remove(key)).await
    }

    async fn clear(&self, prefix: &KeyPrefix) -> Result<u64, ServerError> {
        measure(Operation::Clear, self.0.clear(prefix)).await
    }
}

fn measure<T, F: Future<Output = Result<T, ServerError>>>(operation: Operation, pending: F) -> Measuring<F> {
    Measuring { operation, timer: Some(Timer::start()), pending: spans::of_operation(operation, pending) }
}

pin_project! {
    /// An operation under way. Not an `async` function, whose future would have room for `pending` twice.
    struct Measuring<F> {
        operation: Operation,
        timer: Option<Timer>,
        #[pin]
        pending: InSpan<F>,
    }
}

impl<T, F: Future<Output = Result<T, ServerError>>> Future for Measuring<F> {
    type Output = Result<T, ServerError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.pending.poll(context));
        if let Some(timer) = this.timer.take() {
            timer.served(*this.operation, outcome(&result));
        }
        Poll::Ready(result)
    }
}

fn outcome<T>(result: &Result<T, ServerError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Answered,
        Err(ServerError::Refused { .. }) => Outcome::Refused,
        Err(ServerError::WrongType) => Outcome::WrongType,
        Err(ServerError::Unavailable(Unavailable::NotConnected)) => Outcome::NotConnected,
        Err(ServerError::Unavailable(Unavailable::TimedOut)) => Outcome::TimedOut,
        Err(ServerError::Unavailable(Unavailable::ConnectionLost)) => Outcome::ConnectionLost,
        Err(ServerError::Unavailable(Unavailable::Shed)) => Outcome::Shed,
        Err(ServerError::Unavailable(Unavailable::NotReady)) => Outcome::NotReady,
    }
}
