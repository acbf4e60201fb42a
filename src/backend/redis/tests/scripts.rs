//! Scripts on a server, and on a cluster whose slots move.

use std::sync::Arc;
use std::time::Duration;

use super::server::{Server as RealServer, free_port};
use super::{DEADLINE, connect, connect_to, quick, wait_until};
use crate::backend::invalidations::Unheard;
use crate::backend::script::{Script, ScriptReply};
use crate::backend::server::ServerError;
use crate::backend::slots::slot_of;
use crate::config::CacheHouseBuilder;
use crate::key::ServerKey;

/// Appends the argument to the first key, and returns both values and how often it has run.
static APPEND: Script = Script::new(
    "redis.call('APPEND', KEYS[1], ARGV[1]) \
     return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2]), redis.call('INCR', KEYS[3])}",
);

fn keys(names: [&'static str; 3]) -> [ServerKey; 3] {
    names.map(ServerKey::from)
}

fn appended(value: &'static str, times: i64) -> Result<ScriptReply, ServerError> {
    let bytes = ScriptReply::Bytes(value.into());
    Ok(ScriptReply::Array(vec![bytes, ScriptReply::Nil, ScriptReply::Integer(times)]))
}

#[tokio::test]
async fn a_script_is_sent_once_and_is_known_by_its_sha1_from_then_on() {
    let server = RealServer::start();
    let redis = connect_to(&server, Arc::new(Unheard)).await;
    let keys = keys(["{s}a", "{s}b", "{s}c"]);
    for (times, value) in [(1, "x"), (2, "xx"), (3, "xxx")] {
        assert_eq!(redis.inner.run_script(&APPEND, &keys, vec!["x".into()]).await, appended(value, times));
    }
    assert_eq!((server.calls("evalsha"), server.calls("eval")), (3, 1));
    server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(redis.inner.run_script(&APPEND, &keys, vec!["y".into()]).await, appended("xxxy", 4));
    assert_eq!(redis.inner.context.counters.snapshot().server_errors, 0, "a script that isn't known is no trouble");
    redis.close().await;
}

#[tokio::test]
async fn a_script_that_is_refused_has_the_servers_error() {
    static WRONG: Script = Script::new("return redis.call('INCR', KEYS[1])");
    let server = RealServer::start();
    server.command(&["HSET", "a", "field", "1"]);
    let redis = connect_to(&server, Arc::new(Unheard)).await;
    let refused = redis.inner.run_script(&WRONG, &["a".into()], Vec::new()).await;
    assert_eq!(refused, Err(ServerError::WrongType));
    for keys in [&[][..], &["a".into(), "b".into()]] {
        let refused = redis.inner.run_script(&WRONG, keys, Vec::new()).await;
        assert!(matches!(refused, Err(ServerError::Refused { code, .. }) if code == "CROSSSLOT"));
    }
    redis.close().await;
}

/// Two primaries with half of the slots each.
fn two_nodes() -> [RealServer; 2] {
    let bus = || free_port().to_string();
    let node = |bus: &str| RealServer::start_with(&["--cluster-enabled", "yes", "--cluster-port", bus]);
    let nodes = [node(&bus()), node(&bus())];
    for (node, (first, last)) in nodes.iter().zip([("0", "8191"), ("8192", "16383")]) {
        node.command(&["CLUSTER", "SET-CONFIG-EPOCH", if first == "0" { "1" } else { "2" }]);
        node.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
    }
    let bus = nodes[1].argument("--cluster-port").expect("it was given");
    nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &nodes[1].port().to_string(), &bus]);
    let is_whole = |node: &RealServer| {
        let info = node.command(&["CLUSTER", "INFO"]).text();
        info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
    };
    wait_until("the nodes know each other", DEADLINE, || nodes.iter().all(is_whole));
    nodes
}

#[tokio::test]
async fn a_script_goes_to_the_node_of_its_keys_and_follows_them() {
    let [one, other] = two_nodes();
    let builder = CacheHouseBuilder::new().cluster(one.endpoint()).reconnect(quick());
    let builder = builder.command_timeout(Duration::from_secs(5));
    let redis = connect(builder.into_config().expect("it's right").topology, Arc::new(Unheard)).await;
    // "{a}" is of slot 15495, "{b}" of 3300.
    let (of_one, of_other) = (keys(["{b}1", "{b}2", "{b}3"]), keys(["{a}1", "{a}2", "{a}3"]));
    assert_eq!((slot_of(b"{b}1"), slot_of(b"{a}1")), (3300, 15_495));
    assert_eq!(redis.inner.run_script(&APPEND, &of_one, vec!["x".into()]).await, appended("x", 1));
    assert_eq!(redis.inner.run_script(&APPEND, &of_other, vec!["y".into()]).await, appended("y", 1));
    assert!(one.has("{b}1") && other.has("{a}1"));

    // A slot on its way: the keys have arrived, and the new node knows no script.
    other.command(&["SCRIPT", "FLUSH"]);
    let id = |node: &RealServer| node.command(&["CLUSTER", "MYID"]).text();
    other.command(&["CLUSTER", "SETSLOT", "3300", "IMPORTING", &id(&one)]);
    one.command(&["CLUSTER", "SETSLOT", "3300", "MIGRATING", &id(&other)]);
    let port = other.port().to_string();
    one.command(&["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS", "{b}1", "{b}3"]);
    let moving = [ServerKey::from("{b}1"), "{b}1".into(), "{b}3".into()];
    let bytes = || ScriptReply::Bytes("xx".into());
    let both = Ok(ScriptReply::Array(vec![bytes(), bytes(), ScriptReply::Integer(2)]));
    assert_eq!(redis.inner.run_script(&APPEND, &moving, vec!["x".into()]).await, both);

    // A slot that has moved behind the map's back.
    for node in [&other, &one] {
        node.command(&["CLUSTER", "SETSLOT", "3300", "NODE", &id(&other)]);
    }
    assert_eq!(redis.inner.run_script(&APPEND, &of_one, vec!["x".into()]).await, appended("xxx", 3));
    redis.close().await;
}
