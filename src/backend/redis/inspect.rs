//! What servers say of themselves, for those who look into trouble.

use std::sync::Arc;
use std::time::Instant;

use fred::types::Value;
use futures_util::future::join_all;

use super::super::server::{ServerError, ServerReport};
use super::Inner;
use super::node::{Failed, Node};
use super::pool::{Pool, Role};
use super::reply;
use crate::error::one_line;

/// All servers that there is a connection to, whether or not calls may go there.
pub(super) async fn servers(inner: &Inner) -> Vec<ServerReport> {
    let nodes = inner.layout.load_full().nodes();
    let standing = nodes.iter().filter_map(|node| Some((node, node.standing()?)));
    let mut reports: Vec<_> = join_all(standing.map(|(node, pool)| server(inner, node, pool))).await;
    reports.sort_by(|one, other| one.endpoint.cmp(&other.endpoint));
    reports
}

async fn server(inner: &Inner, node: &Node, pool: Arc<Pool>) -> ServerReport {
    let key = || Value::Bytes(node.probe_key.clone());
    let begin = Instant::now();
    let mut missing = Vec::new();
    let mut round_trip = None;
    for (name, command, args) in commands(node.role, inner, &key) {
        let answer = node.watched(&pool, pool.send(&node.probe_key, command, args)).await;
        round_trip = round_trip.or_else(|| answered(&answer).then(|| begin.elapsed()));
        if let Err(Failed::Server(ServerError::Refused { code, .. })) = answer
            && code == "NOPERM"
        {
            missing.push(name.to_owned());
        }
    }
    if node.role != Role::Standalone && lacks_asking(node, &pool).await {
        missing.push("asking".to_owned());
    }
    let info = node.watched(&pool, pool.send(&node.probe_key, "INFO", vec!["server".into()])).await;
    let version = info.ok().and_then(|info| version_in(&reply::text(&info)?));
    ServerReport { endpoint: node.address.to_string(), version, round_trip, missing }
}

fn answered<T>(answer: &Result<T, Failed>) -> bool {
    !matches!(answer, Err(Failed::Server(ServerError::Unavailable(_))))
}

/// Each command that is sent in earnest, such that it changes nothing. The first tells the round trip.
fn commands(role: Role, inner: &Inner, key: &impl Fn() -> Value) -> Vec<(&'static str, &'static str, Vec<Value>)> {
    let set = vec![key(), "".into(), "XX".into(), "PX".into(), 1.into()];
    let pattern = Value::String(format!("{}:*", inner.probe_key).into());
    let scan = vec!["0".into(), "MATCH".into(), pattern, "COUNT".into(), 1.into()];
    let mut commands = vec![
        ("get", "GET", vec![key()]),
        ("set", "SET", set),
        ("unlink", "UNLINK", vec![key()]),
        ("scan", "SCAN", scan),
        ("pttl", "PTTL", vec![key()]),
        ("exists", "EXISTS", vec![key()]),
        ("strlen", "STRLEN", vec![key()]),
        ("client|info", "CLIENT", vec!["INFO".into()]),
        ("info", "INFO", vec!["server".into()]),
        // A connection that there never is.
        ("client|kill", "CLIENT", ["KILL", "ID", "9223372036854775807"].map(Value::from).to_vec()),
    ];
    if role == Role::Standalone {
        commands.push(("mget", "MGET", vec![key()]));
    } else {
        commands.extend([
            ("cluster|slots", "CLUSTER", vec!["SLOTS".into()]),
            ("cluster|nodes", "CLUSTER", vec!["NODES".into()]),
        ]);
    }
    if role == Role::Replica {
        commands.push(("readonly", "READONLY", Vec::new()));
    }
    commands
}

/// Sent with a command behind it, because it changes what the next one means.
async fn lacks_asking(node: &Node, pool: &Arc<Pool>) -> bool {
    let commands = vec![("ASKING", Vec::new()), ("GET", vec![Value::Bytes(node.probe_key.clone())])];
    let replies = node.watched(pool, pool.send_together(&node.probe_key, commands)).await;
    replies.is_ok_and(|replies| matches!(replies.first(), Some(Err(reply)) if reply.code == "NOPERM"))
}

/// Which program of which version, of the reply to INFO.
fn version_in(info: &str) -> Option<String> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let version = |program: &str, name: &str| Some(format!("{program} {}", one_line(field(name)?.trim())));
    version("Valkey", "valkey_version").or_else(|| version("Redis", "redis_version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valkey_is_told_from_the_redis_that_it_says_it_stands_in_for() {
        let redis = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n";
        assert_eq!(version_in(redis).as_deref(), Some("Redis 7.0.15"));
        let valkey = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.1\r\n";
        assert_eq!(version_in(valkey).as_deref(), Some("Valkey 8.1.1"));
        assert_eq!(version_in("# Server\r\n"), None);
    }
}
