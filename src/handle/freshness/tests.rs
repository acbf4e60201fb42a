use foldhash::quality::FixedState;
use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::key::{CallParts, Scope};

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

fn windows(stale_while_revalidate: Duration, stale_if_error: Duration) -> Freshness {
    Freshness { stale_while_revalidate, stale_if_error, ..Freshness::OFF }
}

/// Of work whose duration isn't known.
fn verdict(freshness: &Freshness, remaining: Duration) -> Verdict {
    Verdict::of(freshness, Some(remaining), || None, || unreachable!("no lot is drawn"))
}

fn key(name: &str) -> CallKey {
    let scope = Scope::new("p", "n").expect("both parts are given");
    let parts = CallParts { module: None, name: name.as_bytes(), args: b"", kwargs: &[], version: 0, tokens: &[] };
    CallKey::new(&parts, &scope, None, &FixedState::default()).expect("the call has a key")
}

#[test]
fn a_verdict_changes_at_the_end_of_the_ttl_and_of_the_shorter_window() {
    use Verdict::{Fresh, IfError, Revalidate};
    for (revalidate, if_error, remaining, expected) in [
        (10, 0, 10 * SECOND + NANO, Fresh),
        (10, 0, 10 * SECOND, Revalidate),
        (10, 0, NANO, Revalidate),
        // Its windows end here.
        (10, 0, Duration::ZERO, IfError),
        (0, 10, 10 * SECOND + NANO, Fresh),
        (0, 10, 10 * SECOND, IfError),
        (0, 10, Duration::ZERO, IfError),
        // For 4 s the one, for 6 s more the other.
        (4, 10, 10 * SECOND + NANO, Fresh),
        (4, 10, 10 * SECOND, Revalidate),
        (4, 10, 6 * SECOND + NANO, Revalidate),
        (4, 10, 6 * SECOND, IfError),
        (4, 10, Duration::ZERO, IfError),
        (10, 4, 10 * SECOND + NANO, Fresh),
        (10, 4, 10 * SECOND, Revalidate),
        (10, 4, NANO, Revalidate),
        (10, 10, NANO, Revalidate),
        (0, 0, NANO, Fresh),
    ] {
        let freshness = windows(revalidate * SECOND, if_error * SECOND);
        assert_eq!(verdict(&freshness, remaining), expected, "{revalidate} {if_error} {remaining:?}");
    }
}

#[test]
fn a_value_whose_ttl_is_not_known_is_fresh() {
    let freshness = Freshness { refresh_early: 1e6, ..windows(SECOND, SECOND) };
    assert_eq!(Verdict::of(&freshness, None, || Some(SECOND), || f64::MIN_POSITIVE), Verdict::Fresh);
}

#[test]
fn only_what_is_stale_for_errors_alone_is_not_served_to_others() {
    use Verdict::{Early, Fresh, IfError, Revalidate};
    assert_eq!([Fresh, Early, Revalidate, IfError].map(Verdict::is_served), [true, true, true, false]);
    assert_eq!([Fresh, Early, Revalidate, IfError].map(Verdict::is_stale), [false, false, true, true]);
}

/// Numbers above 0 and up to 1, always the same ones (SplitMix64).
fn draws(seed: u64) -> impl Iterator<Item = f64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        1.0 - ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    })
}

#[test]
fn early_renewals_are_as_frequent_as_the_paper_says() {
    const DRAWS: u32 = 40_000;
    // The gap is exponential with the mean `work * beta`, so a value is renewed with exp(-left / (work * beta)).
    for (seed, (work, beta, left, window)) in
        [(1.0, 1.0, 1.0, 0), (1.0, 1.0, 5.0, 0), (0.1, 1.0, 0.05, 7), (0.2, 2.0, 0.3, 0), (3.0, 0.5, 2.0, 60)]
            .into_iter()
            .enumerate()
    {
        let freshness = Freshness { refresh_early: beta, ..windows(window * SECOND, Duration::ZERO) };
        let remaining = Duration::from_secs_f64(left) + window * SECOND;
        let is_early = |random| {
            let verdict = Verdict::of(&freshness, Some(remaining), || Some(Duration::from_secs_f64(work)), || random);
            assert!(matches!(verdict, Verdict::Early | Verdict::Fresh));
            verdict == Verdict::Early
        };
        let early = draws(seed as u64).take(DRAWS as usize).filter(|random| is_early(*random)).count() as f64;
        let share = (-left / (work * beta)).exp();
        let (mean, sigma) = (f64::from(DRAWS) * share, (f64::from(DRAWS) * share * (1.0 - share)).sqrt());
        assert!((early - mean).abs() < 5.0 * sigma, "{work} {beta} {left}: {early}, and not {mean} ± {sigma}");
    }
}

#[test]
fn nothing_is_early_while_it_is_off_or_the_work_is_not_known() {
    let on = Freshness { refresh_early: 1e6, ..Freshness::OFF };
    let least = || f64::MIN_POSITIVE;
    assert_eq!(Verdict::of(&on, Some(NANO), || None, least), Verdict::Fresh);
    assert_eq!(Verdict::of(&on, Some(NANO), || Some(SECOND), || 1.0), Verdict::Fresh, "the least of all gaps");
    assert_eq!(Verdict::of(&on, Some(SECOND), || Some(SECOND), least), Verdict::Early);
    assert_eq!(Verdict::of(&Freshness::OFF, Some(NANO), || Some(SECOND), least), Verdict::Fresh);
}

proptest! {
    #[test]
    fn a_verdict_is_the_same_rule_for_any_times(
        revalidate in 0_u64..5_000, if_error in 0_u64..5_000, remaining in 0_u64..12_000, ttl in 1_u64..5_000,
    ) {
        let ms = Duration::from_millis;
        let verdict = verdict(&windows(ms(revalidate), ms(if_error)), ms(remaining));
        // How long ago it was stored, and for how long it has been stale.
        let whole = ttl + revalidate.max(if_error);
        let expected = match (whole.checked_sub(remaining)).and_then(|age| age.checked_sub(ttl)) {
            None => Verdict::Fresh,
            Some(_) if revalidate == 0 && if_error == 0 => return Ok(()),
            Some(stale) if stale < revalidate => Verdict::Revalidate,
            Some(_) => Verdict::IfError,
        };
        prop_assert_eq!(verdict, expected);
    }
}

#[test]
fn failed_work_waits_for_just_its_pause() {
    let clock = ManualClock::new();
    let retries = Retries::new(clock.clone().into());
    let (failed, other) = (key("failed"), key("other"));
    assert!(!retries.hold(&failed));
    retries.note(&failed, SECOND);
    assert!(retries.hold(&failed) && !retries.hold(&other));
    clock.advance(SECOND - NANO);
    assert!(retries.hold(&failed));
    clock.advance(NANO);
    assert!(!retries.hold(&failed));
    assert!(retries.until.lock().is_empty(), "it's forgotten");
    retries.note(&failed, SECOND);
    retries.note(&failed, 3 * SECOND);
    clock.advance(2 * SECOND);
    assert!(retries.hold(&failed), "the last failure counts");
    retries.forget(&failed);
    assert!(!retries.hold(&failed));
}

#[test]
fn pauses_are_bounded_and_those_that_have_passed_make_room() {
    let clock = ManualClock::new();
    let retries = Retries::new(clock.clone().into());
    for n in 0..MOST_RETRIES + 100 {
        retries.note(&key(&n.to_string()), SECOND);
    }
    assert_eq!(retries.until.lock().len(), MOST_RETRIES);
    assert!(retries.hold(&key("0")) && !retries.hold(&key(&MOST_RETRIES.to_string())), "more are tried by each call");
    retries.note(&key("0"), 3 * SECOND);
    clock.advance(2 * SECOND);
    assert!(retries.hold(&key("0")), "one that is held already needs no room");
    retries.note(&key("late"), SECOND);
    assert!(retries.hold(&key("late")));
    assert_eq!(retries.until.lock().len(), 2);
}

#[test]
fn the_last_duration_of_each_calls_work_is_known() {
    let times = WorkTimes::new();
    // Two in one slot: the part that tells them apart is above that of the time.
    let (one, twin, other) = (5, 5 | 1 << TIME_BITS, 6);
    assert_eq!(times.of(one), None);
    times.note(one, SECOND);
    assert_eq!((times.of(one), times.of(twin), times.of(other)), (Some(SECOND), None, None));
    times.note(one, 2 * SECOND);
    times.note(other, 3 * SECOND);
    assert_eq!((times.of(one), times.of(other)), (Some(2 * SECOND), Some(3 * SECOND)));
    times.note(twin, SECOND);
    assert_eq!((times.of(one), times.of(twin)), (None, Some(SECOND)), "the last to have run has the slot");
}

#[test]
fn durations_of_work_are_within_what_a_slot_holds() {
    let times = WorkTimes::new();
    for call in [0, 7, u64::MAX, 1 << 40] {
        times.note(call, Duration::ZERO);
        assert_eq!(times.of(call), Some(Duration::from_micros(1)), "what takes no time is known too");
        times.note(call, Duration::MAX);
        assert_eq!(times.of(call), Some(Duration::from_micros((1 << TIME_BITS) - 1)));
    }
}
