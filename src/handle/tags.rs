//! Tags: calls that are invalidated together.
//!
//! A tag has a token, a random text that is kept as a value of its own under `{prefix}::tag:{tag}`. The tokens of a call's tags are part of
//! its key. Removing a tag removes its token; the next caller makes another, so that nobody looks where the old values are, which go
//! when they expire. A token is looked up and computed as any value is: with the same flights, fences, outages and near copies.

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
use super::read_through::infallible;
use super::want::{Want, Work};
use crate::backend::server::Server;
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

/// So many tokens of a batch are looked up at once.
const AT_ONCE: usize = 64;

/// The tokens of several tags.
type Tokens<'a> = Pin<Box<dyn Future<Output = Vec<Box<str>>> + Send + 'a>>;

impl<S: Server> Engine<S> {
    /// Looks up the tokens of the call's tags, which are part of its key. Every call begins with this.
    #[inline]
    pub(super) async fn add_tokens<C>(&self, options: &mut CacheOptions<C>, caller: fn() -> Caller) {
        if self.may_have_tags(options)
            && let Some(tags) = self.untokened(options)
        {
            options.set_tokens(self.tokens(tags, self.max_staleness(options), caller).await);
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
    pub(super) async fn add_all_tokens<K, C>(&self, calls: &mut [(K, CacheOptions<C>)], caller: fn() -> Caller) {
        let mut of_calls = Vec::new();
        // Where one of its calls doesn't take a token that is so old, the tag is looked up so for all.
        let mut oldest: BTreeMap<Box<str>, Option<Duration>> = BTreeMap::new();
        for (at, (_, options)) in calls.iter().enumerate() {
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
            let piece: Vec<_> = wanted.by_ref().take(AT_ONCE).collect();
            if piece.is_empty() {
                break;
            }
            let tokens = join_all(piece.iter().map(|(tag, age)| self.token(tag, *age, caller))).await;
            known.extend(piece.into_iter().map(|(tag, _)| tag).zip(tokens));
        }
        for (at, tags) in of_calls {
            calls[at].1.set_tokens(tags.as_slice().iter().map(|tag| known[tag].clone()).collect());
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
        self.policy(options).freshness.max_staleness
    }

    /// Boxed: the futures of all calls would contain it.
    fn tokens(&self, tags: Tags, max_staleness: Option<Duration>, caller: fn() -> Caller) -> Tokens<'_> {
        Box::pin(
            async move { join_all(tags.as_slice().iter().map(|tag| self.token(tag, max_staleness, caller))).await },
        )
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
        let prefix = self.scope.as_str().split(':').next().unwrap_or_default();
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
        self.remove(&self.token_options(tag)).await
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
