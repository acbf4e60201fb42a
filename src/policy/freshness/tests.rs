use super::*;
use crate::policy::{Overrides, Policy};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

type Set = fn(&mut FreshnessOverrides, u32);
type InEffect = fn(&Freshness) -> Option<f64>;

/// Each option by itself: its name, how it's set, and what is in effect of it, in the same unit.
const OPTIONS: [(&str, Set, InEffect); 8] = [
    ("jitter", |set, n| set.jitter = Some(n * SECOND), |all| Some(all.jitter.as_secs_f64())),
    (
        "stale_while_revalidate",
        |set, n| set.stale_while_revalidate = Some(n * SECOND),
        |all| Some(all.stale_while_revalidate.as_secs_f64()),
    ),
    ("stale_if_error", |set, n| set.stale_if_error = Some(n * SECOND), |all| Some(all.stale_if_error.as_secs_f64())),
    ("retry_after", |set, n| set.retry_after = Some(n * SECOND), |all| Some(all.retry_after.as_secs_f64())),
    ("refresh_early", |set, n| set.refresh_early = Some(f64::from(n)), |all| Some(all.refresh_early)),
    (
        "soft_timeout",
        // It's in effect only where something may be served in its place.
        |set, n| (set.soft_timeout, set.stale_if_error) = (Some(n * SECOND), Some(SECOND)),
        |all| all.soft_timeout.map(|timeout| timeout.as_secs_f64()),
    ),
    (
        "hard_timeout",
        |set, n| set.hard_timeout = Some(n * SECOND),
        |all| all.hard_timeout.map(|timeout| timeout.as_secs_f64()),
    ),
    (
        "max_staleness",
        |set, n| set.max_staleness = Some(n * SECOND),
        |all| all.max_staleness.map(|age| age.as_secs_f64()),
    ),
];

fn overrides(freshness: FreshnessOverrides) -> Overrides {
    let mut overrides = Overrides::default();
    *overrides.freshness_mut() = freshness;
    overrides
}

fn with(set: Set, n: u32) -> Overrides {
    let mut freshness = FreshnessOverrides::default();
    set(&mut freshness, n);
    overrides(freshness)
}

/// In effect for a call that sets this.
fn of_call(change: impl FnOnce(&mut FreshnessOverrides)) -> Freshness {
    let mut freshness = FreshnessOverrides::default();
    change(&mut freshness);
    *Policy::merged(&Overrides::default(), None, &overrides(freshness)).freshness
}

#[test]
fn what_none_sets_is_off() {
    let none = Overrides::default();
    let empty = overrides(FreshnessOverrides::default());
    for (handle, namespace, call) in
        [(&none, None, &none), (&none, Some(&none), &none), (&empty, Some(&empty), &empty), (&empty, None, &none)]
    {
        assert_eq!((*Policy::merged(handle, namespace, call).freshness), Freshness::OFF);
    }
    assert_eq!((*Policy::of_handle(&none).freshness), Freshness::OFF);
    assert_eq!(Freshness::OFF.retry_after, SECOND);
    assert!(Freshness::OFF.is_off() && !Freshness::OFF.reads_ttl());
}

#[test]
fn each_option_is_merged_by_itself_and_a_call_wins_over_its_namespace_and_that_over_the_handle() {
    let none = Overrides::default();
    for (name, set, in_effect) in OPTIONS {
        let (handle, namespace, call) = (with(set, 2), with(set, 3), with(set, 4));
        let other = overrides(FreshnessOverrides::default());
        let of = |namespace, call| in_effect(&Policy::merged(&handle, namespace, call).freshness);
        assert_eq!(of(None, &none), Some(2.0), "{name} of the handle");
        assert_eq!(of(Some(&none), &none), Some(2.0), "{name} of the handle");
        assert_eq!(of(Some(&other), &other), Some(2.0), "{name} of the handle, beside other options");
        assert_eq!(of(Some(&namespace), &none), Some(3.0), "{name} of the namespace");
        assert_eq!(of(Some(&namespace), &other), Some(3.0), "{name} of the namespace, beside other options");
        assert_eq!(of(Some(&namespace), &call), Some(4.0), "{name} of the call");
        assert_eq!(of(None, &call), Some(4.0), "{name} of the call");
        let zero = in_effect(&Policy::merged(&handle, Some(&namespace), &with(set, 0)).freshness);
        let off = if name == "retry_after" { Some(0.001) } else { Some(0.0).filter(|_| !name.contains("timeout")) };
        assert_eq!(zero, off, "a call turns {name} off");
        // The others are as if it weren't set.
        for (other, _, in_effect) in OPTIONS.iter().filter(|(other, ..)| *other != name) {
            let is_set_too = name == "soft_timeout" && *other == "stale_if_error";
            let merged = *Policy::merged(&handle, Some(&namespace), &call).freshness;
            assert!(is_set_too || in_effect(&merged) == in_effect(&Freshness::OFF), "{name} sets {other}");
        }
    }
}

#[test]
fn each_option_is_kept_where_it_is_set_first_and_filled_in_where_it_is_not() {
    for (name, set, in_effect) in OPTIONS {
        let of = |overrides: Overrides| in_effect(&Policy::of_handle(&overrides).freshness);
        assert_eq!(of(with(set, 2).or(with(set, 3))), Some(2.0), "{name}");
        assert_eq!(of(with(set, 2).or(Overrides::default())), Some(2.0), "{name}");
        assert_eq!(of(Overrides::default().or(with(set, 3))), Some(3.0), "{name}");
        assert_eq!(of(overrides(FreshnessOverrides::default()).or(with(set, 3))), Some(3.0), "{name}");
    }
}

#[test]
fn a_soft_timeout_counts_only_below_the_hard_one() {
    let soft = |soft, hard| {
        let all = of_call(|set| {
            (set.stale_while_revalidate, set.soft_timeout, set.hard_timeout) = (Some(MINUTE), soft, hard);
        });
        (all.soft_timeout, all.hard_timeout)
    };
    let (one, two) = (Some(SECOND), Some(2 * SECOND));
    assert_eq!(soft(one, two), (one, two));
    assert_eq!(soft(one, one), (None, one));
    assert_eq!(soft(two, one), (None, one));
    assert_eq!(soft(two, Some(Duration::ZERO)), (two, None), "zero is none, so it isn't before the other");
    // Wherever they are from.
    let handle = with(|set, n| (set.stale_if_error, set.hard_timeout) = (Some(MINUTE), Some(n * SECOND)), 1);
    let call = with(|set, n| set.soft_timeout = Some(n * SECOND), 1);
    assert_eq!(Policy::merged(&handle, None, &call).freshness.soft_timeout, None);
}

#[test]
fn a_soft_timeout_counts_only_where_a_value_may_be_there_to_serve() {
    assert_eq!(of_call(|set| set.soft_timeout = Some(SECOND)), Freshness::OFF);
    for set in [
        (|set, _| set.stale_while_revalidate = Some(SECOND)) as Set,
        |set, _| set.stale_if_error = Some(SECOND),
        |set, _| set.refresh_early = Some(1.0),
    ] {
        let all = of_call(|all| {
            set(all, 1);
            all.soft_timeout = Some(SECOND);
        });
        assert_eq!(all.soft_timeout, Some(SECOND));
    }
}

#[test]
fn where_nothing_is_stored_nothing_is_stale_or_early() {
    let mut call = overrides(FreshnessOverrides {
        jitter: Some(SECOND),
        stale_while_revalidate: Some(SECOND),
        stale_if_error: Some(SECOND),
        retry_after: Some(MINUTE),
        refresh_early: Some(1.0),
        soft_timeout: Some(SECOND),
        hard_timeout: Some(MINUTE),
        max_staleness: Some(SECOND),
    });
    call.expire = Some(Duration::ZERO);
    let merged = *Policy::merged(&Overrides::default(), None, &call).freshness;
    let (hard_timeout, max_staleness) = (Some(MINUTE), Some(SECOND));
    assert_eq!(merged, Freshness { retry_after: MINUTE, hard_timeout, max_staleness, ..Freshness::OFF });
    // It's the expiry in effect that counts.
    let zero = Overrides { expire: Some(Duration::ZERO), ..Overrides::default() };
    let window = with(|set, n| set.stale_if_error = Some(n * SECOND), 1);
    assert!(Policy::merged(&window, Some(&zero), &Overrides::default()).freshness.is_off());
    assert!(!Policy::merged(&zero, Some(&Overrides::defaults()), &window).freshness.is_off());
}

#[test]
fn a_factor_that_is_none_is_off() {
    for beta in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.0, 0.0] {
        let all = of_call(|set| set.refresh_early = Some(beta));
        assert!(all.is_off() && all.refresh_early.is_sign_positive(), "{beta}: {all:?}");
    }
    assert_eq!(of_call(|set| set.refresh_early = Some(0.5)).refresh_early, 0.5);
    // A product with it stays a time.
    assert_eq!(of_call(|set| set.refresh_early = Some(f64::MAX)).refresh_early, 1e6);
}

#[test]
fn times_are_bounded() {
    let all = |time| {
        of_call(|set| {
            *set = FreshnessOverrides {
                jitter: Some(time),
                stale_while_revalidate: Some(time),
                stale_if_error: Some(time),
                retry_after: Some(time),
                refresh_early: Some(1.0),
                soft_timeout: Some(time),
                hard_timeout: None,
                max_staleness: Some(time),
            };
        })
    };
    let longest = all(Duration::MAX);
    assert_eq!((longest.jitter, longest.stale_while_revalidate, longest.stale_if_error), (LONGEST, LONGEST, LONGEST));
    assert_eq!((longest.retry_after, longest.soft_timeout), (LONGEST, Some(LONGEST)));
    assert_eq!(of_call(|set| set.hard_timeout = Some(Duration::MAX)).hard_timeout, Some(LONGEST));
    assert_eq!(longest.max_staleness, Some(LONGEST));
    // What the server can't tell from zero isn't zero.
    let shortest = all(Duration::from_nanos(1));
    let millisecond = Duration::from_millis(1);
    assert_eq!((shortest.stale_while_revalidate, shortest.stale_if_error), (millisecond, millisecond));
    assert_eq!(shortest.retry_after, millisecond);
    // The server has no say in how old an answer is.
    assert_eq!(shortest.max_staleness, Some(Duration::from_nanos(1)));
}

#[test]
fn what_a_hit_needs_follows_from_the_options() {
    let window = of_call(|set| (set.stale_while_revalidate, set.stale_if_error) = (Some(SECOND), Some(MINUTE)));
    assert_eq!((window.stale_window(), window.reads_ttl(), window.is_off()), (MINUTE, true, false));
    let window = of_call(|set| set.stale_while_revalidate = Some(SECOND));
    assert_eq!((window.stale_window(), window.reads_ttl()), (SECOND, true));
    let early = of_call(|set| set.refresh_early = Some(1.0));
    assert_eq!((early.stale_window(), early.reads_ttl(), early.is_off()), (Duration::ZERO, true, false));
    for other in [of_call(|set| set.jitter = Some(SECOND)), of_call(|set| set.hard_timeout = Some(SECOND))] {
        assert_eq!((other.reads_ttl(), other.is_off()), (false, false), "{other:?}");
    }
    assert!(of_call(|set| set.retry_after = Some(MINUTE)).is_off(), "by itself it does nothing");
    for age in [Duration::ZERO, SECOND] {
        let near = of_call(|set| set.max_staleness = Some(age));
        assert_eq!((near.reads_ttl(), near.is_off()), (false, true), "it's about the near cache alone");
    }
}

#[test]
fn jitter_takes_off_up_to_so_much_and_leaves_a_ttl() {
    let jitter = of_call(|set| set.jitter = Some(10 * SECOND));
    assert_eq!(jitter.shortened(MINUTE, 0.0), MINUTE);
    assert_eq!(jitter.shortened(MINUTE, 0.5), 55 * SECOND);
    assert_eq!(jitter.shortened(MINUTE, 1.0), 50 * SECOND);
    assert_eq!(jitter.shortened(5 * SECOND, 1.0), Duration::from_millis(1));
    assert_eq!(jitter.shortened(Duration::from_micros(1), 1.0), Duration::from_micros(1));
    assert_eq!(jitter.shortened(Duration::ZERO, 1.0), Duration::ZERO);
    for wrong in [f64::NAN, -1.0, 2.0] {
        assert!((50 * SECOND..=MINUTE).contains(&jitter.shortened(MINUTE, wrong)), "{wrong}");
    }
    assert_eq!(Freshness::OFF.shortened(MINUTE, 1.0), MINUTE);
}
