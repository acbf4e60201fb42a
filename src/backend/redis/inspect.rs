//! Diagnostics: each server's version, round trip and missing permissions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;

use super::super::script::Script;
use super::super::server::{ServerError, ServerReport};
use super::command::{Command, Scan, ScriptCall};
use super::inner::Inner;
use super::node::{Failed, Node};
use super::pool::Pool;
use super::reply;
use super::role::Role;

/// All servers that there is a connection to, whether or not calls may go there.
pub(super) async fn servers(inner: &Inner) -> Vec<ServerReport> {
    let nodes = inner.layout.load_full().nodes();
    let standing = nodes.iter().filter_map(|node| Some((node, node.standing()?)));
    let mut reports: Vec<_> = join_all(standing.map(|(node, pool)| server(inner, node, pool))).await;
    reports.sort_by(|one, other| one.endpoint.cmp(&other.endpoint));
    reports
}

async fn server(inner: &Inner, node: &Node, pool: Arc<Pool>) -> ServerReport {
    let begin = Instant::now();
    let mut missing = Vec::new();
    let mut round_trip = None;
    for command in commands(node.role, inner, &node.probe_key) {
        let name = command.acl_name();
        let answer = node.watched(&pool, pool.send(&node.probe_key, command)).await;
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
    let info = node.watched(&pool, pool.send(&node.probe_key, Command::Info("server"))).await;
    let version = info.ok().and_then(|info| version_in(&reply::text(&info)?)).map(|version| pool.readable(&version));
    ServerReport { endpoint: node.address.to_string(), version, round_trip, missing }
}

fn answered<T>(answer: &Result<T, Failed>) -> bool {
    !matches!(answer, Err(Failed::Server(ServerError::Unavailable(_))))
}

/// Each command that the cache sends, with arguments that change nothing. The first one measures the round trip.
fn commands(role: Role, inner: &Inner, key: &Bytes) -> Vec<Command> {
    let pattern = format!("{}:*", inner.probe_key).into();
    let mut commands = vec![
        Command::Get(key.clone()),
        Command::TrySet(key.clone()),
        Command::Unlink(vec![key.clone()]),
        Command::Scan(Box::new(Scan { cursor: "0".into(), pattern, count: 1 })),
        Command::Pttl(key.clone()),
        Command::Exists(key.clone()),
        Command::Strlen(key.clone()),
        // What a fence takes.
        Command::EvalSha(nothing(key)),
        Command::Eval(nothing(key)),
        Command::Pexpire(Box::new((key.clone(), Duration::from_millis(1)))),
        Command::ClientInfo,
        Command::Info("server"),
        // No connection ever has this number.
        Command::ClientKill { id: i64::MAX as u64, address: None },
    ];
    if inner.context.near.are_wanted() {
        // For a near cache, and for tokens once there was a call with tags. The connection that calls go by has no tracking.
        commands.push(Command::ClientTracking { on: false });
    }
    if role == Role::Standalone {
        commands.push(Command::MultiGet(vec![key.clone()]));
    } else {
        commands.extend([Command::ClusterSlots, Command::ClusterNodes]);
    }
    if role == Role::Replica {
        commands.push(Command::ReadOnly);
    }
    commands
}

/// A script that does nothing.
fn nothing(key: &Bytes) -> Box<ScriptCall> {
    static NOTHING: Script = Script::new("return 1");
    Box::new(ScriptCall { script: &NOTHING, keys: vec![key.clone()], args: Vec::new() })
}

/// Sent with a command behind it, because it changes what the next one means.
async fn lacks_asking(node: &Node, pool: &Arc<Pool>) -> bool {
    let commands = vec![Command::Asking, Command::Get(node.probe_key.clone())];
    let replies = node.watched(pool, pool.send_together(&node.probe_key, commands)).await;
    replies.is_ok_and(|replies| matches!(replies.first(), Some(Err(reply)) if reply.code == "NOPERM"))
}

/// Which program of which version, of the reply to INFO.
fn version_in(info: &str) -> Option<String> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let version = |program: &str, name: &str| Some(format!("{program} {}", field(name)?.trim()));
    version("Valkey", "valkey_version").or_else(|| version("Redis", "redis_version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valkey_is_not_reported_as_the_redis_that_it_emulates() {
        let redis = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n";
        assert_eq!(version_in(redis).as_deref(), Some("Redis 7.0.15"));
        let valkey = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.1\r\n";
        assert_eq!(version_in(valkey).as_deref(), Some("Valkey 8.1.1"));
        assert_eq!(version_in("# Server\r\n"), None);
    }
}
