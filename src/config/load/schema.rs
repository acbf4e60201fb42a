//! The one table of keys: what may be set from outside, and what it means. Errors, defaults, what is shown and the table in
//! `docs/configuration.md` come from it, or are checked against it.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::limits;

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// From the root, with dots; `*` is any name.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// As a file would say it; empty where there is none.
    pub(super) default: &'static str,
    /// For the table of keys, as the tests check it.
    #[cfg_attr(
        not(all(test, feature = "messagepack")),
        expect(dead_code, reason = "the table in the documentation is checked against it")
    )]
    pub(super) meaning: &'static str,
}

/// What a key accepts.
#[derive(Debug)]
pub(super) enum Kind {
    Text,
    Endpoint,
    Endpoints,
    Tags,
    Time(RangeInclusive<Duration>),
    Size(RangeInclusive<u64>),
    Count(RangeInclusive<u64>),
    Number(RangeInclusive<f64>),
    Flag,
    Codec,
    Secret,
    Secrets,
    File,
    Files,
}

impl Kind {
    pub(super) fn is_list(&self) -> bool {
        matches!(self, Self::Endpoints | Self::Tags | Self::Secrets | Self::Files)
    }
}

/// The tables of which exactly one says where to cache.
pub(super) const TOPOLOGIES: [&str; 4] = ["standalone", "cluster", "autodetect", "memory"];

/// The topology where none is named.
pub(super) const DEFAULT_ENDPOINT: &str = "localhost:6379";

/// The table whose tables are called as users like.
pub(super) const NAMESPACES: &str = "namespaces";

const fn key(path: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key { path, kind, default, meaning }
}

pub(super) static KEYS: [Key; 62] = [
    key("namespace", Kind::Text, "\"main\"", "the namespace of calls that name none"),
    key("key_prefix", Kind::Text, "\"cachehouse\"", "what every key on the server begins with"),
    key("expire", Kind::Time(limits::EXPIRE), "\"3m\"", "the TTL of values whose call sets none"),
    key("codec", Kind::Codec, "\"json\"", "the format of values whose call sets none"),
    key(
        "fence",
        Kind::Flag,
        "true",
        "whether a value isn't stored if another process invalidated its key while the work ran",
    ),
    key(
        "lease",
        Kind::Time(limits::LEASE),
        "",
        "how long a miss waits for the process that is computing its value, before it computes it too",
    ),
    key(
        "version",
        Kind::Count(limits::VERSION),
        "0",
        "the version of the values' types, part of every key unless it's 0",
    ),
    key("jitter", Kind::Time(limits::FRESHNESS), "", "up to how much is taken off the TTL of each entry, at random"),
    key(
        "stale_while_revalidate",
        Kind::Time(limits::FRESHNESS),
        "",
        "how long after `expire` an old value is served while one caller renews it",
    ),
    key(
        "stale_if_error",
        Kind::Time(limits::FRESHNESS),
        "",
        "how long after `expire` an old value is served where the work fails or takes too long",
    ),
    key(
        "retry_after",
        Kind::Time(limits::RETRY_AFTER),
        "\"1s\"",
        "the pause after failed work, while an old value is served",
    ),
    key(
        "refresh_early",
        Kind::Number(limits::REFRESH_EARLY),
        "",
        "beta of XFetch: values are renewed before they expire, the larger it is the earlier; 1.0 is the paper's",
    ),
    key(
        "soft_timeout",
        Kind::Time(limits::FRESHNESS),
        "",
        "how long the work is waited for while an old value is there to serve; below `hard_timeout`",
    ),
    key(
        "hard_timeout",
        Kind::Time(limits::FRESHNESS),
        "",
        "how long the work may take before its key is free for the next caller",
    ),
    key(
        "max_staleness",
        Kind::Time(limits::FRESHNESS),
        "",
        "how old an answer of the near cache may be, its own bound unless given; zero asks the server, and without a near cache it has \
         no effect",
    ),
    key(
        "tags",
        Kind::Tags,
        "",
        "tags of all calls, beside their own and their namespaces'; calls with a tag are invalidated together",
    ),
    key("fallback_to_memory", Kind::Flag, "true", "whether memory serves while the server is away"),
    key(
        "fallback_max_age",
        Kind::Time(limits::FALLBACK_MAX_AGE),
        "",
        "for how long after the server confirmed a copy memory serves it in an outage",
    ),
    key(
        "max_value_bytes",
        Kind::Size(limits::MAX_VALUE_BYTES),
        "\"16MiB\"",
        "the largest encoded value that is stored; a larger one is returned and not stored. Memory has to have room for it, which \
         without a server may make the default smaller",
    ),
    key("standalone.endpoint", Kind::Endpoint, "", "one server; has to be given in this table"),
    key("standalone.database", Kind::Count(limits::DATABASE), "0", "the number of the database"),
    key("cluster.nodes", Kind::Endpoints, "", "nodes of a cluster to begin with; has to be given in this table"),
    key("cluster.read_from_replicas", Kind::Flag, "false", "whether values are read from replicas too"),
    key(
        "autodetect.endpoint",
        Kind::Endpoint,
        "\"localhost:6379\"",
        "a server or a node of a cluster, whichever answers",
    ),
    key("autodetect.nodes", Kind::Endpoints, "", "more nodes, tried where the first doesn't answer"),
    key("connection.username", Kind::Text, "", "the user to log in as; needs a password"),
    key("connection.password", Kind::Secret, "", "the password, taken literally"),
    key(
        "connection.password_file",
        Kind::File,
        "",
        "a file that holds the password, read at each connect; one line break at its end doesn't count",
    ),
    key(
        "connection.connect_timeout",
        Kind::Time(limits::CONNECT_TIMEOUT),
        "\"5s\"",
        "how long one attempt to connect may take; no call waits for it",
    ),
    key(
        "connection.command_timeout",
        Kind::Time(limits::COMMAND_TIMEOUT),
        "\"250ms\"",
        "how long a call may wait for one operation of the server",
    ),
    key(
        "connection.wait_for_server",
        Kind::Time(limits::WAIT_FOR_SERVER),
        "\"0s\"",
        "how long the first call waits for the first connection, once; for programs that end soon",
    ),
    key("connection.pool_size", Kind::Count(limits::POOL_SIZE), "1", "connections to each server"),
    key(
        "connection.max_in_flight",
        Kind::Count(limits::MAX_IN_FLIGHT),
        "4096",
        "operations that may wait for the server at once; beyond it calls go to memory or to their work",
    ),
    key(
        "connection.tls",
        Kind::Flag,
        "false",
        "encrypts, trusting the system's authorities; or a table with the next three keys, which encrypts too",
    ),
    key("connection.tls.ca_file", Kind::File, "", "trusts the authorities in this PEM file and no others"),
    key("connection.tls.cert_file", Kind::File, "", "the PEM file of our own certificate; needs `key_file`"),
    key("connection.tls.key_file", Kind::File, "", "the PEM file of its private key; needs `cert_file`"),
    key(
        "connection.reconnect.min_delay",
        Kind::Time(limits::RECONNECT_DELAY),
        "\"50ms\"",
        "the first delay between attempts to reconnect; it doubles from there",
    ),
    key(
        "connection.reconnect.max_delay",
        Kind::Time(limits::RECONNECT_DELAY),
        "\"2s\"",
        "the longest delay, at least `min_delay`",
    ),
    key(
        "near_cache.max_staleness",
        Kind::Time(limits::NEAR_CACHE),
        "",
        "turns the near cache on: how old an answer may be that memory gives without asking the server; has to be given in this table",
    ),
    key(
        "compression.enabled",
        Kind::Flag,
        "",
        "true, as the table by itself, compresses values on their way to a server by LZ4; false turns off what is set up elsewhere",
    ),
    key(
        "compression.min_size",
        Kind::Size(limits::COMPRESSION_MIN_SIZE),
        "",
        "the smallest encoded value that is compressed; 1KiB unless given",
    ),
    key(
        "encryption.key",
        Kind::Secret,
        "",
        "turns encryption on, by AES-256-GCM, of values on their way to a server: 32 random bytes as base64 or as 64 hexadecimal \
         digits; this or `key_file` has to be given in this table",
    ),
    key(
        "encryption.key_file",
        Kind::File,
        "",
        "a file that holds the key, in place of `key`; read once, when the configuration is loaded",
    ),
    key("encryption.previous_keys", Kind::Secrets, "", "keys that values are read with, but not written"),
    key("encryption.previous_key_files", Kind::Files, "", "files that hold such keys, one each"),
    key(
        "memory_tier.max_entries",
        Kind::Count(limits::MEMORY_MAX_ENTRIES),
        "10000",
        "entries that memory holds at most",
    ),
    key("memory_tier.max_bytes", Kind::Size(limits::MEMORY_MAX_BYTES), "\"64MiB\"", "bytes that memory holds at most"),
    key(
        "namespaces.*.expire",
        Kind::Time(limits::EXPIRE),
        "",
        "the TTL of this namespace's values whose call sets none",
    ),
    key("namespaces.*.codec", Kind::Codec, "", "the format of this namespace's values whose call sets none"),
    key(
        "namespaces.*.fence",
        Kind::Flag,
        "",
        "whether a value isn't stored if another process invalidated its key while the work ran, for calls of this namespace",
    ),
    key(
        "namespaces.*.lease",
        Kind::Time(limits::LEASE),
        "",
        "how long a miss waits for the process that is computing its value, before it computes it too, for calls of this namespace",
    ),
    key(
        "namespaces.*.version",
        Kind::Count(limits::VERSION),
        "",
        "the version of the types of this namespace's values, part of their keys unless it's 0",
    ),
    key(
        "namespaces.*.jitter",
        Kind::Time(limits::FRESHNESS),
        "",
        "up to how much is taken off the TTL of each entry, at random, for calls of this namespace",
    ),
    key(
        "namespaces.*.stale_while_revalidate",
        Kind::Time(limits::FRESHNESS),
        "",
        "how long after `expire` an old value is served while one caller renews it, for calls of this namespace",
    ),
    key(
        "namespaces.*.stale_if_error",
        Kind::Time(limits::FRESHNESS),
        "",
        "how long after `expire` an old value is served where the work fails or takes too long, for calls of this namespace",
    ),
    key(
        "namespaces.*.retry_after",
        Kind::Time(limits::RETRY_AFTER),
        "",
        "the pause after failed work, while an old value is served, for calls of this namespace",
    ),
    key(
        "namespaces.*.refresh_early",
        Kind::Number(limits::REFRESH_EARLY),
        "",
        "beta of XFetch: values are renewed before they expire, the larger it is the earlier; 1.0 is the paper's, for calls of this namespace",
    ),
    key(
        "namespaces.*.soft_timeout",
        Kind::Time(limits::FRESHNESS),
        "",
        "how long the work is waited for while an old value is there to serve; below `hard_timeout`, for calls of this namespace",
    ),
    key(
        "namespaces.*.hard_timeout",
        Kind::Time(limits::FRESHNESS),
        "",
        "how long the work may take before its key is free for the next caller, for calls of this namespace",
    ),
    key(
        "namespaces.*.max_staleness",
        Kind::Time(limits::FRESHNESS),
        "",
        "how old an answer of the near cache may be, for calls of this namespace; zero asks the server",
    ),
    key("namespaces.*.tags", Kind::Tags, "", "tags of this namespace's calls, beside their own and the handle's"),
];

/// The names of the keys that a namespace has.
pub(super) fn of_namespaces() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter_map(|key| key.path.strip_prefix(NAMESPACES)?.strip_prefix(".*."))
}

/// The key at this path.
pub(super) fn key_at<S: AsRef<str>>(path: &[S]) -> Option<&'static Key> {
    KEYS.iter().find(|key| starts_with(key.path, path) && key.path.split('.').count() == path.len())
}

/// Whether there may be a table at this path.
pub(super) fn is_table<S: AsRef<str>>(path: &[S]) -> bool {
    let is_memory = path.len() == 1 && path[0].as_ref() == "memory";
    is_memory || KEYS.iter().any(|key| starts_with(key.path, path) && key.path.split('.').count() > path.len())
}

/// Whether the key at `path` has a default that doesn't depend on the topology.
pub(super) fn has_default(key: &Key) -> bool {
    let table = key.path.split('.').next().unwrap_or_default();
    !key.default.is_empty() && !TOPOLOGIES.contains(&table)
}

fn starts_with<S: AsRef<str>>(pattern: &str, path: &[S]) -> bool {
    let mut parts = pattern.split('.');
    path.iter().all(|name| parts.next().is_some_and(|part| part == "*" || part == name.as_ref()))
}

/// The path as a file would have it.
pub(super) fn written<S: AsRef<str>>(path: &[S]) -> String {
    let is_bare = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    let name = |name: &S| {
        let name = name.as_ref();
        if is_bare(name) { name.to_owned() } else { format!("{name:?}") }
    };
    path.iter().map(name).collect::<Vec<_>>().join(".")
}

/// What every variable begins with, in whatever case.
pub(super) const VARIABLE_PREFIX: &str = "CACHEHOUSE_";

/// The variable for the key at this path.
pub(super) fn variable<S: AsRef<str>>(path: &[S]) -> String {
    let path: Vec<_> = path.iter().map(|name| name.as_ref().to_uppercase()).collect();
    format!("{VARIABLE_PREFIX}{}", path.join("__"))
}
