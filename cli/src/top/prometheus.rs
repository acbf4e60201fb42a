//! The text format of Prometheus, as far as the cache's metrics need it.

use std::collections::BTreeMap;

/// What the cache's metrics begin with.
const PREFIX: &str = "cachehouse_";

/// The cache's metrics, by name without that beginning.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Samples(BTreeMap<String, Vec<Sample>>);

#[derive(Debug, PartialEq)]
pub(super) struct Sample {
    labels: Vec<(String, String)>,
    pub(super) value: f64,
}

impl Samples {
    /// What can't be read is left out, as is what belongs to others.
    pub(super) fn parse(text: &str) -> Self {
        let mut samples = Self::default();
        for line in text.lines() {
            if let Some((name, sample)) = line.trim_start().strip_prefix(PREFIX).and_then(parse_line) {
                samples.0.entry(name.to_owned()).or_default().push(sample);
            }
        }
        samples
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of this name.
    pub(super) fn of(&self, name: &str) -> &[Sample] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

impl Sample {
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }

    pub(super) fn has_same_labels(&self, other: &Self) -> bool {
        self.labels == other.labels
    }
}

/// `name{label="value",…} number [time]`
fn parse_line(line: &str) -> Option<(&str, Sample)> {
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, quoted) = rest.split_once('=')?;
            let (value, after) = parse_text(quoted.trim_start().strip_prefix('"')?)?;
            labels.push((label.trim().to_owned(), value));
            rest = after;
        }
    }
    // `+Inf` and `NaN` are read as Rust writes them, too.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    labels.sort();
    Some((name, Sample { labels, value }))
}

/// The text up to the quote that ends it, and what follows.
fn parse_text(text: &str) -> Option<(String, &str)> {
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match (c, escaped) {
            ('n', true) => value.push('\n'),
            (c, true) => value.push(c),
            ('\\', false) => {
                escaped = true;
                continue;
            }
            ('"', false) => return Some((value, &text[at + 1..])),
            (c, false) => value.push(c),
        }
        escaped = false;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_their_labels() {
        let text = "# HELP cachehouse_requests_total calls\n# TYPE cachehouse_requests_total counter\n\
            cachehouse_requests_total{namespace=\"a\\\"b\\\\c\\nd}\",result=\"hit\"} 12 1700000000\n\
            cachehouse_evictions_total 3\n\
            other_total 9\n\
            cachehouse_work_seconds_bucket{le=\"+Inf\"} 1e3\n\
            cachehouse_broken{x=\"y} 1\ncachehouse_empty\ncachehouse_text{} many\n";
        let samples = Samples::parse(text);
        let [requests] = samples.of("requests_total") else { panic!("{samples:?}") };
        assert_eq!((requests.label("namespace"), requests.label("result")), ("a\"b\\c\nd}", "hit"));
        assert_eq!((requests.value, requests.label("tier")), (12.0, ""));
        assert_eq!(samples.of("evictions_total")[0].value, 3.0);
        assert_eq!(samples.of("work_seconds_bucket")[0].value, 1000.0);
        assert_eq!(samples.0.len(), 3);
        assert!(Samples::parse("up 1\n").is_empty());
    }
}
