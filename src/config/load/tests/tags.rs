//! Tags in files and variables: those that arrive, and the errors of what is none.

use super::*;

/// The tags of the handle, and those of the namespace `users`.
#[track_caller]
fn tags(text: &str, variables: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
    let config = Place::new().with(DEFAULT_FILE, text).load(variables).unwrap_or_else(|error| panic!("{error}"));
    let config = config.into_builder().into_config().expect("it's right");
    let texts = |tags: &[Box<str>]| tags.iter().map(ToString::to_string).collect();
    let users = config.namespaces.get("users").map_or(Vec::new(), |options| texts(options.0.tags()));
    (texts(config.overrides.tags()), users)
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn tags_arrive_of_the_handle_and_of_a_namespace() {
    let text = "tags = [\"b\", \"a\", \"b\"]\n[namespaces.users]\ntags = [\"redis://:pw@h\", \"a b:{}\"]";
    assert_eq!(tags(text, &[]), (texts(&["a", "b"]), texts(&["a b:{}", "redis://:pw@h"])));
    assert_eq!(tags("[namespaces.users]\ntags = [\"a\"]\njitter = 1", &[]), (texts(&[]), texts(&["a"])));
    assert_eq!(tags("", &[]), (texts(&[]), texts(&[])));
}

#[test]
fn tags_arrive_from_variables_which_replace_those_of_the_file() {
    let of_users = "CACHEHOUSE_NAMESPACES__USERS__TAGS";
    let text = "tags = [\"a\"]\n[namespaces.users]\ntags = [\"b\"]";
    let variables = [("CACHEHOUSE_TAGS", "[\"c\", \"d\"]"), (of_users, "['e']")];
    assert_eq!(tags(text, &variables), (texts(&["c", "d"]), texts(&["e"])));
    assert_eq!(tags(text, &[("CACHEHOUSE_TAGS", "[]"), (of_users, "[]")]), (texts(&[]), texts(&[])));
}

#[test]
fn code_adds_to_what_is_loaded() {
    let config = Place::new().with(DEFAULT_FILE, "tags = [\"a\"]\njitter = 1").load(&[]).expect("it's right");
    let config = config.into_builder().tag("b").into_config().expect("it's right");
    assert_eq!(config.overrides.tags(), ["a", "b"].map(Box::from));
    assert!(config.overrides.freshness().is_some());
}

#[test]
fn they_are_shown_as_a_file_has_them() {
    let config = Place::new().with(DEFAULT_FILE, "tags = [\"b\", \"a\"]").load(&[]).expect("it's right");
    assert_eq!(value(&config, "tags"), Some("[\"b\", \"a\"]".into()));
    assert_eq!(value(&Place::new().load(&[]).expect("it's right"), "tags"), None);
}

message!(
    what_is_no_list_of_tags,
    file(&format!("tags = \"a\"\n[namespaces.a]\ntags = [\"a\", \"\"]\n[namespaces.b]\ntags = [1]\n[namespaces.c]\ntags = [\"{}\"]", "a".repeat(513))),
    @r#"
    4 problems in the configuration:
    namespaces.a.tags: has as number 2 a tag that is empty; accepts 1 to 512 bytes (cachehouse.toml:3)
    namespaces.b.tags: has 1 as number 1; accepts a list of tags of 1 to 512 bytes each, such as ["prices", "team-7"] (cachehouse.toml:5)
    namespaces.c.tags: has as number 1 a tag that has 513 bytes; accepts 1 to 512 (cachehouse.toml:7)
    tags: is "a"; accepts a list of tags of 1 to 512 bytes each, such as ["prices", "team-7"] (cachehouse.toml:1)
    "#
);
message!(
    a_tag_in_place_of_a_list_in_a_variable,
    variables(&[("CACHEHOUSE_TAGS", "a, b"), ("CACHEHOUSE_NAMESPACES__USERS__TAG", "a")]),
    @r#"
    2 problems in the configuration:
    CACHEHOUSE_NAMESPACES__USERS__TAG: is no variable of cache-house; the nearest known one is CACHEHOUSE_NAMESPACES__USERS__TAGS (environment)
    tags: is "a, b"; accepts a list of tags of 1 to 512 bytes each, such as ["prices", "team-7"] (variable CACHEHOUSE_TAGS)
    "#
);
