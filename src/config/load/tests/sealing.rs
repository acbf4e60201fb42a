//! Compression and encryption in files and variables: what arrives, and what is refused without being shown.

use super::*;
use crate::codec::{EncryptionKey, Sealing};

/// "hunter2 hunter2 hunter2 hunter2!", and the same in hexadecimal digits.
const KEY: &str = "aHVudGVyMiBodW50ZXIyIGh1bnRlcjIgaHVudGVyMiE=";
const HEX: &str = "68756e746572322068756e746572322068756e746572322068756e7465723221";
const OTHER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

const IN_FILE: (&str, &str) = ("CACHEHOUSE_ENCRYPTION__KEY_FILE", "FOLDER/key");

#[track_caller]
fn sealing(config: Config) -> Sealing {
    // None of them is shown.
    assert!(![KEY, HEX, OTHER].iter().any(|key| format!("{config}{config:?}").contains(key)));
    config.into_builder().into_config().expect("it's right").sealing
}

#[track_caller]
fn loaded(place: &Place, variables: &[(&str, &str)]) -> Config {
    place.load(variables).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn of_file(text: &str) -> Sealing {
    sealing(loaded(&Place::new().with(DEFAULT_FILE, text), &[]))
}

fn encrypted(previous: &[&str]) -> Sealing {
    let key = |text: &str| text.parse::<EncryptionKey>().expect("it's a key");
    let mut sealing = Sealing::default();
    sealing.encrypt(key(KEY), previous.iter().map(|text| key(text)).collect::<Vec<_>>());
    sealing
}

fn compressed(min_size: u64) -> Sealing {
    let mut sealing = Sealing::default();
    sealing.compress(min_size);
    sealing
}

/// The error of a file with this table, beside a file `key` of this content.
fn with_key(content: &str, table: &str) -> String {
    let place = Place::new().with("key", content).with(DEFAULT_FILE, format!("[encryption]\n{table}"));
    let message = place.problems(place.load(&[]));
    assert!(![KEY, HEX, OTHER, "aHVu"].iter().any(|key| message.contains(key)), "{message}");
    message
}

#[test]
fn nothing_is_sealed_unless_a_table_asks_for_it() {
    assert_eq!(of_file(""), Sealing::default());
    assert_eq!(of_file("[compression]\nenabled = false\nmin_size = 1"), Sealing::default());
}

#[test]
fn compression_arrives_from_a_file_and_from_variables() {
    assert_eq!(of_file("[compression]"), compressed(1024));
    assert_eq!(of_file("[compression]\nenabled = true"), compressed(1024));
    assert_eq!(of_file("[compression]\nmin_size = \"4KiB\""), compressed(4096));
    let place = Place::new().with(DEFAULT_FILE, "[compression]\nmin_size = 0");
    let (size, on) = (("CACHEHOUSE_COMPRESSION__MIN_SIZE", "1GiB"), "CACHEHOUSE_COMPRESSION__ENABLED");
    assert_eq!(sealing(loaded(&place, &[size])), compressed(1 << 30));
    assert_eq!(sealing(loaded(&place, &[(on, "false")])), Sealing::default());
    assert_eq!(sealing(loaded(&Place::new(), &[(on, "true")])), compressed(1024));
}

#[test]
fn what_is_in_effect_of_compression_is_shown() {
    let place = Place::new().with(DEFAULT_FILE, "[compression]");
    let config = loaded(&place, &[]);
    let shown = |key: &str| config.settings().iter().find(|setting| setting.key() == key).cloned();
    let shown = |key| shown(key).map(|setting| format!("{} {}", setting.value(), place.anonymous(setting.source())));
    assert_eq!(shown("compression.enabled").as_deref(), Some("true cachehouse.toml:1"));
    assert_eq!(shown("compression.min_size").as_deref(), Some("\"1KiB\" default"));
    assert_eq!(value(&loaded(&Place::new(), &[]), "compression.enabled"), None);
}

#[test]
fn a_key_arrives_from_a_file_a_variable_or_a_file_of_its_own() {
    for text in [KEY, HEX] {
        assert_eq!(of_file(&format!("[encryption]\nkey = \"{text}\"")), encrypted(&[]));
        assert_eq!(sealing(loaded(&Place::new(), &[("CACHEHOUSE_ENCRYPTION__KEY", text)])), encrypted(&[]));
        let place =
            Place::new().with("key", format!("{text}\n")).with(DEFAULT_FILE, "[encryption]\nkey_file = \"key\"");
        assert_eq!(sealing(loaded(&place, &[])), encrypted(&[]), "a relative path is meant from the file");
        assert_eq!(sealing(loaded(&Place::new().with("key", text), &[IN_FILE])), encrypted(&[]));
    }
}

#[test]
fn previous_keys_arrive_from_lists() {
    let both = format!("[encryption]\nkey = \"{KEY}\"\nprevious_keys = [\"{OTHER}\", \"{HEX}\"]");
    assert_eq!(of_file(&both), encrypted(&[OTHER, HEX]));
    assert_eq!(of_file(&format!("[encryption]\nkey = \"{KEY}\"\nprevious_keys = []")), encrypted(&[]));
    let place = Place::new().with("key", KEY).with("old", OTHER);
    let files = ("CACHEHOUSE_ENCRYPTION__PREVIOUS_KEY_FILES", "[\"FOLDER/old\", \"FOLDER/key\"]");
    assert_eq!(sealing(loaded(&place, &[IN_FILE, files])), encrypted(&[OTHER, KEY]));
    let list = format!("[\"{HEX}\"]");
    let texts = ("CACHEHOUSE_ENCRYPTION__PREVIOUS_KEYS", list.as_str());
    assert_eq!(sealing(loaded(&place, &[IN_FILE, files, texts])), encrypted(&[HEX, OTHER, KEY]));
}

#[test]
fn secrets_are_hidden_from_those_who_extend_the_layers() {
    let text = format!("[encryption]\nkey = \"{KEY}\"\nprevious_keys = [\"{OTHER}\"]");
    let place = Place::new().with(DEFAULT_FILE, text);
    let figment = place.stack(&[]).into_figment();
    let shown = format!("{figment:?}");
    assert!(!shown.contains(KEY) && !shown.contains(OTHER), "{shown}");
    assert_eq!(sealing(Config::from_provider(figment).expect("it's right")), encrypted(&[OTHER]));
}

message!(
    no_key,
    with_key("", "previous_keys = []"),
    @"encryption.key: is missing; accepts 32 random bytes as base64 or as 64 hexadecimal digits, or `encryption.key_file` in its place (cachehouse.toml:1)"
);
message!(
    two_keys,
    with_key(KEY, &format!("key = \"{KEY}\"\nkey_file = \"key\"")),
    @"encryption.key: is given, and so is `encryption.key_file`; keep one (cachehouse.toml:2, cachehouse.toml:3)"
);
message!(
    bad_keys,
    with_key("", "key = \"hunter2\"\nprevious_keys = [\"aHVudGVyMg==\", \"\", 7]"),
    @r#"
    2 problems in the configuration:
    encryption.previous_keys: has as number 2 what is empty or isn't a text (it isn't shown); accepts a list of texts in quotes (cachehouse.toml:3)
    encryption.key: isn't a key (it isn't shown); accepts 32 random bytes as base64 or as 64 hexadecimal digits (cachehouse.toml:2)
    "#
);
message!(
    a_list_of_bad_keys,
    with_key("", &format!("key = \"{KEY}aHVu\"\nprevious_keys = [\"{KEY}\", \"aHVudGVyMg==\"]")),
    @r#"
    2 problems in the configuration:
    encryption.key: isn't a key (it isn't shown); accepts 32 random bytes as base64 or as 64 hexadecimal digits (cachehouse.toml:2)
    encryption.previous_keys: has as number 2 what is a key of 7 bytes (it isn't shown); accepts 32 random bytes as base64 or as 64 hexadecimal digits (cachehouse.toml:3)
    "#
);
message!(
    keys_that_are_no_texts,
    with_key("", &format!("key = 7\nprevious_keys = \"{KEY}\"")),
    @r#"
    2 problems in the configuration:
    encryption.key: isn't a text (it isn't shown); accepts a text in quotes (cachehouse.toml:2)
    encryption.previous_keys: isn't a list (it isn't shown); accepts a list of texts in quotes (cachehouse.toml:3)
    "#
);
message!(
    bad_key_files,
    with_key("aHVudGVyMg==\n", "key_file = \"key\"\nprevious_key_files = [\"key\", \"no-such-key\"]"),
    @r#"
    3 problems in the configuration:
    encryption.key_file: "key" is a key of 7 bytes (it isn't shown); accepts 32 random bytes as base64 or as 64 hexadecimal digits (cachehouse.toml:2)
    encryption.previous_key_files: "key" is a key of 7 bytes (it isn't shown); accepts 32 random bytes as base64 or as 64 hexadecimal digits (cachehouse.toml:3)
    encryption.previous_key_files: "no-such-key" can't be read: No such file or directory (os error 2) (cachehouse.toml:3)
    "#
);
message!(
    an_empty_key_file,
    with_key("\n", "key_file = \"key\"\nprevious_key_files = \"key\""),
    @r#"
    2 problems in the configuration:
    encryption.previous_key_files: isn't a list (it isn't shown); accepts a list of paths of files, such as ["old.key"] (cachehouse.toml:3)
    encryption.key_file: "key" is empty (cachehouse.toml:2)
    "#
);
message!(
    keys_in_place_of_their_files,
    with_key("", &format!("key_file = \"{KEY}\\n\"\nprevious_key_files = [\"{HEX}\", \"{}\"]", OTHER.trim_end_matches('='))),
    @r#"
    2 problems in the configuration:
    encryption.key_file: isn't there (it isn't shown, it may be the secret itself); accepts the path of a file (cachehouse.toml:2)
    encryption.previous_key_files: is a key itself (it isn't shown); accepts the path of a file (cachehouse.toml:3)
    "#
);
message!(
    a_key_that_looks_like_a_path_in_place_of_its_file,
    with_key("", &format!("key_file = \"/{}\"", &KEY[1..])),
    @"encryption.key_file: is a key itself (it isn't shown); accepts the path of a file (cachehouse.toml:2)"
);
message!(
    a_key_file_that_is_too_long,
    with_key(&KEY.repeat(2000), "key_file = \"key\""),
    @r#"encryption.key_file: "key" is longer than 64 KiB (cachehouse.toml:2)"#
);
message!(
    a_key_in_the_file_and_in_the_environment,
    {
        let place = Place::new().with(DEFAULT_FILE, format!("[encryption]\nkey = \"{KEY}\""));
        place.problems(place.load(&[("CACHEHOUSE_ENCRYPTION__KEY", OTHER)]))
    },
    @"encryption.key: is given twice, in the file and in the environment; keep one (cachehouse.toml:2, variable CACHEHOUSE_ENCRYPTION__KEY)"
);
message!(
    misspelt_tables_and_keys,
    file(&format!("[compresion]\n[encryption]\nkey = \"{KEY}\"\nprevious_key = [\"{KEY}\"]\n[compression]\nminsize = 1")),
    @r#"
    3 problems in the configuration:
    compresion: is no table of the configuration; the nearest known one is compression (cachehouse.toml:1)
    compression.minsize: is no key of the configuration; the nearest known one is compression.min_size (cachehouse.toml:6)
    encryption.previous_key: is no key of the configuration; the nearest known one is encryption.previous_keys (cachehouse.toml:4)
    "#
);
message!(
    wrong_values_of_compression,
    file("[compression]\nenabled = \"yes\"\nmin_size = \"1M\""),
    @r#"
    2 problems in the configuration:
    compression.enabled: is "yes"; accepts true or false (cachehouse.toml:2)
    compression.min_size: is "1M"; accepts a size such as "64MiB" (or B, KiB, GiB, TiB, kB, MB, GB, TB), or bytes as a number, from 0B to 1GiB (cachehouse.toml:3)
    "#
);
message!(
    variables_that_are_wrong,
    variables(&[("CACHEHOUSE_ENCRYPTION__PREVIOUS_KEYS", KEY), ("CACHEHOUSE_ENCRYPTION", KEY)]),
    @r#"
    3 problems in the configuration:
    CACHEHOUSE_ENCRYPTION: names the table `encryption`, and isn't one (it isn't shown); accepts a table such as {} or { key = "value" }, or variables for its keys, as CACHEHOUSE_ENCRYPTION__KEY (environment)
    encryption.previous_keys: isn't a list (it isn't shown); accepts a list of texts in quotes (variable CACHEHOUSE_ENCRYPTION__PREVIOUS_KEYS)
    encryption.key: is missing; accepts 32 random bytes as base64 or as 64 hexadecimal digits, or `encryption.key_file` in its place (variable CACHEHOUSE_ENCRYPTION__PREVIOUS_KEYS)
    "#
);
