//! Over a real server: what one process stores another serves, and an outage in the middle.

use std::thread;
use std::time::{Duration, Instant};

use cache_house::codec::{Codec, CodecError, MessagePack, erased_serde};
use cache_house::{CacheHandle, CacheHouse};
use http::Method;

use crate::support::{DEADLINE, Origin, Site, Time};

// What starts the servers of the library's own tests.
#[path = "../../../tests/integration/support/process.rs"]
#[allow(dead_code, reason = "the library's tests need more of it")]
mod process;
#[path = "../../../tests/integration/support/resp.rs"]
#[allow(dead_code, reason = "the library's tests need more of it")]
mod resp;
#[path = "../../../tests/integration/support/server.rs"]
#[allow(dead_code, reason = "the library's tests need more of it")]
mod server;

use server::Server;

#[track_caller]
fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < deadline, "not within {deadline:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

const MINUTE: (&str, &str) = ("cache-control", "max-age=60");

/// The handle of a process on this server.
fn process(server: &Server) -> CacheHandle {
    let builder = CacheHouse::builder().standalone(server.endpoint().as_str());
    let cache = builder.command_timeout(Duration::from_secs(5)).build().unwrap();
    wait_until("the server is used", DEADLINE, || cache.health().is_connected());
    cache
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_stores_another_serves() {
    let (server, time) = (Server::start(), Time::default());
    let (one, two) = (process(&server), process(&server));
    for headers in [&[MINUTE, ("etag", "\"1\""), ("link", "a"), ("link", "b")][..], &[MINUTE, ("vary", "accept")]] {
        let origin = Origin::of(200, headers);
        let site = |cache: &CacheHandle| Site::new(&time.layer_over(cache.clone()).namespace(headers[1].0), &origin);
        assert_eq!(site(&one).get("/", &[("accept", "a")]).await.cache_status(), "fwd=uri-miss; stored");
        let hit = site(&two).get("/", &[("accept", "a")]).await;
        assert_eq!((hit.cache_status(), hit.body.as_str()), ("hit; ttl=60", "0"));
        assert_eq!(
            hit.headers.get_all("link").iter().count(),
            headers.iter().filter(|(name, _)| *name == "link").count()
        );
        // What one changes the other doesn't serve any more.
        site(&one).try_ask(Method::PUT, "/", &[]).await.unwrap();
        assert_eq!(site(&two).get("/", &[("accept", "a")]).await.body, "2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_is_removed_for_all_processes() {
    let (server, time, origin) = (Server::start(), Time::default(), Origin::of(200, &[MINUTE]));
    let (one, two) = (process(&server), process(&server));
    let site = |cache: &CacheHandle| Site::new(&time.layer_over(cache.clone()).tags(|_| vec!["shop".into()]), &origin);
    assert_eq!((site(&one).get("/", &[]).await.body, site(&two).get("/", &[]).await.body), ("0".into(), "0".into()));
    one.remove_tag_async("shop").await.unwrap();
    let begin = Instant::now();
    while site(&two).get("/", &[]).await.body != "1" {
        assert!(begin.elapsed() < DEADLINE, "the removal is reported");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(site(&one).get("/", &[]).await.body, "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_while_the_server_is_away() {
    let (server, time, origin) = (Server::start(), Time::default(), Origin::of(200, &[MINUTE]));
    let cache = process(&server);
    let site = Site::new(&time.layer_over(cache.clone()), &origin);
    assert_eq!(site.get("/a", &[]).await.body, "0");
    server.kill();
    for _ in 0..20 {
        assert_eq!(site.get("/a", &[]).await.status, 200);
    }
    site.get("/b", &[]).await;
    assert!(site.get("/b", &[]).await.cache_status().starts_with("hit"), "memory serves");
    let before = site.get("/a", &[]).await.body;
    site.try_ask(Method::DELETE, "/a", &[]).await.unwrap();
    server.restart();
    wait_until("the server is used again", DEADLINE, || cache.health().is_connected());
    assert_ne!(site.get("/a", &[]).await.body, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_request_is_on_the_server_in_clear_text() {
    let (server, time) = (Server::start(), Time::default());
    let cache = process(&server);
    let origin = Origin::of(200, &[("cache-control", "public, max-age=60"), ("vary", "cookie, authorization")]);
    let site = Site::new(&time.layer_over(cache).tags(|_| vec!["shop".into()]), &origin);
    site.get("/?token=hunter2", &[("cookie", "id=hunter2"), ("authorization", "hunter2"), ("x-other", "hunter2")])
        .await;
    let keys = server.keys();
    assert!(keys.iter().filter(|key| key.contains(":http:")).count() >= 2, "{keys:?}");
    for key in keys {
        let value = server.get(&key).unwrap_or_default();
        assert!(!key.contains("hunter2") && !value.windows(7).any(|part| part == b"hunter2"), "{key}");
    }
}

/// MessagePack behind a mark.
#[derive(Clone)]
struct Marked;

impl Codec for Marked {
    fn encode(&self, value: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        let mut bytes = b"mark".to_vec();
        bytes.extend(MessagePack.encode(value)?);
        Ok(bytes)
    }

    fn decode<'de>(
        &self,
        bytes: &'de [u8],
        read: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        MessagePack.decode(bytes.strip_prefix(b"mark").ok_or("there is no mark")?, read)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_on_the_server_is_by_the_layers_codec() {
    let (server, time) = (Server::start(), Time::default());
    let (one, two) = (process(&server), process(&server));
    let origin = Origin::of(200, &[MINUTE, ("vary", "accept")]);
    let site = |cache: &CacheHandle| Site::new(&time.layer_over(cache.clone()).codec(Marked), &origin);
    assert_eq!(site(&one).get("/", &[("accept", "a")]).await.cache_status(), "fwd=uri-miss; stored");
    assert_eq!(site(&two).get("/", &[("accept", "a")]).await.cache_status(), "hit; ttl=60");
    let keys: Vec<_> = server.keys().into_iter().filter(|key| key.starts_with("cachehouse:http:")).collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in keys {
        assert!(server.get(&key).unwrap_or_default().starts_with(b"mark"), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_a_miss() {
    let (server, time, origin) = (Server::start(), Time::default(), Origin::of(200, &[MINUTE]));
    let site = Site::new(&time.layer_over(process(&server)), &origin);
    site.get("/", &[]).await;
    let key = server.keys().into_iter().find(|key| key.contains(":http:")).unwrap();
    server.set(&key, b"\x81\xa8Response\xc0");
    assert_eq!(site.get("/", &[]).await.cache_status(), "fwd=uri-miss; stored");
    assert_eq!(site.get("/", &[]).await.cache_status(), "hit; ttl=60");
}
