//! Tags: calls that are invalidated together.
//!
//! A tag has a token, a random text that is kept as a value of its own under `{prefix}::tag:{tag}`. The tokens of a call's tags are part of
//! its key. Removing a tag removes its token; the next caller makes another, so that no call reads the old values, which go
//! when they expire. A token is looked up and computed as any value is: with the same flights, fences, outages and near copies.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::join_all;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::applied::Applied;
use super::blocking;
use super::caller::Caller;
use super::engine::Engine;
use super::freshness::infallible;
use super::invalidation::Pending;
use super::want::{Want, Work};
use crate::backend::invalidation::Invalidation;
use crate::backend::server::Server;
use crate::backend::tiers::{Read, Route};
use crate::codec::ValueCodec;
use crate::error::Error;
use crate::key::TAG;
use crate::options::CacheOptions;
use crate::policy::{Tags, problem_with_tag};

/// Hexadecimal digits of a token: 128 bits.
const DIGITS: usize = 32;
/// What would keep the token's key from having a lease in its own slot; and `%`, so that no two tags have one key.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'{').add(b'}').add(b'%');

/// A tag's token, as a value.
#[derive(Debug, Clone, PartialEq)]
struct Token(Box<str>);

/// So many tokens are looked up at once at most.
const AT_ONCE: usize = 64;

/// The tokens of several tags.
type Tokens<'a> = Pin<Box<dyn Future<Output = Vec<Box<str>>> + Send + 'a>>;

impl<S: Server> Engine<S> {
    /// Looks up the tokens of the call's tags, which are part of its key.
    #[inline]
    pub(super) async fn add_tokens<C>(&self, options: &mut CacheOptions<C>, caller: fn() -> Caller) {
        if self.may_have_tags(options)
            && let Some(tags) = self.untokened(options)
        {
            options.set_tokens(self.tokens(tags, self.max_staleness(options), caller).await);
        }
    }

    /// Inserts by the tokens that the tags have on the server.
    pub(super) async fn insert_tagged<T, C>(
        &self,
        options: &mut CacheOptions<C>,
        value: &T,
        caller: fn() -> Caller,
    ) -> Result<Applied, Error>
    where
        T: Clone + Any + Send + Sync,
        C: ValueCodec<T>,
    {
        if self.inner.first_connection.is_pending() {
            self.first_connection().await;
        }
        let journalled = self.add_tokens_to_change(options, caller).await?;
        let applied = self.insert(options, value, Caller::asynchronous()).await?;
        Ok(Applied { journalled: journalled || applied.journalled, ..applied })
    }

    /// Removes by the tokens that the tags have on the server.
    pub(super) async fn remove_tagged<C>(
        &self,
        options: &mut CacheOptions<C>,
        caller: fn() -> Caller,
    ) -> Result<Applied, Error> {
        let journalled = self.add_tokens_to_change(options, caller).await?;
        let applied = self.remove(options).await?;
        Ok(Applied { journalled: journalled || applied.journalled, ..applied })
    }

    /// The tokens of a call that changes what there is. Whether a tag of it had to be removed, and that is journalled.
    #[inline]
    async fn add_tokens_to_change<C>(
        &self,
        options: &mut CacheOptions<C>,
        caller: fn() -> Caller,
    ) -> Result<bool, Error> {
        match self.untokened(options) {
            None => Ok(false),
            // Boxed: the futures of all calls would contain it.
            Some(tags) => {
                let (tokens, journalled) = Box::pin(self.tokens_to_change(tags, options.own_tags(), caller)).await?;
                options.set_tokens(tokens);
                Ok(journalled)
            }
        }
    }

    /// The tokens that the tags have on the server. Where those can't be known, one of the tags is removed, and with it what the call has
    /// under a token that isn't known here; whether that is journalled.
    async fn tokens_to_change(
        &self,
        tags: Tags,
        own: &[Box<str>],
        caller: fn() -> Caller,
    ) -> Result<(Vec<Box<str>>, bool), Error> {
        // The call's own tags are those of the fewest calls.
        let narrowest = own.first().or(tags.as_slice().first()).filter(|_| self.inner.tiers.server.is_some());
        let Some(tag) = narrowest else { return Ok((self.tokens(tags, None, caller).await, false)) };
        let token = Invalidation::Key(self.call_key(&self.token_options(tag))?);
        let unknown = Unknown { engine: self, token: Some(&token) };
        let tokens = self.tokens_of_server(&tags, caller).await;
        unknown.are_known();
        if let Some(tokens) = tokens {
            return Ok((tokens, false));
        }
        let removed = self.invalidate(&token).await?;
        Ok((self.tokens(tags, None, caller).await, removed.journalled))
    }

    /// The tokens that the server has; those that it lacks are made. `None` where they can't be known.
    async fn tokens_of_server(&self, tags: &Tags, caller: fn() -> Caller) -> Option<Vec<Box<str>>> {
        self.first_connection().await;
        let stored = || async {
            let mut all = Some(Vec::with_capacity(tags.as_slice().len()));
            for piece in tags.as_slice().chunks(self.tokens_at_once()) {
                let stored = join_all(piece.iter().map(|tag| self.stored_token(tag, caller))).await;
                all = all.zip(stored.into_iter().collect::<Option<Vec<_>>>()).map(|(mut all, stored)| {
                    all.extend(stored);
                    all
                });
            }
            all
        };
        let known: Option<Vec<_>> = stored().await?.into_iter().collect();
        if known.is_some() {
            return known;
        }
        let made = self.tokens(tags.clone(), Some(Duration::ZERO), caller).await;
        // What was made may be this call's alone.
        let known: Option<Vec<_>> = stored().await?.into_iter().collect();
        known.filter(|known| *known == made)
    }

    /// The token that the server has, if any; `None` where it can't be asked. Waits for no other call.
    async fn stored_token(&self, tag: &str, caller: fn() -> Caller) -> Option<Option<Box<str>>> {
        let tiers = &self.inner.tiers;
        let options = self.token_options(tag).max_staleness(Duration::ZERO);
        let key = self.call_key(&options).ok()?;
        let (Route::Server, Some(server)) = (tiers.route(&key), &tiers.server) else { return None };
        let (call, observer) = (self.resolve(&key, &options), self.inner.flights.observe(&key, caller()));
        match tiers.read_server(server, &call, &observer).await {
            Read::Hit(token, _) => Some(Some(token.0)),
            Read::Miss | Read::Undecodable => Some(None),
            Read::Foreign | Read::Unavailable => None,
        }
    }

    /// The same for a sync call.
    #[inline(always)]
    pub(super) fn add_tokens_blocking<C>(&self, options: &mut CacheOptions<C>) {
        if self.may_have_tags(options)
            && let Some(tokens) = self.tokens_blocking(options)
        {
            options.set_tokens(tokens);
        }
    }

    /// The tokens of a sync call's tags; `None` where it has none, or they are known.
    #[inline(never)] // Few calls have tags; the others need no copy of it.
    pub(super) fn tokens_blocking<C>(&self, options: &CacheOptions<C>) -> Option<Vec<Box<str>>> {
        let tags = self.untokened(options)?;
        Some(blocking::block_on(self.tokens(tags, self.max_staleness(options), Caller::blocking)))
    }

    /// The same for the calls of a batch: a tag that several of them have is looked up once.
    pub(super) async fn add_all_tokens<C>(&self, calls: &mut [CacheOptions<C>], caller: fn() -> Caller) {
        let mut of_calls = Vec::new();
        // Where one of its calls doesn't take a token that is so old, the tag is looked up so for all.
        let mut oldest: BTreeMap<Box<str>, Option<Duration>> = BTreeMap::new();
        for (at, options) in calls.iter().enumerate() {
            if !self.may_have_tags(options) {
                continue;
            }
            let Some(tags) = self.untokened(options) else { continue };
            let age = self.max_staleness(options);
            for tag in tags.as_slice() {
                let oldest = oldest.entry(tag.clone()).or_insert(age);
                *oldest = (*oldest).into_iter().chain(age).min();
            }
            of_calls.push((at, tags));
        }
        let mut known = HashMap::new();
        let mut wanted = oldest.into_iter();
        loop {
            let piece: Vec<_> = wanted.by_ref().take(self.tokens_at_once()).collect();
            if piece.is_empty() {
                break;
            }
            let tokens = join_all(piece.iter().map(|(tag, age)| self.token(tag, *age, caller))).await;
            known.extend(piece.into_iter().map(|(tag, _)| tag).zip(tokens));
        }
        for (at, tags) in of_calls {
            calls[at].set_tokens(tags.as_slice().iter().map(|tag| known[tag].clone()).collect());
        }
    }

    #[inline(always)]
    fn may_have_tags<C>(&self, options: &CacheOptions<C>) -> bool {
        self.inner.defaults.has_tags || options.has_own_tags()
    }

    /// The tags of a call whose tokens aren't known yet.
    #[inline(never)] // As above.
    fn untokened<C>(&self, options: &CacheOptions<C>) -> Option<Tags> {
        if options.has_tokens() || options.is_token() || self.is_closed() {
            return None;
        }
        let (defaults, mut tags) = (&self.inner.defaults, Tags::default());
        let namespace = defaults.namespaces.get(options.own_namespace().unwrap_or(self.scope.namespace()));
        let inherited = namespace.map_or(&[][..], |options| options.0.tags());
        options.own_tags().iter().chain(inherited).chain(defaults.overrides.tags()).for_each(|tag| tags.add(tag));
        (!tags.as_slice().is_empty()).then_some(tags)
    }

    #[inline(never)] // As above.
    fn max_staleness<C>(&self, options: &CacheOptions<C>) -> Option<Duration> {
        // What is computed anew is to be found by all.
        if options.is_forced() { Some(Duration::ZERO) } else { self.policy(options).freshness.max_staleness }
    }

    /// Boxed: the futures of all calls would contain it.
    fn tokens(&self, tags: Tags, max_staleness: Option<Duration>, caller: fn() -> Caller) -> Tokens<'_> {
        Box::pin(async move {
            let mut tokens = Vec::with_capacity(tags.as_slice().len());
            for piece in tags.as_slice().chunks(self.tokens_at_once()) {
                tokens.extend(join_all(piece.iter().map(|tag| self.token(tag, max_staleness, caller))).await);
            }
            tokens
        })
    }

    /// A token that there is no room for in flight would be made anew, and the call would never hit.
    fn tokens_at_once(&self) -> usize {
        self.inner.at_once.min(AT_ONCE)
    }

    async fn token(&self, tag: &str, max_staleness: Option<Duration>, caller: fn() -> Caller) -> Box<str> {
        let tiers = &self.inner.tiers;
        if let (Some(server), Some(_)) = (&tiers.server, &tiers.memory) {
            server.wants_reports();
        }
        let mut options = self.token_options(tag);
        if let Some(age) = max_staleness {
            options = options.max_staleness(age);
        }
        let work = Work::plain(|_| async { Ok::<_, Infallible>(new_token()) });
        Box::pin(async move { infallible(self.read_through(&options, caller, Want::VALUE, work).await).value.0 }).await
    }

    fn token_options(&self, tag: &str) -> CacheOptions<impl ValueCodec<Token>> {
        let prefix = self.scope.key_prefix();
        let common = prefix.len() + TAG.len();
        let key = format!("{prefix}{TAG}:{}", utf8_percent_encode(tag, ESCAPED));
        CacheOptions::of_token(key.into(), common)
            .encoder(|token: &Token| Ok::<_, Infallible>(token.0.as_bytes().to_vec()))
            .decoder(|bytes: &[u8]| as_token(bytes).ok_or(std::fmt::Error))
    }

    /// Removes all that has been cached by calls with this tag: they have another key from here on.
    pub(super) async fn remove_tag(&self, tag: &str) -> Result<Applied, Error> {
        if let Some(problem) = problem_with_tag(tag) {
            return Err(Error::key(format!("the tag {problem}")));
        }
        self.scope.check()?;
        self.remove(&self.token_options(tag)).await
    }
}

/// Journals the removal of a tag, should its call be dropped before the tokens are known.
struct Unknown<'a, S: Server> {
    engine: &'a Engine<S>,
    token: Option<&'a Invalidation>,
}

impl<S: Server> Unknown<'_, S> {
    fn are_known(mut self) {
        self.token = None;
    }
}

impl<S: Server> Drop for Unknown<'_, S> {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            // Dropped unconfirmed.
            drop(Pending::removal(self.engine, token, self.engine.inner.flights.invalidate(token)));
        }
    }
}

fn new_token() -> Token {
    Token(format!("{:0DIGITS$x}", rand::random::<u128>()).into())
}

/// A token, unless another program has put something else there.
fn as_token(bytes: &[u8]) -> Option<Token> {
    let is_token = bytes.len() == DIGITS && bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_token.then(|| Token(String::from_utf8_lossy(bytes).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_nothing_else_is_one() {
        let token = new_token();
        assert_eq!(as_token(token.0.as_bytes()), Some(token.clone()));
        assert_ne!(new_token(), token);
        let token = token.0;
        for other in ["", "7", &token[1..], &token.replace(&token[..1], "g"), &format!("{token}0"), "\",\""] {
            assert_eq!(as_token(other.as_bytes()), None, "{other}");
        }
    }
}
