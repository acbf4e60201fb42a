//! Bodies, headers and methods on their way through the layer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tower::service_fn;

use crate::support::{Failed, Origin, Site, Time, request};

/// What a client reads of a body: data, trailer, failure.
type Read = (String, Option<String>, bool);

/// A body of unknown length; `Err` at its end where it fails.
#[derive(Clone)]
struct Frames(VecDeque<Result<Part, Failed>>);

#[derive(Clone)]
enum Part {
    Data(&'static str),
    Trailer(&'static str),
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let frame = |part| match part {
            Part::Data(data) => Frame::data(Bytes::from(data)),
            Part::Trailer(value) => {
                Frame::trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), HeaderValue::from_static(value))]))
            }
        };
        Poll::Ready(self.0.pop_front().map(|part| part.map(frame)))
    }
}

async fn read(mut body: impl Body<Data = Bytes, Error = Failed> + Unpin) -> Read {
    let (mut data, mut trailer, mut has_failed) = (String::new(), None, false);
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(bytes)) => data.push_str(std::str::from_utf8(&bytes).unwrap()),
            Ok(Err(frame)) => {
                let trailers = frame.into_trailers().unwrap();
                trailer = Some(trailers["x-sum"].to_str().unwrap().to_owned());
            }
            Err(Failed) => has_failed = true,
        }
    }
    (data, trailer, has_failed)
}

/// Sends the frames to a client through a layer for bodies of 8 bytes, twice. What the client reads of each, and how often the
/// origin was called.
async fn twice(frames: &[Result<Part, Failed>]) -> (Vec<Read>, usize) {
    let (frames, calls) = (Frames(frames.iter().cloned().collect()), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&calls);
    let origin = service_fn(move |_: Request<Full<Bytes>>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let response = Response::builder().header("cache-control", "max-age=60");
        ready(Ok::<_, Infallible>(response.body(frames.clone()).unwrap()))
    });
    let site = Site::new(&Time::default().layer().max_body(8), &origin);
    let mut both = Vec::new();
    for _ in 0..2 {
        both.push(read(site.send(request(Method::GET, "/", &[])).await.unwrap().into_body()).await);
    }
    (both, calls.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_body_of_unknown_length_is_stored_with_its_trailers() {
    let (read, calls) = twice(&[Ok(Part::Data("1234")), Ok(Part::Data("5678")), Ok(Part::Trailer("36"))]).await;
    assert_eq!((read, calls), (vec![("12345678".to_owned(), Some("36".to_owned()), false); 2], 1));
}

#[tokio::test]
async fn a_larger_body_is_passed_on_whole_and_not_stored() {
    let (read, calls) =
        twice(&[Ok(Part::Data("1234")), Ok(Part::Data("56789")), Ok(Part::Data("x")), Ok(Part::Trailer("4"))]).await;
    assert_eq!((read, calls), (vec![("123456789x".to_owned(), Some("4".to_owned()), false); 2], 2));
}

#[tokio::test]
async fn the_client_has_the_error_of_a_body_behind_what_came_before() {
    let (read, calls) = twice(&[Ok(Part::Data("1234")), Err(Failed)]).await;
    assert_eq!((read, calls), (vec![("1234".to_owned(), None, true); 2], 2));
    let (read, calls) = twice(&[Ok(Part::Data("123456789")), Err(Failed)]).await;
    assert_eq!((read, calls), (vec![("123456789".to_owned(), None, true); 2], 2));
}

#[tokio::test]
async fn trailers_that_are_large_or_not_the_end_are_passed_on_and_not_stored() {
    let large: &'static str = "t".repeat(20_000).leak();
    let (read, calls) = twice(&[Ok(Part::Data("1234")), Ok(Part::Trailer(large))]).await;
    assert_eq!((read, calls), (vec![("1234".to_owned(), Some(large.to_owned()), false); 2], 2));
    let (read, calls) = twice(&[Ok(Part::Data("1234")), Ok(Part::Trailer("1")), Ok(Part::Data("5"))]).await;
    assert_eq!((read, calls), (vec![("12345".to_owned(), Some("1".to_owned()), false); 2], 2));
}

#[tokio::test]
async fn one_frame_is_not_copied() {
    let data = "12345678";
    let origin = service_fn(move |_: Request<Full<Bytes>>| {
        let frames = Frames(["", data, ""].map(|data| Ok(Part::Data(data))).into());
        let response = Response::builder().header("cache-control", "max-age=60");
        ready(Ok::<_, Infallible>(response.body(frames).unwrap()))
    });
    let site = Site::new(&Time::default().layer(), &origin);
    let response = site.send(request(Method::GET, "/", &[])).await.unwrap();
    assert_eq!(response.headers()["cache-status"], "cache-house; fwd=uri-miss; stored");
    let sent = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!((&sent[..], sent.as_ptr()), (data.as_bytes(), data.as_ptr()));
}

/// A buffer, counted while it's in use.
struct Buffer(Arc<AtomicUsize>, &'static [u8]);

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.1
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A body of so many frames, every second of which is empty. Each has a buffer of its own.
struct Pieces {
    left: usize,
    in_use: Arc<AtomicUsize>,
    most_in_use: Arc<AtomicUsize>,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let Some(left) = self.left.checked_sub(1) else { return Poll::Ready(None) };
        self.left = left;
        let in_use = self.in_use.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_in_use.fetch_max(in_use, Ordering::SeqCst);
        let buffer = Buffer(Arc::clone(&self.in_use), if left.is_multiple_of(2) { b"x" } else { b"" });
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(buffer)))))
    }
}

#[tokio::test]
async fn the_buffers_of_small_frames_are_not_kept() {
    let (in_use, most_in_use) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let most = Arc::clone(&most_in_use);
    let origin = service_fn(move |_: Request<Full<Bytes>>| {
        let body = Pieces { left: 200, in_use: Arc::clone(&in_use), most_in_use: Arc::clone(&most) };
        let response = Response::builder().header("cache-control", "max-age=60");
        ready(Ok::<_, Infallible>(response.body(body).unwrap()))
    });
    let site = Site::new(&Time::default().layer().max_body(100), &origin);
    let answer = site.get("/", &[]).await;
    assert_eq!((answer.cache_status(), &*answer.body), ("fwd=uri-miss; stored", &*"x".repeat(100)));
    assert!(most_in_use.load(Ordering::SeqCst) <= 3, "{most_in_use:?} of 200");
}

#[tokio::test]
async fn a_body_that_breaks_while_its_response_is_revalidated_is_a_failure() {
    for broken in [vec![Ok(Part::Data("12")), Err(Failed)], vec![Ok(Part::Data("12"))]] {
        let has_failed = broken.len() == 2;
        for (control, is_served) in [("max-age=60, stale-if-error=600", true), ("max-age=60", false)] {
            let (calls, broken) = (Arc::new(AtomicUsize::new(0)), broken.clone());
            let origin = service_fn(move |_: Request<Full<Bytes>>| {
                let is_first = calls.fetch_add(1, Ordering::SeqCst) == 0;
                let frames = if is_first { vec![Ok(Part::Data("1234"))] } else { broken.clone() };
                let response = Response::builder().header("cache-control", control).header("etag", "\"1\"");
                let response = response.header("content-length", "4");
                ready(Ok::<_, Infallible>(response.body(Frames(frames.into())).unwrap()))
            });
            let time = Time::default();
            let site = Site::new(&time.layer(), &origin);
            let mut statuses = Vec::new();
            for at in 0..3 {
                let response = site.send(request(Method::GET, "/", &[])).await.unwrap();
                statuses.push(response.headers()["cache-status"].to_str().unwrap().to_owned());
                let whole = ("1234".to_owned(), None, false);
                let expected = if at == 0 || is_served { whole } else { ("12".to_owned(), None, has_failed) };
                assert_eq!(read(response.into_body()).await, expected, "{control}");
                time.pass(90);
            }
            // The stored response is still there, and its URI doesn't count as one whose response isn't stored.
            let stale =
                if is_served { "cache-house; fwd=stale; detail=stale-if-error" } else { "cache-house; fwd=stale" };
            assert_eq!(statuses, ["cache-house; fwd=uri-miss; stored", stale, stale], "{control}");
        }
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_larger_is_not_read() {
    let (time, origin) = (Time::default(), Origin::of(200, &[("cache-control", "max-age=60")]));
    let site = Site::new(&time.layer().max_body(0), &origin);
    for body in ["0", "1"] {
        assert_eq!(site.get("/", &[]).await.body, body);
    }
}

#[tokio::test]
async fn a_body_that_is_shorter_than_its_length_is_not_stored() {
    let (time, origin) =
        (Time::default(), Origin::of(200, &[("cache-control", "max-age=60"), ("content-length", "2")]));
    let site = Site::new(&time.layer(), &origin);
    for body in ["0", "1"] {
        let answer = site.get("/", &[]).await;
        assert_eq!((answer.body.as_str(), answer.cache_status()), (body, "fwd=uri-miss"));
    }
}

#[tokio::test]
async fn headers_are_kept_but_for_those_of_the_connection() {
    let headers = [
        ("cache-control", "max-age=60"),
        ("link", "a"),
        ("link", "b"),
        ("connection", "close, x-hop"),
        ("keep-alive", "timeout=5"),
        ("x-hop", "1"),
    ];
    let (time, origin) = (Time::default(), Origin::of(200, &headers));
    let site = Site::new(&time.layer(), &origin);
    let first = site.get("/", &[]).await;
    assert_eq!((first.header("age"), first.header("date")), (None, Some("Sun, 15 Jun 2025 15:06:40 GMT")));
    time.pass(7);
    let hit = site.get("/", &[]).await;
    let links: Vec<_> = hit.headers.get_all("link").iter().collect();
    assert_eq!(links, ["a", "b"]);
    assert_eq!((hit.header("age"), hit.header("date")), (Some("7"), Some("Sun, 15 Jun 2025 15:06:40 GMT")));
    for name in ["connection", "keep-alive", "x-hop"] {
        assert_eq!(hit.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn head_is_answered_from_a_stored_get_and_never_stored() {
    let (time, origin) = (Time::default(), Origin::of(200, &[("cache-control", "max-age=60"), ("etag", "\"1\"")]));
    let site = Site::new(&time.layer(), &origin);
    let head = |headers: &'static [(&str, &str)]| site.try_ask(Method::HEAD, "/", headers);
    assert_eq!(head(&[]).await.unwrap().cache_status(), "fwd=uri-miss");
    assert_eq!(head(&[]).await.unwrap().cache_status(), "fwd=uri-miss");
    site.get("/", &[]).await;
    let answer = head(&[]).await.unwrap();
    assert_eq!(
        (answer.cache_status(), answer.header("content-length"), answer.body.as_str()),
        ("hit; ttl=60", Some("1"), "")
    );
    assert_eq!(head(&[("if-none-match", "\"1\"")]).await.unwrap().status, 304);
    time.pass(60);
    assert_eq!(head(&[]).await.unwrap().cache_status(), "fwd=stale");
}

#[tokio::test]
async fn a_get_with_a_body_is_passed_on() {
    let origin = Origin::new(|request| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Ok(Response::builder().header("cache-control", "max-age=60").body(Full::from(body)).unwrap())
    });
    let site = Site::new(&Time::default().layer(), &origin);
    for text in ["one", "two"] {
        let mut request = request(Method::GET, "/", &[]);
        *request.body_mut() = Full::from(text);
        let response = site.send(request).await.unwrap();
        assert_eq!(response.headers()["cache-status"], "cache-house; fwd=bypass");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), text);
    }
}

#[tokio::test]
async fn bodies_are_not_shown() {
    let (time, origin) =
        (Time::default(), Origin::of(200, &[("cache-control", "max-age=60"), ("x-secret", "hunter2")]));
    let layer = time.layer().name("edge 7");
    let site = Site::new(&layer, &origin);
    let response = site.send(request(Method::GET, "/", &[("authorization", "hunter2")])).await.unwrap();
    let shown = format!("{layer:?} {:?}", response.body());
    assert!(!shown.contains("hunter2") && shown.contains("\"edge 7\""), "{shown}");
    assert_eq!(response.headers()["cache-status"], "\"edge 7\"; fwd=uri-miss");
}
