//! Lives that are shortened at random.

use super::*;

over_backends!(lives_are_within_the_jitter, no_more_is_taken_off_than_there_is);

fn lives_are_within_the_jitter(backend: &impl Backend) {
    let cache = backend.cache();
    let mut lives = Vec::new();
    for n in 0..200_u32 {
        let options = revalidated("f").arg(n).jitter(TTL / 2);
        let made = cache.entry(options, |_| 1_u32);
        lives.push(made.remaining().expect("it's stored"));
    }
    let (least, most) = (lives.iter().min().expect("there are some"), lives.iter().max().expect("there are some"));
    assert!(*least >= TTL / 2 && *most <= TTL, "{least:?} to {most:?}");
    // Of 200 from an even spread, some are in each tenth, but for once in a hundred million runs.
    for tenth in 0..10 {
        let (from, to) = (TTL / 2 + TTL / 20 * tenth, TTL / 2 + TTL / 20 * (tenth + 1));
        assert!(lives.iter().any(|ttl| (from..=to).contains(ttl)), "{from:?} to {to:?}");
    }
}

fn no_more_is_taken_off_than_there_is(backend: &impl Backend) {
    let cache = backend.cache();
    for n in 0..50_u32 {
        let options = revalidated("f").arg(n).jitter(100 * TTL);
        let made = cache.entry(options, |_| 1_u32);
        let remaining = made.remaining().expect("it's stored");
        assert!(!remaining.is_zero() && remaining <= TTL, "{remaining:?}");
    }
}
