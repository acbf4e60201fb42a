//! The way of one request: lookup, the inner service, and what is stored of its response.

use std::future::ready;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

use cache_house::{CacheHandle, CacheOptions, Source};
use http::header::{
    AGE, AUTHORIZATION, CONTENT_LENGTH, DATE, HeaderValue, IF_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, request, response};
use http_body::Body;
use tower_service::Service;

use crate::body::{CacheBody, Collected};
use crate::conditional;
use crate::directives::Directives;
use crate::invalidation;
use crate::key::{Slot, Target};
use crate::layer::Settings;
use crate::rules::{self, Unstorable, Verdict};
use crate::state::State;
use crate::status::{Forwarded, Handled, Why};
use crate::stored::{Kept, Shared, Stored, millis};

/// One request on its way.
pub(crate) struct Exchange<S, Q> {
    settings: Arc<Settings>,
    state: Arc<State>,
    /// As the client sent it.
    head: request::Parts,
    wanted: Directives,
    /// The inner service, which is ready for one call, and the body for it.
    origin: Option<(S, Q)>,
    began: SystemTime,
    /// What the inner service has answered.
    status: Option<StatusCode>,
    /// That answer, where it may be stored.
    mine: Option<Shared>,
}

/// A response of this request's own, which nothing is kept of.
enum Own<B: Body, E> {
    Response(Box<Response<CacheBody<B>>>),
    /// Its body has failed, or isn't as long as it says.
    Broken(Box<Response<CacheBody<B>>>),
    /// `mine`, which may be stored but isn't.
    Mine,
    Failed(E),
}

impl<B: Body, E> Own<B, E> {
    fn response(parts: response::Parts, body: CacheBody<B>) -> Self {
        Self::Response(Box::new(Response::from_parts(parts, body)))
    }

    fn broken(parts: response::Parts, body: CacheBody<B>) -> Self {
        Self::Broken(Box::new(Response::from_parts(parts, body)))
    }

    /// Whether the inner service has failed, in the sense of `stale-if-error`.
    fn is_failure(&self) -> bool {
        match self {
            Self::Response(response) => rules::is_failure(response.status()),
            Self::Broken(_) | Self::Failed(_) => true,
            Self::Mine => false,
        }
    }
}

type Answer<B, E> = Result<Response<CacheBody<B>>, E>;

impl<S, Q> Exchange<S, Q> {
    pub(crate) fn new(settings: &Arc<Settings>, state: &Arc<State>, inner: S, request: Request<Q>) -> Self {
        let (head, body) = request.into_parts();
        Self {
            settings: Arc::clone(settings),
            state: Arc::clone(state),
            wanted: Directives::of(&head.headers),
            head,
            origin: Some((inner, body)),
            began: (settings.clock)(),
            status: None,
            mine: None,
        }
    }

    fn now(&self) -> SystemTime {
        (self.settings.clock)()
    }

    fn handle(&self) -> CacheHandle {
        self.settings.handle.clone()
    }

    fn options(
        &self,
        slot: &Slot,
    ) -> CacheOptions<impl cache_house::codec::ValueCodec<Kept> + Send + Sync + use<S, Q>> {
        slot.options(&self.settings)
    }

    fn verdict(&self, stored: &Stored, wanted: &Directives) -> Verdict {
        rules::verdict(stored, &self.head.headers, wanted, self.now())
    }

    fn hit(&self, stored: &Stored) -> Handled {
        Handled::Hit { ttl: stored.ttl_seconds(self.now()) }
    }

    fn is_authorized(&self) -> bool {
        self.head.headers.contains_key(AUTHORIZATION)
    }

    /// Whether what comes isn't stored anyway, so that the request needn't wait for others.
    fn is_unstorable(&self, slot: &Slot) -> bool {
        let is_noted = |is_authorized: bool| self.state.is_unstorable((&slot.key, is_authorized));
        is_noted(false) || self.is_authorized() && is_noted(true)
    }

    /// Notes that what comes for a URI isn't stored. Not for one of its variants: others may be stored, and answer.
    fn note_unstorable(&self, slot: &Slot, why: Unstorable) {
        if slot.variant.is_some() {
            return;
        }
        // By the request: it has `Authorization`, and a response to one without may be stored.
        self.state.note_unstorable((&slot.key, why == Unstorable::ByRequest));
    }

    fn note_storable(&self, slot: &Slot) {
        self.state.note_storable((&slot.key, false));
        if self.is_authorized() {
            self.state.note_storable((&slot.key, true));
        }
    }
}

impl<S, Q, B> Exchange<S, Q>
where
    S: Service<Request<Q>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    Q: Body + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Send,
{
    pub(crate) async fn answer(mut self) -> Answer<B, S::Error> {
        if let Some(why) = self.bypasses() {
            let response = self.pass(why).await?;
            if why == Why::Method && !self.head.method.is_safe() && is_success(response.status()) {
                invalidation::invalidate(&self.settings, &self.state, &self.head, response.headers()).await;
            }
            return Ok(response);
        }
        let Some(target) = Target::of(&self.settings, &self.head) else { return self.pass(Why::Bypass).await };
        let mut slot = target.slot(&self.settings, &self.head);
        if self.wanted.only_if_cached || self.head.method == Method::HEAD {
            return self.answer_from_cache(slot).await;
        }
        if self.is_unstorable(&slot) {
            return self.pass_unstorable(&slot).await;
        }
        loop {
            let mut has_run = false;
            let (handle, options, now) = (self.handle(), self.options(&slot), self.began);
            let looked_up = handle.try_entry_async(options, |_| {
                has_run = true;
                self.fetch(&slot, None)
            });
            let entry = match looked_up.await {
                Ok(entry) => entry,
                Err(own) => return self.finish(own, miss(&slot), false),
            };
            if has_run {
                let is_stored = entry.remaining().is_some();
                return self.finish(Own::Mine, miss(&slot), is_stored);
            }
            let is_coalesced = entry.source() == Source::Coalesced;
            match entry.into_value() {
                Kept::Varies { names, generation } if slot.variant.is_none() => {
                    slot = slot.variant(&names, generation, &self.head.headers);
                }
                Kept::Varies { .. } => return self.pass(Why::VaryMiss).await,
                Kept::Response(stored) => {
                    // Otherwise another call had looked it up.
                    let is_collapsed = is_coalesced && stored.born >= millis(now);
                    return self.found(slot, stored, is_collapsed).await;
                }
            }
        }
    }

    /// Why a request is handed to the inner service as it is.
    fn bypasses(&self) -> Option<Why> {
        if !matches!(self.head.method, Method::GET | Method::HEAD) {
            return Some(Why::Method);
        }
        let headers = &self.head.headers;
        let is_special =
            [RANGE, IF_RANGE, IF_MATCH, IF_UNMODIFIED_SINCE, UPGRADE].iter().any(|name| headers.contains_key(name));
        let has_body =
            self.origin.as_ref().is_some_and(|(_, body)| !body.is_end_stream() && body.size_hint().exact() != Some(0));
        if is_special || has_body {
            return Some(Why::Bypass);
        }
        self.wanted.no_store.then_some(Why::Request)
    }

    /// Hands the request to the inner service as it is, and its response to the client.
    async fn pass(&mut self, why: Why) -> Answer<B, S::Error> {
        let (mut inner, body) = self.origin.take().expect(ONCE);
        let response = inner.call(Request::from_parts(self.head.clone(), body)).await?;
        let (mut parts, body) = response.into_parts();
        Handled::Forwarded(why.forwarded()).note(&self.settings.name, parts.status, &mut parts.headers);
        Ok(Response::from_parts(parts, CacheBody::passed(body)))
    }

    /// The same for a URI whose last response couldn't be stored. If this one could be, the next is.
    async fn pass_unstorable(&mut self, slot: &Slot) -> Answer<B, S::Error> {
        let asked = self.now();
        let (parts, body) = self.pass(Why::Miss).await?.into_parts();
        let now = self.now();
        let delay = now.duration_since(asked).unwrap_or_default();
        let fits = usize::try_from(body.size_hint().lower()).is_ok_and(|len| len <= self.settings.max_body);
        if fits && rules::storing(&self.head, &parts, now, delay, self.settings.heuristic).is_ok() {
            self.note_storable(slot);
        }
        Ok(Response::from_parts(parts, body))
    }

    /// Answers without making a response for others: `HEAD`, `only-if-cached`.
    async fn answer_from_cache(mut self, mut slot: Slot) -> Answer<B, S::Error> {
        let mut found = self.handle().get_async(self.options(&slot)).await;
        if let Some(Kept::Varies { names, generation }) = found {
            slot = slot.variant(&names, generation, &self.head.headers);
            found = self.handle().get_async(self.options(&slot)).await;
        }
        let why = match found {
            Some(Kept::Response(stored)) => match self.verdict(&stored, &self.wanted) {
                Verdict::Serve => return Ok(self.respond(&stored, self.hit(&stored))),
                Verdict::ServeAndRenew => {
                    let response = self.respond(&stored, self.hit(&stored));
                    if tokio::runtime::Handle::try_current().is_ok() {
                        self.renew(slot, stored);
                    }
                    return Ok(response);
                }
                Verdict::Stale => Why::Stale,
                Verdict::Request | Verdict::NotForAuthorized => Why::Request,
            },
            _ => miss(&slot),
        };
        if !self.wanted.only_if_cached {
            return self.pass(why).await;
        }
        // RFC 9111, section 5.2.1.7.
        let mut response = Response::new(CacheBody::empty());
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        Handled::Refused.note(&self.settings.name, StatusCode::GATEWAY_TIMEOUT, response.headers_mut());
        Ok(response)
    }

    /// Answers by a stored response, or by what replaces it.
    async fn found(mut self, slot: Slot, stored: Shared, is_collapsed: bool) -> Answer<B, S::Error> {
        match self.verdict(&stored, &self.wanted) {
            Verdict::Serve if is_collapsed => {
                let forwarded = Forwarded { is_collapsed, ..miss(&slot).forwarded() };
                Ok(self.respond(&stored, Handled::Forwarded(forwarded)))
            }
            Verdict::Serve => Ok(self.respond(&stored, self.hit(&stored))),
            Verdict::ServeAndRenew if tokio::runtime::Handle::try_current().is_ok() => {
                let response = self.respond(&stored, self.hit(&stored));
                self.renew(slot, stored);
                Ok(response)
            }
            Verdict::ServeAndRenew | Verdict::Stale => self.revalidate(slot, stored, Why::Stale).await,
            Verdict::Request => self.revalidate(slot, stored, Why::Request).await,
            Verdict::NotForAuthorized => self.pass(Why::Request).await,
        }
    }

    /// Renews a response in a task of its own, unless that is under way.
    fn renew(mut self, slot: Slot, stored: Shared) {
        let (state, now) = (Arc::clone(&self.state), self.now());
        state.renew(slot.text(), now, |renewal| async move {
            let _renewal = renewal;
            // Another may have renewed it, here or in another process, or it has been removed.
            let current = self.handle().get_async(self.options(&slot)).await;
            if matches!(current, Some(Kept::Response(current)) if current.born == stored.born) {
                // What it comes to is in the cache; a failure leaves the old response there.
                drop(self.replace(&slot, &stored).await);
            }
        });
    }

    /// Asks the inner service whether the stored response is still right, and answers by it or by what replaces it.
    async fn revalidate(mut self, slot: Slot, stored: Shared, why: Why) -> Answer<B, S::Error> {
        let own = match self.replace(&slot, &stored).await {
            Ok(Replaced::Mine) => return self.finish(Own::Mine, why, false),
            Ok(Replaced::ByAnother(kept)) => return self.answer_by_another(&slot, kept, why).await,
            Err(own) => own,
        };
        if own.is_failure() && rules::may_replace_failure(&stored, &self.wanted, self.now()) {
            let forwarded = Forwarded { status: self.status, is_stale: true, ..why.forwarded() };
            return Ok(self.respond(&stored, Handled::Forwarded(forwarded)));
        }
        self.finish(own, why, false)
    }

    /// Answers by what another request has replaced the response with meanwhile.
    async fn answer_by_another(&mut self, slot: &Slot, mut kept: Kept, why: Why) -> Answer<B, S::Error> {
        if let Kept::Varies { names, generation } = &kept {
            let variant = slot.variant(names, *generation, &self.head.headers);
            match self.handle().get_async(self.options(&variant)).await {
                Some(found) => kept = found,
                None => return self.pass(why).await,
            }
        }
        // It has just been asked for, which is what the request wanted.
        let wanted = Directives { no_cache: false, max_age: None, ..self.wanted.clone() };
        match kept {
            Kept::Response(stored) if matches!(self.verdict(&stored, &wanted), Verdict::Serve) => {
                let forwarded = Forwarded { is_collapsed: true, ..why.forwarded() };
                Ok(self.respond(&stored, Handled::Forwarded(forwarded)))
            }
            _ => self.pass(why).await,
        }
    }

    /// Replaces what is stored by what the inner service says now.
    async fn replace(&mut self, slot: &Slot, stored: &Shared) -> Result<Replaced, Own<B, S::Error>> {
        let (handle, options) = (self.handle(), self.options(slot));
        let result = if stored.is_shared_while_revalidating() {
            let mut has_run = false;
            let refreshed = handle.try_refresh_async(options, || {
                has_run = true;
                self.fetch(slot, Some(stored))
            });
            match refreshed.await {
                Ok(_) if has_run => Ok(Replaced::Mine),
                Ok(kept) => return Ok(Replaced::ByAnother(kept)),
                Err(own) => Err(own),
            }
        } else {
            // Each request asks for itself, so none waits for another.
            match self.fetch(slot, Some(stored)).await {
                Ok(Kept::Response(new)) if !new.is_shared_while_revalidating() => {
                    if self.status != Some(StatusCode::NOT_MODIFIED) {
                        handle.refresh_async(options, || ready(Kept::Response(new))).await;
                    }
                    Ok(Replaced::Mine)
                }
                // It was fetched before the cache could watch over it: the next request stores its own.
                Ok(_) => {
                    self.forget(slot).await;
                    Ok(Replaced::Mine)
                }
                Err(own) => Err(own),
            }
        };
        let is_newer = matches!(&result, Err(Own::Response(_)));
        if is_newer && self.status.is_some_and(rules::replaces_stored) {
            // It can't be stored itself.
            self.forget(slot).await;
        }
        result
    }

    async fn forget(&mut self, slot: &Slot) {
        if let Err(error) = self.handle().remove_async(self.options(slot)).await {
            self.state.not_removed(&error);
        }
    }

    /// Asks the inner service, and makes of its response what is to be stored. `stored`: what it's asked to confirm.
    async fn fetch(&mut self, slot: &Slot, stored: Option<&Shared>) -> Result<Kept, Own<B, S::Error>> {
        let (mut inner, body) = self.origin.take().expect(ONCE);
        let mut head = self.head.clone();
        head.method = Method::GET;
        conditional::make_conditional(&mut head.headers, stored.map(|stored| &stored.headers));
        let asked = self.now();
        let response = inner.call(Request::from_parts(head, body)).await.map_err(Own::Failed)?;
        let now = self.now();
        let delay = now.duration_since(asked).unwrap_or_default();
        let (mut parts, body) = response.into_parts();
        self.status = Some(parts.status);
        // Any 304 confirms it: nothing else was asked for.
        let confirmed = stored.filter(|_| parts.status == StatusCode::NOT_MODIFIED);
        if let Some(stored) = confirmed {
            // A `Date` of old would make it look old.
            date(&mut parts.headers, now);
            parts.headers = conditional::freshened(&stored.headers, &parts.headers);
            parts.status = stored.status;
        }
        let storing = match rules::storing(&self.head, &parts, now, delay, self.settings.heuristic) {
            Ok(storing) => storing,
            Err(why) => {
                if stored.is_none() && !rules::is_failure(parts.status) {
                    self.note_unstorable(slot, why);
                }
                let body = match confirmed {
                    Some(stored) => CacheBody::whole(stored.body.clone(), &stored.trailers),
                    None => CacheBody::passed(body),
                };
                return Err(Own::response(parts, body));
            }
        };
        let (body, trailers) = match confirmed {
            Some(stored) => (stored.body.clone(), stored.trailers.clone()),
            None => match CacheBody::collect(body, self.settings.max_body).await {
                Collected::Whole(body, trailers) => (body, trailers),
                Collected::TooLarge(body) => {
                    self.note_unstorable(slot, Unstorable::ByResponse);
                    return Err(Own::response(parts, body));
                }
                Collected::Failed(body) => return Err(Own::broken(parts, body)),
            },
        };
        if parts.headers.get(CONTENT_LENGTH).is_some_and(|len| len.as_bytes() != body.len().to_string().as_bytes()) {
            // Incomplete (RFC 9111, section 3.3).
            return Err(Own::broken(parts, CacheBody::whole(body, &trailers)));
        }
        date(&mut parts.headers, now);
        rules::strip(&mut parts.headers);
        let born = millis(now).saturating_sub(u64::try_from(storing.age.as_millis()).unwrap_or(u64::MAX));
        let lifetime = u64::try_from(storing.lifetime.as_millis()).unwrap_or(u64::MAX);
        let stored = Stored { status: parts.status, headers: parts.headers, body, trailers, born, lifetime };
        self.keep(slot, stored.into(), storing.vary).await
    }

    /// What is to be stored in a slot.
    async fn keep(&mut self, slot: &Slot, stored: Shared, vary: Vec<String>) -> Result<Kept, Own<B, S::Error>> {
        self.mine = Some(stored.clone());
        let handle = self.handle();
        match &slot.variant {
            Some(variant) if !vary.iter().all(|name| variant.names.contains(name)) => {
                // The key lacks a header that this response depends on. From now on it's part of the keys, under a new generation.
                let mut names = [variant.names.clone(), vary].concat();
                names.sort_unstable();
                names.dedup();
                let varies = Kept::Varies { names, generation: random() };
                handle.refresh_async(self.options(&slot.primary()), || ready(varies)).await;
                Err(Own::Mine)
            }
            None if !vary.is_empty() => {
                let generation = random();
                let variant = slot.variant(&vary, generation, &self.head.headers);
                // Before the entry that leads to it. No other request knows the generation: if the entry is invalidated meanwhile,
                // so that it isn't stored, no request finds the variant.
                handle.cached_async(self.options(&variant), || ready(Kept::Response(stored))).await;
                Ok(Kept::Varies { names: vary, generation })
            }
            _ => Ok(Kept::Response(stored)),
        }
    }

    /// Answers by the response that the inner service has given to this request.
    fn finish(&mut self, own: Own<B, S::Error>, why: Why, is_stored: bool) -> Answer<B, S::Error> {
        let handled = Handled::Forwarded(Forwarded { is_stored, status: self.status, ..why.forwarded() });
        match own {
            Own::Failed(error) => Err(error),
            Own::Mine => {
                let mine = self.mine.take().expect("a response that may be stored has come");
                Ok(self.respond(&mine, handled))
            }
            Own::Response(response) | Own::Broken(response) => {
                let (mut parts, mut body) = response.into_parts();
                // The inner service was asked for the whole response.
                if conditional::client_has(&self.head.headers, parts.status, &parts.headers) {
                    parts.status = StatusCode::NOT_MODIFIED;
                    conditional::not_modified(&mut parts.headers);
                    body = CacheBody::empty();
                }
                handled.note(&self.settings.name, parts.status, &mut parts.headers);
                Ok(Response::from_parts(parts, body))
            }
        }
    }

    /// Answers by a stored response, or by one that is about to be.
    fn respond(&self, stored: &Stored, handled: Handled) -> Response<CacheBody<B>> {
        let mut headers = stored.headers.clone();
        let age = stored.age(self.now()).as_secs();
        let is_own = matches!(handled, Handled::Forwarded(forwarded) if !forwarded.is_collapsed && !forwarded.is_stale);
        if !is_own || age > 0 {
            headers.insert(AGE, HeaderValue::from(age));
        }
        let mut response = Response::new(CacheBody::empty());
        *response.status_mut() = stored.status;
        if conditional::client_has(&self.head.headers, stored.status, &headers) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            conditional::not_modified(&mut headers);
        } else if self.head.method != Method::HEAD {
            *response.body_mut() = CacheBody::whole(stored.body.clone(), &stored.trailers);
        } else if stored.status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(stored.body.len()));
        }
        handled.note(&self.settings.name, response.status(), &mut headers);
        *response.headers_mut() = headers;
        response
    }
}

/// The outcome of revalidating a stored response.
enum Replaced {
    /// By what this request has got. Whether that is stored, the cache doesn't say.
    Mine,
    ByAnother(Kept),
}

/// Why taking the inner service out can't fail: a request that has called it answers with the outcome.
const ONCE: &str = "a request goes to the inner service once at most";

fn miss(slot: &Slot) -> Why {
    if slot.variant.is_some() { Why::VaryMiss } else { Why::UriMiss }
}

fn is_success(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// Says when a response came, if its origin doesn't (RFC 9110, section 6.6.1).
fn date(headers: &mut http::HeaderMap, now: SystemTime) {
    if !headers.contains_key(DATE)
        && let Ok(value) = HeaderValue::try_from(httpdate::fmt_http_date(now))
    {
        headers.insert(DATE, value);
    }
}

/// Never the same twice, in any process; `RandomState` has the system's randomness.
fn random() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
