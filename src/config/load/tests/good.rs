//! What configurations mean that are right.

use std::time::Duration;

use super::*;
use crate::config::secret::Password;
use crate::config::{Checked, ConnectionSettings, Expected, Topology};
use crate::policy::Policy;

#[track_caller]
fn checked(config: Config) -> Checked {
    config.into_builder().into_config().expect("it's right")
}

#[track_caller]
fn expire(config: &Checked) -> Duration {
    Policy::of_handle(&config.overrides).expire
}

fn connection(config: Config) -> ConnectionSettings {
    match checked(config).topology {
        Topology::Server(connection) => *connection,
        other => panic!("{other:?} has no connection"),
    }
}

pub(super) fn password_of(config: Config) -> String {
    let login = connection(config).login.expect("there is a login");
    login.password.read(Duration::from_secs(30)).expect("it can be read").expose().to_owned()
}

#[track_caller]
fn load(text: &str, variables: &[(&str, &str)]) -> Config {
    let place = Place::new().with(DEFAULT_FILE, text);
    place.load(variables).unwrap_or_else(|error| panic!("{error}"))
}

fn source(config: &Config, key: &str) -> String {
    let setting = config.settings().iter().find(|setting| setting.key() == key);
    setting.unwrap_or_else(|| panic!("{key} is in effect")).source().rsplit('/').next().unwrap_or_default().to_owned()
}

#[test]
fn without_file_and_variables_all_is_as_the_builder_has_it() {
    for place in [Place::new(), Place::new().with(DEFAULT_FILE, ""), Place::new().with(DEFAULT_FILE, "\u{feff}")] {
        let loaded = checked(place.load(&[]).expect("it's right"));
        let built = CacheHouseBuilder::new().autodetect("localhost:6379").into_config().expect("it's right");
        let shown = |config| format!("{config:?}").split(", clock").map(String::from).collect::<Vec<_>>();
        assert_eq!(shown(loaded)[0], shown(built)[0]);
    }
    let built = CacheHouseBuilder::new().autodetect("localhost:6379").into_config().expect("it's right");
    assert_eq!(format!("{:?}", checked(load("", &[])).topology), format!("{:?}", built.topology));
}

#[test]
fn versions_are_of_all_values_or_of_a_namespaces() {
    let config = checked(load("version = 3\n[namespaces.users]\nversion = 4294967295", &[]));
    assert_eq!((config.overrides.version, config.namespaces["users"].0.version), (Some(3), Some(u32::MAX)));
    let config =
        checked(load("version = 3", &[("CACHEHOUSE_VERSION", "0"), ("CACHEHOUSE_NAMESPACES__USERS__VERSION", "5")]));
    assert_eq!((config.overrides.version, config.namespaces["users"].0.version), (Some(0), Some(5)));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_file() {
    let config = load("\u{feff}namespace = \"app\"", &[]);
    assert_eq!(
        (value(&config, "namespace"), source(&config, "namespace")),
        (Some("\"app\"".into()), "cachehouse.toml:1".into())
    );
}

#[test]
fn every_key_arrives() {
    let text = r#"
        namespace = "app"
        key_prefix = "p"
        expire = 7
        codec = "json"
        fallback_to_memory = false
        max_value_bytes = "1KiB"
        [cluster]
        nodes = ["a:7000", "b"]
        read_from_replicas = true
        [connection]
        username = "me"
        password = "it"
        connect_timeout = "1s"
        command_timeout = "2ms"
        pool_size = 3
        max_in_flight = 4
        [connection.reconnect]
        min_delay = "1ms"
        max_delay = 9
        [memory_tier]
        max_entries = 5
        max_bytes = 2048
        [namespaces."api.users"]
        expire = "5m"
        codec = "json"
        [namespaces.empty]
    "#;
    let config = checked(load(text, &[]));
    assert_eq!((config.scope.namespace(), config.scope.prefix()), ("app", "p"));
    assert_eq!((expire(&config), config.fallback_to_memory), (Duration::from_secs(7), false));
    assert_eq!((config.memory.max_entries, config.memory.max_bytes, config.memory.max_value_bytes), (5, 2048, 1024));
    let users = &config.namespaces["api.users"];
    assert_eq!((users.0.expire, users.0.codec.is_some()), (Some(Duration::from_secs(300)), true));
    let connection = connection(load(text, &[]));
    assert_eq!(connection.seeds.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a:7000", "b:6379"]);
    assert_eq!(connection.expected, Expected::Cluster { read_from_replicas: true });
    let login = connection.login.expect("there is a login");
    assert_eq!((login.username.as_deref(), login.password), (Some("me"), Password::Given("it".into())));
    assert_eq!(connection.connect_timeout, Duration::from_secs(1));
    assert_eq!(connection.command_timeout, Duration::from_millis(2));
    assert_eq!((connection.pool_size, connection.max_in_flight), (3, 4));
    assert_eq!(connection.reconnect.min_delay, Duration::from_millis(1));
    assert_eq!(connection.reconnect.max_delay, Duration::from_secs(9));

    let other = load("[standalone]\nendpoint = \"h\"\ndatabase = 3", &[]);
    assert_eq!(self::connection(other).expected, Expected::Standalone { database: 3 });
    let other = self::connection(load("[autodetect]\nendpoint = \"h\"\nnodes = [\"i\"]", &[]));
    assert_eq!((other.expected, other.seeds.len()), (Expected::Either, 2));
    assert!(matches!(checked(load("[memory]", &[])).topology, Topology::Memory));
    assert!(matches!(checked(load("", &[("CACHEHOUSE_MEMORY", "{}")])).topology, Topology::Memory));
}

#[cfg(feature = "messagepack")]
#[test]
fn a_codec_is_named() {
    use crate::codec::{MessagePack, SharedCodec};
    let config = checked(load(
        "codec = \"messagepack\"\n[namespaces.a]\ncodec = \"json\"\n[namespaces.b]\ncodec = \"messagepack\"",
        &[],
    ));
    let messagepack = SharedCodec::new(MessagePack);
    assert!(Policy::of_handle(&config.overrides).codec.same_as(&messagepack));
    let of = |name: &str| config.namespaces[name].0.codec.clone().expect("it has one");
    assert!(of("a").same_as(&SharedCodec::default()) && of("b").same_as(&messagepack));
}

#[cfg(feature = "tls")]
#[test]
fn tls_is_a_flag_or_a_table() {
    use crate::config::Tls;
    let place = Place::new().with("ca.pem", "").with("cert.pem", "").with("key.pem", "");
    let tls = |text: &str, variables: &[(&str, &str)]| {
        std::fs::write(place.path(DEFAULT_FILE), text).expect("it can be written");
        connection(place.load(variables).unwrap_or_else(|error| panic!("{error}"))).tls
    };
    assert_eq!(tls("", &[]), None);
    assert_eq!(tls("connection.tls = false", &[]), None);
    assert_eq!(tls("connection.tls = true", &[]), Some(Tls::default()));
    assert_eq!(tls("[connection.tls]", &[]), Some(Tls::default()));
    let files = "[connection.tls]\nca_file = \"ca.pem\"\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"";
    let all = Tls::default().ca_file(place.path("ca.pem")).client_cert(place.path("cert.pem"), place.path("key.pem"));
    assert_eq!(tls(files, &[]), Some(all));
    let variable = [("CACHEHOUSE_CONNECTION__TLS__CA_FILE", "FOLDER/ca.pem")];
    assert_eq!(tls("connection.tls = true", &variable), Some(Tls::default().ca_file(place.path("ca.pem"))));
}

#[cfg(feature = "tls")]
#[test]
fn tls_as_true_keeps_the_table_that_it_is_laid_over() {
    use crate::config::Tls;
    let place = Place::new().with("ca.pem", "").with("cert.pem", "").with("key.pem", "");
    let all = Tls::default().ca_file(place.path("ca.pem")).client_cert(place.path("cert.pem"), place.path("key.pem"));
    let files = "ca_file = \"ca.pem\"\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"";
    let on = ("CACHEHOUSE_CONNECTION__TLS", "true");
    for (text, variables) in [
        (format!("[connection.tls]\n{files}"), vec![on]),
        (format!("[connection.tls]\n{files}"), vec![("CACHEHOUSE_CONNECTION", "{ tls = true }")]),
        (format!("[connection.tls]\n{files}\n[production.connection]\ntls = true"), vec![]),
        (
            "[connection.tls]\nca_file = \"other.pem\"".to_owned(),
            vec![
                on,
                ("CACHEHOUSE_CONNECTION__TLS__CA_FILE", "FOLDER/ca.pem"),
                ("CACHEHOUSE_CONNECTION__TLS__CERT_FILE", "FOLDER/cert.pem"),
                ("CACHEHOUSE_CONNECTION__TLS__KEY_FILE", "FOLDER/key.pem"),
            ],
        ),
    ] {
        std::fs::write(place.path(DEFAULT_FILE), &text).expect("it can be written");
        let profile = text.contains("production").then_some(("CACHEHOUSE_PROFILE", "production"));
        let variables: Vec<_> = variables.into_iter().chain(profile).collect();
        let config = place.load(&variables).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(connection(config).tls.as_ref(), Some(&all), "{text} {variables:?}");
    }
    // A variable wins over the file, in both directions.
    let tls = |text: &str, variable| {
        std::fs::write(place.path(DEFAULT_FILE), text).expect("it can be written");
        connection(place.load(&[variable]).unwrap_or_else(|error| panic!("{error}"))).tls
    };
    assert_eq!(tls(&format!("[connection.tls]\n{files}"), ("CACHEHOUSE_CONNECTION__TLS", "false")), None);
    let on = tls("connection.tls = false", ("CACHEHOUSE_CONNECTION__TLS__CA_FILE", "FOLDER/ca.pem"));
    assert_eq!(on, Some(Tls::default().ca_file(place.path("ca.pem"))));
}

#[cfg(feature = "tls")]
#[test]
fn a_profile_turns_tls_off() {
    let text = "[connection.tls]\nca_file = \"ca.pem\"\n[development.connection]\ntls = false";
    assert_eq!(connection(load(text, &[("CACHEHOUSE_PROFILE", "development")])).tls, None);
}

#[cfg(feature = "tls")]
#[test]
fn tls_by_the_endpoint_is_shown() {
    let config = load("[standalone]\nendpoint = \"rediss://h\"", &[]);
    let setting = config.settings().iter().find(|setting| setting.key() == "connection.tls").expect("it's shown");
    assert_eq!(setting.value(), "true");
    assert!(setting.source().ends_with("cachehouse.toml:2"), "{setting:?}");
}

#[test]
fn the_environment_wins_over_the_file_which_wins_over_defaults_and_code_over_all() {
    let config = load("expire = 1\nnamespace = \"file\"", &[("CACHEHOUSE_EXPIRE", "2m")]);
    assert_eq!(
        (source(&config, "expire"), value(&config, "expire")),
        ("variable CACHEHOUSE_EXPIRE".into(), Some("\"2m\"".into()))
    );
    assert_eq!(source(&config, "namespace"), "cachehouse.toml:2");
    assert_eq!(source(&config, "key_prefix"), "default");
    let config = config.into_builder().namespace("code").into_config().expect("it's right");
    assert_eq!((config.scope.namespace(), expire(&config)), ("code", Duration::from_secs(120)));
}

#[test]
fn what_is_wrong_is_no_matter_where_a_higher_layer_has_it_right() {
    let config = load("expire = \"soon\"", &[("CACHEHOUSE_EXPIRE", "2m")]);
    assert_eq!(value(&config, "expire"), Some("\"2m\"".into()));
}

#[test]
fn a_table_may_be_spread_over_file_and_environment() {
    let variables = [("CACHEHOUSE_STANDALONE__DATABASE", "3"), ("cachehouse_connection__pool_size", " 2 ")];
    let connection = connection(load("[standalone]\nendpoint = \"h\"", &variables));
    assert_eq!((connection.expected, connection.pool_size), (Expected::Standalone { database: 3 }, 2));
}

#[test]
fn variables_may_hold_lists_and_tables() {
    let config = load("", &[("CACHEHOUSE_CLUSTER__NODES", r#"["a:7000","redis://:pw@b:7000"]"#)]);
    assert_eq!(value(&config, "cluster.nodes"), Some(r#"["a:7000", "b:7000 (login hidden)"]"#.into()));
    let table = r#"{ "Api.Users" = { expire = "5m" } }"#;
    let config = load("", &[("CACHEHOUSE_NAMESPACES", table), ("CACHEHOUSE_NAMESPACES__USERS__EXPIRE", "60")]);
    assert_eq!(value(&config, "namespaces.\"Api.Users\".expire"), Some("\"5m\"".into()));
    assert_eq!(value(&config, "namespaces.users.expire"), Some("\"1m\"".into()));
}

#[test]
fn texts_of_the_environment_are_literal() {
    for text in ["007", " a b ", "true", "[x", "\"q\"", "1.50", "{}", "é", "\n"] {
        let config = load("", &[("CACHEHOUSE_CONNECTION__PASSWORD", text), ("CACHEHOUSE_NAMESPACE", text)]);
        assert_eq!(value(&config, "namespace"), Some(format!("{text:?}")));
        assert_eq!(password_of(config), text);
        let place = Place::new().with("password", text.to_owned() + "\n");
        let config = place.load(&[("CACHEHOUSE_CONNECTION__PASSWORD_FILE", "FOLDER/password")]);
        assert_eq!(password_of(config.expect("it's right")), text);
        let config = load(&format!("[connection]\npassword = {:?}", text), &[]);
        assert_eq!(password_of(config), text);
    }
}

#[test]
fn a_password_file_is_meant_from_the_folder_of_the_file_that_names_it() {
    let place =
        Place::new().with("password", "hunter2\n").with(DEFAULT_FILE, "[connection]\npassword_file = \"password\"");
    assert_eq!(password_of(place.load(&[]).expect("it's right")), "hunter2");
}

#[test]
fn profiles_are_laid_over_each_other_as_figment_does() {
    let nested = "
        [default]
        expire = 1
        namespace = \"default\"
        key_prefix = \"default\"
        [production]
        expire = 2
        key_prefix = \"production\"
        [production.connection]
        pool_size = 5
        [staging]
        expire = 3
        [global]
        key_prefix = \"global\"
    ";
    let plain = nested.replace("[default]", "");
    for text in [nested, &plain] {
        let figment = |profile: &str| {
            use figment::providers::{Format, Toml};
            let figment = Figment::new().merge(Toml::string(nested).nested()).select(profile);
            let text = |key: &str| figment.extract_inner::<String>(key).expect("it's there");
            (figment.extract_inner::<u64>("expire").expect("it's there"), text("namespace"), text("key_prefix"))
        };
        for (profile, variables) in [
            ("default", &[][..]),
            ("default", &[("CACHEHOUSE_PROFILE", "default")][..]),
            ("production", &[("CACHEHOUSE_PROFILE", "production")][..]),
            ("production", &[("cachehouse_profile", "Production")][..]),
            ("staging", &[("CACHEHOUSE_PROFILE", "staging")][..]),
        ] {
            let config = checked(load(text, variables));
            let (namespace, prefix) = (config.scope.namespace().to_owned(), config.scope.prefix().to_owned());
            assert_eq!((expire(&config).as_secs(), namespace, prefix), figment(profile), "{profile}");
        }
    }
    let variables = [("CACHEHOUSE_PROFILE", "production"), ("CACHEHOUSE_KEY_PREFIX", "environment")];
    let config = load(nested, &variables);
    assert_eq!(value(&config, "key_prefix"), Some("\"environment\"".into()), "the environment wins over any profile");
    assert_eq!(source(&config, "expire"), "cachehouse.toml:7");
    let shown = config.to_string();
    let profile = "the profile \"production\" is in effect (variable CACHEHOUSE_PROFILE); not in effect: \"staging\"\n";
    assert!(shown.starts_with(profile), "{shown}");
    // What was meant for a table of settings is seen to be a profile.
    let shown = load("[cache]\nexpire = 1", &[]).to_string();
    let profile = "the profile \"default\" is in effect (CACHEHOUSE_PROFILE isn't set); not in effect: \"cache\"\n";
    assert!(shown.starts_with(profile), "{shown}");
    assert!(load("expire = 1", &[]).to_string().starts_with("namespace "));
}

#[test]
fn a_file_that_a_variable_names_takes_the_place_of_the_default_one() {
    let place = Place::new().with(DEFAULT_FILE, "expire = 1").with("other.toml", "expire = 2");
    let config = place.load(&[("CACHEHOUSE_CONFIG", "FOLDER/other.toml")]).expect("it's right");
    assert_eq!(source(&config, "expire"), "other.toml:1");
    let config = place.load_file("other.toml").expect("it's right");
    assert_eq!(value(&config, "expire"), Some("\"2s\"".into()));
}

#[test]
fn a_file_of_a_folder_above_is_not_read() {
    let place = Place::new().with(DEFAULT_FILE, "expire = 1");
    std::fs::create_dir(place.path("below")).expect("it can be made");
    let stack = Stack::new(Vec::new(), None, place.path("below").join(DEFAULT_FILE));
    assert_eq!(value(&Config::of(stack).expect("it's right"), "expire"), Some("\"3m\"".into()));
}

#[test]
fn a_provider_stands_over_the_defaults_and_extends_the_layers() {
    use figment::providers::Serialized;
    let config = Config::from_provider(Serialized::default("connection.password", "007")).expect("it's right");
    assert_eq!(value(&config, "connection.password"), Some("(hidden)".into()));
    assert_eq!(password_of(config), "007");

    let text = "[production]\nexpire = 1\n[production.connection]\npassword = \"hunter2\"\n[production.standalone]\nendpoint = \"redis://app@h\"";
    let place = Place::new().with(DEFAULT_FILE, text);
    let variables = [("CACHEHOUSE_PROFILE", "production"), ("CACHEHOUSE_NAMESPACE", "environment")];
    let figment = place.stack(&variables).into_figment();
    assert!(!format!("{figment:?}").contains("hunter2"));
    let config = Config::from_provider(figment.merge(("namespace", "code"))).expect("it's right");
    assert_eq!(value(&config, "namespace"), Some("\"code\"".into()));
    assert_eq!(
        (source(&config, "expire"), value(&config, "standalone.endpoint")),
        ("cachehouse.toml:2".into(), Some("\"h:6379 (login hidden)\"".into()))
    );
    assert_eq!(password_of(config), "hunter2");
}

#[test]
fn a_default_largest_value_is_shown_as_what_memory_has_room_for() {
    let largest = |table: &str| {
        let place = Place::new().with(DEFAULT_FILE, format!("[{table}]\n[memory_tier]\nmax_bytes = \"1MiB\"\n"));
        let config = place.load(&[]).expect("it's right");
        let shown = value(&config, "max_value_bytes").expect("it has a default");
        let checked = config.into_builder().into_config().expect("it's right");
        (shown, checked.memory.max_value_bytes)
    };
    assert_eq!(largest("memory"), ("\"1047808B\"".into(), (1 << 20) - 768));
    assert_eq!(largest("autodetect"), ("\"16MiB\"".into(), 16 << 20));
}

#[test]
fn the_wait_for_the_first_connection_arrives() {
    let text = "[connection]\nwait_for_server = \"2s\"";
    assert_eq!(connection(load(text, &[])).wait_for_server, Duration::from_secs(2));
    let variable = [("CACHEHOUSE_CONNECTION__WAIT_FOR_SERVER", "500ms")];
    assert_eq!(connection(load(text, &variable)).wait_for_server, Duration::from_millis(500));
    assert_eq!(connection(load("[standalone]\nendpoint = \"h\"", &[])).wait_for_server, Duration::ZERO);
}

#[test]
fn the_age_of_copies_in_an_outage_arrives() {
    let text = "fallback_max_age = \"10m\"\n[standalone]\nendpoint = \"h\"";
    assert_eq!(connection(load(text, &[])).fallback_max_age, Some(Duration::from_secs(600)));
    assert_eq!(connection(load("[standalone]\nendpoint = \"h\"", &[])).fallback_max_age, None);
}

#[test]
fn what_is_in_effect_can_be_shown_with_its_sources_and_without_secrets() {
    let text = "expire = \"5m\"\n[standalone]\nendpoint = \"redis://app@h\"\n[connection]\npassword = \"hunter2\"\ncommand_timeout = \"100ms\"";
    let place = Place::new().with(DEFAULT_FILE, text);
    let config = place.load(&[("CACHEHOUSE_NAMESPACES__USERS__EXPIRE", "60")]).expect("it's right");
    insta::assert_snapshot!(place.anonymous(&config.to_string()), @r#"
    namespace                      = "main"                   (default)
    key_prefix                     = "cachehouse"             (default)
    expire                         = "5m"                     (cachehouse.toml:1)
    codec                          = "json"                   (default)
    fence                          = true                     (default)
    version                        = 0                        (default)
    retry_after                    = "1s"                     (default)
    fallback_to_memory             = true                     (default)
    max_value_bytes                = "16MiB"                  (default)
    standalone.endpoint            = "h:6379 (login hidden)"  (cachehouse.toml:3)
    standalone.database            = 0                        (default)
    connection.password            = (hidden)                 (cachehouse.toml:5)
    connection.connect_timeout     = "5s"                     (default)
    connection.command_timeout     = "100ms"                  (cachehouse.toml:6)
    connection.wait_for_server     = "0s"                     (default)
    connection.pool_size           = 1                        (default)
    connection.max_in_flight       = 4096                     (default)
    connection.tls                 = false                    (default)
    connection.reconnect.min_delay = "50ms"                   (default)
    connection.reconnect.max_delay = "2s"                     (default)
    memory_tier.max_entries        = 10000                    (default)
    memory_tier.max_bytes          = "64MiB"                  (default)
    namespaces.users.expire        = "1m"                     (variable CACHEHOUSE_NAMESPACES__USERS__EXPIRE)
"#);
}

#[test]
fn the_example_names_every_key_and_is_right_with_all_of_them() {
    let text = include_str!("../../../../examples/cachehouse.toml");
    let place = Place::new().with(DEFAULT_FILE, text);
    let config = place.load(&[]).unwrap_or_else(|error| panic!("{error}"));
    for Setting { key, value, .. } in config.settings() {
        let pattern = key.replace("\"api.users\"", "*");
        let known = schema::KEYS.iter().find(|known| known.path == pattern).expect("it's a key");
        assert!(known.default.is_empty() || known.default == value, "{key} = {value}");
    }
    for key in &schema::KEYS {
        let name = key.path.rsplit('.').next().expect("it has a name");
        let is_there = text.lines().any(|line| {
            let line = line.trim_start_matches('#').trim_start();
            line.split_once(" = ").is_some_and(|(start, _)| start == name)
        });
        assert!(is_there, "{} isn't in the example", key.path);
    }
}

/// The table in the documentation, made from the keys.
#[cfg(feature = "messagepack")]
fn table_of_keys() -> String {
    let mut table = String::from("| key | accepts | default | what it means |\n| --- | --- | --- | --- |\n");
    for key in &schema::KEYS {
        let path = key.path.replace('*', "NAME");
        let default = if key.default.is_empty() { "none".into() } else { format!("`{}`", key.default) };
        table += &format!("| `{path}` | {} | {default} | {} |\n", key.kind.accepts(), key.meaning);
    }
    table
}

// Without the feature it has a codec less.
#[cfg(feature = "messagepack")]
#[test]
fn the_table_of_keys_in_the_documentation_is_that_of_the_code() {
    let text = include_str!("../../../../docs/configuration.md");
    assert!(text.contains(&table_of_keys()), "put this into docs/configuration.md:\n\n{}", table_of_keys());
}

#[test]
fn the_defaults_of_the_table_are_right() {
    for key in schema::KEYS.iter().filter(|key| !key.default.is_empty()) {
        let text = match key.path.split('.').next() {
            Some("standalone") => format!("standalone.endpoint = \"h\"\n{} = {}", key.path, key.default),
            Some("cluster") => format!("cluster.nodes = [\"h\"]\n{} = {}", key.path, key.default),
            _ => format!("{} = {}", key.path, key.default),
        };
        assert_eq!(value(&load(&text, &[]), key.path), Some(key.default.to_owned()));
        let without = text.lines().next().filter(|_| text.contains('\n')).unwrap_or_default();
        assert_eq!(value(&load(without, &[]), key.path), Some(key.default.to_owned()), "{}", key.path);
    }
}

/// The fenced texts in the documentation.
fn fenced(language: &str) -> Vec<&'static str> {
    let text = include_str!("../../../../docs/configuration.md");
    let begin = format!("\n```{language}\n");
    let blocks = text.split(begin.as_str()).skip(1);
    blocks.filter_map(|rest| rest.split("\n```").next()).collect()
}

#[test]
fn the_examples_in_the_documentation_are_right() {
    let with_profiles = |text: &&str| text.contains("[production]");
    let text = fenced("toml").into_iter().find(with_profiles).expect("there is a file with profiles");
    for profile in ["production", "development", "default"] {
        checked(load(text, &[("CACHEHOUSE_PROFILE", profile)]));
    }
    let all = fenced("text");
    let [.., input, told] = all[..] else { panic!("there are a file with its variables, and its error") };
    let (variables, file) = input.split_once("\n\n").expect("variables come first");
    let variables: Vec<_> = variables.lines().filter_map(|line| line.split_once('=')).collect();
    let place = Place::new().with(DEFAULT_FILE, file);
    let error = place.load(&variables).expect_err("it's wrong").to_string();
    assert_eq!(told, place.anonymous(&error));
}
