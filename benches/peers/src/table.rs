//! The table: a line for each figure, a column for each peer.

use std::fmt;

use crate::peers::NAMES;

#[derive(Default)]
pub(crate) struct Table {
    lines: Vec<Line>,
}

struct Line {
    title: String,
    ours: String,
    cells: Vec<String>,
}

/// One peer's figures of one line: one a round; none where it has no such thing.
pub(crate) type Figures = [Vec<f64>; NAMES.len()];

#[derive(Clone, Copy)]
pub(crate) enum Better {
    More,
    Less,
}

impl Table {
    /// Adds a line of ratios, the medians over the rounds. Above 1, cache-house is ahead.
    pub(crate) fn ratios(
        &mut self,
        title: impl Into<String>,
        figures: &Figures,
        better: Better,
        unit: fn(f64) -> String,
    ) {
        let ours = &figures[0];
        let cells = figures[1..].iter().map(|theirs| {
            let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| match better {
                Better::More => ours / theirs,
                Better::Less => theirs / ours,
            });
            median(ratios).map_or("–".into(), |ratio| match ratio {
                ratio if ratio >= 100.0 => format!("{ratio:.0}"),
                ratio if ratio >= 10.0 => format!("{ratio:.1}"),
                ratio => format!("{ratio:.2}"),
            })
        });
        self.lines.push(Line {
            title: title.into(),
            ours: median(ours.iter().copied()).map_or("–".into(), unit),
            cells: cells.collect(),
        });
    }

    /// Adds a line of the figures themselves, the medians over the rounds.
    pub(crate) fn absolute(&mut self, title: impl Into<String>, figures: &Figures, unit: fn(f64) -> String) {
        let mut cells = figures.iter().map(|figures| median(figures.iter().copied()).map_or("–".into(), unit));
        let ours = cells.next().unwrap_or_default();
        self.lines.push(Line { title: title.into(), ours, cells: cells.collect() });
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | {} |", NAMES.join(" | "))?;
        writeln!(f, "| --- |{}", " ---: |".repeat(NAMES.len()))?;
        for Line { title, ours, cells } in &self.lines {
            writeln!(f, "| {title} | {ours} | {} |", cells.join(" | "))?;
        }
        Ok(())
    }
}

/// None where nothing was measured.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

pub(crate) fn calls(a_second: f64) -> String {
    format!("{a_second:.0}/s")
}

pub(crate) fn nanos(nanos: f64) -> String {
    format!("{nanos:.0} ns")
}

pub(crate) fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 0.001 => format!("{:.1} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{seconds:.2} s"),
    }
}

pub(crate) fn count(count: f64) -> String {
    format!("{count:.0}")
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
