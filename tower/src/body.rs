//! The body of a response that has passed the cache.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;

/// The most trailers that are stored with a body, in bytes. Each counts as in HTTP/2: 32 more than its name and its value have
/// (RFC 9113, section 6.5.2).
const MOST_TRAILERS: usize = 16 * 1024;

pin_project! {
    /// The body of a response that has passed the cache: one that is whole, or the inner service's as it comes.
    ///
    /// Its data are [`Bytes`], its error is the inner body's.
    pub struct CacheBody<B: Body> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = Projected]
    enum Inner<B: Body> {
        /// As the inner service sends it.
        Passed { #[pin] body: B },
        /// The first frames have been read, and the rest comes as the inner service sends it, or as an error.
        Begun { frames: VecDeque<Frame<Bytes>>, rest: Rest<B> },
        Whole { data: Bytes, trailers: Option<HeaderMap> },
    }
}

enum Rest<B: Body> {
    Body(Pin<Box<B>>),
    Error(Option<B::Error>),
}

/// What came of reading a body to its end.
pub(crate) enum Collected<B: Body> {
    Whole(Bytes, HeaderMap),
    TooLarge(CacheBody<B>),
    Failed(CacheBody<B>),
}

/// The data of a body so far. One frame stays as it is; several are copied, as each may keep a larger buffer from being freed.
#[derive(Default)]
struct Data {
    /// Empty once `copied` isn't.
    first: Bytes,
    copied: Vec<u8>,
}

impl<B: Body> CacheBody<B> {
    pub(crate) fn passed(body: B) -> Self {
        Self { inner: Inner::Passed { body } }
    }

    pub(crate) fn whole(data: Bytes, trailers: &HeaderMap) -> Self {
        Self { inner: Inner::Whole { data, trailers: (!trailers.is_empty()).then(|| trailers.clone()) } }
    }

    pub(crate) fn empty() -> Self {
        Self { inner: Inner::Whole { data: Bytes::new(), trailers: None } }
    }

    fn begun(data: Data, trailers: HeaderMap, last: Option<Frame<Bytes>>, rest: Rest<B>) -> Self {
        let data = Some(data.into_bytes()).filter(|data| !data.is_empty()).map(Frame::data);
        let trailers = Some(trailers).filter(|trailers| !trailers.is_empty()).map(Frame::trailers);
        Self { inner: Inner::Begun { frames: [data, trailers, last].into_iter().flatten().collect(), rest } }
    }

    /// Reads a body that has at most `most` bytes. In however many frames it comes, hardly more is held meanwhile.
    pub(crate) async fn collect(body: B, most: usize) -> Collected<B> {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > most {
            return Collected::TooLarge(Self::passed(body));
        }
        let (mut body, mut data, mut trailers) = (Box::pin(body), Data::default(), HeaderMap::new());
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame.map_data(bytes_of),
                Err(error) => {
                    return Collected::Failed(Self::begun(data, trailers, None, Rest::Error(Some(error))));
                }
            };
            // Trailers are the end of a body.
            let fits = trailers.is_empty()
                && match frame.data_ref() {
                    Some(part) => part.len() <= most - data.len(),
                    None => frame.trailers_ref().is_some_and(|trailers| size_of_trailers(trailers) <= MOST_TRAILERS),
                };
            if !fits {
                return Collected::TooLarge(Self::begun(data, trailers, Some(frame), Rest::Body(body)));
            }
            match frame.into_data() {
                Ok(part) => data.add(part, announced, most),
                Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
            }
        }
        Collected::Whole(data.into_bytes(), trailers)
    }
}

impl Data {
    fn len(&self) -> usize {
        self.first.len() + self.copied.len()
    }

    /// Adds a part that leaves it at `most` bytes or fewer; it's going to have `announced` bytes at least.
    fn add(&mut self, part: Bytes, announced: usize, most: usize) {
        if self.len() == 0 {
            self.first = part;
            return;
        }
        if part.is_empty() {
            return;
        }
        let (len, capacity) = (self.len() + part.len(), self.copied.capacity());
        if len > capacity {
            let grown = len.max(announced).max(capacity.saturating_mul(2).min(most));
            self.copied.reserve_exact(grown - self.copied.len());
        }
        self.copied.extend_from_slice(&std::mem::take(&mut self.first));
        self.copied.extend_from_slice(&part);
    }

    fn into_bytes(self) -> Bytes {
        // Without spare room, as it may be kept for long.
        if self.copied.is_empty() { self.first } else { self.copied.into_boxed_slice().into() }
    }
}

impl<B: Body> Body for CacheBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let inner = |frame: Option<Result<Frame<B::Data>, B::Error>>| {
            frame.map(|frame| frame.map(|frame| frame.map_data(bytes_of)))
        };
        match self.project().inner.project() {
            Projected::Passed { body } => Poll::Ready(inner(ready!(body.poll_frame(cx)))),
            Projected::Begun { frames, rest } => match (frames.pop_front(), rest) {
                (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
                (None, Rest::Body(body)) => Poll::Ready(inner(ready!(body.as_mut().poll_frame(cx)))),
                (None, Rest::Error(error)) => Poll::Ready(error.take().map(Err)),
            },
            Projected::Whole { data, .. } if !data.is_empty() => {
                Poll::Ready(Some(Ok(Frame::data(std::mem::take(data)))))
            }
            Projected::Whole { trailers, .. } => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Passed { body } => body.is_end_stream(),
            Inner::Begun { frames, rest } => {
                frames.is_empty()
                    && match rest {
                        Rest::Body(body) => body.is_end_stream(),
                        Rest::Error(error) => error.is_none(),
                    }
            }
            Inner::Whole { data, trailers } => data.is_empty() && trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Passed { body } => body.size_hint(),
            Inner::Begun { frames, rest } => {
                let read: usize = frames.iter().filter_map(Frame::data_ref).map(Bytes::len).sum();
                let read = u64::try_from(read).unwrap_or(u64::MAX);
                // After an error, its end is unknown.
                let rest = if let Rest::Body(body) = rest { body.size_hint() } else { SizeHint::default() };
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(read));
                if let Some(upper) = rest.upper() {
                    hint.set_upper(upper.saturating_add(read));
                }
                hint
            }
            Inner::Whole { data, .. } => SizeHint::with_exact(u64::try_from(data.len()).unwrap_or(u64::MAX)),
        }
    }
}

impl<B: Body> fmt::Debug for CacheBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is in it may be a secret.
        f.debug_struct("CacheBody").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}

fn size_of_trailers(trailers: &HeaderMap) -> usize {
    trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

/// Without copying, where it's `Bytes` already.
fn bytes_of(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}
