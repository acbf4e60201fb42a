//! An origin that answers as a test says, and a client that reads what comes of it through the layer.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use cache_house::{CacheHandle, CacheHouse, ManualClock};
use cache_house_tower::{Cache, CacheBody, CacheLayer};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt};

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A point in time that tests begin at.
const BEGIN: u64 = 1_750_000_000;

/// The clock of the layer and of the cache's memory, which stand still.
#[derive(Clone, Default)]
pub(crate) struct Time {
    memory: ManualClock,
    seconds: Arc<AtomicU64>,
}

impl Time {
    pub(crate) fn pass(&self, seconds: u64) {
        self.memory.advance(Duration::from_secs(seconds));
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(BEGIN + self.seconds.load(Ordering::SeqCst))
    }

    /// A cache in memory whose time this is.
    pub(crate) fn memory(&self) -> CacheHandle {
        CacheHouse::builder().memory().clock(self.memory.clone()).build().unwrap()
    }

    /// A layer over such a cache.
    pub(crate) fn layer(&self) -> CacheLayer {
        self.layer_over(self.memory())
    }

    pub(crate) fn layer_over(&self, cache: CacheHandle) -> CacheLayer {
        let time = self.clone();
        CacheLayer::new(cache).clock(move || time.now())
    }
}

type Work = dyn Fn(Request<Full<Bytes>>) -> Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, Failed>> + Send>>
    + Send
    + Sync;

/// The error of an origin that can't be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failed;

/// A service that counts its calls and keeps the headers of the last one. It insists on being ready when it's called.
pub(crate) struct Origin {
    work: Arc<Work>,
    calls: Arc<AtomicUsize>,
    last: Arc<Mutex<HeaderMap>>,
    is_ready: bool,
}

impl Clone for Origin {
    fn clone(&self) -> Self {
        let (work, calls, last) = (Arc::clone(&self.work), Arc::clone(&self.calls), Arc::clone(&self.last));
        Self { work, calls, last, is_ready: false }
    }
}

impl Origin {
    pub(crate) fn new<F>(work: impl Fn(Request<Full<Bytes>>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Response<Full<Bytes>>, Failed>> + Send + 'static,
    {
        let work: Arc<Work> = Arc::new(move |request| Box::pin(work(request)));
        Self { work, calls: Arc::default(), last: Arc::default(), is_ready: false }
    }

    /// Answers each request alike; the body is `0`, `1`, … by how many requests have come before.
    pub(crate) fn of(status: u16, headers: &[(&'static str, &str)]) -> Self {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let calls = AtomicUsize::new(0);
        Self::new(move |_| {
            let mut response = Response::builder().status(status);
            for (name, value) in &headers {
                response = response.header(*name, value);
            }
            let body = calls.fetch_add(1, Ordering::SeqCst).to_string();
            std::future::ready(Ok(response.body(Full::from(body)).unwrap()))
        })
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// A header of the last request.
    pub(crate) fn was_sent(&self, name: &str) -> Option<String> {
        self.last.lock().unwrap().get(name).map(|value| value.to_str().unwrap().to_owned())
    }
}

impl Service<Request<Full<Bytes>>> for Origin {
    type Response = Response<Full<Bytes>>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called before it was ready");
        self.calls.fetch_add(1, Ordering::SeqCst);
        *self.last.lock().unwrap() = request.headers().clone();
        (self.work)(request)
    }
}

/// A response as a client has it.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// `Cache-Status` behind the name of the cache.
    pub(crate) fn cache_status(&self) -> &str {
        let status = self.header("cache-status").expect("each response has it");
        status.strip_prefix("cache-house; ").expect("it begins with the name")
    }
}

/// What clients send requests to.
#[derive(Clone)]
pub(crate) struct Site<S = Origin>(pub(crate) Cache<S>);

impl<S> Site<S> {
    pub(crate) fn new(layer: &CacheLayer, origin: &S) -> Self
    where
        S: Clone,
    {
        Self(layer.layer(origin.clone()))
    }
}

impl<S, B> Site<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Send + std::fmt::Debug,
{
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<CacheBody<B>>, S::Error> {
        self.0.clone().oneshot(request).await
    }

    pub(crate) async fn try_ask(
        &self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
    ) -> Result<Answer, S::Error> {
        let response = self.send(request(method, uri, headers)).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    pub(crate) async fn get(&self, uri: &str, headers: &[(&str, &str)]) -> Answer
    where
        S::Error: std::fmt::Debug,
    {
        self.try_ask(Method::GET, uri, headers).await.unwrap()
    }
}

/// A request whose `Host` is that of the URI, else `example.com`, unless the headers have it.
pub(crate) fn request(method: Method, uri: &str, headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let uri: Uri = uri.parse().unwrap();
    let host = uri.authority().map_or("example.com", |authority| authority.as_str()).to_owned();
    let mut request = Request::builder().method(method).uri(uri);
    if headers.iter().all(|(name, _)| *name != "host") {
        request = request.header("host", host);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

/// Waits for what is bound to happen.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
