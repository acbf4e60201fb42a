//! The example service, driven over HTTP while its server dies and comes back.

#[path = "../../examples/axum_service/app.rs"]
mod app;
mod prometheus;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::{DEADLINE, Server, alone_in, finishes, multi_thread, wait_until};

#[test]
fn no_request_fails_while_the_server_dies_and_comes_back() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    // Its recorder of metrics, its configuration and its signals are the whole process's.
    let name = "service::no_request_fails_while_the_server_dies_and_comes_back";
    alone_in(name, folder.path(), &[("CACHEHOUSE_NAMESPACE", "shop")], || {
        // What was on it is there again after a crash, out of date or not.
        let server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
        let settings = format!(
            "standalone.endpoint = \"{}\"\n[connection]\ncommand_timeout = \"5s\"\nreconnect.max_delay = \"50ms\"\n",
            server.endpoint()
        );
        fs::write("cachehouse.toml", settings).expect("it can be written");
        let (address, service) = start();
        until(address, "connected");
        assert!(ask(address, "GET", "/", "").1.contains("/products/1"));
        assert_eq!(ask(address, "GET", "/products/9", "").0, 404);
        assert_eq!(product(address, 1), ("lamp".into(), 1900));
        assert_eq!(ask(address, "GET", "/prices/1/USD", ""), (200, "20.9".into()));
        for _ in 0..2 {
            assert!(
                ask(address, "GET", "/catalogue", "").1.starts_with(r#"[{"name":"lamp","cents":1900},{"name":"chair""#)
            );
        }

        under_requests(address, |answered| {
            server.kill();
            until(address, "degraded");
            answered(10);
            let update = ask(address, "PUT", "/products/1", r#"{"name":"lamp","cents":2000}"#);
            assert_eq!(update.0, 204, "{update:?}");
            assert_eq!(product(address, 1), ("lamp".into(), 2000));
            assert!(ask(address, "GET", "/catalogue", "").1.contains("2000"));
            assert_eq!(ask(address, "GET", "/health", "").1.split("journal_length\":").nth(1), Some("1}"));
            assert_eq!(counted(address, "cachehouse_circuit_state", &[]), 2.0);
            server.restart();
            until(address, "connected");
            answered(10);
        });
        assert_eq!(product(address, 1), ("lamp".into(), 2000), "what the server still had of it is gone");
        assert_eq!(ask(address, "GET", "/prices/1/USD", ""), (200, "22.0".into()));
        assert!(
            ask(address, "GET", "/catalogue", "").1.contains("2000"),
            "the response that the server had is gone, too"
        );
        let update = ask(address, "PUT", "/products/1", r#"{"name":"lamp","cents":2100}"#);
        assert_eq!(update.0, 204, "{update:?}");
        assert_eq!(product(address, 1), ("lamp".into(), 2100));

        let requests = |labels: &[&str]| counted(address, "cachehouse_requests_total", labels);
        assert!(requests(&["namespace=\"products\"", "result=\"hit\"", "tier=\"server\""]) > 0.0);
        assert!(requests(&["namespace=\"products\"", "result=\"hit\"", "tier=\"memory\""]) > 0.0);
        assert!(requests(&["namespace=\"rates\""]) > 0.0);
        assert!(
            counted(address, "cachehouse_server_seconds_bucket", &["op=\"get\"", "outcome=\"ok\"", "le=\"+Inf\""])
                > 0.0
        );
        assert!(counted(address, "cachehouse_work_seconds_count", &[]) > 0.0);
        assert_eq!(counted(address, "cachehouse_circuit_state", &[]), 0.0);
        assert_eq!(counted(address, "cachehouse_journal_length", &[]), 0.0);

        let terminated = Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
        assert!(terminated.expect("`kill` can be run").success());
        finishes("the service stops when it's told to", || service.join().expect("it doesn't panic"))
            .expect("it stops in good order");
        assert!(TcpStream::connect(address).is_err());
        wait_until("its connections are closed", DEADLINE, || server.connections() == 0);
    });
}

#[test]
fn the_service_works_without_a_server() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    let absent = Server::absent().endpoint();
    let variables = [("CACHEHOUSE_AUTODETECT__ENDPOINT", absent.as_str())];
    alone_in("service::the_service_works_without_a_server", folder.path(), &variables, || {
        let (address, _) = start();
        until(address, "degraded");
        assert_eq!(product(address, 2), ("chair".into(), 4900));
        assert_eq!(product(address, 2), ("chair".into(), 4900));
        assert_eq!(ask(address, "GET", "/rates/NOK", ""), (200, "11.5".into()));
        assert_eq!(counted(address, "cachehouse_work_seconds_count", &[]), 2.0);
        let hits = counted(address, "cachehouse_requests_total", &["result=\"hit\"", "tier=\"memory\""]);
        assert_eq!(hits, 1.0);
    });
}

type Service = thread::JoinHandle<Result<(), String>>;

/// The service, on a port of its own.
fn start() -> (SocketAddr, Service) {
    let runtime = multi_thread(2);
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("there is a free port");
    let address = listener.local_addr().expect("it's bound");
    let serve = move || runtime.block_on(app::serve(listener)).map_err(|error| error.to_string());
    (address, thread::spawn(serve))
}

/// What doesn't change, and what is answered.
const QUESTIONS: [(&str, u16, &str); 4] = [
    ("/products/2", 200, "{\"name\":\"chair\",\"cents\":4900}"),
    ("/prices/3/EUR", 200, "129.0"),
    ("/rates/USD", 200, "1.1"),
    ("/products/9", 404, ""),
];

/// Clients ask for what doesn't change until `fault` is over, and all they get has to be right. `fault` is handed what waits for
/// so many more answers.
fn under_requests(address: SocketAddr, fault: impl FnOnce(&dyn Fn(u64))) {
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    let (over, answers, wrong) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for client in 0..2 {
            let (over, answers, wrong) = (&over, &answers, &wrong);
            scope.spawn(move || {
                for (path, status, body) in QUESTIONS.iter().cycle().skip(client) {
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    let answer = ask(address, "GET", path, "");
                    if answer != (*status, (*body).to_owned()) {
                        wrong.lock().expect("nobody panics with it").push((path, answer));
                    }
                    answers.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let _over = Over(&over);
        fault(&|more| {
            let before = answers.load(Ordering::SeqCst);
            wait_until("requests are answered", DEADLINE, || answers.load(Ordering::SeqCst) >= before + more);
        });
    });
    assert_eq!(*wrong.lock().expect("nobody panicked with it"), []);
}

fn until(address: SocketAddr, status: &str) {
    let status = format!("\"status\":\"{status}\"");
    wait_until(&status, DEADLINE, || ask(address, "GET", "/health", "").1.contains(&status));
}

fn product(address: SocketAddr, id: u64) -> (String, u64) {
    #[derive(serde::Deserialize)]
    struct Product {
        name: String,
        cents: u64,
    }

    let (status, body) = ask(address, "GET", &format!("/products/{id}"), "");
    assert_eq!(status, 200, "{body}");
    let product: Product = serde_json::from_str(&body).expect("it's a product");
    (product.name, product.cents)
}

/// The sum of what `/metrics` says of a name, where these labels are.
fn counted(address: SocketAddr, name: &str, labels: &[&str]) -> f64 {
    let (status, text) = ask(address, "GET", "/metrics", "");
    assert_eq!(status, 200);
    let is_meant = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    };
    let values: Vec<f64> =
        text.lines().filter(is_meant).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    assert!(!values.is_empty(), "{name}{labels:?} isn't rendered:\n{text}");
    values.iter().sum()
}

/// One request, one connection: status and body.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(address).expect("the service listens");
    connection.set_read_timeout(Some(DEADLINE)).expect("it's no zero");
    let length = body.len();
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .expect("the service reads");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("the service answers");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    (status.unwrap_or_else(|| panic!("no status: {answer}")), body.to_owned())
}
