//! The file: found, read, parsed, and its profiles laid over each other.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml_edit::{ImDocument, Item, TableLike, Value};

use super::hints::distance;
use super::layer::{Entry, Node, Table, merge};
use super::problems::Problem;
use super::schema;

/// Which file to read.
#[derive(Debug, Clone)]
pub(super) enum Which {
    /// This one, if there is one.
    Default(PathBuf),
    /// This one, which must exist, and what named it.
    Named(PathBuf, Option<String>),
}

/// Far more than a configuration needs, far less than a device without an end.
const MOST_BYTES: u64 = 1 << 20;

/// The text of the file; `None` where there is none and none has to be.
pub(super) fn read(which: &Which) -> Result<Option<String>, Problem> {
    let (Which::Default(path) | Which::Named(path, _)) = which;
    let problem = |text: String| {
        let problem = Problem::verbatim(&format!("{}: {text}", path.display()));
        match which {
            Which::Named(_, Some(by)) => Problem::new(path.display().to_string(), text, by.clone()),
            _ => problem,
        }
    };
    if path.is_dir() {
        return Err(problem("is a folder; accepts a TOML file".into()));
    }
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match which {
                _ if path.is_symlink() => Err(problem("is a link to a file that isn't there".into())),
                Which::Default(_) => Ok(None),
                Which::Named(..) => Err(problem("isn't there; accepts a file that exists".into())),
            };
        }
        Err(error) => return Err(problem(unreadable(&error))),
        Ok(_) => {}
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(problem("is longer than 1 MiB, so it's no configuration".into()));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(problem("is UTF-16; accepts UTF-8: save it anew in that encoding".into()));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        problem(format!("isn't UTF-8 on line {line}; accepts UTF-8: save it anew in that encoding"))
    })?;
    // Some editors begin a file with a mark of its encoding.
    Ok(Some(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned)))
}

/// With the error of the operating system.
pub(super) fn unreadable(error: &io::Error) -> String {
    format!("can't be read: {error}")
}

/// The settings in the text of a file, unmerged.
pub(super) fn parse(path: &Path, text: &str) -> Result<Table, Problem> {
    match ImDocument::parse(text) {
        Ok(document) => Ok(table(document.as_table(), &Lines::of(path, text))),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            let before = &text.as_bytes()[..at.min(text.len())];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let column = 1 + String::from_utf8_lossy(before.rsplit(|byte| *byte == b'\n').next().unwrap_or_default())
                .chars()
                .count();
            let problem =
                format!("isn't TOML: {} (the line isn't shown, it may hold a secret)", harmless(error.message()));
            Err(Problem::verbatim(&format!("{}:{line}:{column}: {problem}", path.display())))
        }
    }
}

/// The parser's message without what it may quote of the text: what stands in backticks is kept only where it's a key that is
/// known, or a mark that was expected.
fn harmless(message: &str) -> String {
    let mut lines = Vec::new();
    for line in message.lines().filter(|line| !line.is_empty()) {
        let may_be_a_mark = line.starts_with("expected");
        let mut shown = String::new();
        for (number, part) in line.split('`').enumerate() {
            let is_quoted = number % 2 == 1;
            let is_harmless = !is_quoted || is_part_of_a_key(part) || (may_be_a_mark && part.chars().count() < 3);
            match (is_quoted, is_harmless) {
                (true, true) => shown.extend(["`", part, "`"]),
                (false, _) => shown.push_str(part),
                (true, false) => shown.push('…'),
            }
        }
        lines.push(shown);
    }
    if lines.is_empty() {
        return "a value is missing, or is none".into();
    }
    if message.contains("invalid string") || message.contains("expected newline") {
        lines.push("texts and times stand in quotes".into());
    }
    lines.join(", ")
}

fn is_part_of_a_key(name: &str) -> bool {
    schema::KEYS.iter().any(|key| key.path.split('.').any(|part| part == name)) || name == "memory"
}

/// Finds the line of a place in the text.
struct Lines<'a> {
    path: &'a Path,
    /// Where the line breaks are.
    breaks: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(path: &'a Path, text: &str) -> Self {
        Self { path, breaks: text.match_indices('\n').map(|(at, _)| at).collect() }
    }

    fn place(&self, at: Option<std::ops::Range<usize>>) -> String {
        let path = self.path.display();
        match at {
            Some(at) => format!("{path}:{}", 1 + self.breaks.partition_point(|line_break| *line_break < at.start)),
            None => path.to_string(),
        }
    }
}

fn table(table: &dyn TableLike, lines: &Lines<'_>) -> Table {
    let entry = |(name, item): (&str, &Item)| {
        let span = table.key(name).and_then(|key| key.span()).or_else(|| item.span());
        (name.to_owned(), Entry { node: node(item, lines), place: lines.place(span) })
    };
    table.iter().map(entry).collect()
}

fn node(item: &Item, lines: &Lines<'_>) -> Node {
    match item {
        Item::Value(value) => value_node(value, lines),
        Item::Table(inner) => Node::Table(table(inner, lines)),
        Item::ArrayOfTables(_) => Node::Other("a list"),
        Item::None => Node::Other("a list"),
    }
}

fn value_node(value: &Value, lines: &Lines<'_>) -> Node {
    match value {
        Value::String(text) => Node::Text(text.value().clone()),
        Value::Integer(number) => Node::Integer(*number.value()),
        Value::Float(number) => Node::Float(*number.value()),
        Value::Boolean(flag) => Node::Flag(*flag.value()),
        Value::Datetime(_) => Node::Other("a date"),
        Value::Array(values) => Node::List(values.iter().map(|value| value_node(value, lines)).collect()),
        Value::InlineTable(inner) => Node::Table(table(inner, lines)),
    }
}

/// A value in TOML that isn't of a file.
pub(super) fn parse_value(text: &str, place: &str) -> Option<Node> {
    let mut node = value_node(&text.trim().parse::<Value>().ok()?, &Lines::of(Path::new(""), ""));
    set_place(&mut node, place);
    Some(node)
}

fn set_place(node: &mut Node, to: &str) {
    if let Node::Table(table) = node {
        for Entry { node, place } in table.values_mut() {
            to.clone_into(place);
            set_place(node, to);
        }
    }
}

/// Lays the profiles of a file over each other, as figment does: what stands outside of any, `default`, the selected one,
/// `global`. Also returns the names of the profiles.
///
/// A table that is no table of settings is a profile if it's the selected one, or called `default` or `global`, or has a key
/// that may stand at the top of a file. So a misspelt table is none, also where its key may stand at the top too.
pub(super) fn flatten(root: Table, selected: Option<&str>) -> (Table, Vec<String>) {
    let (mut settings, mut profiles) = (Table::new(), Vec::new());
    for (name, entry) in root {
        match entry.node {
            Node::Table(profile) if is_profile(&name, &profile, selected) => profiles.push((name, profile)),
            node => {
                settings.insert(name, Entry { node, place: entry.place });
            }
        }
    }
    let names =
        profiles.iter().map(|(name, _)| name.clone()).filter(|name| !name.eq_ignore_ascii_case("global")).collect();
    for turn in [Some("default"), selected.filter(|name| !name.eq_ignore_ascii_case("default")), Some("global")] {
        for (name, profile) in &profiles {
            if turn.is_some_and(|turn| turn.eq_ignore_ascii_case(name)) {
                merge(&mut settings, profile.clone());
            }
        }
    }
    (settings, names)
}

fn is_profile(name: &str, content: &Table, selected: Option<&str>) -> bool {
    let is_setting = |name: &str| schema::key_at(&[name]).is_some() || schema::is_table(&[name]);
    let is_named = |known: &str| name.eq_ignore_ascii_case(known);
    let is_misspelt = |key: &str| {
        let mut tables = schema::KEYS.iter().filter_map(|known| known.path.strip_suffix(key)?.strip_suffix('.'));
        tables.any(|table| distance(table, name) <= 2)
    };
    !is_setting(name)
        && (is_named("default")
            || is_named("global")
            || selected.is_some_and(is_named)
            || content.keys().any(|key| is_setting(key) && !is_misspelt(key)))
}
