//! Spans around what takes time: the work of calls, and operations of the server.
//!
//! They're of the level `TRACE` and have a target of their own, so that a program that logs what the cache does gets none of them.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tracing::Span;

use super::metrics::Operation;

macro_rules! span {
    ($($fields:tt)+) => { tracing::trace_span!(target: "cache_house::spans", $($fields)+) };
}

/// Around the work of a call. `name` is the call's, and is made only for a subscriber; arguments and keys aren't shown.
pub(crate) fn of_work<'a, F>(name: impl FnOnce() -> Cow<'a, str>, work: F) -> InSpan<F> {
    InSpan { span: span!("cache_house.work", call = &*name()), inner: work }
}

/// Around an operation of the server.
pub(crate) fn of_operation<F>(operation: Operation, pending: F) -> InSpan<F> {
    InSpan { span: span!("cache_house.server", op = operation.name()), inner: pending }
}

pin_project! {
    /// A future inside a span.
    pub(crate) struct InSpan<F> {
        span: Span,
        #[pin]
        inner: F,
    }
}

impl<F: Future> Future for InSpan<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = this.span.enter();
        this.inner.poll(context)
    }
}
