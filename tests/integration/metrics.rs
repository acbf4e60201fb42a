//! What is told through the facade `metrics`, and that its table, the dashboard and the code name the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use cache_house::{CacheHandle, CacheHouse, CacheOptions, ManualClock};
use metrics::{Unit, set_global_recorder, with_local_recorder};

use crate::support::recorder::{Described, Recorder, Series};
use crate::support::{
    DEADLINE, Server, alone, connect, connected, current_thread, standalone, until_connected, until_degraded,
    wait_until,
};

const REQUESTS: &str = "cachehouse_requests_total";
const WORK: &str = "cachehouse_work_seconds";
const SERVER: &str = "cachehouse_server_seconds";
const COALESCED: &str = "cachehouse_coalesced_total";
const STALE_HITS: &str = "cachehouse_stale_hits_total";
const REFRESHES: &str = "cachehouse_refreshes_total";
const FENCED: &str = "cachehouse_fenced_fills_total";
const LEASE_WAIT: &str = "cachehouse_lease_wait_seconds";
const CIRCUIT: &str = "cachehouse_circuit_state";
const JOURNAL: &str = "cachehouse_journal_length";
const DECODE_FAILURES: &str = "cachehouse_decode_failures_total";

fn call(n: u64) -> CacheOptions {
    CacheOptions::new("square").arg(n)
}

fn square(cache: &CacheHandle, n: u64) -> u64 {
    cache.cached(call(n), || n * n)
}

/// How many requests of a namespace had this result, by this tier.
fn requests(recorder: &Recorder, namespace: &str, result: &str, tier: &str) -> f64 {
    recorder.sum(REQUESTS, &[("namespace", namespace), ("result", result), ("tier", tier)])
}

fn served(recorder: &Recorder, op: &str, outcome: &str) -> f64 {
    recorder.sum(SERVER, &[("op", op), ("outcome", outcome)])
}

#[test]
fn calls_over_memory_are_counted_by_namespace_and_result() {
    let recorder = Recorder::default();
    with_local_recorder(&recorder, || {
        let cache = CacheHouse::builder().namespace("shop").memory().build().expect("it's right");
        assert_eq!((square(&cache, 7), square(&cache, 7)), (49, 49));
        assert_eq!(cache.get::<u64>(call(7)), Some(49));
        assert_eq!(cache.get::<u64>(call(8)), None);
        assert_eq!(requests(&recorder, "shop", "miss", "memory"), 2.0);
        assert_eq!(requests(&recorder, "shop", "hit", "memory"), 2.0);
        assert_eq!(recorder.sum(WORK, &[]), 1.0);

        cache.cached(call(7).namespace("of the call"), || 1);
        square(&cache.scoped("of the handle"), 7);
        assert_eq!(requests(&recorder, "of the call", "miss", "memory"), 1.0);
        assert_eq!(requests(&recorder, "of the handle", "miss", "memory"), 1.0);

        // Nobody is asked: there is no key, then no cache.
        cache.cached(CacheOptions::new("unkeyable").arg(f64::NAN), || 1);
        cache.close();
        square(&cache, 7);
        assert_eq!(requests(&recorder, "shop", "uncached", "none"), 2.0);
        assert_eq!(recorder.sum(WORK, &[]), 5.0);
        assert_eq!(recorder.sum(REQUESTS, &[]), 8.0, "each call is counted once");
        assert!(recorder.series().iter().all(|series| series.name == REQUESTS || series.name == WORK));
    });
}

#[test]
fn failed_work_is_timed_and_its_waiters_are_counted_too() {
    let recorder = Recorder::default();
    with_local_recorder(&recorder, || {
        let cache = CacheHouse::builder().memory().build().expect("it's right");
        assert_eq!(cache.try_cached(call(1), || Err::<u64, _>("no")), Err("no"));
        assert_eq!(recorder.sum(WORK, &[]), 1.0);
        let slow = |result: Result<u64, &'static str>| {
            cache.try_cached_async(call(2), move || async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                result
            })
        };
        let (one, two) = current_thread().block_on(async { tokio::join!(slow(Err("no")), slow(Ok(4))) });
        assert_eq!((one, two), (Err("no"), Ok(4)));
        assert_eq!(requests(&recorder, "main", "miss", "memory"), 2.0);
        assert_eq!(requests(&recorder, "main", "uncached", "none"), 1.0);
        assert_eq!(recorder.sum(WORK, &[]), 3.0);
    });
}

#[test]
fn evictions_are_counted() {
    let recorder = Recorder::default();
    with_local_recorder(&recorder, || {
        let cache = CacheHouse::builder().memory().memory_max_entries(4).build().expect("it's right");
        for n in 0..9 {
            cache.cached(call(n), || n);
        }
        assert_eq!(cache.stats().evictions, 5);
    });
    assert_eq!(recorder.sum("cachehouse_evictions_total", &[]), 5.0);
}

#[test]
fn calls_that_share_a_run_are_counted() {
    let recorder = Recorder::default();
    with_local_recorder(&recorder, || {
        let cache = CacheHouse::builder().memory().build().expect("it's right");
        let slow = || {
            cache.cached_async(call(7), || async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                49
            })
        };
        let all = current_thread().block_on(async { tokio::join!(slow(), slow(), slow()) });
        assert_eq!(all, (49, 49, 49));
    });
    assert_eq!(recorder.sum(COALESCED, &[]), 2.0);
    assert_eq!(requests(&recorder, "main", "coalesced", "none"), 2.0);
    assert_eq!(requests(&recorder, "main", "miss", "memory"), 1.0);
    assert_eq!(recorder.sum(WORK, &[]), 1.0);
}

#[test]
fn operations_of_the_server_are_measured_by_kind_and_outcome() {
    let server = Server::start();
    let recorder = Recorder::default();
    with_local_recorder(&recorder, || all_operations(&server, &recorder));
}

fn all_operations(server: &Server, recorder: &Recorder) {
    let cache = connected(server);
    assert_eq!((square(&cache, 7), square(&cache, 7)), (49, 49));
    assert_eq!(requests(recorder, "main", "miss", "server"), 1.0);
    assert_eq!(requests(recorder, "main", "hit", "server"), 1.0);
    assert_eq!((served(recorder, "get", "ok"), served(recorder, "set", "ok")), (2.0, 1.0));
    assert_eq!(recorder.sum(WORK, &[]), 1.0);

    cache.insert(call(8), &64_u64).expect("the server takes it");
    assert_eq!((served(recorder, "check_type", "ok"), served(recorder, "set", "ok")), (1.0, 2.0));
    assert!(cache.contains(call(8)));
    assert_eq!(served(recorder, "contains", "ok"), 1.0);
    assert_eq!(cache.remove(call(8)).expect("the server is there").entries, 1);
    assert_eq!(served(recorder, "remove", "ok"), 1.0);
    cache.clear_namespace("main").expect("the server is there");
    assert_eq!(served(recorder, "clear", "ok"), 1.0);
    assert_eq!(cache.get::<u64>(call(7)), None);
    assert_eq!(requests(recorder, "main", "miss", "server"), 2.0);

    let key = |n| cache.key(&call(n)).expect("it has a key");
    server.set(&key(9), "no number");
    assert_eq!(square(&cache, 9), 81);
    assert_eq!(recorder.sum(DECODE_FAILURES, &[]), 1.0);
    assert_eq!(requests(recorder, "main", "miss", "server"), 3.0);

    server.command(&["RPUSH", &key(10), "somebody else's"]);
    assert_eq!(square(&cache, 10), 100);
    assert_eq!(served(recorder, "get", "wrong_type"), 1.0);

    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(square(&cache, 11), 121);
    assert_eq!(served(recorder, "lease", "refused"), 1.0);
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);

    // Another process removes the key while its value is computed.
    let remove = || assert!(!connected(server).remove(call(12)).expect("the server is there").journalled);
    assert_eq!(cache.cached(call(12), || (remove(), 144_u64).1), 144);
    assert_eq!(recorder.sum(FENCED, &[]), 1.0);
    // Another process has begun to compute it.
    server.set(&format!("cachehouse::lease:{{{}}}", key(13)), "token");
    assert_eq!(cache.cached(call(13).lease(Duration::from_millis(1)), || 169_u64), 169);
    assert_eq!(recorder.sum(LEASE_WAIT, &[]), 1.0);
    // A value in its window, whose work fails.
    let stale = call(14).expire(Duration::from_millis(1)).stale_if_error(Duration::from_secs(60));
    assert_eq!(cache.try_cached(stale.clone(), || Ok::<_, ()>(196_u64)), Ok(196));
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(cache.try_cached(stale, || Err(())), Ok(196_u64));
    assert_eq!((recorder.sum(STALE_HITS, &[]), recorder.sum(REFRESHES, &[])), (1.0, 1.0));
}

#[test]
fn stale_hits_and_refreshes_are_counted() {
    let clock = ManualClock::default();
    let recorder = Recorder::default();
    with_local_recorder(&recorder, || {
        let cache = CacheHouse::builder().clock(clock.clone()).memory().build().expect("the builder is right");
        let (ttl, window) = (Duration::from_secs(1), Duration::from_secs(60));
        let options = || call(7).expire(ttl).stale_if_error(window);
        let work = |result: Result<u64, &'static str>| cache.try_cached(options(), || result);
        assert_eq!(work(Ok(49)), Ok(49));
        assert_eq!((recorder.sum(STALE_HITS, &[]), recorder.sum(REFRESHES, &[])), (0.0, 0.0));
        clock.advance(ttl);
        // One failed run, and two hits: of the caller that ran it, and of one in the pause after it.
        for _ in 0..2 {
            assert_eq!(work(Err("away")), Ok(49));
        }
        assert_eq!((recorder.sum(STALE_HITS, &[]), recorder.sum(REFRESHES, &[])), (2.0, 1.0));
        assert_eq!(requests(&recorder, "main", "hit", "memory"), 2.0);
    });
}

#[test]
fn a_frozen_server_shows_in_its_timeouts() {
    let server = Server::start();
    let recorder = Recorder::default();
    with_local_recorder(&recorder, || {
        let builder = standalone(server.endpoint()).command_timeout(Duration::from_millis(100));
        let cache = connect(builder);
        assert_eq!(square(&cache, 7), 49);
        server.freeze();
        assert_eq!(square(&cache, 7), 49);
        assert_eq!(served(&recorder, "get", "timed_out"), 1.0);
        assert_eq!(requests(&recorder, "main", "hit", "memory"), 1.0);
        server.thaw();
    });
}

#[test]
fn the_programs_recorder_is_rarely_asked_for_its_counter_and_one_of_a_thread_counts_for_itself() {
    alone(
        "metrics::the_programs_recorder_is_rarely_asked_for_its_counter_and_one_of_a_thread_counts_for_itself",
        || {
            let (program, thread) = (Recorder::default(), Recorder::default());
            let cache = CacheHouse::builder().memory().build().expect("it's right");
            square(&cache, 7);
            let hits = |count: usize| (0..count).for_each(|_| assert_eq!(square(&cache, 7), 49));
            let counted = |recorder: &Recorder| requests(recorder, "main", "hit", "memory");
            // First a recorder of this thread, then the program's, which comes late.
            with_local_recorder(&thread, || hits(10));
            assert!(set_global_recorder(program.clone()).is_ok(), "it's the only one of this process");
            let mut count = 0.0;
            wait_until("the program's is known", DEADLINE, || {
                hits(100);
                count += 100.0;
                let before = program.lookups();
                hits(100);
                count += 100.0;
                program.lookups() < before + 10
            });
            assert_eq!(counted(&program), count);
            for round in [20.0, 30.0] {
                with_local_recorder(&thread, || hits(10));
                hits(10);
                count += 10.0;
                assert_eq!((counted(&thread), counted(&program)), (round, count));
            }
        },
    );
}

#[test]
fn an_outage_is_reported_from_its_beginning_to_its_end() {
    // What the I/O thread tells, only a recorder of the whole process hears.
    alone("metrics::an_outage_is_reported_from_its_beginning_to_its_end", || {
        let recorder = Recorder::default();
        assert!(set_global_recorder(recorder.clone()).is_ok(), "it's the only one of this process");
        let server = Server::absent();
        let cache = standalone(server.endpoint()).build().expect("a server isn't needed");
        let other = standalone(server.endpoint()).namespace("other").fallback_to_memory(false).build();
        let other = other.expect("a server isn't needed");
        let endpoint = server.endpoint();
        let gauge = |name: &str| recorder.sum(name, &[("endpoint", &endpoint)]);
        assert_eq!((gauge(CIRCUIT), gauge(JOURNAL)), (2.0, 0.0));
        square(&other, 1);
        assert_eq!(requests(&recorder, "other", "miss", "none"), 1.0);

        server.restart();
        until_connected(&cache);
        wait_until("the circuit is told to be closed", DEADLINE, || gauge(CIRCUIT) == 0.0);
        other.close();
        square(&cache, 7);
        server.kill();
        until_degraded(&cache);
        wait_until("the circuit is told to be open", DEADLINE, || gauge(CIRCUIT) == 2.0);

        square(&cache, 7);
        square(&cache, 8);
        assert_eq!(requests(&recorder, "main", "hit", "memory"), 1.0);
        assert_eq!(requests(&recorder, "main", "miss", "memory"), 1.0);
        assert!(cache.remove(call(7)).expect("it's journalled").journalled);
        assert!(cache.remove(call(8)).expect("it's journalled").journalled);
        assert_eq!(gauge(JOURNAL), 2.0);
        assert_eq!(served(&recorder, "remove", "not_connected"), 2.0);

        server.restart();
        until_connected(&cache);
        wait_until("the circuit is told to be closed again", DEADLINE, || gauge(CIRCUIT) == 0.0);
        assert_eq!(gauge(JOURNAL), 0.0);
        square(&cache, 7);
        assert_eq!(requests(&recorder, "main", "miss", "server"), 2.0);
    });
}

#[test]
fn the_table_the_code_and_the_dashboard_name_the_same() {
    let server = Server::start();
    let recorder = Recorder::default();
    with_local_recorder(&recorder, || {
        all_operations(&server, &recorder);
        let cache = connect(standalone(server.endpoint()).near_cache(Duration::from_secs(1)));
        let slow = || cache.cached_async(call(1), || async { tokio::task::yield_now().await });
        current_thread().block_on(async { tokio::join!(slow(), slow()) });
        let small = CacheHouse::builder().memory().memory_max_entries(1).build().expect("it's right");
        assert_eq!((square(&small, 1), square(&small, 2)), (1, 4));
    });

    let table = table();
    let described: BTreeMap<_, _> = table.iter().map(|(name, row)| (name.clone(), row.described.clone())).collect();
    assert_eq!(recorder.described(), described);
    // Every metric has been told by now; with the labels that the table says, and no others.
    let told: BTreeMap<_, BTreeSet<_>> = recorder.series().into_iter().map(labels).collect();
    let labels: BTreeMap<_, _> = table.into_iter().map(|(name, row)| (name, row.labels)).collect();
    assert_eq!(told, labels);

    let dashboard = names_in(&read("docker/grafana-dashboard.json"));
    assert_eq!(dashboard, labels.keys().cloned().collect());
}

fn labels(series: Series) -> (String, BTreeSet<String>) {
    (series.name, series.labels.into_keys().collect())
}

struct Row {
    described: Described,
    labels: BTreeSet<String>,
}

/// The table of `docs/metrics.md`, by name.
fn table() -> BTreeMap<String, Row> {
    let text = read("docs/metrics.md");
    let rows = text.lines().filter(|line| line.starts_with("| `cachehouse_"));
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, kind, unit, labels, ..] = cells[..] else { panic!("a row has five cells: {line}") };
        let kind = ["counter", "gauge", "histogram"].into_iter().find(|known| *known == kind);
        let kind = kind.unwrap_or_else(|| panic!("no such type: {line}"));
        let unit = Some(Unit::from_string(unit).unwrap_or_else(|| panic!("no such unit: {line}")));
        let words =
            |cell: &str| cell.split(['`', ',', ' ']).filter(|word| !word.is_empty()).map(String::from).collect();
        (name.trim_matches('`').to_owned(), Row { described: Described { kind, unit }, labels: words(labels) })
    };
    rows.map(row).collect()
}

/// The names of metrics in a text, without what Prometheus adds to those of histograms.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let metric = |word: &str| {
        let suffix = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| word.strip_suffix(suffix));
        suffix.unwrap_or(word).to_owned()
    };
    words.filter(|word| word.starts_with("cachehouse_")).map(metric).collect()
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}
