//! Errors of wrong variables and of layers that don't fit together: each message whole.

use super::*;

message!(
    a_misspelt_variable,
    variables(&[("CACHEHOUSE_NAMESPCE", "app")]),
    @"CACHEHOUSE_NAMESPCE: is no variable of cache-house; the nearest known one is CACHEHOUSE_NAMESPACE (environment)"
);
message!(
    a_variable_with_one_underscore,
    variables(&[("CACHEHOUSE_CONNECTION_PASSWORD", "hunter2")]),
    @"CACHEHOUSE_CONNECTION_PASSWORD: is no variable of cache-house; the nearest known one is CACHEHOUSE_CONNECTION__PASSWORD (environment)"
);
message!(
    a_variable_without_its_table,
    variables(&[("CACHEHOUSE_COMMAND_TIMEOUT", "1s")]),
    @"CACHEHOUSE_COMMAND_TIMEOUT: is no variable of cache-house; the nearest known one is CACHEHOUSE_CONNECTION__COMMAND_TIMEOUT (environment)"
);
message!(
    a_variable_that_is_only_the_prefix,
    variables(&[("CACHEHOUSE_", "x")]),
    @"CACHEHOUSE_: is no variable of cache-house; docs/configuration.md has a table of all (environment)"
);
message!(
    a_wrong_typed_variable,
    variables(&[("CACHEHOUSE_CONNECTION__POOL_SIZE", "many"), ("CACHEHOUSE_FALLBACK_TO_MEMORY", "on")]),
    @r#"
    2 problems in the configuration:
    connection.pool_size: is "many"; accepts a whole number from 1 to 64 (variable CACHEHOUSE_CONNECTION__POOL_SIZE)
    fallback_to_memory: is "on"; accepts true or false (variable CACHEHOUSE_FALLBACK_TO_MEMORY)
    "#
);
message!(
    a_variable_as_it_is_set,
    variables(&[("cachehouse_connection__Pool_Size", "0")]),
    @"connection.pool_size: is 0; accepts a whole number from 1 to 64 (variable cachehouse_connection__Pool_Size)"
);
message!(
    #[cfg(feature = "messagepack")]
    a_variable_of_a_namespace,
    variables(&[("CACHEHOUSE_NAMESPACES__USERS__CODEC", "xml"), ("CACHEHOUSE_NAMESPACES__USERS__EXPIRES", "1m")]),
    @r#"
    2 problems in the configuration:
    namespaces.users.codec: is "xml"; accepts "json" or "messagepack"; a codec of one's own is set in code (variable CACHEHOUSE_NAMESPACES__USERS__CODEC)
    CACHEHOUSE_NAMESPACES__USERS__EXPIRES: is no variable of cache-house; the nearest known one is CACHEHOUSE_NAMESPACES__USERS__EXPIRE (environment)
    "#
);
message!(
    a_list_as_plain_text,
    variables(&[("CACHEHOUSE_CLUSTER__NODES", "a:7000,b:7000")]),
    @r#"cluster.nodes: is "a:7000,b:7000"; accepts a list of one endpoint at least, such as ["a:7000", "b:7000"] (variable CACHEHOUSE_CLUSTER__NODES)"#
);
message!(
    a_list_as_plain_text_with_a_password,
    variables(&[("CACHEHOUSE_CLUSTER__NODES", "[\"redis://:hunter2@a\", \"redis://:hunter2")]),
    @r#"cluster.nodes: is a text (it isn't shown, it may hold a password); accepts a list of one endpoint at least, such as ["a:7000", "b:7000"] (variable CACHEHOUSE_CLUSTER__NODES)"#
);
message!(
    a_list_with_a_bad_item,
    variables(&[("CACHEHOUSE_CLUSTER__NODES", "[\"a:7000\", 7000]")]),
    @r#"cluster.nodes: has 7000 as number 2; accepts a list of one endpoint at least, such as ["a:7000", "b:7000"] (variable CACHEHOUSE_CLUSTER__NODES)"#
);
message!(
    a_variable_twice,
    variables(&[("CACHEHOUSE_EXPIRE", "1m"), ("cachehouse_expire", "2m")]),
    @"CACHEHOUSE_EXPIRE: is set twice, since the case of letters doesn't count; keep one (variable CACHEHOUSE_EXPIRE, variable cachehouse_expire)"
);
message!(
    a_variable_that_names_a_table,
    variables(&[("CACHEHOUSE_CONNECTION", "redis://:hunter2@h"), ("CACHEHOUSE_MEMORY", "true")]),
    @r#"
    2 problems in the configuration:
    CACHEHOUSE_CONNECTION: names the table `connection`, and isn't one (it isn't shown); accepts a table such as {} or { key = "value" }, or variables for its keys, as CACHEHOUSE_CONNECTION__USERNAME (environment)
    CACHEHOUSE_MEMORY: names the table `memory`, and isn't one (it isn't shown); accepts a table such as {} or { key = "value" }, or variables for its keys, of which it has none (environment)
    "#
);
message!(
    a_variable_below_a_value,
    variables(&[("CACHEHOUSE_EXPIRE", "1m"), ("CACHEHOUSE_EXPIRE__MAX", "2m")]),
    @"CACHEHOUSE_EXPIRE__MAX: is no variable of cache-house; the nearest known one is CACHEHOUSE_EXPIRE (environment)"
);
message!(
    a_variable_of_an_unknown_key_in_a_table,
    variables(&[("CACHEHOUSE_CONNECTION", "{ pasword = \"hunter2\" }")]),
    @"connection.pasword: is no key of the configuration; the nearest known one is connection.password (variable CACHEHOUSE_CONNECTION)"
);
message!(
    an_empty_variable,
    variables(&[("CACHEHOUSE_EXPIRE", ""), ("CACHEHOUSE_CONNECTION__PASSWORD", "")]),
    @r#"
    2 problems in the configuration:
    connection.password: is empty; accepts a text of at least one character, or not to be given (variable CACHEHOUSE_CONNECTION__PASSWORD)
    expire: is empty; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (variable CACHEHOUSE_EXPIRE)
    "#
);
message!(
    an_empty_profile,
    variables(&[("CACHEHOUSE_PROFILE", "")]),
    @"CACHEHOUSE_PROFILE: is empty; accepts the name of a profile, or not to be set (environment)"
);
message!(
    an_empty_file_name,
    variables(&[("CACHEHOUSE_CONFIG", "")]),
    @"CACHEHOUSE_CONFIG: is empty; accepts the path of a file, or not to be set (environment)"
);
message!(
    a_profile_without_a_file,
    variables(&[("CACHEHOUSE_PROFILE", "production")]),
    @r#"CACHEHOUSE_PROFILE: is "production", which is no profile of cachehouse.toml; accepts "default" (environment)"#
);
message!(
    a_missing_file_that_a_variable_names,
    variables(&[("CACHEHOUSE_CONFIG", "/no/such/file.toml")]),
    @"/no/such/file.toml: isn't there; accepts a file that exists (variable CACHEHOUSE_CONFIG)"
);
message!(
    a_password_in_the_environment_and_a_missing_file,
    variables(&[("CACHEHOUSE_CONNECTION__PASSWORD", "hunter2"), ("CACHEHOUSE_CONNECTION__PASSWORD_FILE", "/no/such/file")]),
    @"connection.password: is given, and so is `connection.password_file`; keep one (variable CACHEHOUSE_CONNECTION__PASSWORD, variable CACHEHOUSE_CONNECTION__PASSWORD_FILE)"
);

/// The error of this file under these variables.
fn both(text: &str, variables: &[(&str, &str)]) -> String {
    let place = Place::new().with(DEFAULT_FILE, text);
    place.problems(place.load(variables))
}

message!(
    a_topology_in_the_file_and_one_in_the_environment,
    both("\n[standalone]\nendpoint = \"h\"", &[("CACHEHOUSE_CLUSTER__NODES", "[\"a:7000\"]")]),
    @"standalone, cluster: are given, of which only one can say where to cache; keep one (cachehouse.toml:2, variable CACHEHOUSE_CLUSTER__NODES)"
);
message!(
    a_password_in_the_file_and_one_in_the_environment,
    both("[connection]\npassword = \"hunter2\"", &[("CACHEHOUSE_CONNECTION__PASSWORD", "hunter3")]),
    @"connection.password: is given twice, in the file and in the environment; keep one (cachehouse.toml:2, variable CACHEHOUSE_CONNECTION__PASSWORD)"
);
message!(
    errors_in_the_file_and_in_the_environment,
    both("[connection]\npool_size = 0", &[("CACHEHOUSE_EXPIRE", "soon"), ("CACHEHOUSE_COLOUR", "red")]),
    @r#"
    3 problems in the configuration:
    CACHEHOUSE_COLOUR: is no variable of cache-house; docs/configuration.md has a table of all (environment)
    connection.pool_size: is 0; accepts a whole number from 1 to 64 (cachehouse.toml:2)
    expire: is "soon"; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (variable CACHEHOUSE_EXPIRE)
    "#
);
message!(
    a_syntax_error_and_one_in_the_environment,
    both("[standalone", &[("CACHEHOUSE_EXPIRE", "soon"), ("CACHEHOUSE_STANDALONE__DATABASE", "3")]),
    @r#"
    2 problems in the configuration:
    cachehouse.toml:1:12: isn't TOML: invalid table header, expected `.`, `]` (the line isn't shown, it may hold a secret)
    expire: is "soon"; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (variable CACHEHOUSE_EXPIRE)
    "#
);
message!(
    an_unknown_profile,
    both("[default]\nexpire = 1\n[production]\nexpire = 2\n[staging]\nexpire = 3", &[("CACHEHOUSE_PROFILE", "prod")]),
    @r#"CACHEHOUSE_PROFILE: is "prod", which is no profile of cachehouse.toml; accepts "default", "production", "staging" (environment)"#
);
message!(
    an_error_in_a_profile,
    both("expire = 1\n[production]\nexpire = 0\nexpre = 2", &[("CACHEHOUSE_PROFILE", "production")]),
    @r#"
    2 problems in the configuration:
    expire: is 0; accepts a time such as "250ms" or "3m", or whole seconds as a number, longer than zero (cachehouse.toml:3)
    expre: is no key of the configuration; the nearest known one is expire (cachehouse.toml:4)
    "#
);

#[test]
fn a_variable_that_is_not_utf_8() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = OsString::from_vec(b"hunter2\xff".to_vec());
    let stack = Stack::new([("CACHEHOUSE_CONNECTION__PASSWORD".into(), bytes)], None, "/no/such/file".into());
    insta::assert_snapshot!(Place::new().problems(Config::of(stack)), @"CACHEHOUSE_CONNECTION__PASSWORD: isn't UTF-8 (it isn't shown); accepts UTF-8 (environment)");
}

#[test]
fn a_variable_of_many_parts_is_no_variable() {
    for parts in [17, 20_000] {
        let name = format!("CACHEHOUSE_{}", vec!["A"; parts].join("__"));
        let told = variables(&[(&name, "x")]);
        assert!(told.starts_with("CACHEHOUSE_A__A__A"), "{told}");
        let expected = format!(
            "…: is no variable of cache-house: its name has {parts} parts, and none has more than 3 (environment)"
        );
        assert!(told.ends_with(&expected) && told.len() < 200, "{told}");
    }
    let deep = format!("{}1{}", "{a=".repeat(20_000), "}".repeat(20_000));
    assert!(variables(&[("CACHEHOUSE_CONNECTION", &deep)]).len() < 1_000);
}

#[test]
fn of_many_bad_variables_the_first_are_listed() {
    let names: Vec<String> = (0..2_000).map(|n| format!("CACHEHOUSE_BAD{n}")).collect();
    let told = variables(&names.iter().map(|name| (name.as_str(), "x")).collect::<Vec<_>>());
    assert!(told.starts_with("2000 problems") && told.ends_with("and 1950 more"), "{told}");
}

#[cfg(feature = "tls")]
#[test]
fn tls_off_beside_a_table_of_the_environment_or_an_endpoint_is_an_error_that_names_both() {
    let both = [("CACHEHOUSE_CONNECTION__TLS", "false"), ("CACHEHOUSE_CONNECTION__TLS__CA_FILE", "/dev/null")];
    insta::assert_snapshot!(variables(&both), @"connection.tls: is false in one place and in the other a table, which turns TLS on; keep one (variable CACHEHOUSE_CONNECTION__TLS, variable CACHEHOUSE_CONNECTION__TLS__CA_FILE)");
    let place = Place::new().with(DEFAULT_FILE, "[standalone]\nendpoint = \"rediss://app:hunter2@h\"");
    insta::assert_snapshot!(place.problems(place.load(&[("CACHEHOUSE_CONNECTION__TLS", "false")])), @"connection.tls: is false, but an endpoint asks for TLS by `rediss://`; keep one (variable CACHEHOUSE_CONNECTION__TLS, cachehouse.toml:2)");
}
