use std::convert::Infallible;

use super::*;
use crate::codec::{Json, KeyOf, SharedCodec, ValueCodec};
use crate::policy::Policy;

/// What values are stored under, where it makes no difference.
const KEY: KeyOf<'static> = &|| bytes::Bytes::from_static(b"app:main:0a");

const SECOND: Duration = Duration::from_secs(1);

fn options() -> CacheOptions {
    CacheOptions::new("f")
}

/// What is in effect of these options alone.
fn told<C>(options: &CacheOptions<C>) -> String {
    let policy = Policy::of_handle(&options.overrides);
    format!("{:?} {:?}", policy.expire, policy.freshness)
}

#[test]
fn each_option_arrives_and_nothing_else_changes() {
    let day = 86_400 * SECOND;
    let set = options()
        .jitter(SECOND)
        .stale_while_revalidate(2 * SECOND)
        .stale_if_error(day)
        .retry_after(4 * SECOND)
        .refresh_early(1.5)
        .soft_timeout(6 * SECOND)
        .hard_timeout(7 * SECOND)
        .max_staleness(8 * SECOND);
    assert_eq!(
        told(&set),
        "180s Freshness { jitter: 1s, stale_while_revalidate: 2s, stale_if_error: 86400s, retry_after: 4s, \
         refresh_early: 1.5, soft_timeout: Some(6s), hard_timeout: Some(7s), \
         max_staleness: Some(8s) }"
    );
    assert!(options().overrides.rare.is_none(), "a call that sets none has none");
    let again = set.jitter(9 * SECOND);
    let again = again.overrides.freshness().expect("it's set");
    assert_eq!((again.jitter, again.retry_after), (Some(9 * SECOND), Some(4 * SECOND)));
}

#[test]
fn without_closures_every_value_is_stored_for_as_long_as_the_call_says() {
    let plain = options();
    assert_eq!((plain.codec.ttl_of(&7_u8), plain.codec.stores(&7_u8)), (None, true));
}

#[test]
fn a_value_decides_by_both_closures_in_either_order() {
    let ttl = |n: &u64| Duration::from_secs(*n);
    let is_even = |n: &u64| n.is_multiple_of(2);
    let one = options().expire_by(ttl).store_if(is_even);
    let two = options().store_if(is_even).expire_by(ttl);
    for n in [0, 1, 2, 7] {
        let expected = (Some(Duration::from_secs(n)), n % 2 == 0);
        assert_eq!((one.codec.ttl_of(&n), one.codec.stores(&n)), expected);
        assert_eq!((two.codec.ttl_of(&n), two.codec.stores(&n)), expected);
    }
    assert_eq!(format!("{:?}", one.codec), "StoreIf(ExpireBy(Inherited))");
    // The last TTL counts, and every condition.
    let twice = options().expire_by(ttl).expire_by(|_: &u64| SECOND);
    assert_eq!(twice.codec.ttl_of(&7), Some(SECOND));
    let twice = options().store_if(is_even).store_if(|n: &u64| *n > 2);
    assert_eq!([2, 3, 4].map(|n| twice.codec.stores(&n)), [false, false, true]);
}

#[test]
fn the_value_is_encoded_as_without_them() {
    let json = SharedCodec::new(Json);
    let decided = options().codec(Json).expire_by(|_: &u64| SECOND).store_if(|_: &u64| true).codec(Json).expire(SECOND);
    assert!(decided.overrides.codec.is_some(), "serde's codec may be chosen before and after");
    let bytes = decided.codec.encode_value(&json, KEY, &7).expect("it's JSON");
    assert_eq!((bytes.as_slice(), decided.codec.decode_value(&json, KEY, b"7").ok()), (&b"7"[..], Some(7)));
    assert!(decided.codec.serde_codec(&json).is_some_and(|codec| codec.same_as(&json)));
    let text = options().expire_by(|_: &String| SECOND).store_if(|_: &String| true);
    let own = "a text that owns its bytes".to_owned();
    assert_eq!(text.codec.heap_of(&own), options().codec.heap_of(&own));
    assert!(text.codec.heap_of(&own).is_some());

    let pair = options()
        .encoder(|n: &u64| Ok::<_, Infallible>(vec![*n as u8]))
        .decoder(|bytes: &[u8]| Ok::<_, Infallible>(u64::from(bytes[0])))
        .store_if(|_: &u64| false)
        .expire_by(|_: &u64| SECOND);
    let bytes = pair.codec.encode_value(&json, KEY, &7).expect("it's a byte");
    assert_eq!((bytes.as_slice(), pair.codec.decode_value(&json, KEY, &[9]).ok()), (&[7][..], Some(9)));
    assert!(pair.codec.serde_codec(&json).is_none() && pair.codec.heap_of(&7).is_none());
    assert_eq!((pair.codec.ttl_of(&7), pair.codec.stores(&7)), (Some(SECOND), false));
}

#[test]
fn they_are_cloned_and_sent_whatever_the_value_is() {
    struct Opaque(*const u8);
    fn cloned<T: Clone + Send + Sync>(it: &T) -> T {
        it.clone()
    }
    let options = options().expire_by(|it: &Opaque| if it.0.is_null() { SECOND } else { Duration::ZERO });
    let options = cloned(&options.store_if(|it: &Opaque| it.0.is_null()));
    assert_eq!(options.name(), "f");
}
