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
