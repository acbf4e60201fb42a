//! What a screen, a table or a line of JSON shows, made of one look or of two.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Look;
use super::prometheus::{Sample, Samples};
use crate::output;

/// Figures of all time since the service began, or by the second between two looks.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// Seconds between the looks; `null`: since the service began, and all that counts is a total.
    pub(super) seconds: Option<f64>,
    pub(super) namespaces: Vec<Requests>,
    /// Of all namespaces.
    pub(super) total: Requests,
    pub(super) work: Times,
    /// Operations of the server that were answered.
    pub(super) server: Times,
    pub(super) circuits: Vec<Gauge>,
    pub(super) journals: Vec<Gauge>,
    pub(super) near_caches: Vec<Gauge>,
    pub(super) evictions: f64,
    pub(super) stale_hits: f64,
    pub(super) refreshes: f64,
    pub(super) fenced_fills: f64,
    pub(super) decode_failures: f64,
}

/// Calls that want a value.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub(super) struct Requests {
    pub(super) namespace: String,
    pub(super) calls: f64,
    pub(super) hits: f64,
    /// Answered with the value that another call was fetching or computing.
    pub(super) coalesced: f64,
    pub(super) misses: f64,
    pub(super) uncached: f64,
    /// Hits and coalesced calls of all, from 0 to 1; `null` without calls.
    pub(super) hit_rate: Option<f64>,
}

/// How long something takes, in seconds; `null` where nothing was measured.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Times {
    pub(super) count: f64,
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Gauge {
    pub(super) endpoint: String,
    pub(super) value: f64,
}

impl Figures {
    pub(super) fn since_start(samples: &Samples) -> Self {
        Self::of(&Change { before: None, now: samples, seconds: 1.0 }, None)
    }

    pub(super) fn between(before: &Look, now: &Look) -> Self {
        let seconds = now.at.duration_since(before.at).as_secs_f64().max(0.001);
        Self::of(&Change { before: Some(&before.samples), now: &now.samples, seconds }, Some(seconds))
    }

    fn of(change: &Change<'_>, seconds: Option<f64>) -> Self {
        let namespaces = requests(change);
        let mut total = Requests { namespace: "all".into(), ..Requests::default() };
        namespaces.iter().for_each(|one| total.add(one));
        Self {
            seconds,
            total: total.with_rate(),
            namespaces,
            work: times(change, "work_seconds", |_| true),
            server: times(change, "server_seconds", |sample| sample.label("outcome") == "ok"),
            circuits: gauges(change.now, "circuit_state"),
            journals: gauges(change.now, "journal_length"),
            near_caches: gauges(change.now, "near_cache"),
            evictions: change.sum("evictions_total"),
            stale_hits: change.sum("stale_hits_total"),
            refreshes: change.sum("refreshes_total"),
            fenced_fills: change.sum("fenced_fills_total"),
            decode_failures: change.sum("decode_failures_total"),
        }
    }

    /// The heads of what [`rows`](Self::rows) has.
    pub(super) fn head(&self) -> [&'static str; 7] {
        match self.seconds {
            Some(_) => ["namespace", "hit rate", "calls/s", "hits/s", "shared/s", "misses/s", "uncached/s"],
            None => ["namespace", "hit rate", "calls", "hits", "shared", "misses", "uncached"],
        }
    }

    /// A row for each namespace, and one of all where there are several.
    pub(super) fn rows(&self) -> Vec<[String; 7]> {
        let total = (self.namespaces.len() > 1).then_some(&self.total);
        let row = |one: &Requests| {
            let rate = one.hit_rate.map_or("-".to_owned(), |rate| format!("{:.1} %", rate * 100.0));
            let [calls, hits, coalesced, misses, uncached] =
                [one.calls, one.hits, one.coalesced, one.misses, one.uncached].map(|number| self.number(number));
            [output::one_line(&one.namespace), rate, calls, hits, coalesced, misses, uncached]
        };
        self.namespaces.iter().chain(total).map(row).collect()
    }

    /// What isn't of one namespace, each with its name; `true` where an operator should look.
    pub(super) fn facts(&self) -> Vec<(&'static str, String, bool)> {
        let per = if self.seconds.is_some() { "/s" } else { "" };
        let mut facts = Vec::new();
        for Gauge { endpoint, value } in &self.circuits {
            let state = match value {
                0.0 => "closed: calls go to the server",
                1.0 => "open for some shards: memory serves their keys",
                _ => "open: memory serves",
            };
            facts.push(("circuit", format!("{state} ({})", output::one_line(endpoint)), *value != 0.0));
        }
        for Gauge { endpoint, value } in &self.journals {
            let journal =
                format!("{} invalidations wait ({})", output::count(*value as u64), output::one_line(endpoint));
            facts.push(("journal", journal, *value > 0.0));
        }
        for Gauge { endpoint, value } in &self.near_caches {
            let state = if *value > 0.0 { "on" } else { "none at the moment: each hit asks the server" };
            facts.push(("near cache", format!("{state} ({})", output::one_line(endpoint)), *value == 0.0));
        }
        for (name, times, what) in [("work", &self.work, "runs"), ("server", &self.server, "operations")] {
            facts.push((name, format!("{}, {} {what}{per}", times.text(), self.number(times.count)), false));
        }
        facts.push(("evictions", format!("{}{per}", self.number(self.evictions)), false));
        for (name, number) in [
            ("stale hits", self.stale_hits),
            ("refreshes", self.refreshes),
            ("fenced fills", self.fenced_fills),
            ("undecoded", self.decode_failures),
        ] {
            if number > 0.0 {
                facts.push((name, format!("{}{per}", self.number(number)), name == "undecoded"));
            }
        }
        facts
    }

    pub(super) fn text(&self) -> String {
        let rows = self.rows().into_iter().map(|row| row.to_vec()).collect();
        let facts: String = self.facts().iter().map(|(name, text, _)| format!("\n{name:12}  {text}")).collect();
        format!("{}\n{facts}", output::table(&self.head(), rows, 1))
    }

    fn number(&self, number: f64) -> String {
        match self.seconds {
            Some(_) if number > 0.0 && number < 10.0 => format!("{number:.1}"),
            _ => output::count(number.round() as u64),
        }
    }
}

impl Requests {
    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.hits += other.hits;
        self.coalesced += other.coalesced;
        self.misses += other.misses;
        self.uncached += other.uncached;
    }

    fn with_rate(self) -> Self {
        let hit_rate = (self.calls > 0.0).then(|| (self.hits + self.coalesced) / self.calls);
        Self { hit_rate, ..self }
    }
}

impl Times {
    fn text(&self) -> String {
        let time = |seconds: Option<f64>| match seconds {
            Some(seconds) if seconds < 0.001 => format!("{:.0}us", seconds * 1e6),
            Some(seconds) if seconds < 1.0 => format!("{:.1}ms", seconds * 1e3),
            Some(seconds) => format!("{seconds:.1}s"),
            None => "-".to_owned(),
        };
        format!("p50 {}, p99 {}", time(self.p50), time(self.p99))
    }
}

/// Two looks, or one and the service's beginning.
struct Change<'a> {
    before: Option<&'a Samples>,
    now: &'a Samples,
    seconds: f64,
}

impl Change<'_> {
    /// How much a counter has grown by the second. One that is smaller than before began anew with its process.
    fn growth(&self, name: &str, sample: &Sample) -> f64 {
        let before = self.before.and_then(|before| before.of(name).iter().find(|other| other.has_same_labels(sample)));
        let before = before.map_or(0.0, |before| before.value);
        let grown = if before <= sample.value { sample.value - before } else { sample.value };
        grown / self.seconds
    }

    fn sum(&self, name: &str) -> f64 {
        self.now.of(name).iter().map(|sample| self.growth(name, sample)).sum()
    }
}

/// By namespace, those with the most calls since the service began first: an order that seldom changes.
fn requests(change: &Change<'_>) -> Vec<Requests> {
    const NAME: &str = "requests_total";
    let mut by_namespace: BTreeMap<&str, (f64, Requests)> = BTreeMap::new();
    for sample in change.now.of(NAME) {
        let growth = change.growth(NAME, sample);
        let (ever, one) = by_namespace.entry(sample.label("namespace")).or_default();
        *ever += sample.value;
        one.calls += growth;
        match sample.label("result") {
            "hit" => one.hits += growth,
            "coalesced" => one.coalesced += growth,
            "miss" => one.misses += growth,
            _ => one.uncached += growth,
        }
    }
    let mut all: Vec<_> = by_namespace.into_iter().collect();
    all.sort_by(|(_, (one, _)), (_, (other, _))| other.total_cmp(one));
    let named = |(name, (_, one)): (&str, (f64, Requests))| Requests { namespace: name.to_owned(), ..one }.with_rate();
    all.into_iter().map(named).collect()
}

fn gauges(samples: &Samples, name: &str) -> Vec<Gauge> {
    let gauge = |sample: &Sample| Gauge { endpoint: sample.label("endpoint").to_owned(), value: sample.value };
    samples.of(name).iter().map(gauge).collect()
}

/// Of a histogram; of a summary, which an exporter without buckets makes, its own quantiles.
fn times(change: &Change<'_>, name: &str, counts: impl Fn(&Sample) -> bool) -> Times {
    let bucket_name = format!("{name}_bucket");
    let mut buckets: Vec<(f64, f64)> = Vec::new();
    for sample in change.now.of(&bucket_name).iter().filter(|sample| counts(sample)) {
        let Ok(bound) = sample.label("le").parse::<f64>() else { continue };
        let growth = change.growth(&bucket_name, sample);
        match buckets.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, count)) => *count += growth,
            None => buckets.push((bound, growth)),
        }
    }
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    let count_name = format!("{name}_count");
    let count: f64 = change
        .now
        .of(&count_name)
        .iter()
        .filter(|sample| counts(sample))
        .map(|sample| change.growth(&count_name, sample))
        .sum();
    if buckets.is_empty() {
        // Of several summaries the slowest: they can't be added up.
        let own = |quantile: &str| {
            let samples =
                change.now.of(name).iter().filter(|sample| counts(sample) && sample.label("quantile") == quantile);
            samples.map(|sample| sample.value).filter(|value| value.is_finite() && count > 0.0).reduce(f64::max)
        };
        return Times { count, p50: own("0.5"), p99: own("0.99") };
    }
    Times { count, p50: quantile(&buckets, 0.5), p99: quantile(&buckets, 0.99) }
}

/// As Prometheus reckons it: evenly spread within a bucket. Beyond the last bound it's that bound.
fn quantile(buckets: &[(f64, f64)], quantile: f64) -> Option<f64> {
    let rank = buckets.last()?.1 * quantile;
    if rank <= 0.0 {
        return None;
    }
    let (mut lower, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= rank {
            let share = if *count > below { (rank - below) / (count - below) } else { 1.0 };
            return Some(if bound.is_finite() { lower + (bound - lower) * share } else { lower });
        }
        (lower, below) = (*bound, *count);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn requests_text(hits: u32, misses: u32) -> String {
        format!(
            "cachehouse_requests_total{{namespace=\"a\",result=\"hit\",tier=\"memory\"}} {hits}\n\
             cachehouse_requests_total{{namespace=\"a\",result=\"miss\",tier=\"none\"}} {misses}\n"
        )
    }

    fn look(at: Instant, text: &str) -> Look {
        Look { at, samples: Samples::parse(text) }
    }

    #[test]
    fn totals_are_of_all_time_and_rates_of_the_time_between() {
        let begin = Instant::now();
        let before = look(begin, &requests_text(90, 10));
        let figures = Figures::since_start(&before.samples);
        assert_eq!((figures.total.calls, figures.total.hit_rate), (100.0, Some(0.9)));
        let now = look(begin + Duration::from_secs(2), &requests_text(100, 20));
        let figures = Figures::between(&before, &now);
        assert_eq!((figures.total.calls, figures.total.hits, figures.total.hit_rate), (10.0, 5.0, Some(0.5)));
        // The service has begun anew.
        let figures = Figures::between(&now, &look(begin + Duration::from_secs(4), &requests_text(4, 0)));
        assert_eq!((figures.total.calls, figures.total.hit_rate), (2.0, Some(1.0)));
        let figures = Figures::between(&before, &look(begin + Duration::from_secs(2), &requests_text(90, 10)));
        assert_eq!(figures.total.hit_rate, None);
    }

    #[test]
    fn a_quantile_lies_where_prometheus_puts_it() {
        let buckets = [(0.1, 50.0), (0.2, 90.0), (f64::INFINITY, 100.0)];
        assert_eq!(quantile(&buckets, 0.25), Some(0.05));
        assert!(quantile(&buckets, 0.7).is_some_and(|time| (time - 0.15).abs() < 1e-9));
        assert_eq!(quantile(&buckets, 0.99), Some(0.2));
        assert_eq!(quantile(&[(0.1, 0.0), (f64::INFINITY, 0.0)], 0.99), None);
        assert_eq!(quantile(&[], 0.99), None);
    }

    #[test]
    fn histograms_are_added_up_and_summaries_taken_as_they_are() {
        let text = "cachehouse_server_seconds_bucket{op=\"get\",outcome=\"ok\",le=\"0.1\"} 3\n\
            cachehouse_server_seconds_bucket{op=\"get\",outcome=\"ok\",le=\"+Inf\"} 3\n\
            cachehouse_server_seconds_bucket{op=\"set\",outcome=\"ok\",le=\"0.1\"} 1\n\
            cachehouse_server_seconds_bucket{op=\"set\",outcome=\"ok\",le=\"+Inf\"} 1\n\
            cachehouse_server_seconds_bucket{op=\"set\",outcome=\"timed_out\",le=\"+Inf\"} 9\n\
            cachehouse_server_seconds_count{op=\"get\",outcome=\"ok\"} 3\n\
            cachehouse_work_seconds{quantile=\"0.5\"} 0.25\ncachehouse_work_seconds{quantile=\"0.99\"} 2\n\
            cachehouse_work_seconds_count 7\n";
        let figures = Figures::since_start(&Samples::parse(text));
        assert_eq!(figures.server, Times { count: 3.0, p50: Some(0.05), p99: Some(0.099) });
        assert_eq!(figures.work, Times { count: 7.0, p50: Some(0.25), p99: Some(2.0) });
    }

    #[test]
    fn what_wants_an_eye_is_marked() {
        let text = "cachehouse_circuit_state{endpoint=\"r:1\"} 2\ncachehouse_journal_length{endpoint=\"r:1\"} 0\n";
        let facts = Figures::since_start(&Samples::parse(text)).facts();
        assert_eq!(facts[0], ("circuit", "open: memory serves (r:1)".to_owned(), true));
        assert_eq!(facts[1], ("journal", "0 invalidations wait (r:1)".to_owned(), false));
    }
}
