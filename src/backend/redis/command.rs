//! The commands that are sent to servers, and how each is handed to fred.

use std::time::Duration;

use bytes::Bytes;
use fred::error::Error as FredError;
use fred::interfaces::KeysInterface;
use fred::types::{ClusterHash, CustomCommand, Expiration, Key, SetOptions, Value};

use super::super::script::Script;

/// One command with its arguments. Not `Debug`: it holds keys and values. Large ones are boxed: the futures of callers hold several.
#[derive(Clone)]
pub(super) enum Command {
    /// Changes what the next command on the connection means.
    Asking,
    ClientInfo,
    /// Has the server report changes of what is read on the connection, or not any more.
    ClientTracking {
        on: bool,
    },
    /// Ends the connection of this number, if it comes from `address`.
    ClientKill {
        id: u64,
        address: Option<String>,
    },
    ClusterInfo,
    ClusterNodes,
    ClusterSlots,
    /// Runs a script by its source.
    Eval(Box<ScriptCall>),
    /// Runs a script that the server knows by its SHA-1.
    EvalSha(Box<ScriptCall>),
    Exists(Bytes),
    Get(Bytes),
    Hello,
    /// One section of INFO.
    Info(&'static str),
    /// Sets a key that doesn't exist, or reads the one that does. Servers before 7.0 refuse the combination.
    SetOrGet(Box<Set>),
    /// Gives a key another TTL.
    Pexpire(Box<(Bytes, Duration)>),
    MultiGet(Vec<Bytes>),
    /// What remains of a key's TTL, in milliseconds.
    Pttl(Bytes),
    /// Lets a replica answer for the slots of its primary.
    ReadOnly,
    Scan(Box<Scan>),
    Set(Box<Set>),
    /// The same where the key is free or holds a string, else refused with `WRONGTYPE`. Answers with the string.
    SetString(Box<Set>),
    Strlen(Bytes),
    /// `SET` of a key that doesn't exist, with `XX`: needs the permission, and sets nothing.
    TrySet(Bytes),
    Unlink(Vec<Bytes>),
}

/// A page of the server's keys.
#[derive(Clone)]
pub(super) struct Scan {
    pub(super) cursor: Bytes,
    pub(super) pattern: Bytes,
    pub(super) count: i64,
}

#[derive(Clone)]
pub(super) struct Set {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) ttl: Duration,
}

/// A script with its keys, all of one slot, and arguments.
#[derive(Clone)]
pub(super) struct ScriptCall {
    pub(super) script: &'static Script,
    pub(super) keys: Vec<Bytes>,
    pub(super) args: Vec<Bytes>,
}

impl Command {
    /// As it stands in a rule of `ACL SETUSER`.
    pub(super) fn acl_name(&self) -> &'static str {
        match self {
            Self::Asking => "asking",
            Self::ClientInfo => "client|info",
            Self::ClientTracking { .. } => "client|tracking",
            Self::ClientKill { .. } => "client|kill",
            Self::ClusterInfo => "cluster|info",
            Self::ClusterNodes => "cluster|nodes",
            Self::ClusterSlots => "cluster|slots",
            Self::Eval(_) => "eval",
            Self::EvalSha(_) => "evalsha",
            Self::Exists(_) => "exists",
            Self::Get(_) => "get",
            Self::Hello => "hello",
            Self::Info(_) => "info",
            Self::MultiGet(_) => "mget",
            Self::Pexpire(_) => "pexpire",
            Self::Pttl(_) => "pttl",
            Self::ReadOnly => "readonly",
            Self::Scan(_) => "scan",
            Self::Set(_) | Self::SetOrGet(_) | Self::SetString(_) | Self::TrySet(_) => "set",
            Self::Strlen(_) => "strlen",
            Self::Unlink(_) => "unlink",
        }
    }

    /// Whether it asks what is there under a key.
    pub(super) fn is_read(&self) -> bool {
        matches!(self, Self::Exists(_) | Self::Get(_) | Self::MultiGet(_) | Self::Pttl(_))
    }

    /// Whether a cache can't do without it.
    pub(super) fn is_essential(&self) -> bool {
        matches!(self, Self::Get(_) | Self::Set(_) | Self::SetString(_) | Self::TrySet(_) | Self::Unlink(_))
    }

    /// Whether fred may write it to the socket together with other commands. fred writes a custom command at once, by itself, so
    /// frequent commands use fred's own methods.
    pub(super) fn is_batched(&self) -> bool {
        let is_set = matches!(self, Self::Set(_) | Self::SetOrGet(_) | Self::SetString(_));
        is_set || matches!(self, Self::Get(_) | Self::MultiGet(_) | Self::Pttl(_) | Self::Unlink(_))
    }

    /// Sends it, or queues it where `client` is a pipeline.
    pub(super) async fn call<C: KeysInterface + Sync>(self, client: &C) -> Result<Value, FredError> {
        let keys = |keys: Vec<Bytes>| keys.into_iter().map(Key::from).collect::<Vec<_>>();
        match self {
            Self::Get(key) => client.get(key).await,
            Self::MultiGet(all) => client.mget(keys(all)).await,
            Self::Pttl(key) => client.pttl(key).await,
            Self::Unlink(all) => client.unlink(keys(all)).await,
            Self::Set(set) => set.call(client, None, false).await,
            Self::SetOrGet(set) => set.call(client, Some(SetOptions::NX), true).await,
            Self::SetString(set) => set.call(client, None, true).await,
            other => {
                let (command, args) = other.into_custom();
                client.custom(command, args).await
            }
        }
    }

    /// The command as a custom command of fred's, and its arguments.
    pub(super) fn into_custom(self) -> (CustomCommand, Vec<Value>) {
        let bytes = |keys: Vec<Bytes>| keys.into_iter().map(Value::Bytes).collect();
        let (name, args): (_, Vec<Value>) = match self {
            Self::Asking => ("ASKING", Vec::new()),
            Self::ClientInfo => ("CLIENT", vec!["INFO".into()]),
            Self::ClientTracking { on } => ("CLIENT", vec!["TRACKING".into(), if on { "ON" } else { "OFF" }.into()]),
            Self::ClientKill { id, address } => {
                let mut args = vec!["KILL".into(), "ID".into(), id.to_string().into()];
                args.extend(address.into_iter().flat_map(|address| ["ADDR".into(), address.into()]));
                ("CLIENT", args)
            }
            Self::ClusterInfo => ("CLUSTER", vec!["INFO".into()]),
            Self::ClusterNodes => ("CLUSTER", vec!["NODES".into()]),
            Self::ClusterSlots => ("CLUSTER", vec!["SLOTS".into()]),
            Self::Eval(call) => ("EVAL", eval(call.script.source().into(), *call)),
            Self::EvalSha(call) => ("EVALSHA", eval(call.script.sha1().into(), *call)),
            Self::Exists(key) => ("EXISTS", vec![Value::Bytes(key)]),
            Self::Get(key) => ("GET", vec![Value::Bytes(key)]),
            Self::Hello => ("HELLO", Vec::new()),
            Self::Info(section) => ("INFO", vec![section.into()]),
            Self::MultiGet(keys) => ("MGET", bytes(keys)),
            Self::Pexpire(pexpire) => {
                let (key, ttl) = *pexpire;
                ("PEXPIRE", vec![Value::Bytes(key), millis(ttl).into()])
            }
            Self::Pttl(key) => ("PTTL", vec![Value::Bytes(key)]),
            Self::ReadOnly => ("READONLY", Vec::new()),
            Self::Scan(scan) => {
                let Scan { cursor, pattern, count } = *scan;
                ("SCAN", vec![cursor.into(), "MATCH".into(), pattern.into(), "COUNT".into(), count.into()])
            }
            Self::Set(set) => ("SET", set.args(&[])),
            Self::SetOrGet(set) => ("SET", set.args(&["NX", "GET"])),
            Self::SetString(set) => ("SET", set.args(&["GET"])),
            Self::Strlen(key) => ("STRLEN", vec![Value::Bytes(key)]),
            Self::TrySet(key) => ("SET", vec![Value::Bytes(key), "".into(), "XX".into(), "PX".into(), 1.into()]),
            Self::Unlink(keys) => ("UNLINK", bytes(keys)),
        };
        (CustomCommand::new_static(name, ClusterHash::FirstKey, false), args)
    }
}

impl Set {
    async fn call<C: KeysInterface + Sync>(
        self,
        client: &C,
        options: Option<SetOptions>,
        get: bool,
    ) -> Result<Value, FredError> {
        client.set(self.key, Value::Bytes(self.value), Some(Expiration::PX(millis(self.ttl))), options, get).await
    }

    /// As a custom command's arguments, with these words.
    fn args(self, words: &[&'static str]) -> Vec<Value> {
        let mut args = vec![Value::Bytes(self.key), Value::Bytes(self.value)];
        args.extend(words.iter().map(|word| Value::from_static_str(word)));
        args.extend(["PX".into(), millis(self.ttl).into()]);
        args
    }
}

/// The arguments of EVAL and EVALSHA.
fn eval(script: Value, call: ScriptCall) -> Vec<Value> {
    let ScriptCall { keys, args, .. } = call;
    let count = keys.len().to_string().into();
    [script, count].into_iter().chain(keys.into_iter().chain(args).map(Value::Bytes)).collect()
}

/// Whole milliseconds, at least one, at most what a server can add to the time.
pub(super) fn millis(ttl: Duration) -> i64 {
    const LONGEST: u128 = 1_000_000_000_000_000;
    i64::try_from(ttl.as_nanos().div_ceil(1_000_000).clamp(1, LONGEST)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: Command) -> Vec<String> {
        let (command, args) = command.into_custom();
        let args = args.iter().map(|arg| arg.as_string().expect("it's a text or a number"));
        [command.cmd.to_string()].into_iter().chain(args).collect()
    }

    #[test]
    fn arguments_stand_in_the_order_in_which_a_server_reads_them() {
        let key = || Bytes::from_static(b"k");
        let ttl = Duration::from_micros(1_500);
        assert_eq!(
            words(Command::Set(Box::new(Set { key: key(), value: "v".into(), ttl }))),
            ["SET", "k", "v", "PX", "2"]
        );
        assert_eq!(words(Command::TrySet(key())), ["SET", "k", "", "XX", "PX", "1"]);
        let scan = Command::Scan(Box::new(Scan { cursor: "0".into(), pattern: "p:*".into(), count: 4 }));
        assert_eq!(words(scan), ["SCAN", "0", "MATCH", "p:*", "COUNT", "4"]);
        let kill = |address| Command::ClientKill { id: 7, address };
        assert_eq!(words(kill(None)), ["CLIENT", "KILL", "ID", "7"]);
        assert_eq!(words(kill(Some("a:1".into()))), ["CLIENT", "KILL", "ID", "7", "ADDR", "a:1"]);
        assert_eq!(words(Command::Unlink(vec![key(), "l".into()])), ["UNLINK", "k", "l"]);
        static ONE: Script = Script::new("return 1");
        let call = || Box::new(ScriptCall { script: &ONE, keys: vec![key(), "l".into()], args: vec!["a".into()] });
        let by_source = Command::Eval(call());
        assert_eq!(words(by_source), ["EVAL", "return 1", "2", "k", "l", "a"]);
        let by_sha1 = Command::EvalSha(call());
        assert_eq!(words(by_sha1), ["EVALSHA", ONE.sha1(), "2", "k", "l", "a"]);
    }

    #[test]
    fn a_command_is_small() {
        assert!(size_of::<Command>() <= 40, "{}", size_of::<Command>());
    }

    #[test]
    fn a_ttl_is_at_least_a_millisecond_and_what_a_server_can_add() {
        assert_eq!(millis(Duration::from_nanos(1)), 1);
        assert_eq!(millis(Duration::from_millis(7)), 7);
        assert_eq!(millis(Duration::MAX), 1_000_000_000_000_000);
    }
}
