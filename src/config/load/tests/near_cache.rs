//! The near cache in files and variables: what arrives, and what is refused.

use std::time::Duration;

use super::*;
use crate::config::Topology;

const ON: &str = "[near_cache]\nmax_staleness = \"1s\"\n";

#[track_caller]
fn loaded(text: &str, variables: &[(&str, &str)]) -> Config {
    Place::new().with(DEFAULT_FILE, text).load(variables).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn near_cache(text: &str, variables: &[(&str, &str)]) -> Option<Duration> {
    match loaded(text, variables).into_builder().into_config().expect("it's right").topology {
        Topology::Server(connection) => connection.near_cache,
        Topology::Memory => panic!("there is no server"),
    }
}

#[test]
fn its_bound_arrives_whatever_the_server_is() {
    let tables = [
        "",
        "[standalone]\nendpoint = \"h\"\n",
        "[autodetect]\nendpoint = \"h\"\n",
        "[cluster]\nnodes = [\"h\"]\nread_from_replicas = true\n",
    ];
    for table in tables {
        assert_eq!(near_cache(table, &[]), None, "{table}");
        assert_eq!(near_cache(&format!("{table}{ON}"), &[]), Some(Duration::from_secs(1)), "{table}");
    }
    for (text, millis) in [("\"10ms\"", 10), ("3600", 3_600_000), ("\"1h\"", 3_600_000)] {
        let text = format!("[near_cache]\nmax_staleness = {text}");
        assert_eq!(near_cache(&text, &[]), Some(Duration::from_millis(millis)), "{text}");
    }
}

#[test]
fn its_bound_arrives_from_a_variable_which_wins() {
    let variable = [("CACHEHOUSE_NEAR_CACHE__MAX_STALENESS", "250ms")];
    for (text, variables) in
        [("", &variable[..]), (ON, &variable), ("", &[("CACHEHOUSE_NEAR_CACHE", "{ max_staleness = \"250ms\" }")])]
    {
        assert_eq!(near_cache(text, variables), Some(Duration::from_millis(250)), "{text} {variables:?}");
    }
}

#[test]
fn it_is_shown_with_its_source_where_it_is_on() {
    let shown = |text: &str, variables: &[(&str, &str)]| {
        let config = loaded(text, variables);
        let setting = config.settings().iter().find(|setting| setting.key() == "near_cache.max_staleness")?;
        let source = setting.source().rsplit('/').next().unwrap_or_default();
        Some(format!("{} ({source})", setting.value()))
    };
    assert_eq!(shown("", &[]), None);
    assert_eq!(shown(ON, &[]).as_deref(), Some("\"1s\" (cachehouse.toml:2)"));
    let variable = [("CACHEHOUSE_NEAR_CACHE__MAX_STALENESS", "2")];
    assert_eq!(shown(ON, &variable).as_deref(), Some("\"2s\" (variable CACHEHOUSE_NEAR_CACHE__MAX_STALENESS)"));
}

#[test]
fn the_error_of_memory_switched_off_names_where_the_near_cache_was_turned_on() {
    let place = Place::new().with(DEFAULT_FILE, ON);
    let builder = place.load(&[]).expect("it's right").into_builder().fallback_to_memory(false);
    let error = builder.build().expect_err("they exclude each other");
    insta::assert_snapshot!(place.anonymous(&error.to_string()), @"near_cache: is set, but the near cache keeps its copies in memory, which `fallback_to_memory` switches off; remove one of the two (cachehouse.toml:1)");
}

message!(
    without_memory,
    file("fallback_to_memory = false\n[near_cache]\nmax_staleness = 1"),
    @"near_cache: is set, but the near cache keeps its copies in memory, which `fallback_to_memory` switches off; remove one of the two (cachehouse.toml:2, cachehouse.toml:1)"
);
message!(
    without_memory_in_variables,
    variables(&[("CACHEHOUSE_NEAR_CACHE__MAX_STALENESS", "1s"), ("CACHEHOUSE_FALLBACK_TO_MEMORY", "false")]),
    @"near_cache: is set, but the near cache keeps its copies in memory, which `fallback_to_memory` switches off; remove one of the two (variable CACHEHOUSE_NEAR_CACHE__MAX_STALENESS, variable CACHEHOUSE_FALLBACK_TO_MEMORY)"
);
message!(
    without_a_server,
    file("[near_cache]\nmax_staleness = 1\n[memory]"),
    @"near_cache: is set, but [memory] has no server to be near to; remove one of the two (cachehouse.toml:1, cachehouse.toml:3)"
);
message!(
    without_its_bound,
    file("[near_cache]"),
    @r#"near_cache.max_staleness: is missing; accepts a time such as "250ms" or "3m", or whole seconds as a number, from 10ms to 1h (cachehouse.toml:1)"#
);
message!(
    out_of_bounds,
    file("[near_cache]\nmax_staleness = \"9ms\""),
    @r#"near_cache.max_staleness: is "9ms"; accepts a time such as "250ms" or "3m", or whole seconds as a number, from 10ms to 1h (cachehouse.toml:2)"#
);
message!(
    out_of_bounds_in_a_variable,
    variables(&[("CACHEHOUSE_NEAR_CACHE__MAX_STALENESS", "3601")]),
    @r#"near_cache.max_staleness: is 3601; accepts a time such as "250ms" or "3m", or whole seconds as a number, from 10ms to 1h (variable CACHEHOUSE_NEAR_CACHE__MAX_STALENESS)"#
);
message!(
    a_bound_in_place_of_its_table,
    file("near_cache = \"1s\""),
    @"near_cache: is no table (it isn't shown); accepts a table, with the keys `max_staleness` (cachehouse.toml:1)"
);
message!(
    a_bound_in_place_of_its_table_in_a_variable,
    variables(&[("CACHEHOUSE_NEAR_CACHE", "1s")]),
    @r#"CACHEHOUSE_NEAR_CACHE: names the table `near_cache`, and isn't one (it isn't shown); accepts a table such as {} or { key = "value" }, or variables for its keys, as CACHEHOUSE_NEAR_CACHE__MAX_STALENESS (environment)"#
);
message!(
    a_misspelt_table,
    file("[near_cach]\nmax_staleness = \"1s\""),
    @"near_cach: is no table of the configuration; the nearest known one is near_cache (cachehouse.toml:1)"
);

#[test]
fn a_profile_with_the_key_of_the_same_name_is_one() {
    let text = "[production]\nmax_staleness = 0\n[production.near_cache]\nmax_staleness = \"1s\"";
    assert_eq!(near_cache(text, &[]), None);
    assert_eq!(near_cache(text, &[("CACHEHOUSE_PROFILE", "production")]), Some(Duration::from_secs(1)));
}
