//! What is accepted of the options of freshness, for a handle and for a namespace over it.

use std::fmt::Display;
use std::time::Duration;

use super::limits::{FRESHNESS, REFRESH_EARLY, RETRY_AFTER};
use crate::error::Error;
use crate::policy::FreshnessOverrides;

/// Checks what a handle sets.
pub(super) fn check_handle(set: &FreshnessOverrides) -> Result<(), Error> {
    first_problem(set).map_or(Ok(()), |(option, problem)| Err(Error::config(option, problem)))?;
    match crossed_timeouts(set, None) {
        Some((soft, hard)) => Err(Error::config("soft_timeout", not_below(soft, "`.hard_timeout(…)`", hard))),
        None => Ok(()),
    }
}

/// Checks what `namespace` sets, over what the handle sets.
pub(super) fn check_namespace(
    namespace: &str,
    set: &FreshnessOverrides,
    handle: Option<&FreshnessOverrides>,
) -> Result<(), Error> {
    let refused = |option: &str, problem: String| {
        Error::config("namespace_options", format!("has for {namespace:?} a `{option}` that {problem}"))
    };
    first_problem(set).map_or(Ok(()), |(option, problem)| Err(refused(option, problem)))?;
    match crossed_timeouts(set, handle) {
        Some((soft, hard)) => Err(refused("soft_timeout", not_below(soft, "the `hard_timeout`", hard))),
        None => Ok(()),
    }
}

/// What is wrong with a soft timeout that isn't below the hard one.
pub(super) fn not_below(soft: impl Display, hard_timeout: &str, hard: impl Display) -> String {
    format!(
        "is {soft}, which isn't below {hard_timeout} of {hard}, so it never takes effect; accepts a shorter time, or zero for none"
    )
}

/// Whether neither of the timeouts is zero, which is none, and the soft one isn't below the hard one.
pub(super) fn are_crossed(soft: Duration, hard: Duration) -> bool {
    !hard.is_zero() && soft >= hard
}

/// The timeouts in effect that exclude each other, if one of them is set here.
fn crossed_timeouts(set: &FreshnessOverrides, outer: Option<&FreshnessOverrides>) -> Option<(Shown, Shown)> {
    if set.soft_timeout.is_none() && set.hard_timeout.is_none() {
        return None;
    }
    let soft = set.soft_timeout.or(outer.and_then(|outer| outer.soft_timeout))?;
    let hard = set.hard_timeout.or(outer.and_then(|outer| outer.hard_timeout))?;
    are_crossed(soft, hard).then_some((Shown(soft), Shown(hard)))
}

/// The first option whose value is out of bounds, and what is wrong with it.
fn first_problem(set: &FreshnessOverrides) -> Option<(&'static str, String)> {
    let times = [
        ("jitter", set.jitter),
        ("stale_while_revalidate", set.stale_while_revalidate),
        ("stale_if_error", set.stale_if_error),
        ("soft_timeout", set.soft_timeout),
        ("hard_timeout", set.hard_timeout),
    ];
    let longest = Shown(*FRESHNESS.end());
    let too_long = |option, time: Option<Duration>, zero| {
        let time = time.filter(|time| !FRESHNESS.contains(time))?;
        Some((option, format!("is {}; accepts up to a year ({longest}), and zero {zero}", Shown(time))))
    };
    let max_staleness = too_long("max_staleness", set.max_staleness, "to ask the server");
    let too_long = times.into_iter().find_map(|(option, time)| too_long(option, time, "for none"));
    let retry_after = set.retry_after.filter(|pause| !RETRY_AFTER.contains(pause)).map(|pause| {
        let why = if pause.is_zero() { ", so every call would try failing work again" } else { "" };
        let shortest = Shown(*RETRY_AFTER.start());
        ("retry_after", format!("is {}{why}; accepts {shortest} to a year ({longest})", Shown(pause)))
    });
    let refresh_early = set
        .refresh_early
        .filter(|beta| !REFRESH_EARLY.contains(beta))
        .map(|beta| ("refresh_early", format!("is {beta:?}; accepts a finite number such as 1.0, and zero for never")));
    too_long.or(retry_after).or(refresh_early).or(max_staleness)
}

/// As the builder's other errors show a time.
struct Shown(Duration);

impl Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
