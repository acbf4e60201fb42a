//! `top`, against a service that tells its metrics.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use super::support::Program;

const METRICS: &str = "\
# TYPE cachehouse_requests_total counter
cachehouse_requests_total{namespace=\"users\",result=\"hit\",tier=\"server\"} 1800
cachehouse_requests_total{namespace=\"users\",result=\"coalesced\",tier=\"none\"} 20
cachehouse_requests_total{namespace=\"users\",result=\"miss\",tier=\"server\"} 180
cachehouse_requests_total{namespace=\"rates\",result=\"hit\",tier=\"near\"} 50
cachehouse_requests_total{namespace=\"rates\",result=\"uncached\",tier=\"none\"} 50
cachehouse_work_seconds_bucket{le=\"0.1\"} 100
cachehouse_work_seconds_bucket{le=\"0.2\"} 200
cachehouse_work_seconds_bucket{le=\"+Inf\"} 200
cachehouse_work_seconds_count 200
cachehouse_circuit_state{endpoint=\"10.0.0.7:6379\"} 0
cachehouse_journal_length{endpoint=\"10.0.0.7:6379\"} 3
cachehouse_evictions_total 7
";

/// A service that answers with this, whatever it's asked; its URL.
fn service(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    let address = listener.local_addr().expect("it's bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let length = body.len();
            // A reader that has gone is none of its business.
            let _ = write!(stream.get_mut(), "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
        }
    });
    format!("http://{address}")
}

#[test]
fn one_table_is_printed_of_all_since_the_service_began() {
    let url = service("200 OK", METRICS);
    insta::assert_snapshot!("top", Program::new().prints(&["top", &url, "--once"]));
    let figures = Program::new().json(&["top", &url, "--once"]);
    assert_eq!(figures["namespaces"][0]["hit_rate"], 0.91);
    assert_eq!((&figures["total"]["calls"], &figures["evictions"]), (&2100.0.into(), &7.0.into()));
    assert!(figures["work"]["p99"].as_f64().is_some_and(|p99| (p99 - 0.198).abs() < 1e-9), "{figures}");
    assert_eq!((&figures["seconds"], &figures["journals"][0]["value"]), (&serde_json::Value::Null, &3.0.into()));
}

#[test]
fn a_service_that_tells_nothing_is_a_finding() {
    let program = Program::new();
    let finds = |url: &str| program.fails(1, &["top", url, "--once"]);
    assert!(finds(&service("200 OK", "up 1\n")).contains("there is no metric of cache-house"));
    assert!(finds(&service("503 Service Unavailable", "")).contains("503"));
    assert!(finds("http://127.0.0.1:1").contains("refused"));
}

#[test]
fn a_stream_ends_by_itself_once_its_reader_has_gone() {
    let run = Program::new().run_unread(&["top", &service("200 OK", METRICS), "--json", "--interval", "0.1"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
}

#[test]
fn a_screen_needs_a_terminal_and_a_url_that_can_be_asked() {
    let program = Program::new();
    assert!(program.fails(2, &["top", &service("200 OK", METRICS)]).contains("--once"));
    assert!(program.fails(2, &["top", "https://example.invalid/metrics", "--once"]).contains("http://"));
    let error = program.fails(2, &["top", "http://me:hunter2@127.0.0.1/metrics", "--once"]);
    assert!(!error.contains("hunter2"), "{error}");
}
