//! TLS that works, and TLS that is refused.
//!
//! The certificates in `tls/` are good for a hundred years and for nothing but these tests.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;

use cache_house::{CacheHandle, ReasonKind, Tls};

use super::busy::reason;
use super::{TIMEOUT, call, squares, under_traffic, until_used};
use crate::support::server::free_port;
use crate::support::{
    DEADLINE, Server, connect, multi_thread, standalone, until_connected, until_degraded, wait_until,
};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/faults/tls").join(name)
}

/// A server that takes TLS connections on this port, beside plain ones on its own.
fn with_tls(clients: &str) -> (Server, u16) {
    let [certificate, key, authority] = ["server.pem", "server.key", "ca.pem"].map(file);
    let [certificate, key, authority] = [&certificate, &key, &authority].map(|path| path.to_str().expect("it's UTF-8"));
    let port = free_port();
    let files = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", authority];
    let rest = ["--tls-port", &port.to_string(), "--tls-auth-clients", clients];
    (Server::start_with(&[&files[..], &rest].concat()), port)
}

fn trusting(authority: &str, port: u16) -> cache_house::CacheHouseBuilder<cache_house::config::Standalone> {
    standalone(format!("rediss://localhost:{port}")).tls(Tls::default().ca_file(file(authority)))
}

fn assert_refused(cache: &CacheHandle) {
    wait_until("an attempt has failed", DEADLINE, || reason(cache).is_some());
    assert_eq!(reason(cache), Some(ReasonKind::Tls), "{}", cache.health());
    assert_eq!(cache.cached(call("f"), || 1), 1);
    assert_eq!(cache.cached(call("f"), || 2), 1);
    assert_eq!(cache.stats().server_hits, 0);
}

#[test]
fn a_server_over_tls_is_used_and_used_again_after_a_crash() {
    let (server, port) = with_tls("no");
    let runtime = multi_thread(2);
    let cache = connect(trusting("ca.pem", port));
    under_traffic(&runtime, &cache, squares(4, 2), |seen| {
        for _ in 0..3 {
            until_used(&cache);
            server.kill();
            until_degraded(&cache);
            seen.wait_for_calls(100);
            server.restart();
            until_connected(&cache);
        }
    });
    assert_eq!(cache.stats().circuit_openings, 3);
}

#[test]
fn an_untrusted_server_is_reported_as_a_refusal_of_tls() {
    let (_server, port) = with_tls("no");
    assert_refused(&trusting("other-ca.pem", port).build().expect("the builder is right"));
}

#[test]
fn a_server_that_refuses_our_certificate_is_reported_as_a_refusal_of_tls() {
    let (_server, port) = with_tls("yes");
    assert_refused(&trusting("ca.pem", port).build().expect("the builder is right"));
    let shown = Tls::default().ca_file(file("ca.pem")).client_cert(file("server.pem"), file("server.key"));
    until_used(&connect(standalone(format!("rediss://localhost:{port}")).tls(shown)));
}

#[test]
fn a_port_that_answers_without_tls_is_reported_as_a_refusal_of_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let port = listener.local_addr().expect("it's bound").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"-ERR unknown command\r\n");
        }
    });
    assert_refused(&trusting("ca.pem", port).build().expect("the builder is right"));
}

#[test]
fn a_plain_server_that_is_asked_for_tls_isnt_used_and_blocks_no_call() {
    let server = Server::start();
    let cache = trusting("ca.pem", server.port()).connect_timeout(TIMEOUT).build().expect("the builder is right");
    // It may wait for the end of a line that never comes.
    wait_until("the trouble is told", DEADLINE, || {
        matches!(reason(&cache), Some(ReasonKind::Tls | ReasonKind::Unreachable))
    });
    assert_eq!(cache.cached(call("f"), || 1), 1);
    assert_eq!(cache.cached(call("f"), || 2), 1);
    assert_eq!((cache.stats().server_hits, cache.stats().server_timeouts), (0, 0));
}
