//! The options of freshness in files and variables: the values that arrive, and the errors of wrong ones.

use std::time::Duration;

use super::*;
use crate::policy::{Freshness, Policy};

/// In effect for calls without a namespace, and for those of the namespace `users`.
#[track_caller]
fn in_effect(text: &str, variables: &[(&str, &str)]) -> (Freshness, Freshness) {
    let config = Place::new().with(DEFAULT_FILE, text).load(variables).unwrap_or_else(|error| panic!("{error}"));
    let config = config.into_builder().into_config().expect("it's right");
    let users = config.namespaces.get("users").map(|options| &options.0);
    let of_users = *Policy::merged(&config.overrides, users, &Default::default()).freshness;
    ((*Policy::of_handle(&config.overrides).freshness), of_users)
}

const ALL: &str = "jitter = \"1s\"\nstale_while_revalidate = 2\nstale_if_error = \"3s\"\nretry_after = \"4s\"\nrefresh_early = 1.5\nsoft_timeout = \"6s\"\nhard_timeout = \"7s\"\nmax_staleness = \"8s\"\n";

fn all() -> Freshness {
    let seconds = Duration::from_secs;
    Freshness {
        jitter: seconds(1),
        stale_while_revalidate: seconds(2),
        stale_if_error: seconds(3),
        retry_after: seconds(4),
        refresh_early: 1.5,
        soft_timeout: Some(seconds(6)),
        hard_timeout: Some(seconds(7)),
        max_staleness: Some(seconds(8)),
    }
}

#[test]
fn every_option_arrives_of_the_handle_and_of_a_namespace() {
    assert_eq!(in_effect(ALL, &[]), (all(), all()));
    assert_eq!(in_effect(&format!("[namespaces.users]\n{ALL}"), &[]), (Freshness::OFF, all()));
    let own = in_effect(&format!("{ALL}[namespaces.users]\nretry_after = \"9s\"\nrefresh_early = 0\n"), &[]).1;
    assert_eq!(own, Freshness { retry_after: Duration::from_secs(9), refresh_early: 0.0, ..all() });
    let longest = in_effect("jitter = \"1year\"\nmax_staleness = \"1year\"", &[]).0;
    assert_eq!((longest.jitter, longest.max_staleness), (crate::policy::LONGEST, Some(crate::policy::LONGEST)));
    let asks = in_effect("max_staleness = 1\n[namespaces.users]\nmax_staleness = 0\n[memory]", &[]).1;
    assert_eq!(asks.max_staleness, Some(Duration::ZERO), "it's accepted without a server too");
}

#[test]
fn every_option_arrives_from_a_variable() {
    let values = [
        ("JITTER", "1"),
        ("STALE_WHILE_REVALIDATE", "2s"),
        ("STALE_IF_ERROR", "3s"),
        ("RETRY_AFTER", "4s"),
        ("REFRESH_EARLY", " 1.5"),
        ("SOFT_TIMEOUT", "6s"),
        ("HARD_TIMEOUT", "7s"),
        ("MAX_STALENESS", "8s"),
    ];
    let of = |prefix: &str| {
        let named: Vec<_> = values.iter().map(|(name, value)| (format!("{prefix}{name}"), *value)).collect();
        in_effect("", &named.iter().map(|(name, value)| (name.as_str(), *value)).collect::<Vec<_>>())
    };
    assert_eq!(of("CACHEHOUSE_"), (all(), all()));
    assert_eq!(of("CACHEHOUSE_NAMESPACES__USERS__"), (Freshness::OFF, all()));
    assert_eq!(in_effect("", &[("CACHEHOUSE_REFRESH_EARLY", "2")]).0.refresh_early, 2.0);
}

#[test]
fn nothing_is_set_where_nothing_is_given() {
    let config = Place::new().load(&[]).expect("it's right");
    assert_eq!(value(&config, "retry_after"), Some("\"1s\"".into()));
    let config = config.into_builder().into_config().expect("it's right");
    assert!(config.overrides.rare.is_none(), "a hit would merge for nothing");
}

#[test]
fn code_wins_over_what_is_loaded_and_is_checked_with_it() {
    let builder = || Place::new().with(DEFAULT_FILE, ALL).load(&[]).expect("it's right").into_builder();
    let config = builder().hard_timeout(Duration::from_secs(8)).into_config().expect("it's right");
    let expected = Freshness { hard_timeout: Some(Duration::from_secs(8)), ..all() };
    assert_eq!((*Policy::of_handle(&config.overrides).freshness), expected);
    let error = builder().hard_timeout(Duration::from_secs(6)).into_config().expect_err("it isn't below");
    insta::assert_snapshot!(error, @"soft_timeout: is 6s, which isn't below `.hard_timeout(…)` of 6s, so it never takes effect; accepts a shorter time, or zero for none");
}

message!(
    a_time_that_is_too_long,
    file("jitter = \"2years\"\nmax_staleness = \"2years\"\n[namespaces.users]\nstale_if_error = \"2years\""),
    @r#"
    3 problems in the configuration:
    jitter: is "2years"; accepts a time such as "250ms" or "3m", or whole seconds as a number, from 0s to 1year (cachehouse.toml:1)
    max_staleness: is "2years"; accepts a time such as "250ms" or "3m", or whole seconds as a number, from 0s to 1year (cachehouse.toml:2)
    namespaces.users.stale_if_error: is "2years"; accepts a time such as "250ms" or "3m", or whole seconds as a number, from 0s to 1year (cachehouse.toml:4)
    "#
);
message!(zero_retry_after, file("retry_after = 0"), @r#"retry_after: is 0; accepts a time such as "250ms" or "3m", or whole seconds as a number, from 1ms to 1year (cachehouse.toml:1)"#);
message!(
    a_factor_that_is_none,
    file("refresh_early = -1\n[namespaces.a]\nrefresh_early = nan\n[namespaces.b]\nrefresh_early = inf\n[namespaces.c]\nrefresh_early = \"1.0\""),
    @r#"
    4 problems in the configuration:
    namespaces.a.refresh_early: is NaN; accepts a number such as 1.0, at least 0 (cachehouse.toml:3)
    namespaces.b.refresh_early: is inf; accepts a number such as 1.0, at least 0 (cachehouse.toml:5)
    namespaces.c.refresh_early: is "1.0"; accepts a number such as 1.0, at least 0 (cachehouse.toml:7)
    refresh_early: is -1; accepts a number such as 1.0, at least 0 (cachehouse.toml:1)
    "#
);
message!(a_factor_that_is_none_in_a_variable, variables(&[("CACHEHOUSE_REFRESH_EARLY", "-inf")]), @"refresh_early: is -inf; accepts a number such as 1.0, at least 0 (variable CACHEHOUSE_REFRESH_EARLY)");
message!(
    a_window_where_nothing_is_stored,
    file("expire = 0\nstale_while_revalidate = \"1m\"\nrefresh_early = 1.0"),
    @r#"expire: is 0; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (cachehouse.toml:1)"#
);
message!(timeouts_that_are_crossed, file("\nsoft_timeout = \"2s\"\nhard_timeout = \"2s\""), @r#"soft_timeout: is "2s", which isn't below `hard_timeout` of "2s", so it never takes effect; accepts a shorter time, or zero for none (cachehouse.toml:2, cachehouse.toml:3)"#);
message!(
    timeouts_that_are_crossed_by_a_namespace,
    file("soft_timeout = \"2s\"\nhard_timeout = \"3s\"\n[namespaces.a]\nhard_timeout = 1\n[namespaces.\"b.c\"]\nsoft_timeout = 5\n[namespaces.d]\nexpire = 7"),
    @r#"
    2 problems in the configuration:
    soft_timeout: is "2s", which isn't below `namespaces.a.hard_timeout` of "1s", so it never takes effect; accepts a shorter time, or zero for none (cachehouse.toml:1, cachehouse.toml:4)
    namespaces."b.c".soft_timeout: is "5s", which isn't below `hard_timeout` of "3s", so it never takes effect; accepts a shorter time, or zero for none (cachehouse.toml:6, cachehouse.toml:2)
    "#
);
message!(
    timeouts_that_are_crossed_by_a_variable,
    {
        let place = Place::new().with(DEFAULT_FILE, "soft_timeout = \"2s\"");
        place.problems(place.load(&[("CACHEHOUSE_HARD_TIMEOUT", "1s")]))
    },
    @r#"soft_timeout: is "2s", which isn't below `hard_timeout` of "1s", so it never takes effect; accepts a shorter time, or zero for none (cachehouse.toml:1, variable CACHEHOUSE_HARD_TIMEOUT)"#
);
message!(
    a_misspelt_option_of_a_namespace,
    file("[namespaces.users]\nstale_if_eror = 1\nrefresh = 1.0"),
    @"
    2 problems in the configuration:
    namespaces.users.refresh: is no key of the configuration; the nearest known one is namespaces.users.refresh_early (cachehouse.toml:3)
    namespaces.users.stale_if_eror: is no key of the configuration; the nearest known one is namespaces.users.stale_if_error (cachehouse.toml:2)
    "
);
message!(
    a_misspelt_option_of_a_namespace_in_a_variable,
    variables(&[("CACHEHOUSE_NAMESPACES__USERS__SOFT_TIMOUT", "1s")]),
    @"CACHEHOUSE_NAMESPACES__USERS__SOFT_TIMOUT: is no variable of cache-house; the nearest known one is CACHEHOUSE_NAMESPACES__USERS__SOFT_TIMEOUT (environment)"
);

#[test]
fn zero_is_no_timeout_so_it_crosses_none() {
    let (handle, users) = in_effect(
        "stale_if_error = 1\nsoft_timeout = \"2s\"\nhard_timeout = \"3s\"\n[namespaces.users]\nhard_timeout = 0",
        &[],
    );
    assert_eq!((handle.hard_timeout, users.hard_timeout), (Some(Duration::from_secs(3)), None));
    assert_eq!(users.soft_timeout, Some(Duration::from_secs(2)));
}
