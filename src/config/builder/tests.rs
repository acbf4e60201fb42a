use std::time::Duration;

use crate::codec::{Codec, CodecError, erased_serde};
use crate::config::NamespaceOptions;
use crate::config::limits::MIB;
use crate::config::secret::Password;
use crate::config::{Address, Buildable, Checked, ConnectionSettings, Expected, Reconnect, Standalone, Tls, Topology};
use crate::key::KeyContext;
use crate::policy::{Freshness, Policy};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn builder() -> CacheHouseBuilder {
    CacheHouseBuilder::new()
}

fn memory() -> CacheHouseBuilder<Memory> {
    builder().memory()
}

fn standalone() -> CacheHouseBuilder<Standalone> {
    builder().standalone("localhost")
}

fn at(url: &str) -> CacheHouseBuilder<Standalone> {
    builder().standalone(url)
}

#[track_caller]
fn config(builder: CacheHouseBuilder<impl Buildable>) -> Checked {
    builder.into_config().expect("the options are valid")
}

#[track_caller]
fn connection(builder: CacheHouseBuilder<impl Buildable>) -> ConnectionSettings {
    match config(builder).topology {
        Topology::Server(connection) => *connection,
        other => panic!("{other:?} has no connection"),
    }
}

fn shown(password: &Password) -> String {
    password.read(Duration::from_secs(30)).expect("it can be read").expose().to_owned()
}

/// What `build()` says.
#[track_caller]
fn refused(builder: CacheHouseBuilder<impl Buildable>) -> String {
    let error = builder.into_config().expect_err("an option is bad");
    assert!(error.is_config(), "{error:?}");
    error.to_string()
}

#[test]
fn every_option_has_its_documented_default() {
    let config = config(memory());
    assert_eq!((config.scope.prefix(), config.scope.namespace()), ("cachehouse", "main"));
    let policy = Policy::of_handle(&config.overrides);
    assert_eq!(policy.expire, 180 * SECOND);
    assert!(policy.codec.same_as(&SharedCodec::new(crate::codec::Json)));
    assert!(config.key_builder.is_none());
    assert!(config.fallback_to_memory);
    assert_eq!((config.memory.max_entries, config.memory.max_bytes), (10_000, 64 * MIB));
    assert_eq!(config.memory.max_value_bytes, 16 * MIB);

    let connection = connection(standalone());
    assert_eq!(connection.seeds[0].to_string(), "localhost:6379");
    assert_eq!(connection.expected, Expected::Standalone { database: 0 });
    assert!(connection.login.is_none() && connection.tls.is_none());
    assert_eq!(connection.connect_timeout, 5 * SECOND);
    assert_eq!(connection.command_timeout, Duration::from_millis(250));
    assert_eq!((connection.pool_size, connection.max_in_flight), (1, 4096));
    assert_eq!(connection.reconnect.min_delay, Duration::from_millis(50));
    assert_eq!(connection.reconnect.max_delay, 2 * SECOND);
}

#[test]
fn every_option_arrives_whether_it_stands_before_or_after_the_topology() {
    let common = |config: Checked| {
        assert_eq!((config.scope.prefix(), config.scope.namespace()), ("p", "n"));
        let policy = Policy::of_handle(&config.overrides);
        assert_eq!(policy.expire, SECOND);
        assert!(!policy.codec.same_as(&SharedCodec::default()));
        assert!(config.key_builder.is_some());
        assert!(!config.fallback_to_memory);
        assert_eq!((config.memory.max_entries, config.memory.max_bytes, config.memory.max_value_bytes), (7, 4096, 99));
    };
    fn set<S>(builder: CacheHouseBuilder<S>) -> CacheHouseBuilder<S> {
        builder
            .namespace("n")
            .key_prefix("p")
            .expire(SECOND)
            .codec(Custom)
            .key_builder(|cx: &KeyContext<'_>| cx.scoped("k"))
            .fallback_to_memory(false)
            .memory_max_entries(7)
            .memory_max_bytes(4096)
            .max_value_bytes(99)
    }
    common(config(set(builder()).standalone("h")));
    common(config(set(builder().standalone("h"))));
    common(config(set(builder()).memory()));
    common(config(set(builder().memory())));
}

#[test]
fn every_connection_option_arrives() {
    let chain = standalone()
        .database(255)
        .username("app")
        .password("hunter2")
        .connect_timeout(3 * SECOND)
        .command_timeout(2 * SECOND)
        .pool_size(4)
        .max_in_flight(9)
        .wait_for_server(4 * SECOND)
        .reconnect(Reconnect::default().min_delay(SECOND).max_delay(SECOND));
    let connection = connection(chain);
    let login = connection.login.expect("a login was given");
    assert_eq!((login.username.as_deref(), shown(&login.password)), (Some("app"), "hunter2".into()));
    assert_eq!(connection.expected, Expected::Standalone { database: 255 });
    assert_eq!((connection.connect_timeout, connection.command_timeout), (3 * SECOND, 2 * SECOND));
    assert_eq!((connection.pool_size, connection.max_in_flight), (4, 9));
    assert_eq!(connection.wait_for_server, 4 * SECOND);
    assert_eq!((connection.reconnect.min_delay, connection.reconnect.max_delay), (SECOND, SECOND));
}

#[test]
fn what_a_url_says_arrives() {
    let from_url = connection(at("redis://app:hunter2@h:7000/3"));
    let login = from_url.login.expect("the URL has a login");
    assert_eq!((login.username.as_deref(), shown(&login.password)), (Some("app"), "hunter2".into()));
    assert_eq!(from_url.expected, Expected::Standalone { database: 3 });
    assert_eq!(from_url.seeds[0].address, Address::Tcp { host: "h".into(), port: 7000 });

    let mixed = connection(at("redis://app@h").password("hunter2").database(4));
    let login = mixed.login.expect("the user is in the URL, the password beside it");
    assert_eq!((login.username.as_deref(), shown(&login.password)), (Some("app"), "hunter2".into()));
    assert_eq!(mixed.expected, Expected::Standalone { database: 4 });

    let default_user = connection(at("redis://:hunter2@h")).login.expect("a password alone is a login");
    assert_eq!((default_user.username, shown(&default_user.password)), (None, "hunter2".into()));
}

#[cfg(feature = "tls")]
#[test]
fn a_rediss_url_encrypts_with_the_systems_roots_by_default() {
    assert_eq!(connection(at("rediss://h")).tls, Some(Tls::default()));
    assert_eq!(connection(at("redis://h")).tls, None);
    let own = Tls::default().ca_file("ca.pem");
    assert_eq!(connection(at("rediss://h").tls(own.clone())).tls, Some(own.clone()));
    assert_eq!(connection(at("redis://h").tls(own.clone())).tls, Some(own));
}

#[cfg(not(feature = "tls"))]
#[test]
fn encryption_needs_its_feature() {
    for chain in [at("rediss://h"), standalone().tls(Tls::default())] {
        assert!(refused(chain).starts_with("tls: isn't in this build; turn on the feature `tls`"));
    }
}

#[test]
fn a_bad_endpoint_is_kept_and_goes_before_every_other_bad_option() {
    let chain = || builder().standalone("h:port");
    assert!(refused(chain()).starts_with("standalone: \"h:***\" has a port that is no number"));
    assert!(refused(chain().expire(Duration::ZERO).pool_size(0)).starts_with("standalone: "));
    assert!(refused(builder().namespace("").standalone("h:port")).starts_with("standalone: "));
}

#[test]
fn a_bad_common_option_names_itself_and_what_it_accepts() {
    let entries = "accepts 1 to 4294967296";
    let bytes = "accepts 1024 to 1125899906842624";
    let value_bytes = "accepts 1 to 536870912";
    let text = "is empty; accepts a text of at least one character";
    for (chain, expected) in [
        (memory().namespace(""), format!("namespace: {text}")),
        (memory().key_prefix(""), format!("key_prefix: {text}")),
        (memory().memory_max_entries(0), format!("memory_max_entries: is 0; {entries}")),
        (memory().memory_max_entries(u64::MAX), format!("memory_max_entries: is {}; {entries}", u64::MAX)),
        (memory().memory_max_entries((1 << 32) + 1), format!("memory_max_entries: is 4294967297; {entries}")),
        (memory().memory_max_bytes(0), format!("memory_max_bytes: is 0; {bytes}")),
        (memory().memory_max_bytes(1023), format!("memory_max_bytes: is 1023; {bytes}")),
        (memory().memory_max_bytes(u64::MAX), format!("memory_max_bytes: is {}; {bytes}", u64::MAX)),
        (memory().max_value_bytes(0), format!("max_value_bytes: is 0; {value_bytes}")),
        (memory().max_value_bytes(512 * MIB + 1), format!("max_value_bytes: is 536870913; {value_bytes}")),
    ] {
        assert_eq!(refused(chain), expected);
    }
    let expire = refused(memory().expire(Duration::ZERO));
    assert!(expire.starts_with("expire: is zero") && expire.contains("accepts any longer time"), "{expire}");
}

#[test]
fn the_age_of_copies_needs_copies() {
    let minute = Duration::from_secs(60);
    assert_eq!(connection(standalone().fallback_max_age(minute)).fallback_max_age, Some(minute));
    let none = refused(standalone().fallback_max_age(Duration::ZERO));
    assert!(none.starts_with("fallback_max_age: is 0ns; accepts 1ms to "), "{none}");
    let off = refused(standalone().fallback_max_age(minute).fallback_to_memory(false));
    assert!(off.starts_with("fallback_max_age: is set, but `.fallback_to_memory(…)` is off"), "{off}");
}

#[test]
fn the_near_cache_is_off_unless_set_and_needs_memory() {
    assert_eq!(connection(standalone()).near_cache, None);
    let replicas = builder().cluster("a").read_from_replicas(true).near_cache(SECOND);
    for set in [connection(standalone().near_cache(SECOND)), connection(replicas)] {
        assert_eq!(set.near_cache, Some(SECOND));
    }
    for bound in [Duration::from_millis(10), 3600 * SECOND] {
        assert_eq!(connection(builder().autodetect("h").near_cache(bound)).near_cache, Some(bound));
    }
    let told = [
        refused(standalone().near_cache(Duration::from_millis(10) - Duration::from_nanos(1))),
        refused(standalone().near_cache(3600 * SECOND + Duration::from_nanos(1))),
        refused(standalone().near_cache(SECOND).fallback_to_memory(false)),
    ];
    insta::assert_snapshot!(told.join("\n"), @"
    near_cache: is 9.999999ms; accepts 10ms to 3600s
    near_cache: is 3600.000000001s; accepts 10ms to 3600s
    near_cache: is set, but the near cache keeps its copies in memory, which `.fallback_to_memory(…)` switches off; remove one of the two
    ");
}

#[test]
fn a_value_that_memory_has_no_room_for_is_not_accepted_as_the_largest() {
    let room = refused(memory().max_value_bytes(64 * MIB));
    let expected = "max_value_bytes: is 67108864, but 67108864 bytes of memory have room for values of 67108096; accepts up to that, \
        a larger `.memory_max_bytes(…)`";
    assert_eq!(room, expected);
    let beside = refused(standalone().max_value_bytes(32 * MIB));
    let expected = "max_value_bytes: is 33554432, but 67108864 bytes of memory have room for values of 33554048, encoded and decoded; \
        accepts up to that, a larger `.memory_max_bytes(…)`, or `.fallback_to_memory(…)` off";
    assert_eq!(beside, expected);
    for set_first in [true, false] {
        let chain = || memory().memory_max_bytes(4096);
        let chain = if set_first {
            chain().max_value_bytes(4096)
        } else {
            memory().max_value_bytes(4096).memory_max_bytes(4096)
        };
        assert!(refused(chain).starts_with("max_value_bytes: is 4096, but 4096 bytes of memory"));
    }
    config(memory().max_value_bytes(64 * MIB).memory_max_bytes(65 * MIB));
    config(standalone().max_value_bytes(32 * MIB).memory_max_bytes(65 * MIB));
    // Where no value is kept in memory, there is nothing to have room for it.
    config(standalone().max_value_bytes(512 * MIB).fallback_to_memory(false));
}

#[test]
fn a_default_largest_value_is_what_memory_has_room_for() {
    let largest = |chain: Checked| chain.memory.max_value_bytes;
    assert_eq!(largest(config(memory().memory_max_bytes(MIB))), MIB - 768);
    assert_eq!(largest(config(memory().memory_max_bytes(1024))), 256);
    assert_eq!(largest(config(memory().memory_max_bytes(1 << 30))), 16 * MIB);
    // The server has room for what memory hasn't.
    assert_eq!(largest(config(standalone().memory_max_bytes(MIB))), 16 * MIB);
}

#[test]
fn the_bounds_of_common_options_are_accepted() {
    config(memory().memory_max_entries(1).memory_max_bytes(1024).max_value_bytes(1));
    config(memory().memory_max_entries(1 << 32).memory_max_bytes(1 << 50).max_value_bytes(512 * MIB));
    config(memory().expire(Duration::from_millis(1)));
    config(memory().expire(Duration::MAX));
}

#[test]
fn a_bad_connection_option_names_itself_and_what_it_accepts() {
    let over = |longest: Duration| longest + Duration::from_nanos(1);
    let pool = "accepts 1 to 64";
    let in_flight = "accepts 1 to 1048576";
    for (chain, expected) in [
        (standalone().connect_timeout(Duration::ZERO), "connect_timeout: is 0ns; accepts 1ms to 600s".into()),
        (standalone().connect_timeout(SECOND / 1024), "connect_timeout: is 976.562µs; accepts 1ms to 600s".into()),
        (
            standalone().connect_timeout(over(600 * SECOND)),
            "connect_timeout: is 600.000000001s; accepts 1ms to 600s".into(),
        ),
        (standalone().command_timeout(Duration::ZERO), "command_timeout: is 0ns; accepts 1ms to 60s".into()),
        (
            standalone().command_timeout(over(60 * SECOND)),
            "command_timeout: is 60.000000001s; accepts 1ms to 60s".into(),
        ),
        (standalone().pool_size(0), format!("pool_size: is 0; {pool}")),
        (standalone().pool_size(65), format!("pool_size: is 65; {pool}")),
        (standalone().max_in_flight(0), format!("max_in_flight: is 0; {in_flight}")),
        (standalone().max_in_flight((1 << 20) + 1), format!("max_in_flight: is 1048577; {in_flight}")),
    ] {
        assert_eq!(refused(chain), expected);
    }
    assert!(refused(standalone().connect_timeout(Duration::MAX)).starts_with("connect_timeout: is "));
    assert!(refused(standalone().command_timeout(Duration::MAX)).starts_with("command_timeout: is "));
}

#[test]
fn the_bounds_of_connection_options_are_accepted() {
    let shortest = Duration::from_millis(1);
    let least = Reconnect::default().min_delay(shortest).max_delay(shortest);
    let least = standalone().connect_timeout(shortest).command_timeout(shortest).pool_size(1).reconnect(least);
    connection(least.max_in_flight(1).database(0));
    let most = Reconnect::default().min_delay(600 * SECOND).max_delay(600 * SECOND);
    let most = standalone().connect_timeout(600 * SECOND).command_timeout(60 * SECOND).pool_size(64).reconnect(most);
    connection(most.max_in_flight(1 << 20).database(255));
}

#[test]
fn delays_of_reconnects_are_in_order_and_in_bounds() {
    let refused = |min: Duration, max: Duration| {
        refused(standalone().reconnect(Reconnect::default().min_delay(min).max_delay(max)))
    };
    let accepted = "accepts 1ms <= min_delay <= max_delay <= 600s";
    assert_eq!(refused(2 * SECOND, SECOND), format!("reconnect: is 2s to 1s; {accepted}"));
    assert_eq!(refused(Duration::ZERO, SECOND), format!("reconnect: is 0ns to 1s; {accepted}"));
    assert_eq!(refused(SECOND, 601 * SECOND), format!("reconnect: is 1s to 601s; {accepted}"));
}

#[test]
fn a_user_name_needs_a_password() {
    let expected = "username: is given without a password; accepts both or neither";
    assert_eq!(refused(standalone().username("app")), expected);
    assert_eq!(refused(at("redis://app@h")), expected);
}

#[test]
fn what_a_url_says_is_not_said_again() {
    let twice =
        |option: &str| format!("{option}: is given twice, in the endpoint's URL and by `.{option}(…)`; keep one");
    let full = || at("redis://app:hunter2@h/3");
    assert_eq!(refused(full().password("hunter2")), twice("password"));
    assert_eq!(refused(full().username("app")), twice("username"));
    assert_eq!(refused(full().database(3)), twice("database"));
    assert_eq!(refused(at("redis://h/0").database(0)), twice("database"));
}

#[test]
fn a_unix_socket_is_not_encrypted() {
    let socket = || at("unix:///run/redis.sock");
    let expected = "tls: is set for a Unix socket; accepts TCP endpoints only";
    assert_eq!(refused(socket().tls(Tls::default())), expected);
    let connection = connection(socket().database(2).password("hunter2"));
    assert_eq!(connection.expected, Expected::Standalone { database: 2 });
    assert!(connection.login.is_some());
}

#[test]
fn nothing_that_can_be_shown_shows_a_password() {
    let option = || standalone().username("app").password("hunter2");
    let url = || at("redis://app:hunter2@h/3");
    let broken = || at("redis://app:hunter2@h:port");
    for chain in [option(), url(), broken(), url().password("hunter2"), broken().password("hunter2")] {
        let shown = format!("{chain:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        let shown = format!("{:?}", chain.into_config());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_handle_shows_no_password() {
    let handle = at("redis://app:hunter2@127.0.0.1:1").build().expect("the options are valid");
    let shown = format!("{handle:?} {:?} {:?}", handle.health(), handle.stats());
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn debug_shows_what_is_set() {
    let shown = format!("{:?}", standalone().namespace("users").username("app").password("hunter2"));
    for expected in ["users", "app", "localhost", "Secret(hidden)"] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
}

#[test]
fn tags_add_up_and_are_checked() {
    let own = NamespaceOptions::default;
    let tagged = memory().tag("b").tag("a").namespace_options("users", own().tag("c").version(1));
    let tagged = config(tagged.tag(String::from("b")).namespace_options("users", own().tag("d")));
    assert_eq!(tagged.overrides.tags(), ["a", "b"].map(Box::from));
    assert_eq!(tagged.namespaces["users"].0.tags(), ["c", "d"].map(Box::from));
    assert!(config(memory()).overrides.tags().is_empty());
    let told = [
        refused(memory().tag("a").tag("")),
        refused(memory().tag("a".repeat(513))),
        refused(memory().namespace_options("users", own().tag("").tag("a"))),
        refused(memory().namespace_options("users", own().tag("a".repeat(513)))),
    ];
    insta::assert_snapshot!(told.join("\n"), @r#"
    tag: is empty; accepts 1 to 512 bytes
    tag: has 513 bytes; accepts 1 to 512
    namespace_options: has for "users" a `tag` that is empty; accepts 1 to 512 bytes
    namespace_options: has for "users" a `tag` that has 513 bytes; accepts 1 to 512
    "#);
}

/// A codec that isn't built in.
struct Custom;

impl Codec for Custom {
    fn encode(&self, _: &dyn erased_serde::Serialize) -> Result<Vec<u8>, CodecError> {
        Ok(Vec::new())
    }

    fn decode<'de>(
        &self,
        _: &'de [u8],
        _: &mut dyn FnMut(&mut dyn erased_serde::Deserializer<'de>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        Ok(())
    }
}

#[test]
fn a_cluster_has_nodes_that_share_their_credentials() {
    let cluster = connection(
        builder().cluster("redis://app:pw@a").node(("b", 7000)).node("redis://app:pw@c").read_from_replicas(true),
    );
    assert_eq!(cluster.seeds.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:6379", "b:7000", "c:6379"]);
    assert_eq!(cluster.expected, Expected::Cluster { read_from_replicas: true });
    assert_eq!(cluster.login.expect("the URLs have one").username.as_deref(), Some("app"));
    let differ = refused(builder().cluster("redis://app:pw@a").node("redis://app:other@b"));
    assert!(differ.starts_with("cluster: ") && differ.contains("differ") && !differ.contains("other"), "{differ}");
}

#[test]
fn what_is_autodetected_may_be_either() {
    let either = connection(builder().autodetect("a").node("b").password("pw"));
    assert_eq!((either.expected, either.seeds.len()), (Expected::Either, 2));
    let socket = connection(builder().autodetect("unix:///run/redis.sock"));
    assert_eq!(socket.seeds[0].address, Address::Unix("/run/redis.sock".into()));
}

#[test]
fn what_may_be_a_cluster_has_no_database() {
    for refused in [
        refused(builder().cluster("redis://a/0")),
        refused(builder().cluster("a").node("redis://b/3")),
        refused(builder().autodetect("redis://a/3")),
    ] {
        assert!(refused.contains("names the database") && refused.contains("database 0 alone"), "{refused}");
    }
    let socket = refused(builder().cluster("unix:///run/redis.sock"));
    assert!(socket.contains("by TCP"), "{socket}");
    let bad = refused(builder().cluster("a").node("b:port"));
    assert!(bad.starts_with("node: \"b:***\""), "{bad}");
}

#[test]
fn every_option_of_freshness_arrives_of_the_handle_and_of_a_namespace() {
    let expected = Freshness {
        jitter: SECOND,
        stale_while_revalidate: 2 * SECOND,
        stale_if_error: 3 * SECOND,
        retry_after: 4 * SECOND,
        refresh_early: 1.5,
        soft_timeout: Some(6 * SECOND),
        hard_timeout: Some(7 * SECOND),
        max_staleness: Some(8 * SECOND),
    };
    fn set<S>(builder: CacheHouseBuilder<S>) -> CacheHouseBuilder<S> {
        builder
            .jitter(SECOND)
            .stale_while_revalidate(2 * SECOND)
            .stale_if_error(3 * SECOND)
            .retry_after(4 * SECOND)
            .refresh_early(1.5)
            .soft_timeout(6 * SECOND)
            .hard_timeout(7 * SECOND)
            .max_staleness(8 * SECOND)
    }
    for config in [config(set(builder()).standalone("h")), config(set(memory()))] {
        assert_eq!(*Policy::of_handle(&config.overrides).freshness, expected);
    }
    let users = NamespaceOptions::default()
        .jitter(SECOND)
        .stale_while_revalidate(2 * SECOND)
        .stale_if_error(3 * SECOND)
        .retry_after(4 * SECOND)
        .refresh_early(1.5)
        .soft_timeout(6 * SECOND);
    let more = NamespaceOptions::default().hard_timeout(7 * SECOND).max_staleness(8 * SECOND);
    let config = config(memory().namespace_options("users", users).namespace_options("users", more));
    assert!(config.overrides.rare.is_none());
    let call = Overrides::default();
    let policy = Policy::merged(&config.overrides, Some(&config.namespaces["users"].0), &call);
    assert_eq!(*policy.freshness, expected);
}

#[test]
fn options_of_freshness_are_refused_that_make_no_sense() {
    let namespace = |options: NamespaceOptions| refused(memory().namespace_options("users", options));
    let own = NamespaceOptions::default;
    let year = crate::policy::LONGEST;
    let more = year + Duration::from_nanos(1);
    config(memory().jitter(year).retry_after(year).hard_timeout(year).refresh_early(f64::MAX).max_staleness(year));
    config(memory().jitter(Duration::ZERO).refresh_early(0.0).soft_timeout(SECOND).hard_timeout(Duration::ZERO));
    config(memory().max_staleness(Duration::ZERO).expire(Duration::from_millis(1)));
    let told = [
        refused(memory().jitter(more)),
        refused(memory().stale_while_revalidate(more)),
        refused(memory().stale_if_error(more)),
        refused(memory().soft_timeout(more)),
        refused(memory().hard_timeout(Duration::MAX)),
        refused(memory().retry_after(Duration::ZERO)),
        refused(memory().retry_after(more)),
        refused(memory().refresh_early(-1.0)),
        refused(memory().refresh_early(f64::NAN)),
        refused(memory().refresh_early(f64::INFINITY)),
        refused(memory().max_staleness(more)),
        refused(memory().soft_timeout(SECOND).hard_timeout(SECOND)),
        refused(memory().expire(Duration::ZERO).stale_if_error(SECOND)),
        namespace(own().jitter(more)),
        namespace(own().retry_after(Duration::ZERO)),
        namespace(own().refresh_early(f64::NAN)),
        namespace(own().max_staleness(more)),
        namespace(own().soft_timeout(2 * SECOND).hard_timeout(SECOND)),
        namespace(own().expire(Duration::ZERO).refresh_early(1.0)),
        refused(memory().hard_timeout(SECOND).namespace_options("users", own().soft_timeout(2 * SECOND))),
        refused(memory().soft_timeout(2 * SECOND).namespace_options("users", own().hard_timeout(SECOND))),
    ];
    insta::assert_snapshot!(told.join("\n"), @r#"
    jitter: is 31557600.000000001s; accepts up to a year (31557600s), and zero for none
    stale_while_revalidate: is 31557600.000000001s; accepts up to a year (31557600s), and zero for none
    stale_if_error: is 31557600.000000001s; accepts up to a year (31557600s), and zero for none
    soft_timeout: is 31557600.000000001s; accepts up to a year (31557600s), and zero for none
    hard_timeout: is 18446744073709551615.999999999s; accepts up to a year (31557600s), and zero for none
    retry_after: is 0ns, so every call would try failing work again; accepts 1ms to a year (31557600s)
    retry_after: is 31557600.000000001s; accepts 1ms to a year (31557600s)
    refresh_early: is -1.0; accepts a finite number such as 1.0, and zero for never
    refresh_early: is NaN; accepts a finite number such as 1.0, and zero for never
    refresh_early: is inf; accepts a finite number such as 1.0, and zero for never
    max_staleness: is 31557600.000000001s; accepts up to a year (31557600s), and zero to ask the server
    soft_timeout: is 1s, which isn't below `.hard_timeout(…)` of 1s, so it never takes effect; accepts a shorter time, or zero for none
    expire: is zero, so nothing would ever be stored; accepts any longer time (zero is for single calls)
    namespace_options: has for "users" a `jitter` that is 31557600.000000001s; accepts up to a year (31557600s), and zero for none
    namespace_options: has for "users" a `retry_after` that is 0ns, so every call would try failing work again; accepts 1ms to a year (31557600s)
    namespace_options: has for "users" a `refresh_early` that is NaN; accepts a finite number such as 1.0, and zero for never
    namespace_options: has for "users" a `max_staleness` that is 31557600.000000001s; accepts up to a year (31557600s), and zero to ask the server
    namespace_options: has for "users" a `soft_timeout` that is 2s, which isn't below the `hard_timeout` of 1s, so it never takes effect; accepts a shorter time, or zero for none
    namespace_options: is zero, so nothing would ever be stored; accepts any longer time (zero is for single calls)
    namespace_options: has for "users" a `soft_timeout` that is 2s, which isn't below the `hard_timeout` of 1s, so it never takes effect; accepts a shorter time, or zero for none
    namespace_options: has for "users" a `soft_timeout` that is 2s, which isn't below the `hard_timeout` of 1s, so it never takes effect; accepts a shorter time, or zero for none
    "#);
}

#[test]
fn crossed_timeouts_are_a_namespaces_problem_only_if_it_sets_one() {
    // It's the handle's problem, and is told once.
    let crossed = memory().soft_timeout(SECOND).hard_timeout(SECOND);
    let told = refused(crossed.namespace_options("users", NamespaceOptions::default().expire(SECOND)));
    assert!(told.starts_with("soft_timeout: is 1s"), "{told}");
    // What a namespace turns off crosses nothing.
    let off = NamespaceOptions::default().hard_timeout(Duration::ZERO).soft_timeout(9 * SECOND);
    config(memory().soft_timeout(SECOND).hard_timeout(2 * SECOND).namespace_options("users", off));
}
