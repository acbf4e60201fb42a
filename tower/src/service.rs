//! The service that the layer makes.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::CacheBody;
use crate::exchange::Exchange;
use crate::layer::Settings;
use crate::state::State;

/// A service whose responses are cached; made by [`CacheLayer`](crate::CacheLayer).
///
/// Its errors are the inner service's, never the cache's. Its clones share what is cached. Bodies of requests go to the inner
/// service as they are.
#[derive(Clone)]
pub struct Cache<S> {
    inner: S,
    settings: Arc<Settings>,
    state: Arc<State>,
}

impl<S> Cache<S> {
    pub(crate) fn new(inner: S, settings: Arc<Settings>, state: Arc<State>) -> Self {
        Self { inner, settings, state }
    }
}

impl<S, Q, B> Service<Request<Q>> for Cache<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    Q: Body + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    type Response = Response<CacheBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        // The one that is ready is called, and a clone waits until it's ready for the next request.
        let next = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, next);
        Box::pin(Exchange::new(&self.settings, &self.state, ready, request).answer())
    }
}

impl<S: fmt::Debug> fmt::Debug for Cache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("inner", &self.inner).field("settings", &self.settings).finish_non_exhaustive()
    }
}
