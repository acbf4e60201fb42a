//! The options that a call, its namespace and its handle may each set, and which of them are in effect for a call.

mod freshness;
mod tags;

use std::time::Duration;

use crate::codec::{BuiltIn, SharedCodec};
pub(crate) use freshness::{Freshness, FreshnessOverrides, InEffect, LONGEST};
pub(crate) use tags::{Tags, problem_with_tag};

/// What a call sets, or a namespace, or a handle. `None` leaves the option to the next of them.
///
/// A new option is a field here, a row in [`or`](Self::or), and a field of [`Policy`] with its row in [`merged`](Policy::merged).
#[derive(Debug, Clone, Default)]
pub(crate) struct Overrides {
    pub(crate) expire: Option<Duration>,
    pub(crate) codec: Option<SharedCodec>,
    pub(crate) fence: Option<bool>,
    pub(crate) lease: Option<Duration>,
    /// Part of the key, so it's no part of [`Policy`].
    pub(crate) version: Option<u32>,
    /// In a box: the options of a call are moved on every hit, and few calls set these.
    pub(crate) rare: Option<Box<RareOverrides>>,
}

/// The overrides that few calls, namespaces and handles set.
#[derive(Debug, Clone, Default)]
pub(crate) struct RareOverrides {
    /// Apart from the tags: where none is set, a hit has nothing to merge.
    freshness: Option<FreshnessOverrides>,
    /// Of a namespace or a handle; a call has its own elsewhere. They add up and are part of the key, so they're no part of [`Policy`].
    tags: Tags,
}

/// The options that are in effect for one call.
#[derive(Debug, Clone)]
pub(crate) struct Policy<'a> {
    /// The TTL; zero means "don't store".
    pub(crate) expire: Duration,
    pub(crate) codec: &'a SharedCodec,
    /// Whether a fill is fenced against the invalidations of other processes.
    pub(crate) fence: bool,
    /// How long a miss waits for the process that computes the value; zero: not at all.
    pub(crate) lease: Duration,
    pub(crate) freshness: InEffect,
}

/// How long a tag's token lives. Of the values whose keys it's part of, those that live longer are found no more after it.
const TOKEN_TTL: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a process waits for another that makes a tag's token, so that both have the same.
const TOKEN_LEASE: Duration = Duration::from_millis(100);

const DEFAULT_EXPIRE: Duration = Duration::from_secs(180);
static DEFAULT_CODEC: SharedCodec = SharedCodec::BuiltIn(BuiltIn::Json);

impl Overrides {
    /// What a builder begins with.
    pub(crate) fn defaults() -> Self {
        Self {
            expire: Some(DEFAULT_EXPIRE),
            codec: Some(DEFAULT_CODEC.clone()),
            fence: Some(true),
            lease: None,
            version: Some(0),
            rare: None,
        }
    }

    /// The options of freshness, if one is set.
    #[inline]
    pub(crate) fn freshness(&self) -> Option<&FreshnessOverrides> {
        self.rare.as_deref()?.freshness.as_ref()
    }

    /// The options of freshness, to set one.
    pub(crate) fn freshness_mut(&mut self) -> &mut FreshnessOverrides {
        self.rare.get_or_insert_default().freshness.get_or_insert_default()
    }

    /// The tags of the namespace or handle, in order, each once.
    pub(crate) fn tags(&self) -> &[Box<str>] {
        self.rare.as_deref().map_or(&[], |rare| rare.tags.as_slice())
    }

    pub(crate) fn add_tag(&mut self, tag: &str) {
        self.rare.get_or_insert_default().tags.add(tag);
    }

    /// These, and `others` where these set nothing.
    pub(crate) fn or(self, others: Self) -> Self {
        Self {
            expire: self.expire.or(others.expire),
            codec: self.codec.or(others.codec),
            fence: self.fence.or(others.fence),
            lease: self.lease.or(others.lease),
            version: self.version.or(others.version),
            rare: match (self.rare, others.rare) {
                (Some(own), Some(others)) => Some(Box::new(own.or(*others))),
                (own, others) => own.or(others),
            },
        }
    }
}

impl RareOverrides {
    /// These, and `others` where these set nothing; the tags of both.
    fn or(self, others: Self) -> Self {
        let freshness = match (self.freshness, others.freshness) {
            (Some(own), Some(others)) => Some(own.or(&others)),
            (own, others) => own.or(others),
        };
        Self { freshness, tags: self.tags.and(&others.tags) }
    }
}

impl<'a> Policy<'a> {
    /// The policy of calls that set nothing, in a namespace that sets nothing.
    pub(crate) fn of_handle(handle: &'a Overrides) -> Self {
        static NOTHING: Overrides =
            Overrides { expire: None, codec: None, fence: None, lease: None, version: None, rare: None };
        Self::merged(handle, None, &NOTHING)
    }

    /// The policy of tags' tokens, whatever the handle's is. `call` sets what the near cache may serve, at most.
    pub(crate) fn of_token(call: &Overrides) -> Policy<'static> {
        let freshness = match call.freshness() {
            None => InEffect::default(),
            call => Freshness::merged([call, None, None], TOKEN_TTL),
        };
        Policy { expire: TOKEN_TTL, codec: &DEFAULT_CODEC, fence: true, lease: TOKEN_LEASE, freshness }
    }

    /// A call's own options win over those of its namespace, and those over the handle's. What none sets has its default.
    ///
    /// It's on the path of every hit: nothing is cloned here.
    #[inline(always)]
    pub(crate) fn merged(handle: &'a Overrides, namespace: Option<&'a Overrides>, call: &'a Overrides) -> Self {
        let (expire, fence, lease) = namespace.map_or((None, None, None), |own| (own.expire, own.fence, own.lease));
        let expire = call.expire.or(expire).or(handle.expire).unwrap_or(DEFAULT_EXPIRE);
        let namespaces = namespace.and_then(Overrides::freshness);
        let freshness = match (call.freshness(), namespaces, handle.freshness()) {
            (None, None, None) => InEffect::default(),
            (call, namespace, handle) => Freshness::merged([call, namespace, handle], expire),
        };
        Self {
            expire,
            codec: Self::codec(handle, namespace, call),
            fence: call.fence.or(fence).or(handle.fence).unwrap_or(true),
            lease: call.lease.or(lease).or(handle.lease).unwrap_or(Duration::ZERO),
            freshness,
        }
    }

    /// The codec of [`merged`](Self::merged), alone.
    #[inline(always)]
    pub(crate) fn codec(
        handle: &'a Overrides,
        namespace: Option<&'a Overrides>,
        call: &'a Overrides,
    ) -> &'a SharedCodec {
        let namespaces = namespace.and_then(|own| own.codec.as_ref());
        call.codec.as_ref().or(namespaces).or(handle.codec.as_ref()).unwrap_or(&DEFAULT_CODEC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, CodecError};

    struct Other;

    impl Codec for Other {
        fn encode(&self, _: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
            Ok(Vec::new())
        }

        fn decode<'de>(
            &self,
            _: &'de [u8],
            _: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
        ) -> Result<(), CodecError> {
            Ok(())
        }
    }

    fn expire(seconds: u64) -> Overrides {
        Overrides { expire: Some(Duration::from_secs(seconds)), ..Overrides::default() }
    }

    fn codec() -> Overrides {
        Overrides { codec: Some(SharedCodec::new(Other)), ..Overrides::default() }
    }

    fn is_other(policy: Policy<'_>) -> bool {
        policy.codec.same_as(&SharedCodec::new(Other))
    }

    #[test]
    fn what_none_sets_has_its_default() {
        let none = Overrides::default();
        for policy in [Policy::merged(&none, None, &none), Policy::merged(&none, Some(&none), &none)] {
            assert_eq!(policy.expire, Duration::from_secs(180));
            assert!(policy.codec.same_as(&SharedCodec::default()));
        }
    }

    #[test]
    fn a_call_wins_over_its_namespace_and_that_over_the_handle() {
        let none = Overrides::default();
        let (handle, namespace, call) = (expire(1), expire(2), expire(3));
        let seconds = |namespace, call| Policy::merged(&handle, namespace, call).expire.as_secs();
        assert_eq!(seconds(None, &none), 1);
        assert_eq!(seconds(Some(&none), &none), 1);
        assert_eq!(seconds(Some(&namespace), &none), 2);
        assert_eq!(seconds(Some(&namespace), &call), 3);
        assert_eq!(seconds(None, &call), 3);
        // Zero is set too: it means "don't store".
        assert_eq!(seconds(Some(&namespace), &expire(0)), 0);
    }

    #[test]
    fn each_option_is_merged_by_itself() {
        let (none, expire, codec) = (Overrides::default(), expire(9), codec());
        for (handle, namespace, call) in [
            (&expire, Some(&codec), &none),
            (&codec, Some(&expire), &none),
            (&none, Some(&expire), &codec),
            (&none, Some(&codec), &expire),
            (&codec, None, &expire),
            (&expire, None, &codec),
        ] {
            let policy = Policy::merged(handle, namespace, call);
            assert!(policy.expire.as_secs() == 9 && is_other(policy), "{handle:?} {namespace:?} {call:?}");
        }
    }

    #[test]
    fn what_is_set_first_is_kept_and_the_rest_filled_in() {
        let both = expire(1).or(expire(2)).or(codec());
        assert_eq!(both.expire, Some(Duration::from_secs(1)));
        assert!(both.codec.is_some());
    }

    fn tagged(tags: &[&str]) -> Overrides {
        let mut overrides = Overrides::default();
        tags.iter().for_each(|tag| overrides.add_tag(tag));
        overrides
    }

    #[test]
    fn tags_add_up_where_other_options_replace_each_other() {
        let none = Overrides::default;
        assert_eq!(tagged(&["b", "a"]).or(tagged(&["c", "a"])).tags(), ["a", "b", "c"].map(Box::from));
        assert_eq!(tagged(&["a"]).or(none()).tags(), ["a"].map(Box::from));
        assert_eq!(none().or(tagged(&["a"])).tags(), ["a"].map(Box::from));
        assert!(none().or(none()).tags().is_empty());
    }

    #[test]
    fn tags_are_kept_beside_the_options_of_freshness() {
        let mut fresh = Overrides::default();
        fresh.freshness_mut().jitter = Some(Duration::from_secs(1));
        for both in [fresh.clone().or(tagged(&["a"])), tagged(&["a"]).or(fresh)] {
            assert_eq!(both.tags(), ["a"].map(Box::from));
            assert_eq!(both.freshness().and_then(|set| set.jitter), Some(Duration::from_secs(1)));
        }
        // Where a call, its namespace and its handle have tags alone, a hit has nothing to merge.
        assert!(tagged(&["a"]).freshness().is_none());
    }
}
