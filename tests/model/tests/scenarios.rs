//! Explores the schedules of each scenario. `CACHEHOUSE_SCHEDULES` says how many of each, and `CACHEHOUSE_SCHEDULE` which one alone.

use std::collections::BTreeSet;

use cache_house::model::{SCENARIOS, explore};

macro_rules! scenarios {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                explore(stringify!($name));
            }
        )+

        #[test]
        fn every_scenario_is_explored() {
            let known: Vec<_> = SCENARIOS.iter().map(|(name, _)| *name).collect();
            assert_eq!(known, [$(stringify!($name)),+]);
        }
    };
}

scenarios! {
    callers_share_one_run
    a_leader_is_lost
    calls_after_a_lost_leader
    a_store_whose_caller_is_not_polled
    two_removals_and_a_store
    a_removal_that_is_not_polled_and_another
    an_outage
    an_outage_of_a_removal
    an_outage_of_an_insert
    an_insert_that_is_lost
    another_process_invalidates
    another_process_overtakes_the_work
    a_sync_waiter_beside_an_async_leader
    work_panics
    an_insert_beside_a_fill
    a_get_beside_a_removal
    a_late_server_and_slow_threads
}

/// The crate is built with its own dependencies, and the checker.
#[test]
fn the_dependencies_are_the_crates() {
    let required = |manifest: &str| -> BTreeSet<String> {
        let lines =
            manifest.lines().skip_while(|line| *line != "[dependencies]").take_while(|line| !line.starts_with("[dev"));
        let lines = lines.take_while(|line| !line.starts_with("[profile"));
        let is_wanted =
            |line: &&str| line.contains(" = ") && !line.contains("optional = true") && !line.starts_with("shuttle");
        lines.filter(is_wanted).map(String::from).collect()
    };
    let (own, crates) = (include_str!("../Cargo.toml"), include_str!("../../../Cargo.toml"));
    assert_eq!(required(own), required(crates));
}
