//! Errors of wrong files and of providers: each message whole, as an operator reads it.

use super::*;

message!(
    versions_that_are_none,
    file("version = -1\n[namespaces.a]\nversion = 4294967296\n[namespaces.b]\nversion = \"2.0\""),
    @r#"
    3 problems in the configuration:
    namespaces.a.version: is 4294967296; accepts a whole number from 0 to 4294967295 (cachehouse.toml:3)
    namespaces.b.version: is "2.0"; accepts a whole number from 0 to 4294967295 (cachehouse.toml:5)
    version: is -1; accepts a whole number from 0 to 4294967295 (cachehouse.toml:1)
    "#
);
message!(
    wrong_type_for_a_time,
    file("\nexpire = true"),
    @r#"expire: is true; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (cachehouse.toml:2)"#
);
message!(
    wrong_type_for_a_text,
    file("namespace = 7"),
    @"namespace: is 7; accepts a text of at least one character (cachehouse.toml:1)"
);
message!(
    wrong_type_for_a_flag,
    file("fallback_to_memory = \"yes\""),
    @r#"fallback_to_memory: is "yes"; accepts true or false (cachehouse.toml:1)"#
);
message!(
    wrong_type_for_a_number,
    file("[connection]\npool_size = \"4\""),
    @r#"connection.pool_size: is "4"; accepts a whole number from 1 to 64 (cachehouse.toml:2)"#
);
message!(
    wrong_type_for_an_endpoint,
    file("[standalone]\nendpoint = 6379"),
    @r#"standalone.endpoint: is 6379; accepts an endpoint such as "localhost:6379", in quotes (cachehouse.toml:2)"#
);
message!(
    a_date,
    file("expire = 2024-01-01"),
    @r#"expire: is a date; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (cachehouse.toml:1)"#
);
message!(
    a_value_in_place_of_a_table,
    file("connection = \"redis://app:hunter2@h\""),
    @"connection: is no table (it isn't shown); accepts a table, with the keys `username`, `password`, `password_file`, `connect_timeout`, `command_timeout`, `wait_for_server`, `pool_size`, `max_in_flight`, `tls`, `reconnect` (cachehouse.toml:1)"
);
message!(
    a_table_in_place_of_a_value,
    file("[namespace]\nname = 1"),
    @"namespace: is a table; accepts a text of at least one character (cachehouse.toml:1)"
);
message!(
    a_list_of_tables,
    file("[[connection]]\npassword = \"hunter2\""),
    @"connection: is no table (it isn't shown); accepts a table, with the keys `username`, `password`, `password_file`, `connect_timeout`, `command_timeout`, `wait_for_server`, `pool_size`, `max_in_flight`, `tls`, `reconnect` (cachehouse.toml:1)"
);
message!(
    out_of_range,
    file("[connection]\npool_size = 65\ncommand_timeout = \"2m\""),
    @r#"
    2 problems in the configuration:
    connection.command_timeout: is "2m"; accepts a time such as "250ms" or "3m", or whole seconds as a number, from 1ms to 1m (cachehouse.toml:3)
    connection.pool_size: is 65; accepts a whole number from 1 to 64 (cachehouse.toml:2)
    "#
);
message!(
    negative,
    file("expire = -5\n[memory_tier]\nmax_entries = -1\nmax_bytes = -1"),
    @r#"
    3 problems in the configuration:
    expire: is -5; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (cachehouse.toml:1)
    memory_tier.max_bytes: is -1; accepts a size such as "64MiB" (or B, KiB, GiB, TiB, kB, MB, GB, TB), or bytes as a number, from 1KiB to 1024TiB (cachehouse.toml:4)
    memory_tier.max_entries: is -1; accepts a whole number from 1 to 4294967296 (cachehouse.toml:3)
    "#
);
message!(
    a_database_that_no_server_has,
    file("[standalone]\nendpoint = \"h\"\ndatabase = 256"),
    @"standalone.database: is 256; accepts a whole number from 0 to 255 (cachehouse.toml:3)"
);
message!(
    zero_expire,
    file("expire = 0"),
    @r#"expire: is 0; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (cachehouse.toml:1)"#
);
message!(
    zero_expire_of_a_namespace,
    file("[namespaces.\"api.users\"]\nexpire = \"0s\""),
    @r#"namespaces."api.users".expire: is "0s"; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (cachehouse.toml:2)"#
);
message!(
    a_number_that_overflows,
    file("max_value_bytes = 99999999999999999999"),
    @"cachehouse.toml:1:19: isn't TOML: number too large to fit in target type (the line isn't shown, it may hold a secret)"
);
message!(
    a_size_that_overflows,
    file("max_value_bytes = \"99999999999999TiB\""),
    @r#"max_value_bytes: is "99999999999999TiB"; accepts a size such as "64MiB" (or B, KiB, GiB, TiB, kB, MB, GB, TB), or bytes as a number, from 1B to 512MiB (cachehouse.toml:1)"#
);
message!(
    a_value_that_memory_has_no_room_for,
    file("max_value_bytes = \"40MiB\"\n[standalone]\nendpoint = \"h\"\n"),
    @"max_value_bytes: is 41943040, but 67108864 bytes of memory have room for values of 33554048, encoded and decoded; accepts up to that, a larger `memory_tier.max_bytes`, or `fallback_to_memory` off (cachehouse.toml:1)"
);
message!(
    an_age_of_copies_without_fallback,
    file("fallback_max_age = \"1m\"\nfallback_to_memory = false"),
    @"fallback_max_age: is set, but `fallback_to_memory` is off, so nothing is served from memory; remove one of the two (cachehouse.toml:1, cachehouse.toml:2)"
);
message!(
    an_age_of_copies_without_a_server,
    file("fallback_max_age = \"1m\"\n[memory]"),
    @"fallback_max_age: is set, but [memory] has no server that could be away; remove one of the two (cachehouse.toml:1, cachehouse.toml:2)"
);
message!(
    an_age_of_copies_of_nothing,
    file("fallback_max_age = 0"),
    @r#"fallback_max_age: is 0; accepts a time such as "250ms" or "3m", or whole seconds as a number, from 1ms to 1year (cachehouse.toml:1)"#
);
message!(
    a_time_that_overflows,
    file("expire = \"99999999999999999999y\""),
    @r#"expire: is "99999999999999999999y"; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (cachehouse.toml:1)"#
);
message!(
    a_bad_time,
    file("[connection]\ncommand_timeout = \"fast\""),
    @r#"connection.command_timeout: is "fast"; accepts a time such as "250ms" or "3m", or whole seconds as a number, from 1ms to 1m (cachehouse.toml:2)"#
);
message!(
    a_time_without_a_unit,
    file("expire = \"180\""),
    @r#"expire: is "180"; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (cachehouse.toml:1)"#
);
message!(
    a_bad_size,
    file("[memory_tier]\nmax_bytes = \"64M\""),
    @r#"memory_tier.max_bytes: is "64M"; accepts a size such as "64MiB" (or B, KiB, GiB, TiB, kB, MB, GB, TB), or bytes as a number, from 1KiB to 1024TiB (cachehouse.toml:2)"#
);
message!(
    an_empty_text,
    file("namespace = \"\"\nkey_prefix = \"\""),
    @r#"
    2 problems in the configuration:
    key_prefix: is empty; accepts a text of at least one character (cachehouse.toml:2)
    namespace: is empty; accepts a text of at least one character (cachehouse.toml:1)
    "#
);
message!(
    #[cfg(feature = "messagepack")]
    a_very_long_value,
    file(&format!("codec = \"{}\"", "x".repeat(5_000))),
    @r#"codec: is "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"; accepts "json" or "messagepack"; a codec of one's own is set in code (cachehouse.toml:1)"#
);
message!(
    unknown_key_at_the_top,
    file("\n\nnamspace = \"main\""),
    @"namspace: is no key of the configuration; the nearest known one is namespace (cachehouse.toml:3)"
);
message!(
    unknown_key_in_a_table,
    file("[connection]\n\npasword = \"hunter2\""),
    @"connection.pasword: is no key of the configuration; the nearest known one is connection.password (cachehouse.toml:3)"
);
message!(
    #[cfg(feature = "tls")]
    unknown_key_in_a_table_in_a_table,
    file("[connection.tls]\nca = \"hunter2\"\n[connection.reconnect]\nmax = 1"),
    @r#"
    2 problems in the configuration:
    connection.reconnect.max: is no key of the configuration; the nearest known one is connection.reconnect.max_delay (cachehouse.toml:4)
    connection.tls.ca: is no key of the configuration; the nearest known one is connection.tls.ca_file (cachehouse.toml:2)
    "#
);
message!(
    unknown_key_of_a_namespace,
    file("[namespaces.\"api.users\"]\nexpires = \"5m\""),
    @r#"namespaces."api.users".expires: is no key of the configuration; the nearest known one is namespaces."api.users".expire (cachehouse.toml:2)"#
);
message!(
    a_key_in_the_wrong_table,
    file("command_timeout = \"1s\"\n[memory]\nmax_entries = 7"),
    @r#"
    2 problems in the configuration:
    command_timeout: is no key of the configuration; the nearest known one is connection.command_timeout (cachehouse.toml:1)
    memory.max_entries: is no key of the configuration; the nearest known one is memory_tier.max_entries (cachehouse.toml:3)
    "#
);
message!(
    a_misspelt_table,
    file("[conection]\nusername = \"app\""),
    @"conection: is no table of the configuration; the nearest known one is connection (cachehouse.toml:1)"
);
message!(
    a_misspelt_topology,
    file("[standalon]\nendpoint = \"h\""),
    @"standalon: is no table of the configuration; the nearest known one is standalone (cachehouse.toml:1)"
);
message!(
    two_topologies,
    file("[autodetect]\nendpoint = \"h\"\n\n[memory]"),
    @"autodetect, memory: are given, of which only one can say where to cache; keep one (cachehouse.toml:1, cachehouse.toml:4)"
);
message!(
    three_topologies,
    file("[autodetect]\n[cluster]\nnodes = [\"h\"]\n[standalone]\nendpoint = \"h\""),
    @"standalone, cluster, autodetect: are given, of which only one can say where to cache; keep one (cachehouse.toml:4, cachehouse.toml:2, cachehouse.toml:1)"
);
message!(
    an_empty_list_of_nodes,
    file("[cluster]\nnodes = []"),
    @r#"cluster.nodes: is an empty list; accepts a list of one endpoint at least, such as ["a:7000", "b:7000"] (cachehouse.toml:2)"#
);
message!(
    a_cluster_without_nodes,
    file("[cluster]\nread_from_replicas = true"),
    @r#"cluster.nodes: is missing; accepts a list of one endpoint at least, such as ["a:7000", "b:7000"] (cachehouse.toml:1)"#
);
message!(
    a_server_without_an_endpoint,
    file("[standalone]\ndatabase = 3"),
    @r#"standalone.endpoint: is missing; accepts an endpoint such as "localhost:6379", in quotes (cachehouse.toml:1)"#
);
message!(
    a_database_on_a_cluster,
    file("[cluster]\nnodes = [\"h\"]\ndatabase = 1"),
    @"cluster.database: means nothing here: a cluster has database 0 alone; accepts no such key, use `namespace` to keep entries apart (cachehouse.toml:3)"
);
message!(
    a_database_in_the_url_of_a_cluster,
    file("[cluster]\nnodes = [\"redis://h/1\"]"),
    @"cluster.nodes: has an endpoint whose URL names the database 1, but a cluster has database 0 alone; accepts a URL without one (cachehouse.toml:2)"
);
message!(
    a_database_twice,
    file("[standalone]\nendpoint = \"redis://h/1\"\ndatabase = 2"),
    @"standalone.database: is given twice, in the endpoint's URL and by `standalone.database`; keep one (cachehouse.toml:3)"
);
message!(
    a_bad_endpoint,
    file("[standalone]\nendpoint = \"localhost:port\""),
    @r#"standalone.endpoint: "localhost:***" has a port that is no number from 1 to 65535; accepts "host", "host:port", "[::1]:6379", "redis://user:password@host:port/database", "rediss://…" for TLS, or "unix:///path.sock" (cachehouse.toml:2)"#
);
message!(
    a_bad_endpoint_with_a_password,
    file("[autodetect]\nendpoint = \"http://app:hunter2@h\""),
    @r#"autodetect.endpoint: "http://***" has the scheme "http"; accepts "host", "host:port", "[::1]:6379", "redis://user:password@host:port/database", "rediss://…" for TLS, or "unix:///path.sock" (cachehouse.toml:2)"#
);
message!(
    a_bad_endpoint_in_a_list,
    file("[cluster]\nnodes = [\"a:7000\", \"b:0\"]"),
    @r#"cluster.nodes: has as number 2 what "b:0" has the port 0; accepts "host", "host:port", "[::1]:6379", "redis://user:password@host:port/database", "rediss://…" for TLS, or "unix:///path.sock" (cachehouse.toml:2)"#
);
message!(
    nodes_with_different_logins,
    file("[cluster]\nnodes = [\"redis://:hunter2@a\", \"redis://:hunter3@b\"]"),
    @"cluster.nodes: has endpoints whose URLs differ in their credentials; all nodes share them (cachehouse.toml:2)"
);
message!(
    a_server_with_nodes,
    file("[standalone]\nendpoint = \"h\"\nnodes = [\"a\"]"),
    @"standalone.nodes: means nothing here: one server has one `endpoint`; use [cluster] or [autodetect] for several nodes (cachehouse.toml:3)"
);
message!(
    memory_with_a_connection,
    file("[memory]\n[connection]\nusername = \"app\"\npassword = \"hunter2\""),
    @"connection: is set, but [memory] has no server to connect to; remove one of the two (cachehouse.toml:2, cachehouse.toml:1)"
);
message!(
    a_user_without_a_password,
    file("[connection]\nusername = \"app\""),
    @"connection.username: is given without a password; accepts both or neither (cachehouse.toml:2)"
);
message!(
    a_password_that_is_a_number,
    file("[connection]\npassword = 1234567"),
    @"connection.password: isn't a text (it isn't shown); accepts a text in quotes (cachehouse.toml:2)"
);
message!(
    an_empty_password,
    file("[connection]\npassword = \"\""),
    @"connection.password: is empty; accepts a text of at least one character, or not to be given (cachehouse.toml:2)"
);
message!(
    a_password_in_the_url_too,
    file("[connection]\npassword = \"hunter2\"\n[standalone]\nendpoint = \"redis://:hunter3@h\""),
    @"connection.password: is given twice, in the endpoint's URL and by `connection.password`; keep one (cachehouse.toml:2)"
);
message!(
    both_passwords,
    file("[connection]\npassword = \"hunter2\"\npassword_file = \"/no/such/file\""),
    @"connection.password: is given, and so is `connection.password_file`; keep one (cachehouse.toml:2, cachehouse.toml:3)"
);
message!(
    a_password_in_place_of_its_file,
    file("[connection]\npassword_file = \"hunter2\""),
    @"connection.password_file: isn't there (it isn't shown, it may be the secret itself); accepts the path of a file (cachehouse.toml:2)"
);
message!(
    a_number_in_place_of_the_passwords_file,
    file("[connection]\npassword_file = 1234567"),
    @"connection.password_file: isn't a text (it isn't shown); accepts the path of a file (cachehouse.toml:2)"
);
message!(
    a_missing_password_file,
    file("[connection]\npassword_file = \"/no/such/file\""),
    @r#"connection.password_file: "/no/such/file" can't be read: No such file or directory (os error 2) (cachehouse.toml:2)"#
);
message!(
    a_bad_order_of_delays,
    file("[connection.reconnect]\nmin_delay = \"3s\""),
    @"connection.reconnect: is 3s to 2s; accepts 1ms <= min_delay <= max_delay <= 600s (cachehouse.toml:1)"
);
message!(
    #[cfg(feature = "tls")]
    a_missing_tls_file,
    file("[connection.tls]\nca_file = \"/no/such/ca.pem\""),
    @r#"connection.tls.ca_file: "/no/such/ca.pem" can't be read: No such file or directory (os error 2) (cachehouse.toml:2)"#
);
message!(
    #[cfg(feature = "tls")]
    a_certificate_without_its_key,
    file("[connection.tls]\ncert_file = \"/dev/null\""),
    @"connection.tls.cert_file: is given without `connection.tls.key_file`; accepts both or neither (cachehouse.toml:2)"
);
message!(
    #[cfg(feature = "tls")]
    a_unix_socket_with_tls,
    file("[connection]\ntls = true\n[standalone]\nendpoint = \"unix:///run/redis.sock\""),
    @"connection.tls: is set for a Unix socket; accepts TCP endpoints only (cachehouse.toml:2)"
);
message!(
    #[cfg(feature = "messagepack")]
    a_bad_codec,
    file("codec = \"jsn\""),
    @r#"codec: is "jsn"; accepts "json" or "messagepack"; a codec of one's own is set in code (cachehouse.toml:1)"#
);
message!(
    #[cfg(feature = "messagepack")]
    a_namespace_with_a_bad_codec,
    file("[namespaces.\"api.users\"]\ncodec = \"xml\""),
    @r#"namespaces."api.users".codec: is "xml"; accepts "json" or "messagepack"; a codec of one's own is set in code (cachehouse.toml:2)"#
);
message!(
    a_namespace_without_a_name,
    file("[namespaces.\"\"]\nexpire = \"5m\""),
    @r#"namespaces."": names an empty namespace, which no call has; accepts a name of at least one character (cachehouse.toml:1)"#
);
message!(
    two_errors_at_once,
    file("expire = \"soon\"\ncolour = \"red\"\n[connection]\npool_size = 0"),
    @r#"
    3 problems in the configuration:
    colour: is no key of the configuration; docs/configuration.md has a table of all (cachehouse.toml:2)
    connection.pool_size: is 0; accepts a whole number from 1 to 64 (cachehouse.toml:4)
    expire: is "soon"; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (cachehouse.toml:1)
    "#
);

message!(
    a_syntax_error,
    file("namespace = \"main\"\nexpire = 3m"),
    @"cachehouse.toml:2:11: isn't TOML: expected newline, `#`, texts and times stand in quotes (the line isn't shown, it may hold a secret)"
);
message!(
    a_syntax_error_in_a_password,
    file("[connection]\npassword = hunter2"),
    @r#"cachehouse.toml:2:12: isn't TOML: invalid string, expected `"`, `'`, texts and times stand in quotes (the line isn't shown, it may hold a secret)"#
);
message!(
    a_password_that_goes_on,
    file("[connection]\npassword = \"\"\"hunter2\n"),
    @"cachehouse.toml:3:1: isn't TOML: invalid multiline basic string (the line isn't shown, it may hold a secret)"
);
message!(
    a_password_that_is_not_closed,
    file("[connection]\npassword = \"hunter2\nusername = \"app\""),
    @"cachehouse.toml:2:20: isn't TOML: invalid basic string (the line isn't shown, it may hold a secret)"
);
message!(
    a_bad_escape_in_a_password,
    file("[connection]\npassword = \"hunter2\\x\""),
    @r#"cachehouse.toml:2:22: isn't TOML: invalid escape sequence, expected `b`, `f`, `n`, `r`, `t`, `u`, `U`, `\`, `"` (the line isn't shown, it may hold a secret)"#
);
message!(
    a_key_twice,
    file("expire = 1\nnamespace = \"main\"\nexpire = 2"),
    @"cachehouse.toml:3:1: isn't TOML: duplicate key `expire` in document root (the line isn't shown, it may hold a secret)"
);
message!(
    a_table_twice,
    file("[connection]\n[memory_tier]\n[connection]"),
    @"cachehouse.toml:3:1: isn't TOML: invalid table header, duplicate key `connection` in document root (the line isn't shown, it may hold a secret)"
);
message!(
    a_secret_as_a_key_twice,
    file("hunter2 = 1\nhunter2 = 2"),
    @"cachehouse.toml:2:1: isn't TOML: duplicate key … in document root (the line isn't shown, it may hold a secret)"
);

#[test]
fn a_missing_named_file() {
    let place = Place::new();
    insta::assert_snapshot!(place.problems(place.load_file("missing.toml")), @"missing.toml: isn't there; accepts a file that exists");
}

#[test]
fn a_folder_in_place_of_a_file() {
    let place = Place::new();
    std::fs::create_dir(place.path("folder")).expect("it can be made");
    insta::assert_snapshot!(place.problems(place.load_file("folder")), @"folder: is a folder; accepts a TOML file");
}

#[test]
fn a_link_to_nowhere() {
    let place = Place::new();
    std::os::unix::fs::symlink("nowhere", place.path(DEFAULT_FILE)).expect("it can be made");
    assert!(path_exists(&place.path(DEFAULT_FILE)));
    insta::assert_snapshot!(place.problems(place.load(&[])), @"cachehouse.toml: is a link to a file that isn't there");
}

#[test]
fn an_unreadable_file() {
    // Permissions don't hold for everyone who runs tests: a link to itself is unreadable for all.
    let place = Place::new();
    std::os::unix::fs::symlink(DEFAULT_FILE, place.path(DEFAULT_FILE)).expect("it can be made");
    insta::assert_snapshot!(place.problems(place.load(&[])), @"cachehouse.toml: can't be read: Too many levels of symbolic links (os error 40)");
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    insta::assert_snapshot!(file::unreadable(&denied), @"can't be read: permission denied");
}

#[test]
fn a_file_that_is_not_utf_8() {
    let place = Place::new().with(DEFAULT_FILE, b"namespace = \"main\"\n# caf\xe9\n");
    insta::assert_snapshot!(place.problems(place.load(&[])), @"cachehouse.toml: isn't UTF-8 on line 2; accepts UTF-8: save it anew in that encoding");
}

#[test]
fn a_file_in_utf_16() {
    let place = Place::new().with(DEFAULT_FILE, b"\xff\xfee\0x\0");
    insta::assert_snapshot!(place.problems(place.load(&[])), @"cachehouse.toml: is UTF-16; accepts UTF-8: save it anew in that encoding");
}

#[test]
fn a_file_without_an_end() {
    let place = Place::new().with(DEFAULT_FILE, vec![b'\n'; 2 << 20]);
    insta::assert_snapshot!(place.problems(place.load(&[])), @"cachehouse.toml: is longer than 1 MiB, so it's no configuration");
}

#[cfg(feature = "tls")]
#[test]
fn a_tls_file_that_is_none() {
    let place = Place::new().with("ca.pem", "nothing").with(DEFAULT_FILE, "\n[connection.tls]\nca_file = \"ca.pem\"");
    let config = place.load(&[]).expect("it's found only when it's read");
    let sources = config.into_builder().sources().expect("it was loaded");
    let error = Error::config("tls.ca_file", "ca.pem holds no certificate; accepts a PEM file");
    insta::assert_snapshot!(place.anonymous(&sources.explain(error).to_string()), @"connection.tls.ca_file: ca.pem holds no certificate; accepts a PEM file (cachehouse.toml:3)");
}

#[test]
fn an_error_of_code_is_not_blamed_on_the_file() {
    let place = Place::new().with(DEFAULT_FILE, "expire = 5");
    let builder = place.load(&[]).expect("it's right").into_builder().expire(std::time::Duration::ZERO);
    let sources = builder.sources().expect("it was loaded");
    let error = builder.into_config().expect_err("zero is refused");
    insta::assert_snapshot!(sources.explain(error).to_string(), @"expire: is zero, so nothing would ever be stored; accepts any longer time (zero is for single calls)");
}

fn provider(provider: impl Provider) -> String {
    Place::new().problems(Config::from_provider(provider))
}

message!(
    an_error_of_a_provider,
    provider(("expire", "soon")),
    @r#"expire: is "soon"; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (provider (&str, &str))"#
);
message!(
    an_unknown_key_of_a_provider,
    provider(("pasword", "hunter2")),
    @"pasword: is no key of the configuration; the nearest known one is connection.password (provider (&str, &str))"
);
message!(
    a_password_of_a_provider_that_is_a_number,
    provider(("connection.password", 1_234_567)),
    @"connection.password: isn't a text (it isn't shown); accepts a text in quotes (provider (&str, i32))"
);

#[test]
fn a_syntax_error_of_a_provider_is_not_quoted() {
    use figment::providers::{Format, Toml};
    insta::assert_snapshot!(provider(Figment::new().merge(Toml::string("[connection]\npassword = hunter2"))), @"TOML source string: can't be read: TOML parse error at line 2, column 12");
    insta::assert_snapshot!(provider(Toml::string("connection = { password = [\"hunter2\"], pasword = \"hunter2\" }")), @r#"
    2 problems in the configuration:
    connection.password: isn't a text (it isn't shown); accepts a text in quotes (provider TOML source string)
    connection.pasword: is no key of the configuration; the nearest known one is connection.password (provider TOML source string)
    "#
    );
}

#[test]
fn problems_of_the_layers_are_returned_where_they_are_extended() {
    let place = Place::new().with(DEFAULT_FILE, "[connection]\npassword = \"hunter2\"\nexpire = ");
    let figment = place.stack(&[("CACHEHOUSE_EXPIRE", "1"), ("cachehouse_expire", "2")]).into_figment();
    let told = place.anonymous(&provider(figment.merge(("namespace", "app"))));
    insta::assert_snapshot!(told, @r#"
    2 problems in the configuration:
    cachehouse.toml:3:10: isn't TOML: a value is missing, or is none (the line isn't shown, it may hold a secret)
    CACHEHOUSE_EXPIRE: is set twice, since the case of letters doesn't count; keep one (variable CACHEHOUSE_EXPIRE, variable cachehouse_expire)
"#);
}

message!(
    #[cfg(feature = "tls")]
    tls_off_beside_an_endpoint_over_tls,
    file("[connection]\ntls = false\n[cluster]\nnodes = [\"a\", \"rediss://b\"]"),
    @"connection.tls: is false, but an endpoint asks for TLS by `rediss://`; keep one (cachehouse.toml:2, cachehouse.toml:4)"
);

#[test]
fn a_file_of_many_bad_keys_names_the_first_and_counts_the_rest() {
    let took = |count: u32| {
        let text: String = (0..count).map(|n| format!("bad{n} = 1\n")).collect();
        let start = std::time::Instant::now();
        let told = file(&text);
        let took = start.elapsed();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines.len(), 52, "{told}");
        assert_eq!(lines[0], format!("{count} problems in the configuration:"));
        assert!(lines[1].starts_with("bad0: is no key") && lines[1].ends_with("(cachehouse.toml:1)"), "{told}");
        assert_eq!(lines[51], format!("and {} more", count - 50));
        took
    };
    // Ten times, and a hundred if each key were looked at for each other. The quicker of two: the machine may be busy.
    let quicker = |count| took(count).min(took(count));
    let (few, many) = (quicker(1_000), quicker(10_000));
    assert!(many < few * 40, "{few:?} for 1,000, {many:?} for 10,000");
}

#[test]
fn nesting_without_an_end_is_an_error_wherever_it_is() {
    for text in [
        format!("{} = 1", vec!["a"; 20_000].join(".")),
        format!("[{}]", vec!["a"; 20_000].join(".")),
        format!("connection = {}1{}", "{a=".repeat(20_000), "}".repeat(20_000)),
        format!("connection = {{ {} = 1 }}", vec!["a"; 20_000].join(".")),
        format!("cluster.nodes = {}{}", "[".repeat(20_000), "]".repeat(20_000)),
    ] {
        assert!(file(&text).len() < 1_000);
    }
}
