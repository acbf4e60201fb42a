//! What an outage lets its operators know.

use std::time::Instant;

use cache_house::{CacheOptions, Health, ReasonKind, Topology};
use tracing::Level;

use super::call;
use crate::support::{
    DEADLINE, Mode, Proxy, Server, connect, current_thread, logs, multi_thread, standalone, until_connected,
    until_degraded, wait_until,
};

#[test]
fn health_tells_what_happened_and_since_when() {
    let before = Instant::now();
    let server = Server::absent();
    let cache = standalone(server.endpoint()).build().expect("a server isn't needed");
    wait_until("nobody listens there", DEADLINE, || matches!(cache.health(), Health::Degraded { .. }));
    let Health::Degraded { since, reason } = cache.health() else { panic!("it was degraded a moment ago") };
    assert!(since >= before);
    assert_eq!(reason.kind(), ReasonKind::Unreachable, "{reason}");

    server.restart();
    until_connected(&cache);
    assert_eq!(cache.health(), Health::Connected { topology: Topology::Standalone });
    let before = Instant::now();
    server.kill();
    until_degraded(&cache);
    let Health::Degraded { since, .. } = cache.health() else { panic!("the server is dead") };
    assert!(since >= before);
    // However often reconnecting fails, the outage keeps its beginning.
    wait_until(
        "reconnecting has failed",
        DEADLINE,
        || matches!(cache.health(), Health::Degraded { reason, .. } if reason.kind() == ReasonKind::Unreachable),
    );
    assert!(matches!(cache.health(), Health::Degraded { since: now, .. } if now == since));
}

#[test]
fn changes_of_health_can_be_watched() {
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    let mut health = cache.watch_health();
    multi_thread(1).block_on(async {
        proxy.set(Mode::Refuse);
        let degraded = tokio::time::timeout(DEADLINE, health.wait_for(|health| !health.is_connected()));
        assert!(matches!(*degraded.await.expect("it's told").expect("the handle lives"), Health::Degraded { .. }));
        proxy.set(Mode::Pass);
        let back = tokio::time::timeout(DEADLINE, health.wait_for(Health::is_connected));
        back.await.expect("it's told").expect("the handle lives");
        cache.close_async().await;
        let closed = tokio::time::timeout(DEADLINE, health.wait_for(|health| *health == Health::Closed));
        closed.await.expect("it's told").expect("the handle lives");
    });
}

#[test]
fn ready_waits_for_the_server_and_not_beyond_its_timeout() {
    let server = Server::absent();
    let cache = standalone(server.endpoint()).build().expect("a server isn't needed");
    let begin = Instant::now();
    assert!(!cache.ready_blocking(DEADLINE / 100).is_connected());
    assert!(!current_thread().block_on(cache.ready(DEADLINE / 100)).is_connected());
    assert!(begin.elapsed() >= DEADLINE / 50 && begin.elapsed() < DEADLINE);
    std::thread::scope(|scope| {
        let ready = [
            scope.spawn(|| cache.ready_blocking(DEADLINE)),
            scope.spawn(|| current_thread().block_on(cache.ready(DEADLINE))),
        ];
        server.restart();
        for ready in ready {
            assert!(ready.join().expect("it doesn't panic").is_connected());
        }
    });
}

#[test]
fn an_outage_is_logged_once_a_change_and_not_once_a_call() {
    logs::capture();
    let server = Server::start();
    let proxy = Proxy::of(&server);
    let cache = connect(standalone(proxy.endpoint()));
    let told = |level: Level| {
        // The endpoint is this test's own.
        logs::containing(&proxy.endpoint()).iter().filter(|line| line.level == level).count()
    };
    // The first connection is told too.
    assert_eq!((told(Level::WARN), told(Level::INFO)), (0, 1));
    for outage in 1..=2 {
        proxy.set(Mode::Refuse);
        until_degraded(&cache);
        for n in 0..200 {
            cache.cached(call("f").arg(n), || n);
            let _ = cache.remove(call("f").arg(n));
        }
        wait_until("the outage is told", DEADLINE, || told(Level::WARN) >= outage);
        proxy.set(Mode::Pass);
        until_connected(&cache);
        wait_until("the return is told", DEADLINE, || told(Level::INFO) == outage + 1);
        // The connection was lost, and then it couldn't be had again: two reasons at most.
        assert!(told(Level::WARN) <= 2 * outage, "{:?}", logs::containing(&proxy.endpoint()));
    }
}

#[test]
fn no_secret_value_or_argument_is_ever_logged() {
    logs::capture();
    let (password, argument, value) = ("pa55-Vnn2vN", "arg-Qm3kEw", "value-Xr8tLz");
    let server = Server::start_with(&["--requirepass", password]);
    let options = || CacheOptions::new("logged-call").arg(argument).kwarg("mail", argument);
    let wrong = standalone(server.endpoint()).password("wr0ng-Kp2").build().expect("the builder is right");
    let cache = connect(standalone(server.endpoint()).password(password));
    let key = cache.key(&options()).expect("it has a key");
    for _ in 0..2 {
        cache.cached(options(), || value.to_owned());
    }
    // Undecodable, of another type, unkeyable, unencodable, in an outage: whatever may be told of.
    server.set(&key, format!("{{{value}"));
    cache.cached(options(), || value.to_owned());
    cache.get::<u8>(options());
    cache.cached(options().arg(f64::NAN), || value.to_owned());
    let broken =
        || options().encoder(|_: &String| Err::<Vec<u8>, _>(value)).decoder(|_: &[u8]| Err::<String, _>(value));
    cache.cached(broken(), || value.to_owned());
    let error = cache.insert(broken(), &value.to_owned()).expect_err("it can't be encoded");
    assert!(!format!("{error} {error:?}").contains(value));
    server.command(&["DEL", &key]);
    server.command(&["RPUSH", &key, value]);
    cache.cached(options(), || value.to_owned());
    wait_until("the wrong password is told of", DEADLINE, || matches!(wrong.health(), Health::Degraded { .. }));
    server.kill();
    until_degraded(&cache);
    cache.cached(options(), || value.to_owned());
    let _ = cache.remove(options());
    assert!(!logs::containing("logged-call").is_empty(), "something is told of the call");
    for secret in [password, "wr0ng-Kp2", argument, value] {
        let lines = logs::containing(secret);
        assert!(lines.is_empty(), "{secret}: {lines:?}");
    }
}

#[test]
fn each_reason_why_a_value_isnt_stored_is_warned_of_once_whatever_came_before() {
    logs::capture();
    let server = Server::start_with(&["--maxmemory-policy", "noeviction"]);
    let cache = connect(standalone(server.endpoint()).max_value_bytes(100));
    let warnings = |call: &str| logs::containing(call).iter().filter(|line| line.level == Level::WARN).count();
    let unencodable = || {
        let options = CacheOptions::new("warned-unencodable").encoder(|_: &i32| Err::<Vec<u8>, _>("no"));
        options.decoder(|_: &[u8]| Err::<i32, _>("no"))
    };
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    cache.cached(CacheOptions::new("warned-refused"), || 1);
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!((cache.stats().failed_writes, warnings("warned-refused")), (1, 0));
    for _ in 0..2 {
        cache.cached(CacheOptions::new("warned-large"), || "x".repeat(100));
        cache.cached(unencodable(), || 1);
    }
    assert_eq!((warnings("warned-large"), warnings("warned-unencodable")), (1, 1));
}
