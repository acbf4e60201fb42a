//! Advice about keys that aren't known, each message whole.

use figment::providers::{Format, Toml};

use super::*;

message!(
    words_of_other_libraries,
    file("ttl = 5\nprefix = \"app\"\n[redis]\nurl = \"redis://h\"\n[namespaces.users]\nttl = 7\n[connection]\npwd = \"x\""),
    @r#"
    5 problems in the configuration:
    connection.pwd: is no key of the configuration; the nearest known one is connection.password (cachehouse.toml:8)
    namespaces.users.ttl: is no key of the configuration; the nearest known one is namespaces.users.expire (cachehouse.toml:6)
    prefix: is no key of the configuration; the nearest known one is key_prefix (cachehouse.toml:2)
    redis: is no table of the configuration; the nearest known one is autodetect (cachehouse.toml:3)
    ttl: is no key of the configuration; the nearest known one is expire (cachehouse.toml:1)
    "#
);
message!(
    variables_of_other_words,
    variables(&[("CACHEHOUSE_TTL", "5"), ("CACHEHOUSE_REDIS_URL", "redis://h"), ("CACHEHOUSE_NAMESPACES__USERS__TTL", "7")]),
    @r#"
    3 problems in the configuration:
    CACHEHOUSE_NAMESPACES__USERS__TTL: is no variable of cache-house; the nearest known one is CACHEHOUSE_NAMESPACES__USERS__EXPIRE (environment)
    CACHEHOUSE_REDIS_URL: is no variable of cache-house; the nearest known one is CACHEHOUSE_AUTODETECT__ENDPOINT (environment)
    CACHEHOUSE_TTL: is no variable of cache-house; the nearest known one is CACHEHOUSE_EXPIRE (environment)
    "#
);
message!(
    what_is_like_no_key,
    file("colour = \"red\"\n[database]\nurl = \"h\"\n[logging]\nlevel = 3"),
    @r#"
    3 problems in the configuration:
    colour: is no key of the configuration; docs/configuration.md has a table of all (cachehouse.toml:1)
    database: is no table of the configuration; docs/configuration.md has a table of all (cachehouse.toml:2)
    logging: is no table of the configuration; docs/configuration.md has a table of all (cachehouse.toml:4)
    "#
);
message!(
    what_kubernetes_sets_for_a_service_of_this_name,
    variables(&[
        ("CACHEHOUSE_SERVICE_HOST", "10.0.0.1"),
        ("CACHEHOUSE_SERVICE_PORT", "6379"),
        ("CACHEHOUSE_PORT", "tcp://10.0.0.1:6379"),
        ("CACHEHOUSE_PORT_6379_TCP_ADDR", "10.0.0.1"),
    ]),
    @r#"
    4 problems in the configuration:
    CACHEHOUSE_PORT: is no variable of cache-house; Kubernetes sets it where there is a service that is named `cachehouse`: set `enableServiceLinks: false` for the pod, or give the service another name (environment)
    CACHEHOUSE_PORT_6379_TCP_ADDR: is no variable of cache-house; Kubernetes sets it where there is a service that is named `cachehouse`: set `enableServiceLinks: false` for the pod, or give the service another name (environment)
    CACHEHOUSE_SERVICE_HOST: is no variable of cache-house; Kubernetes sets it where there is a service that is named `cachehouse`: set `enableServiceLinks: false` for the pod, or give the service another name (environment)
    CACHEHOUSE_SERVICE_PORT: is no variable of cache-house; Kubernetes sets it where there is a service that is named `cachehouse`: set `enableServiceLinks: false` for the pod, or give the service another name (environment)
    "#
);
message!(
    a_namespace_with_dots_and_no_quotes,
    file("[namespaces.api.users]\nexpire = \"5m\"\n[namespaces.api.v1.users]\nexpire = 7"),
    @r#"
    2 problems in the configuration:
    namespaces.api.users: is no table of the configuration; a namespace with a dot in its name stands in quotes: namespaces."api.users" (cachehouse.toml:1)
    namespaces.api.v1: is no table of the configuration; a namespace with a dot in its name stands in quotes: namespaces."api.v1.users" (cachehouse.toml:3)
    "#
);

/// Defaults of a program's own, beside a file and variables.
#[test]
fn defaults_of_the_program_are_below_the_file_and_the_variables() {
    let place = Place::new().with(DEFAULT_FILE, "expire = \"2m\"\nmemory = {}");
    let defaults = Toml::string("namespace = 'shop'\nexpire = '1m'\nkey_prefix = 'app'");
    let variables = place.variables(&[("CACHEHOUSE_KEY_PREFIX", "other")]);
    let config = Config::of(Stack::over(defaults, variables, place.path(DEFAULT_FILE))).expect("it's right");
    let value = |key: &str| {
        let setting = config.settings().iter().find(|setting| setting.key() == key).expect("it has a default");
        setting.value().to_owned()
    };
    assert_eq!([value("namespace"), value("expire"), value("key_prefix")], ["\"shop\"", "\"2m\"", "\"other\""]);
}

/// What is in effect of these defaults of a program, with this file and these variables.
fn over(defaults: Figment, file: &str, variables: &[(&str, &str)]) -> Result<Config, Error> {
    let place = Place::new().with(DEFAULT_FILE, file);
    let stack = Stack::over(defaults, place.variables(variables), place.path(DEFAULT_FILE));
    Config::of(stack)
}

#[test]
fn profiles_of_the_programs_defaults_are_below_the_file_and_the_variables_too() {
    let profiles =
        "[default]\nexpire='1h'\n[prod]\nexpire='2h'\nnamespace='shop'\n[global]\nkey_prefix='app'\njitter='1s'";
    let defaults = || Figment::from(Toml::string(profiles).nested()).select("prod");
    let config = over(defaults(), "expire = \"4m\"", &[("CACHEHOUSE_KEY_PREFIX", "other")]).expect("it's right");
    let value = |key: &str| {
        let setting = config.settings().iter().find(|setting| setting.key() == key).expect("it has one");
        setting.value().to_owned()
    };
    assert_eq!([value("expire"), value("key_prefix")], ["\"4m\"", "\"other\""]);
    assert_eq!([value("namespace"), value("jitter")], ["\"shop\"", "\"1s\""], "what nothing above sets");
}

#[cfg(feature = "tls")]
#[test]
fn plain_tls_keeps_the_table_of_the_programs_defaults() {
    let defaults = || Figment::from(Toml::string("[connection.tls]\nca_file = 'ca.pem'"));
    let on = [("CACHEHOUSE_CONNECTION__TLS", "true")];
    for (file, variables) in [("connection.tls = true", &[][..]), ("", &on), ("connection.tls = true", &on)] {
        let error = over(defaults(), file, variables).map(drop).expect_err("there is no such file").to_string();
        assert!(error.contains("connection.tls.ca_file"), "{error}");
    }
    // The variable wins over the file, which wins over the defaults.
    let config = over(defaults(), "connection.tls = false", &on).expect("it's right");
    let tls = config.settings().iter().find(|setting| setting.key() == "connection.tls").expect("it's set");
    assert_eq!(tls.value(), "true");
}
