//! Whatever a file and the environment hold, loading ends with a configuration or an error, and shows no secret.

use proptest::prelude::*;

use super::*;
use crate::fuzz::Input;

const SECRET: &str = "hunter2";

/// Everything that a user can be shown of a load.
fn shown(place: &Place, variables: &[(&str, &str)]) -> String {
    let extended = Config::from_provider(place.stack(variables).into_figment());
    let figment = format!("{:?}", place.stack(variables).figment);
    let told = |result: Result<Config, Error>| match result {
        Ok(config) => format!("{config}\n{config:?}\n") + &format!("{:?}", config.into_builder()),
        Err(error) => format!("{error}\n{error:?}"),
    };
    format!("{}\n{}\n{figment}", told(place.load(variables)), told(extended))
}

/// A line that may stand in a file, most of them near to what is right.
fn line() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("password".to_owned()),
        Just("connection.password".to_owned()),
        Just("pasword".to_owned()),
        Just("endpoint".to_owned()),
        Just("nodes".to_owned()),
        Just("secret".to_owned()),
        "[a-z_]{1,8}",
    ];
    let value = prop_oneof![
        Just(format!("\"{SECRET}\"")),
        Just(format!("'{SECRET}'")),
        Just(SECRET.to_owned()),
        Just(format!("\"{SECRET}")),
        Just(format!("\"\"\"{SECRET}")),
        Just(format!("[\"{SECRET}\"]")),
        Just(format!("{{ a = \"{SECRET}\" }}")),
        Just(format!("\"redis://app:{SECRET}@h\"")),
        Just(format!("\"redis://:{SECRET}\"")),
        Just(format!("\"app:{SECRET}\"")),
        Just(format!("\"h:1?password={SECRET}\"")),
        Just(format!("\"unix:///h?password={SECRET}\"")),
        Just(format!("[\"app:{SECRET}%40h:1\"]")),
        Just(format!("[\"redis://:{SECRET}@h\", 7]")),
        Just(format!("\"{SECRET}\\x\"")),
    ];
    prop_oneof![
        8 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        3 => prop_oneof![
            Just("[connection]".to_owned()), Just("[standalone]".to_owned()), Just("[cluster]".to_owned()),
            Just("[autodetect]".to_owned()), Just("[default.connection]".to_owned()), Just("[global.connection]".to_owned()),
            Just("[[connection]]".to_owned()), Just("[namespaces.a]".to_owned()), Just("[connection.tls]".to_owned()),
        ],
        1 => "[\\[\\]{}\"'=,.# a-z0-9\\\\]{0,12}",
    ]
}

fn variable() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![
        Just("CONNECTION__PASSWORD".to_owned()),
        Just("connection__password".to_owned()),
        Just("CONNECTION".to_owned()),
        Just("CONNECTION_PASSWORD".to_owned()),
        Just("PASSWORD".to_owned()),
        Just("STANDALONE__ENDPOINT".to_owned()),
        Just("CLUSTER__NODES".to_owned()),
        Just("CLUSTER".to_owned()),
        Just("CONNECTION__PASSWORD__X".to_owned()),
        Just("CONNECTION__TLS".to_owned()),
        "[A-Z_]{0,10}",
    ];
    let value = prop_oneof![
        Just(SECRET.to_owned()),
        Just(format!("{{ password = \"{SECRET}\" }}")),
        Just(format!("[\"{SECRET}\"]")),
        Just(format!("redis://:{SECRET}@h")),
        Just(format!("app:{SECRET}")),
        Just(format!("unix:///h#{SECRET}")),
        Just(format!("[\"redis://:{SECRET}@h\"")),
        Just(format!("\"{SECRET}\"")),
    ];
    (name, value).prop_map(|(name, value)| (format!("CACHEHOUSE_{name}"), value))
}

/// Whether a line puts the secret where the loader can't recognize it: into a host's name, or a key that is shown.
fn shows_the_secret(key: &str, value: &str) -> bool {
    let is_shown = ["namespace", "key_prefix", "expire", "codec", "username", "max_", "fallback", "_file", "tls"];
    let is_address = ["endpoint", "nodes"].iter().any(|name| key.contains(name)) && !value.contains(':');
    value.contains(SECRET) && (is_address || is_shown.iter().any(|name| key.contains(name)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_text_makes_loading_panic(text in "\\PC*", name in "\\PC{0,12}", value in "\\PC*") {
        let place = Place::new().with(DEFAULT_FILE, &text);
        shown(&place, &[(&format!("CACHEHOUSE_{name}").replace(['\0', '='], ""), &value)]);
    }

    #[test]
    fn no_bytes_make_loading_panic(bytes: Vec<u8>) {
        shown(&Place::new().with(DEFAULT_FILE, &bytes), &[]);
    }

    #[test]
    fn every_key_takes_any_value_without_a_panic(
        number in 0..schema::KEYS.len(),
        value in prop_oneof![
            Just("true".to_owned()), "-?[0-9]{1,20}", "\"[a-zA-Z0-9. :/@-]{0,12}\"", Just("[]".to_owned()), Just("{}".to_owned()),
            "[0-9]{1,3}\\.[0-9]", Just("[\"a\", 1]".to_owned()), Just("1979-05-27".to_owned()), Just("nan".to_owned()),
        ],
    ) {
        let path = schema::KEYS[number].path.replace('*', "n");
        shown(&Place::new().with(DEFAULT_FILE, format!("{path} = {value}")), &[]);
        let variable = schema::variable(&path.split('.').collect::<Vec<_>>());
        shown(&Place::new(), &[(&variable, value.trim_matches('"'))]);
    }

    #[test]
    fn no_secret_is_ever_shown(
        lines in proptest::collection::vec(line(), 0..6),
        variables in proptest::collection::vec(variable(), 0..3),
        profile in proptest::option::of(Just("production")),
    ) {
        let text = lines.join("\n");
        let mut variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        variables.extend(profile.map(|name| ("CACHEHOUSE_PROFILE", name)));
        let mut written = lines.iter().filter_map(|line| line.split_once(" = "));
        prop_assume!(!written.any(|(key, value)| shows_the_secret(key, value)));
        prop_assume!(!variables.iter().any(|(name, value)| shows_the_secret(&name.to_lowercase(), value)));
        let shown = shown(&Place::new().with(DEFAULT_FILE, &text), &variables);
        prop_assert!(!shown.contains(SECRET), "{}\n{:?}\nmake\n{}", text, variables, shown);
    }

    #[test]
    fn every_password_arrives_byte_for_byte(password in "[^\0]{1,16}") {
        let place = Place::new();
        let config = place.load(&[("CACHEHOUSE_CONNECTION__PASSWORD", &password)]);
        prop_assert_eq!(good::password_of(config.expect("it's right")), password);
    }
}

#[test]
fn any_file_and_environment_load_or_are_refused_and_no_password_is_shown() {
    bolero::check!().for_each(|data: &[u8]| {
        let mut input = Input::new(data);
        let name = format!("CACHEHOUSE_{}", input.text()).replace(['\0', '='], "");
        let value = input.text().replace('\0', "");
        let file = input.pick(&["", "[connection]\npassword = \"hunter2\"\n", "connection.password = 'hunter2'\n"]);
        let text = format!("{file}{}", String::from_utf8_lossy(data));
        let shown = shown(&Place::new().with(DEFAULT_FILE, text), &[(&name, &value)]);
        assert!(!shown.contains(SECRET), "{shown}");
    });
}
