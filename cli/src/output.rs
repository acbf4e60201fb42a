//! What is written, and how: texts of others made harmless, sizes and times for people, tables.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::failure::Failure;

/// Whether the reader of stdout has gone.
static IS_UNREAD: AtomicBool = AtomicBool::new(false);

/// Writes to stdout. A reader that has seen enough, such as `head`, is no failure: the rest is discarded, and the command goes on,
/// so that its exit code is that of all it does.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(format!("{text}\n").as_bytes())
}

pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    if is_unread() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    unless_unread(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// Whether what is printed is discarded. A command that does nothing but print ends then.
pub(crate) fn is_unread() -> bool {
    IS_UNREAD.load(Ordering::Relaxed)
}

/// What came of writing to stdout, where a reader that has gone is no failure.
pub(crate) fn unless_unread(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            IS_UNREAD.store(true, Ordering::Relaxed);
            Ok(())
        }
        written => Ok(written?),
    }
}

pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::finding(error.to_string()))?;
    print(&harmless(&text))
}

/// The same on one line, for a stream of them.
pub(crate) fn print_json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::finding(error.to_string()))?;
    print(&harmless(&text))
}

/// Writes to stderr, whether or not anybody listens.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The text without what a terminal would act on, escaped so that JSON stays JSON.
pub(crate) fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        // Also what turns the direction of what follows.
        let acts = (c.is_control() && c != '\n')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match acts {
            true => write!(harmless, "\\u{:04x}", u32::from(c)).unwrap_or_default(),
            false => harmless.push(c),
        }
    }
    harmless
}

/// The same on one line.
pub(crate) fn one_line(text: &str) -> String {
    harmless(text).replace('\n', "\\n")
}

/// Red where stderr is a terminal that may have colours.
pub(crate) fn red(text: &str) -> String {
    if io::stderr().is_terminal() && may_colour() { format!("\u{1b}[1;31m{text}\u{1b}[0m") } else { text.to_owned() }
}

/// Whether the environment permits colours: <https://no-color.org>.
pub(crate) fn may_colour() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !no_color && !dumb
}

/// A table without lines between its rows, numbers to the right from column `numbers` on.
pub(crate) fn table(head: &[&str], rows: Vec<Vec<String>>, numbers: usize) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(head.iter().copied());
    for row in rows {
        table.add_row(row.into_iter().map(|cell| one_line(&cell)));
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if at >= numbers {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// `12.3 MiB`
pub(crate) fn size(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut amount, mut unit) = (bytes, 0);
    while amount >= 1023.95 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0);
    format!("{amount:.digits$} {}", UNITS[unit])
}

/// `1,234,567`
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `2m 31s`, `12ms`: the two largest units.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (first, second) = match seconds {
        0 if time < Duration::from_millis(1) => return format!("{}us", time.as_micros()),
        0 => return format!("{}ms", time.as_millis()),
        1..60 => return format!("{:.1}s", time.as_secs_f64()),
        60..3_600 => ((seconds / 60, "m"), (seconds % 60, "s")),
        3_600..86_400 => ((seconds / 3_600, "h"), (seconds % 3_600 / 60, "m")),
        _ => ((seconds / 86_400, "d"), (seconds % 86_400 / 3_600, "h")),
    };
    match second.0 {
        0 => format!("{}{}", first.0, first.1),
        _ => format!("{}{} {}{}", first.0, first.1, second.0, second.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_counts_and_times_are_for_people() {
        assert_eq!([0.0, 1023.0, 1024.0, 1536.0, 5e12].map(size), ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "4.5 TiB"]);
        assert_eq!(size(1024.0 * 1024.0 - 1.0), "1.0 MiB");
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        let millis = [0, 12, 1_500, 60_000, 151_000, 7_260_000, 90_000_000];
        let times = ["0us", "12ms", "1.5s", "1m", "2m 31s", "2h 1m", "1d 1h"];
        assert_eq!(millis.map(|millis| time(Duration::from_millis(millis))), times);
    }

    #[test]
    fn what_a_terminal_would_act_on_is_escaped_and_json_stays_json() {
        assert_eq!(harmless("é\u{1b}[2J\u{9b}\u{202e}\n"), "é\\u001b[2J\\u009b\\u202e\n");
        assert_eq!(one_line("a\nb"), "a\\nb");
        let json = serde_json::to_string("a\u{9b}\u{7f}").expect("it's text");
        assert_eq!(serde_json::from_str::<String>(&harmless(&json)).expect("it's JSON"), "a\u{9b}\u{7f}");
    }

    #[test]
    fn a_table_has_its_numbers_to_the_right() {
        let rows = vec![vec!["a\u{1b}".into(), "1".into()], vec!["b".into(), "1,000".into()]];
        assert_eq!(table(&["name", "count"], rows, 1), "name     count\na\\u001b      1\nb        1,000");
    }
}
