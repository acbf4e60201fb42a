//! Prometheus over the example service: it takes what `/metrics` renders, and answers each expression of the dashboard and of
//! `docs/metrics.md`.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{ask, start, under_requests, until};
use crate::support::process::Process;
use crate::support::server::free_port;
use crate::support::{DEADLINE, Server, alone_in, wait_until};

/// The program, where it isn't on the path. `scripts/test.sh` sets it.
const PROGRAM: &str = "PROMETHEUS";

/// Series that only come with a fault, or with what the example doesn't use: an expression over them alone has an empty answer.
const NOT_IN_THE_EXAMPLE: [&str; 6] = [
    "cachehouse_decode_failures_total",
    "cachehouse_fenced_fills_total",
    "cachehouse_lease_wait_seconds",
    "cachehouse_refreshes_total",
    "cachehouse_stale_hits_total",
    "outcome!=\"ok\"",
];

fn program() -> Option<PathBuf> {
    if let Some(program) = env::var_os(PROGRAM) {
        return Some(program.into());
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join("prometheus")).find(|program| program.is_file())
}

#[test]
fn prometheus_answers_each_expression_of_the_dashboard_and_of_the_guide() {
    let Some(program) = program() else {
        #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
        {
            eprintln!("SKIPPED: there is no prometheus on the path, and {PROGRAM} names none");
        }
        return;
    };
    let expressions = [dashboard(), guide()].concat();
    assert!(expressions.len() > 20, "{expressions:?}");
    let folder = TempDir::new().expect("a temporary folder can be made");
    let name = "service::prometheus::prometheus_answers_each_expression_of_the_dashboard_and_of_the_guide";
    alone_in(name, folder.path(), &[], || {
        let server = Server::start();
        // So little memory that entries are evicted.
        let settings = format!(
            "standalone.endpoint = \"{}\"\n[memory_tier]\nmax_entries = 2\n[near_cache]\nmax_staleness = \"1s\"\n",
            server.endpoint()
        );
        fs::write("cachehouse.toml", settings).expect("it can be written");
        let (service, _) = start();
        until(service, "connected");
        let (address, _prometheus) = scraping(&program, service);
        under_requests(service, |answered| {
            answered(10);
            let mut problems = BTreeSet::new();
            wait_until("all expressions have an answer", DEADLINE * 2, || {
                problems = expressions.iter().filter_map(|expression| problem(address, expression)).collect();
                if !problems.is_empty() {
                    answered(10);
                }
                problems.is_empty()
            });
        });
    });
}

/// A Prometheus that asks `service` for its metrics four times a second.
fn scraping(program: &PathBuf, service: SocketAddr) -> (SocketAddr, Process) {
    let settings = format!(
        "global: {{ scrape_interval: 250ms, scrape_timeout: 250ms }}\n\
         scrape_configs: [{{ job_name: shop, static_configs: [{{ targets: [\"{service}\"] }}] }}]\n"
    );
    fs::write("prometheus.yml", settings).expect("it can be written");
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let log = File::create("prometheus.log").expect("it can be written");
    let child = Command::new(program)
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("prometheus can be run");
    let process = Process::watched(child);
    wait_until("prometheus is ready", DEADLINE, || {
        std::net::TcpStream::connect(address).is_ok() && ask(address, "GET", "/-/ready", "").0 == 200
    });
    (address, process)
}

/// Why the answer to an expression isn't one, if so.
fn problem(address: SocketAddr, expression: &str) -> Option<String> {
    let query: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let (status, body) = ask(address, "GET", &format!("/api/v1/query?query={query}"), "");
    let answer: Value = serde_json::from_str(&body).unwrap_or_default();
    assert_eq!((status, answer["status"].as_str()), (200, Some("success")), "{expression}: {body}");
    let is_empty = answer["data"]["result"].as_array().is_none_or(Vec::is_empty);
    // A condition has an answer only while it's met.
    let may_be_empty = expression.contains("> 0") || NOT_IN_THE_EXAMPLE.iter().any(|name| expression.contains(name));
    (is_empty && !may_be_empty).then(|| expression.to_owned())
}

/// The expressions of the dashboard, with its variables filled in.
fn dashboard() -> Vec<String> {
    let dashboard: Value =
        serde_json::from_str(include_str!("../../../docker/grafana-dashboard.json")).expect("it's JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions = targets.map(|target| target["expr"].as_str().expect("a target has an expression"));
    expressions.map(|expr| expr.replace("$__rate_interval", "5s").replace("$job", ".*")).collect()
}

/// Those of the table in the guide.
fn guide() -> Vec<String> {
    let guide = include_str!("../../../docs/metrics.md");
    let (_, table) = guide.split_once("| to see | ask Prometheus |").expect("the guide has the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.split_once("| `").expect("a cell has an expression").1);
    let expressions = cells.map(|cell| cell.split('`').next().unwrap_or_default());
    expressions.map(|expr| expr.replace("\\|", "|").replace("[5m]", "[5s]")).collect()
}
