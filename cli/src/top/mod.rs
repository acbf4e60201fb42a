//! `cachehouse top`: the metrics of a service, as they change.

mod figures;
mod http;
mod prometheus;
mod screen;

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use figures::Figures;
use http::Target;
use prometheus::Samples;

use crate::arguments::Top;
use crate::failure::Failure;
use crate::output;

/// How long the service may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The metrics of one moment.
struct Look {
    at: Instant,
    samples: Samples,
}

pub(crate) fn run(top: &Top, json: bool) -> Result<(), Failure> {
    let target = Target::parse(&top.url).map_err(Failure::Usage)?;
    let interval = Duration::from_secs_f64(top.interval);
    if top.once {
        let figures = Figures::since_start(&look(&target)?.samples);
        return if json { output::print_json(&figures) } else { output::print(&figures.text()) };
    }
    if json {
        return stream(&target, interval);
    }
    if !io::stdout().is_terminal() {
        return Err(Failure::usage(
            "there is no terminal for a live screen; --once prints one table, --json a line each time",
        ));
    }
    screen::run(&target, interval)
}

/// A line of JSON for each interval, until the reader or the operator ends it.
fn stream(target: &Target, interval: Duration) -> Result<(), Failure> {
    let mut before = look(target)?;
    while !output::is_unread() {
        thread::sleep(interval);
        let now = look(target)?;
        output::print_json_line(&Figures::between(&before, &now))?;
        before = now;
    }
    Ok(())
}

fn look(target: &Target) -> Result<Look, Failure> {
    let begun = |problem: String| Failure::finding(format!("{target}: {problem}"));
    let text = http::get(target, PATIENCE).map_err(begun)?;
    let samples = Samples::parse(&text);
    if samples.is_empty() {
        return Err(begun(
            "there is no metric of cache-house: does the service have the feature `metrics`, and was its recorder installed before the cache was built?".into(),
        ));
    }
    Ok(Look { at: Instant::now(), samples })
}
