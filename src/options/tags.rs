//! The tags of one call.

use super::CacheOptions;
use crate::policy::problem_with_tag;

/// By which calls are invalidated together.
impl CacheOptions {
    /// The call for the token of `tag`, which is kept under this key; the first `scope_len` bytes are the same for all tags.
    pub(crate) fn of_token(key: Box<str>, scope_len: usize) -> Self {
        let mut options = Self::new("tag");
        options.rare().verbatim = Some((key, scope_len));
        options
    }
}

impl<C> CacheOptions<C> {
    /// Adds a tag: `CacheHandle::remove_tag` invalidates all calls with the tag.
    ///
    /// A call may have any number of tags, in any order. It has its own tags, its namespace's and its handle's. Tags are part of the key: a
    /// call without them has another key, so pass the same options to [`remove`](crate::CacheHandle::remove).
    ///
    /// A tag is a text of 1 to 512 bytes; with a longer or an empty one the call runs uncached, and the first such call logs a warning. A
    /// tag isn't secret: keys on the server and `Debug` show it.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let user = |id: u64, team: u64| opts!("user", id).tag(format!("team-{team}"));
    /// assert_eq!(cache.cached(user(7, 5), || "Ada".to_string()), "Ada");
    ///
    /// let none = opts!("user", 7).tag("");
    /// assert!(cache.key(&none).unwrap_err().is_key());
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("group", "dependency", "surrogate key", "invalidation"))]
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.add_tag(tag.as_ref());
        self
    }

    /// Adds several tags, each as [`tag`](Self::tag) does.
    ///
    /// ```
    /// use cache_house::{CacheHouse, opts};
    ///
    /// let cache = CacheHouse::builder().memory().build()?;
    /// let options = opts!("page", 3).tags(["pages", "public"]);
    /// assert_eq!(cache.cached(options, || "news".to_string()), "news");
    /// # Ok::<(), cache_house::Error>(())
    /// ```
    #[doc(alias("groups", "dependencies", "surrogate keys", "invalidation"))]
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        for tag in tags {
            self.add_tag(tag.as_ref());
        }
        self
    }

    /// The tags that the call has of its own, in order, each once.
    pub(crate) fn own_tags(&self) -> &[Box<str>] {
        self.rare.as_deref().map_or(&[], |rare| rare.tags.as_slice())
    }

    #[inline(always)]
    pub(crate) fn has_own_tags(&self) -> bool {
        self.rare.as_deref().is_some_and(|rare| !rare.tags.as_slice().is_empty())
    }

    /// Whether it's known which tokens the call's tags have.
    pub(crate) fn has_tokens(&self) -> bool {
        self.rare.as_deref().is_some_and(|rare| rare.tokens.is_some())
    }

    pub(crate) fn set_tokens(&mut self, tokens: Vec<Box<str>>) {
        self.rare().tokens = Some(tokens.into());
    }

    /// Whether it's the call for a tag's token.
    #[inline]
    pub(crate) fn is_token(&self) -> bool {
        self.rare.as_deref().is_some_and(|rare| rare.verbatim.is_some())
    }

    fn add_tag(&mut self, tag: &str) {
        let rare = self.rare();
        match problem_with_tag(tag) {
            None => rare.tags.add(tag),
            Some(problem) => {
                rare.unkeyable.get_or_insert_with(|| format!("a tag {problem}").into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn call() -> CacheOptions {
        CacheOptions::new("f")
    }

    fn tags(options: &CacheOptions) -> Vec<&str> {
        options.own_tags().iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn tags_add_up_whatever_their_order() {
        assert_eq!(tags(&call()), [""; 0]);
        assert_eq!(tags(&call().tag("b").tag(String::from("a")).tag("b")), ["a", "b"]);
        assert_eq!(tags(&call().tags(["c", "a"]).tag("b").tags(BTreeSet::from([String::from("a")]))), ["a", "b", "c"]);
        assert_eq!(tags(&call().tags([""; 0])), [""; 0]);
        let shown = format!("{:?}", call().tags(["team-7", "all"]));
        assert!(shown.contains("tags: [\"all\", \"team-7\"]"), "{shown}");
    }

    #[test]
    fn they_stay_where_the_codec_changes() {
        let pair = call()
            .tag("a")
            .encoder(|n: &u8| Ok::<_, std::convert::Infallible>(vec![*n]))
            .decoder(|bytes: &[u8]| Ok::<_, std::convert::Infallible>(bytes[0]))
            .store_if(|_: &u8| true)
            .tag("b");
        assert_eq!(pair.own_tags().len(), 2);
    }

    #[test]
    fn what_is_no_tag_is_not_kept() {
        let longest = "a".repeat(512);
        let options = call().tags(["", &longest, &format!("{longest}a")]);
        assert_eq!(tags(&options), [longest]);
    }
}
