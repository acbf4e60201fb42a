//! A recorder of metrics that can be asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};

/// All clones are one.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    described: BTreeMap<String, Described>,
    told: BTreeMap<Series, f64>,
    /// How often a counter was looked up.
    lookups: usize,
}

/// A metric and its labels, sorted by their names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) kind: &'static str,
    pub(crate) unit: Option<Unit>,
}

impl Recorder {
    /// The sum of counters, the last of gauges, how many of histograms: of all series that have these labels and perhaps more.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let has = |series: &Series| {
            series.name == name
                && labels.iter().all(|(name, value)| series.labels.get(*name).is_some_and(|v| v == value))
        };
        self.locked(|state| state.told.iter().filter(|(series, _)| has(series)).map(|(_, value)| value).sum())
    }

    pub(crate) fn described(&self) -> BTreeMap<String, Described> {
        self.locked(|state| state.described.clone())
    }

    pub(crate) fn series(&self) -> BTreeSet<Series> {
        self.locked(|state| state.told.keys().cloned().collect())
    }

    pub(crate) fn lookups(&self) -> usize {
        self.locked(|state| state.lookups)
    }

    fn describe(&self, kind: &'static str, name: &KeyName, unit: Option<Unit>) {
        self.locked(|state| state.described.insert(name.as_str().to_owned(), Described { kind, unit }));
    }

    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned())).collect();
        Arc::new(Cell { recorder: self.clone(), series: Series { name: key.name().to_owned(), labels } })
    }

    fn locked<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe("counter", &name, unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe("gauge", &name, unit);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe("histogram", &name, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.locked(|state| state.lookups += 1);
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key))
    }
}

/// One series, of a kind that only its callers know.
struct Cell {
    recorder: Recorder,
    series: Series,
}

impl Cell {
    fn change(&self, change: impl FnOnce(f64) -> f64) {
        self.recorder.locked(|state| {
            let value = state.told.entry(self.series.clone()).or_default();
            *value = change(*value);
        });
    }
}

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.change(|before| before + value as f64);
    }

    fn absolute(&self, value: u64) {
        self.change(|_| value as f64);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, value: f64) {
        self.change(|before| before + value);
    }

    fn decrement(&self, value: f64) {
        self.change(|before| before - value);
    }

    fn set(&self, value: f64) {
        self.change(|_| value);
    }
}

impl HistogramFn for Cell {
    fn record(&self, seconds: f64) {
        assert!((0.0..60.0).contains(&seconds), "{seconds} s in {:?}", self.series);
        self.change(|before| before + 1.0);
    }
}
