//! Scenarios whose schedules a checker explores: see `docs/testing.md`.

mod scenarios;
mod schedules;
mod server;
mod world;

pub use scenarios::SCENARIOS;

/// Explores the schedules of the scenario of this name.
///
/// # Panics
///
/// Where one of them breaks a promise, or hangs.
pub fn explore(name: &str) {
    let (_, scenario) = SCENARIOS.iter().find(|(known, _)| *known == name).expect("there is such a scenario");
    schedules::explore(name, *scenario);
}
