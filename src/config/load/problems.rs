//! What is wrong with a configuration: all of it, each with where it was written.

use std::fmt;

use crate::error::Error;

/// All that is wrong: the first problems, and how many more there are.
#[derive(Debug, Default)]
pub(super) struct Problems {
    listed: Vec<Problem>,
    more: usize,
}

/// Enough for a person to see what is wrong, and few enough for a log.
const MOST_LISTED: usize = 50;

/// One thing that is wrong; its text carries no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// As the user writes it.
    key: String,
    text: String,
    sources: Vec<String>,
}

impl Problems {
    pub(super) fn push(&mut self, problem: Problem) {
        if self.listed.contains(&problem) {
            return;
        }
        if self.is_full() { self.more += 1 } else { self.listed.push(problem) }
    }

    /// Whether a further problem is only counted, so that its text isn't needed.
    pub(super) fn is_full(&self) -> bool {
        self.listed.len() >= MOST_LISTED
    }

    /// One more, which isn't listed.
    pub(super) fn count(&mut self) {
        self.more += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// With these after its own.
    pub(super) fn and(mut self, others: Self) -> Self {
        self.more += others.more;
        self.extend(others.listed);
        self
    }

    /// A line each.
    pub(super) fn lines(&self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        self.listed.iter().map(Problem::to_string).chain(more).collect()
    }

    pub(super) fn into_error(self) -> Error {
        let mut lines: Vec<String> = Vec::new();
        for problem in &self.listed {
            let line = problem.to_string();
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        Error::load(lines, self.more)
    }
}

impl Extend<Problem> for Problems {
    fn extend<T: IntoIterator<Item = Problem>>(&mut self, problems: T) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }
}

impl Problem {
    /// `text` goes on after the key: "is …; accepts …".
    pub(super) fn new(key: impl Into<String>, text: impl Into<String>, source: impl Into<String>) -> Self {
        Self { key: key.into(), text: text.into(), sources: vec![source.into()] }
    }

    /// The same, with one more place that has to do with it.
    pub(super) fn and(mut self, source: impl Into<String>) -> Self {
        self.sources.push(source.into());
        self
    }

    /// A whole line, reported as it is.
    pub(super) fn verbatim(line: &str) -> Self {
        Self { key: String::new(), text: line.to_owned(), sources: Vec::new() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, text, sources } = self;
        match (key.as_str(), &sources[..]) {
            ("", []) => f.write_str(text),
            (key, []) => write!(f, "{key}: {text}"),
            (key, sources) => write!(f, "{key}: {text} ({})", sources.join(", ")),
        }
    }
}

/// The candidate that takes the fewest changes to become `text`; `.`, `_` and `__` are taken for the same.
pub(super) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace("__", "_").replace('.', "_");
    let (table, last) = text.rsplit_once('.').unwrap_or(("", text));
    let changes = |candidate: &str| {
        let (its_table, its_last) = candidate.rsplit_once('.').unwrap_or(("", candidate));
        // What is cut short, or was put into the wrong table, is nearer than any other spelling.
        let is_cut = its_table == table && its_last.starts_with(last) && !last.is_empty();
        let is_misplaced = plain(its_last) == plain(last);
        distance(&plain(text), &plain(candidate)).min(if is_cut || is_misplaced { 2 } else { usize::MAX })
    };
    candidates.into_iter().min_by_key(|candidate| changes(candidate))
}

/// Levenshtein's, with two neighbours that changed places as one change.
pub(super) fn distance(one: &str, two: &str) -> usize {
    // Whatever is longer than any key is far from all.
    let one: Vec<char> = one.chars().take(100).collect();
    let two: Vec<char> = two.chars().collect();
    let mut rows = vec![vec![0; two.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=two.len() {
            rows[i][j] = match (i, j) {
                (i, 0) => i,
                (0, j) => j,
                _ => {
                    let replaced = rows[i - 1][j - 1] + usize::from(one[i - 1] != two[j - 1]);
                    let least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    let swapped = i > 1 && j > 1 && one[i - 1] == two[j - 2] && one[i - 2] == two[j - 1];
                    if swapped { least.min(rows[i - 2][j - 2] + 1) } else { least }
                }
            };
        }
    }
    rows[one.len()][two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted() {
        for (one, two, changes) in [("", "", 0), ("abc", "abc", 0), ("abc", "acb", 1), ("abc", "ac", 1), ("", "abc", 3)]
        {
            assert_eq!((distance(one, two), distance(two, one)), (changes, changes), "{one} {two}");
        }
    }

    #[test]
    fn the_nearest_is_the_one_that_was_most_likely_meant() {
        let known = ["namespace", "connection.password", "connection.username", "memory_tier.max_bytes"];
        for (text, meant) in [
            ("namespce", "namespace"),
            ("connection.pasword", "connection.password"),
            ("CONNECTION_PASSWORD", "connection.password"),
            ("username", "connection.username"),
            ("memory.max_bytes", "memory_tier.max_bytes"),
            ("memory_tier.max", "memory_tier.max_bytes"),
        ] {
            assert_eq!(nearest(text, known), Some(meant), "{text}");
        }
    }
}
