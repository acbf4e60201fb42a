//! The body of a response that has passed the cache.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;

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
    /// It's too large or has failed.
    Begun(CacheBody<B>),
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

    /// Reads a body that has at most `most` bytes.
    pub(crate) async fn collect(body: B, most: usize) -> Collected<B> {
        let fits = |len: usize| len <= most;
        if !usize::try_from(body.size_hint().lower()).is_ok_and(fits) {
            return Collected::Begun(Self::passed(body));
        }
        let (mut body, mut frames, mut len) = (Box::pin(body), VecDeque::new(), 0_usize);
        let begun = |frames, rest| Collected::Begun(Self { inner: Inner::Begun { frames, rest } });
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame.map_data(bytes_of),
                Err(error) => return begun(frames, Rest::Error(Some(error))),
            };
            len = len.saturating_add(frame.data_ref().map_or(0, Bytes::len));
            frames.push_back(frame);
            if !fits(len) {
                return begun(frames, Rest::Body(body));
            }
        }
        let (mut parts, mut trailers) = (Vec::new(), HeaderMap::new());
        for frame in frames {
            match frame.into_data() {
                Ok(data) => parts.push(data),
                Err(frame) => trailers.extend(frame.into_trailers().unwrap_or_default()),
            }
        }
        let data =
            if parts.len() == 1 { parts.remove(0) } else { BytesMut::from_iter(parts.into_iter().flatten()).freeze() };
        Collected::Whole(data, trailers)
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

/// Without copying, where it's `Bytes` already.
fn bytes_of(mut data: impl Buf) -> Bytes {
    data.copy_to_bytes(data.remaining())
}
