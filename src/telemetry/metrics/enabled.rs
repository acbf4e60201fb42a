//! Reports to the recorder that the program has installed.
//!
//! Each report looks its metric up in the recorder: it may be installed late, and a thread may have its own for a while. Keys for
//! these look-ups are made once, so a report costs next to nothing without a recorder. What every call counts is [kept](super::kept).

use std::array;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ::metrics::{Key, Label, Level, Metadata, Unit, with_recorder};
use arc_swap::ArcSwap;

use super::event::{Answer, Circuit, Operation, Outcome};
use super::kept::KeptCounter;

/// One row of the table in `docs/metrics.md`; a test compares the two.
struct Metric {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    help: &'static str,
}

enum Kind {
    Counter,
    Gauge,
    Histogram,
}

const REQUESTS: &str = "cachehouse_requests_total";
const WORK: &str = "cachehouse_work_seconds";
const SERVER: &str = "cachehouse_server_seconds";
const COALESCED: &str = "cachehouse_coalesced_total";
const STALE_HITS: &str = "cachehouse_stale_hits_total";
const REFRESHES: &str = "cachehouse_refreshes_total";
const FENCED: &str = "cachehouse_fenced_fills_total";
const LEASE_WAIT: &str = "cachehouse_lease_wait_seconds";
const CIRCUIT: &str = "cachehouse_circuit_state";
const NEAR_CACHE: &str = "cachehouse_near_cache";
const JOURNAL: &str = "cachehouse_journal_length";
const DECODE_FAILURES: &str = "cachehouse_decode_failures_total";
const EVICTIONS: &str = "cachehouse_evictions_total";

const METRICS: [Metric; 13] = [
    Metric { name: REQUESTS, kind: Kind::Counter, unit: Unit::Count, help: "calls, each counted once" },
    Metric { name: WORK, kind: Kind::Histogram, unit: Unit::Seconds, help: "how long work ran to its end" },
    Metric { name: SERVER, kind: Kind::Histogram, unit: Unit::Seconds, help: "what the server cost a call" },
    Metric { name: COALESCED, kind: Kind::Counter, unit: Unit::Count, help: "calls that shared another's value" },
    Metric { name: STALE_HITS, kind: Kind::Counter, unit: Unit::Count, help: "hits after the value's expiry" },
    Metric { name: REFRESHES, kind: Kind::Counter, unit: Unit::Count, help: "runs to replace a value" },
    Metric { name: FENCED, kind: Kind::Counter, unit: Unit::Count, help: "values that the fence refused" },
    Metric {
        name: LEASE_WAIT,
        kind: Kind::Histogram,
        unit: Unit::Seconds,
        help: "how long misses waited for another process",
    },
    Metric {
        name: NEAR_CACHE,
        kind: Kind::Gauge,
        unit: Unit::Count,
        help: "1 while hits are served by the near cache",
    },
    Metric { name: CIRCUIT, kind: Kind::Gauge, unit: Unit::Count, help: "0 closed, 1 open for some shards, 2 open" },
    Metric { name: JOURNAL, kind: Kind::Gauge, unit: Unit::Count, help: "invalidations that wait for the server" },
    Metric { name: DECODE_FAILURES, kind: Kind::Counter, unit: Unit::Count, help: "stored bytes that didn't decode" },
    Metric { name: EVICTIONS, kind: Kind::Counter, unit: Unit::Count, help: "entries that made room in memory" },
];

static METADATA: Metadata<'static> = Metadata::new("cache_house", Level::INFO, None);

/// Describes all metrics to the recorder.
pub(crate) fn describe() {
    with_recorder(|recorder| {
        for Metric { name, kind, unit, help } in METRICS {
            match kind {
                Kind::Counter => recorder.describe_counter(name.into(), Some(unit), help.into()),
                Kind::Gauge => recorder.describe_gauge(name.into(), Some(unit), help.into()),
                Kind::Histogram => recorder.describe_histogram(name.into(), Some(unit), help.into()),
            }
        }
    });
}

/// Requests of a handle that have a label of their own. Programs may make a namespace of each of their users, and what
/// collects metrics keeps all labels indefinitely.
const MAX_NAMESPACES: usize = 256;

/// The label that all further namespaces share.
const OTHERS: &str = "_other";

/// What calls are counted under, by namespace; shared by all clones of a handle.
pub(crate) struct Requests {
    known: ArcSwap<HashMap<Box<str>, Series, foldhash::fast::RandomState>>,
    others: Series,
}

/// What calls of one namespace are counted under, by answer.
#[derive(Clone)]
pub(crate) struct Series(Arc<[KeptCounter; ANSWERS.len()]>);

/// In the order of [`Answer`]: the labels `result` and `tier`.
const ANSWERS: [(&str, &str); 8] = [
    ("hit", "memory"),
    ("hit", "near"),
    ("hit", "server"),
    ("miss", "memory"),
    ("miss", "server"),
    ("miss", "none"),
    ("coalesced", "none"),
    ("uncached", "none"),
];

impl Requests {
    pub(crate) fn new() -> Self {
        Self { known: ArcSwap::default(), others: Series::new(OTHERS) }
    }

    /// What calls of `namespace` are counted under.
    pub(crate) fn series(&self, namespace: &str) -> Series {
        if let Some(series) = self.known.load().get(namespace) {
            return series.clone();
        }
        if self.known.load().len() >= MAX_NAMESPACES {
            return self.others.clone();
        }
        let series = Series::new(namespace);
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            // Other threads may have filled it meanwhile. Then this namespace is reported under its own label once, and later as another.
            if known.len() < MAX_NAMESPACES {
                known.insert(namespace.into(), series.clone());
            }
            known
        });
        series
    }

    /// Counts a call of the namespace that it names itself, else of its handle's.
    #[inline]
    pub(crate) fn count(&self, of_handle: &Series, own: Option<&str>, answer: Answer) {
        match own {
            None => of_handle.count(answer),
            Some(namespace) => self.series(namespace).count(answer),
        }
    }
}

impl Series {
    fn new(namespace: &str) -> Self {
        let namespace: Arc<str> = namespace.into();
        let keys = ANSWERS.map(|(result, tier)| {
            let namespace = Label::new("namespace", Arc::clone(&namespace));
            KeptCounter::new(Key::from_parts(REQUESTS, vec![namespace, label("result", result), label("tier", tier)]))
        });
        Self(Arc::new(keys))
    }

    #[inline]
    fn count(&self, answer: Answer) {
        self.0[answer as usize].add_one(&METADATA);
    }
}

/// Measures one thing. `worked` or `served` says what it was and reports it; dropped before, it reports nothing.
#[must_use = "it's stopped by saying what it has measured"]
pub(crate) struct Timer(Instant);

impl Timer {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// It was the work of a call.
    pub(crate) fn worked(self) {
        static KEY: Key = Key::from_static_name(WORK);
        record(&KEY, self.0.elapsed());
    }

    /// It was the wait for another process.
    pub(crate) fn waited(self) {
        static KEY: Key = Key::from_static_name(LEASE_WAIT);
        record(&KEY, self.0.elapsed());
    }

    /// It was an operation of the server.
    pub(crate) fn served(self, operation: Operation, outcome: Outcome) {
        static KEYS: LazyLock<[[Key; OUTCOMES.len()]; OPERATIONS.len()]> = LazyLock::new(|| {
            let key = |operation: usize, outcome: usize| {
                let labels = vec![label("op", OPERATIONS[operation].name()), label("outcome", OUTCOMES[outcome])];
                Key::from_parts(SERVER, labels)
            };
            array::from_fn(|operation| array::from_fn(|outcome| key(operation, outcome)))
        });
        record(&KEYS[operation as usize][outcome as usize], self.0.elapsed());
    }
}

/// In the order of their declaration.
const OPERATIONS: [Operation; 7] = [
    Operation::Get,
    Operation::Contains,
    Operation::CheckType,
    Operation::Lease,
    Operation::Set,
    Operation::Remove,
    Operation::Clear,
];

/// In the order of [`Outcome`].
const OUTCOMES: [&str; 8] =
    ["ok", "refused", "wrong_type", "not_connected", "timed_out", "connection_lost", "shed", "not_ready"];

/// The length of a journal, reported at each change.
#[derive(Default)]
pub(crate) struct Length {
    now: AtomicUsize,
    /// None where nothing is ever written.
    key: Option<Key>,
}

impl Length {
    /// That of the journal for the server at `endpoint`.
    pub(crate) fn of(endpoint: &str) -> Self {
        let length = Self { now: AtomicUsize::new(0), key: Some(of_endpoint(JOURNAL, endpoint)) };
        length.store(0, Ordering::Relaxed);
        length
    }

    #[inline]
    pub(crate) fn load(&self, ordering: Ordering) -> usize {
        self.now.load(ordering)
    }

    pub(crate) fn store(&self, now: usize, ordering: Ordering) {
        self.now.store(now, ordering);
        if let Some(key) = &self.key {
            set(key, now as f64);
        }
    }
}

/// Reports whether calls go to the server at `endpoint`.
pub(crate) fn set_circuit(endpoint: &str, circuit: Circuit) {
    let state = match circuit {
        Circuit::Closed => 0.0,
        Circuit::PartlyOpen => 1.0,
        Circuit::Open => 2.0,
    };
    set(&of_endpoint(CIRCUIT, endpoint), state);
}

/// Reports whether there is a near cache beside the server at `endpoint`.
pub(crate) fn set_near_cache(endpoint: &str, is_on: bool) {
    set(&of_endpoint(NEAR_CACHE, endpoint), if is_on { 1.0 } else { 0.0 });
}

/// Counts a call that shared another's value.
pub(crate) fn coalesced() {
    static KEY: Key = Key::from_static_name(COALESCED);
    increment(&KEY);
}

/// Counts a hit of a value after its expiry.
pub(crate) fn stale_hit() {
    static KEY: Key = Key::from_static_name(STALE_HITS);
    increment(&KEY);
}

/// Counts a run that is to replace a value.
pub(crate) fn refreshed() {
    static KEY: Key = Key::from_static_name(REFRESHES);
    increment(&KEY);
}

/// Counts entries that memory dropped for lack of room.
pub(crate) fn evicted(entries: u64) {
    static KEY: Key = Key::from_static_name(EVICTIONS);
    with_recorder(|recorder| recorder.register_counter(&KEY, &METADATA).increment(entries));
}

/// Counts a value that the server's fence refused.
pub(crate) fn fenced() {
    static KEY: Key = Key::from_static_name(FENCED);
    increment(&KEY);
}

/// Counts stored bytes that didn't decode.
pub(crate) fn decode_failed() {
    static KEY: Key = Key::from_static_name(DECODE_FAILURES);
    increment(&KEY);
}

fn of_endpoint(name: &'static str, endpoint: &str) -> Key {
    Key::from_parts(name, vec![Label::new("endpoint", endpoint.to_owned())])
}

fn label(name: &'static str, value: &'static str) -> Label {
    Label::from_static_parts(name, value)
}

#[inline]
fn increment(key: &Key) {
    with_recorder(|recorder| recorder.register_counter(key, &METADATA)).increment(1);
}

fn set(key: &Key, value: f64) {
    with_recorder(|recorder| recorder.register_gauge(key, &METADATA)).set(value);
}

fn record(key: &Key, time: Duration) {
    with_recorder(|recorder| recorder.register_histogram(key, &METADATA)).record(time.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(series: &Series) -> String {
        series.0[0].key.labels().next().expect("it has labels").value().to_owned()
    }

    #[test]
    fn namespaces_beyond_the_bound_share_a_label() {
        let requests = Requests::new();
        for number in 0..MAX_NAMESPACES {
            let own = format!("tenant {number}");
            assert_eq!(namespace(&requests.series(&own)), own);
        }
        assert_eq!(namespace(&requests.series("one more")), OTHERS);
        assert_eq!(namespace(&requests.series("tenant 0")), "tenant 0");
        assert_eq!(requests.known.load().len(), MAX_NAMESPACES);
    }

    #[test]
    fn each_answer_operation_and_outcome_has_its_labels() {
        assert_eq!(ANSWERS[Answer::MemoryHit as usize], ("hit", "memory"));
        assert_eq!(ANSWERS[Answer::NowhereMiss as usize], ("miss", "none"));
        assert_eq!(ANSWERS[Answer::Uncached as usize], ("uncached", "none"));
        assert!(OPERATIONS.iter().enumerate().all(|(place, operation)| *operation as usize == place));
        assert_eq!(OUTCOMES[Outcome::NotReady as usize], "not_ready");
    }
}
