//! Applies the settings to a builder, by the transitions and setters that code would call.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::kind::Typed;
use super::problems::Problem;
use super::schema::{self, DEFAULT_ENDPOINT, TOPOLOGIES};
use super::sealing::sealing;
use super::sources::{Sources, path_of, translated};
use super::walk::{DEFAULT, Found, Settings};
use crate::config::builder::CacheHouseBuilder;
use crate::config::endpoint::Endpoint;
use crate::config::file::{self, LOAD_PATIENCE, Size};
use crate::config::freshness::{are_crossed, not_below};
use crate::config::namespace::NamespaceOptions;
use crate::config::reconnect::Reconnect;
use crate::config::state::{Connects, Decided, Loaded};
use crate::config::tls::Tls;
use crate::policy::{FreshnessOverrides, Overrides};

/// The builder, unless something is wrong; that is added to the problems of the settings.
pub(super) fn apply(settings: &mut Settings) -> Option<CacheHouseBuilder<Loaded>> {
    let chosen: Vec<&str> = TOPOLOGIES.into_iter().filter(|name| settings.table(name).is_some()).collect();
    if chosen.len() > 1 {
        let mut places = chosen.iter().filter_map(|name| settings.table(name));
        let text = "are given, of which only one can say where to cache; keep one";
        let problem = Problem::new(chosen.join(", "), text, places.next().unwrap_or_default());
        settings.problems.push(places.fold(problem, Problem::and));
    }
    let builder = CacheHouseBuilder::new();
    let decided = match chosen[..] {
        ["memory"] => {
            let memory = settings.source("memory");
            let connection = settings.table("connection").filter(|place| *place != DEFAULT).map(String::from);
            let age = settings.is_given("fallback_max_age").then(|| settings.source("fallback_max_age"));
            let near = settings.table("near_cache").map(String::from);
            for (key, place, what) in [
                ("connection", connection, "to connect to"),
                ("fallback_max_age", age, "that could be away"),
                ("near_cache", near, "to be near to"),
            ] {
                let Some(place) = place else { continue };
                let text = format!("is set, but [memory] has no server {what}; remove one of the two");
                settings.problems.push(Problem::new(key, text, place).and(&memory));
            }
            Decided::Memory(builder.memory().into_state())
        }
        ["standalone"] => {
            let endpoint = required(settings, "standalone", "endpoint", |value| match value {
                Typed::Endpoint(endpoint) => Some(endpoint),
                _ => None,
            });
            let mut builder = connection(settings, builder.standalone(endpoint.unwrap_or_else(placeholder)));
            if let Some(database) = settings.count("standalone.database").and_then(|number| u8::try_from(number).ok()) {
                builder = builder.database(database);
            }
            Decided::Standalone(builder.into_state())
        }
        ["cluster"] => {
            let nodes = required(settings, "cluster", "nodes", |value| match value {
                Typed::Endpoints(nodes) => Some(nodes),
                _ => None,
            });
            let mut nodes = nodes.unwrap_or_default().into_iter();
            let first = nodes.next().unwrap_or_else(placeholder);
            let builder = connection(settings, builder.cluster(first));
            let on = settings.flag("cluster.read_from_replicas").unwrap_or(false);
            Decided::Cluster(nodes.fold(builder, CacheHouseBuilder::node).read_from_replicas(on).into_state())
        }
        _ => {
            let (mut first, mut more) = (placeholder(), Vec::new());
            if chosen.len() == 1 {
                if let Some(Typed::Endpoint(endpoint)) = settings.value("autodetect.endpoint") {
                    first = endpoint;
                }
                if let Some(Typed::Endpoints(nodes)) = settings.value("autodetect.nodes") {
                    more = nodes;
                }
            }
            let builder = connection(settings, builder.autodetect(first));
            Decided::Autodetect(more.into_iter().fold(builder, CacheHouseBuilder::node).into_state())
        }
    };
    check_timeouts(settings);
    let sealing = sealing(settings);
    let mut errors = Vec::new();
    let checked = decided.clone().into_topology(&mut errors);
    match common(settings, CacheHouseBuilder::new()).check_memory(!matches!(decided, Decided::Memory(_))) {
        Err(error) => errors.push(error),
        // Without a server it's what memory has room for.
        Ok(bytes) => {
            let default = settings.found.get_mut(&["max_value_bytes".to_owned()][..]);
            if let Some(found) = default.filter(|found| found.source == DEFAULT) {
                found.value = Typed::Size(bytes);
            }
        }
    }
    for error in errors {
        let Some(option) = error.option() else { continue };
        let path = path_of(option);
        let source = settings.source(path);
        settings.problems.push(translated(option, &error.problem(), path, &source));
    }
    if !settings.problems.is_empty() || checked.is_none() {
        return None;
    }
    let sources = Arc::new(Sources::of(|path| settings.source(path)));
    Some(common(settings, CacheHouseBuilder::new()).loaded_sealing(sealing).enter(Loaded { decided, sources }))
}

fn common(settings: &Settings, mut builder: CacheHouseBuilder) -> CacheHouseBuilder {
    if let Some(Typed::Text(namespace)) = settings.value("namespace") {
        builder = builder.namespace(namespace);
    }
    if let Some(Typed::Text(prefix)) = settings.value("key_prefix") {
        builder = builder.key_prefix(prefix);
    }
    if let Some(expire) = settings.time("expire") {
        builder = builder.expire(expire);
    }
    if let Some(codec) = settings.codec(&["codec"]) {
        builder = builder.shared_codec(codec);
    }
    if let Some(on) = settings.flag("fence") {
        builder = builder.fence(on);
    }
    if let Some(lease) = settings.time("lease") {
        builder = builder.lease(lease);
    }
    if let Some(version) = settings.count("version").and_then(as_version) {
        builder = builder.version(version);
    }
    let top = |key: &str| settings.get(key).filter(|found| found.source != DEFAULT);
    builder = builder.loaded_freshness(freshness(top));
    builder = tags_of(settings.get("tags")).iter().fold(builder, CacheHouseBuilder::tag);
    if let Some(on) = settings.flag("fallback_to_memory") {
        builder = builder.fallback_to_memory(on);
    }
    // Unset, it follows the bounds of memory.
    if let Some(bytes) = settings.count("max_value_bytes").filter(|_| settings.source("max_value_bytes") != DEFAULT) {
        builder = builder.max_value_bytes(bytes);
    }
    if let Some(entries) = settings.count("memory_tier.max_entries") {
        builder = builder.memory_max_entries(entries);
    }
    if let Some(bytes) = settings.count("memory_tier.max_bytes") {
        builder = builder.memory_max_bytes(bytes);
    }
    for path in settings.tables.keys() {
        let [first, name] = &path[..] else { continue };
        if first == schema::NAMESPACES {
            let at = |key: &str| [first.clone(), name.clone(), key.to_owned()];
            let found = |key: &str| settings.found.get(&at(key)[..]);
            let (expire, lease) = (time_of(found("expire")), time_of(found("lease")));
            let fence = match found("fence").map(|found| &found.value) {
                Some(Typed::Flag(on)) => Some(*on),
                _ => None,
            };
            let codec = settings.codec(&[first, name, "codec"]);
            let version = match found("version").map(|found| &found.value) {
                Some(Typed::Count(version)) => as_version(*version),
                _ => None,
            };
            let mut overrides = Overrides { expire, codec, fence, lease, version, rare: None };
            if let Some(freshness) = freshness(found) {
                *overrides.freshness_mut() = freshness;
            }
            tags_of(found("tags")).iter().for_each(|tag| overrides.add_tag(tag));
            builder = builder.namespace_options(name.as_str(), NamespaceOptions(overrides));
        }
    }
    builder
}

/// The options of freshness that `found` finds; `None` where it finds none, so that calls are spared the merging.
fn freshness<'a>(found: impl Fn(&str) -> Option<&'a Found>) -> Option<FreshnessOverrides> {
    let mut any = false;
    let mut given = |key: &str| found(key).inspect(|_| any = true);
    let overrides = FreshnessOverrides {
        jitter: time_of(given("jitter")),
        stale_while_revalidate: time_of(given("stale_while_revalidate")),
        stale_if_error: time_of(given("stale_if_error")),
        retry_after: time_of(given("retry_after")),
        refresh_early: match given("refresh_early").map(|found| &found.value) {
            Some(Typed::Number(beta)) => Some(*beta),
            _ => None,
        },
        soft_timeout: time_of(given("soft_timeout")),
        hard_timeout: time_of(given("hard_timeout")),
        max_staleness: time_of(given("max_staleness")),
    };
    any.then_some(overrides)
}

/// The bounds of the key leave nothing else.
fn as_version(number: u64) -> Option<u32> {
    number.try_into().ok()
}

fn time_of(found: Option<&Found>) -> Option<Duration> {
    match found?.value {
        Typed::Time(time) => Some(time),
        _ => None,
    }
}

fn tags_of(found: Option<&Found>) -> &[String] {
    match found.map(|found| &found.value) {
        Some(Typed::Tags(tags)) => tags,
        _ => &[],
    }
}

/// Adds a problem for each soft timeout that isn't below the hard one: at the top, and in each namespace that sets one of them.
fn check_timeouts(settings: &mut Settings) {
    let namespaces = settings.tables.keys().filter(|path| path.len() == 2 && path[0] == schema::NAMESPACES);
    let crossed: Vec<Problem> = std::iter::once(&Vec::new())
        .chain(namespaces)
        .filter_map(|table| {
            let at = |key: &str| table.iter().cloned().chain([key.to_owned()]).collect::<Vec<_>>();
            let find = |key: &str| {
                let top = vec![key.to_owned()];
                [at(key), top].into_iter().find_map(|path| settings.found.get_key_value(&path))
            };
            let is_own = |path: &[String]| path.len() > table.len();
            let ((soft_path, soft), (hard_path, hard)) = (find("soft_timeout")?, find("hard_timeout")?);
            let are_crossed = are_crossed(time_of(Some(soft))?, time_of(Some(hard))?);
            if !are_crossed || !(is_own(soft_path) || is_own(hard_path)) {
                return None;
            }
            let text = not_below(&soft.value, &format!("`{}`", schema::written(hard_path)), &hard.value);
            Some(Problem::new(schema::written(soft_path), text, &soft.source).and(&hard.source))
        })
        .collect();
    settings.problems.extend(crossed);
}

/// A key with a bad value has its problem already. It's replaced by a value that causes no second one.
fn connection<S: Connects>(settings: &mut Settings, mut builder: CacheHouseBuilder<S>) -> CacheHouseBuilder<S> {
    if let Some(Typed::Text(username)) = settings.value("connection.username") {
        builder = builder.username(username);
    }
    if settings.is_given("connection.password") && settings.is_given("connection.password_file") {
        let text = "is given, and so is `connection.password_file`; keep one";
        let (one, two) = (settings.source("connection.password"), settings.source("connection.password_file"));
        settings.problems.push(Problem::new("connection.password", text, one).and(two));
    }
    builder = match (settings.value("connection.password"), settings.value("connection.password_file")) {
        (Some(Typed::Secret(password)), _) => builder.password(password),
        (None, Some(Typed::File(path))) => builder.password_file(path),
        _ if settings.is_given("connection.password") || settings.is_given("connection.password_file") => {
            builder.password("-")
        }
        _ => builder,
    };
    if let Some(tls) = tls(settings) {
        builder = builder.tls(tls);
    }
    if let Some(timeout) = settings.time("connection.connect_timeout") {
        builder = builder.connect_timeout(timeout);
    }
    if let Some(timeout) = settings.time("connection.command_timeout") {
        builder = builder.command_timeout(timeout);
    }
    if let Some(connections) = settings.count("connection.pool_size") {
        builder = builder.pool_size(usize::try_from(connections).unwrap_or(usize::MAX));
    }
    if let Some(operations) = settings.count("connection.max_in_flight") {
        builder = builder.max_in_flight(usize::try_from(operations).unwrap_or(usize::MAX));
    }
    if let Some(limit) = settings.time("connection.wait_for_server") {
        builder = builder.wait_for_server(limit);
    }
    if let Some(age) = settings.time("fallback_max_age") {
        if settings.flag("fallback_to_memory") == Some(false) {
            let text =
                "is set, but `fallback_to_memory` is off, so nothing is served from memory; remove one of the two";
            let (one, two) = (settings.source("fallback_max_age"), settings.source("fallback_to_memory"));
            settings.problems.push(Problem::new("fallback_max_age", text, one).and(two));
        }
        builder = builder.fallback_max_age(age);
    }
    if settings.table("near_cache").is_some() {
        let max_staleness = required(settings, "near_cache", "max_staleness", |value| match value {
            Typed::Time(time) => Some(time),
            _ => None,
        });
        if settings.flag("fallback_to_memory") == Some(false) {
            let text = "is set, but the near cache keeps its copies in memory, which `fallback_to_memory` switches off; remove one of the two";
            let (one, two) = (settings.source("near_cache"), settings.source("fallback_to_memory"));
            settings.problems.push(Problem::new("near_cache", text, one).and(two));
        }
        if let Some(max_staleness) = max_staleness {
            builder = builder.near_cache(max_staleness);
        }
    }
    let (min, max) = ("connection.reconnect.min_delay", "connection.reconnect.max_delay");
    if let (Some(min), Some(max)) = (settings.time(min), settings.time(max)) {
        builder = builder.reconnect(Reconnect::default().min_delay(min).max_delay(max));
    }
    builder
}

fn tls(settings: &mut Settings) -> Option<Tls> {
    let path = |name: &str| format!("connection.tls.{name}");
    let mut file = |name: &str| {
        let Some(Typed::File(file)) = settings.value(&path(name)) else { return None };
        if let Err(problem) = file::read(&file, Size::Nothing, Instant::now() + LOAD_PATIENCE, LOAD_PATIENCE) {
            let problem = Problem::new(path(name), format!("{file:?} {problem}"), settings.source(&path(name)));
            settings.problems.push(problem);
        }
        Some(file)
    };
    let (ca, cert, key): (Option<PathBuf>, _, _) = (file("ca_file"), file("cert_file"), file("key_file"));
    for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
        if settings.is_given(&path(one)) && !settings.is_given(&path(other)) {
            let text = format!("is given without `{}`; accepts both or neither", path(other));
            settings.problems.push(Problem::new(path(one), text, settings.source(&path(one))));
        }
    }
    let mut tls = Tls::default();
    if let Some(ca) = ca {
        tls = tls.ca_file(ca);
    }
    if let (Some(cert), Some(key)) = (cert, key) {
        tls = tls.client_cert(cert, key);
    }
    if let (Some(endpoint), Some(false)) = (over_tls(settings), settings.flag("connection.tls")) {
        let own = settings.source("connection.tls");
        if own == "default" {
            // What is in effect is what the endpoint says.
            settings.put("connection.tls", Found { value: Typed::Flag(true), source: endpoint });
        } else {
            let text = "is false, but an endpoint asks for TLS by `rediss://`; keep one";
            settings.problems.push(Problem::new("connection.tls", text, own).and(endpoint));
        }
    }
    (settings.table("connection.tls").is_some() || settings.flag("connection.tls") == Some(true)).then_some(tls)
}

/// Where an endpoint was written that is reached by TLS.
fn over_tls(settings: &Settings) -> Option<String> {
    let is_over_tls = |path: &&str| match settings.value(path) {
        Some(Typed::Endpoint(endpoint)) => endpoint.tls,
        Some(Typed::Endpoints(nodes)) => nodes.iter().any(|node| node.tls),
        _ => false,
    };
    let paths = ["standalone.endpoint", "cluster.nodes", "autodetect.endpoint", "autodetect.nodes"];
    paths.into_iter().find(is_over_tls).map(|path| settings.source(path))
}

/// The one key that a table can't do without.
fn required<T>(settings: &mut Settings, table: &str, name: &str, of: impl FnOnce(Typed) -> Option<T>) -> Option<T> {
    let path = format!("{table}.{name}");
    if !settings.is_given(&path) {
        let accepts = schema::key_at(&[table, name]).map_or_else(String::new, |key| key.kind.accepts());
        let place = settings.table(table).unwrap_or_default().to_owned();
        settings.problems.push(Problem::new(&path, format!("is missing; accepts {accepts}"), place));
    }
    settings.value(&path).and_then(of)
}

/// An endpoint that causes no problem.
fn placeholder() -> Endpoint {
    DEFAULT_ENDPOINT.parse().expect("it's an endpoint")
}
