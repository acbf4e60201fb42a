//! User names and passwords: any text logs in, whatever it holds, and none of it is told.

use std::fs;
use std::sync::Arc;

use cache_house::figment::{Figment, providers::Serialized};
use cache_house::{CacheHandle, CacheHouse, CacheOptions, Health, ReasonKind};
use tempfile::TempDir;

use crate::support::fake::{Answer, Fake, healthy};
use crate::support::resp::Reply;
use crate::support::{DEADLINE, Server, alone_in, logs, standalone, until_connected, until_degraded, wait_until};

fn call(name: &str) -> CacheOptions {
    CacheOptions::new(name)
}

/// Texts that an inline command would take apart.
const AWKWARD: [&str; 12] = [
    " ",
    "two words",
    " before and after ",
    "\"quoted\"",
    "it's",
    "back\\slash\\",
    "\\x41\\n",
    "tab\tbell\u{7}",
    "line\r\nFLUSHALL\r\n",
    "line\nFLUSHALL",
    "smörgåsbord ☃ 漢字",
    "nul\0byte",
];

/// A user who may do all.
fn add_user(server: &Server, name: &str, password: &str) {
    let password = format!(">{password}");
    let rule = ["ACL", "SETUSER", name, "reset", "on", &password, "~*", "+@all"];
    assert_eq!(server.command(&rule), Reply::Simple("OK".into()), "{name:?} {password:?}");
}

fn kind(cache: &CacheHandle) -> Option<ReasonKind> {
    match cache.health() {
        Health::Degraded { reason, .. } => Some(reason.kind()),
        _ => None,
    }
}

#[test]
fn any_character_may_be_in_a_password_and_in_a_user_name() {
    let server = Server::start();
    server.set("theirs", "kept");
    let printable = || (' '..='~').flat_map(|c| [c.to_string(), format!("a{c}b")]);
    let passwords = printable().chain(AWKWARD.map(String::from)).map(|password| ("app".to_owned(), password));
    // A server takes no name with a blank or a NUL.
    let may_be = |name: &String| !name.contains(|c: char| c.is_ascii_whitespace() || matches!(c, '\0' | '\x0b'));
    let names = printable().chain(AWKWARD.map(String::from)).filter(may_be).map(|name| (name, "p w".to_owned()));
    for (name, password) in passwords.chain(names) {
        add_user(&server, &name, &password);
        let cache = standalone(server.endpoint()).username(&*name).password(&*password).build().expect("it's right");
        wait_until(&format!("{name:?} logs in with {password:?}"), DEADLINE, || {
            assert_eq!(kind(&cache), None, "{name:?} {password:?}: {}", cache.health());
            cache.health().is_connected()
        });
    }
    assert_eq!(server.get("theirs").as_deref(), Some(&b"kept"[..]));
}

#[test]
fn a_line_break_in_a_login_is_no_command() {
    let server = Server::start_with(&["--requirepass", "right"]);
    server.set("theirs", "kept");
    for text in ["right\r\nFLUSHALL", "right\nFLUSHALL", "right\r\nFLUSHALL\r\n", "right FLUSHALL"] {
        let builders = [
            standalone(server.endpoint()).password(text),
            standalone(server.endpoint()).username(text).password("right"),
            standalone(server.endpoint()).username("default").password(text),
        ];
        for builder in builders {
            let cache = builder.build().expect("it's right");
            wait_until(&format!("{text:?} is refused"), DEADLINE, || kind(&cache) == Some(ReasonKind::Authentication));
        }
    }
    for url in ["redis://:right%0d%0aFLUSHALL@", "redis://default:right%0aFLUSHALL@", "redis://a%0aFLUSHALL:right@"] {
        let cache = standalone(format!("{url}{}", server.endpoint())).build().expect("it's right");
        wait_until(&format!("{url:?} is refused"), DEADLINE, || kind(&cache) == Some(ReasonKind::Authentication));
    }
    assert_eq!(server.get("theirs").as_deref(), Some(&b"kept"[..]));
    assert_eq!(server.calls("flushall"), 0);
}

#[test]
fn a_login_is_the_same_from_each_source() {
    let server = Server::start();
    let folder = TempDir::new().expect("a temporary folder can be made");
    let (endpoint, password_file) = (server.endpoint(), folder.path().join("password"));
    for (name, password) in
        [("a\"p'p\\", "p w\"'\\#=,[]{}"), ("åpp", "line\r\nFLUSHALL"), ("123", "456"), ("true", "1.50")]
    {
        add_user(&server, name, password);
        fs::write(&password_file, format!("{password}\n")).expect("it can be written");
        let file = folder.path().join("cache.toml");
        let toml = |key: &str, value: &str| {
            format!("standalone.endpoint = {endpoint:?}\n[connection]\nusername = {name:?}\n{key} = {value:?}\n")
        };
        let loaded = |text: String| {
            fs::write(&file, text).expect("it can be written");
            CacheHouse::from_file(&file).build().expect("it's right")
        };
        let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let url = format!("redis://{}:{}@{endpoint}", encoded(name), encoded(password));
        let figment = Figment::new()
            .merge(Serialized::default("standalone.endpoint", &endpoint))
            .merge(Serialized::default("connection.username", name))
            .merge(Serialized::default("connection.password", password));
        let caches = [
            standalone(&endpoint).username(name).password(password).build().expect("it's right"),
            standalone(&endpoint).username(name).password_file(&password_file).build().expect("it's right"),
            standalone(&url).build().expect("it's right"),
            loaded(toml("password", password)),
            loaded(toml("password_file", &password_file.to_string_lossy())),
            loaded(format!("standalone.endpoint = {url:?}\n")),
            CacheHouse::from_provider(figment).build().expect("it's right"),
        ];
        caches.iter().for_each(until_connected);
    }
}

#[test]
fn a_login_of_the_environment_is_literal() {
    const PASSWORD: &str = " 'p w\" \\x41 \r\nFLUSHALL";
    let server = Server::start();
    add_user(&server, "'a\"", PASSWORD);
    let folder = TempDir::new().expect("a temporary folder can be made");
    let variables = [
        ("CACHEHOUSE_STANDALONE__ENDPOINT", &*server.endpoint()),
        ("CACHEHOUSE_CONNECTION__USERNAME", "'a\""),
        ("CACHEHOUSE_CONNECTION__PASSWORD", PASSWORD),
    ];
    alone_in("login::a_login_of_the_environment_is_literal", folder.path(), &variables, || {
        until_connected(&CacheHouse::load().build().expect("it's right"));
    });
}

#[test]
fn a_password_that_the_server_repeats_is_masked_in_every_message() {
    logs::capture();
    const PASSWORD: &str = "s3cr \"e\"t\\Qw";
    // As it is, as it's sent, as Redis shows texts, as it stands in URLs.
    let forms =
        [PASSWORD, r"s3cr \x22e\x22t\x5cQw", r#"s3cr \"e\"t\\Qw"#, "s3cr%20%22e%22t%5CQw", "s3cr%20%22e%22t%5cQw"];
    for form in forms {
        // What is refused: the login, or what comes after it.
        for (refused, code) in [
            ("HELLO", "WRONGPASS"),
            ("HELLO", "NOPERM"),
            ("HELLO", "ERR"),
            ("GET", "NOPERM"),
            ("SET", "NOPERM"),
            ("UNLINK", "ERR"),
            ("STRLEN", "OOM"),
            ("GET", "LOADING"),
        ] {
            let text: Arc<str> = format!("-{code} the user with {form} may not: {form}\r\n").into();
            let answer = Arc::clone(&text);
            let server = Fake::answering(move |words| {
                if words[0] == refused { Answer::Reply(answer.as_bytes().to_vec()) } else { healthy(words) }
            });
            let cache = standalone(server.endpoint()).username("app").password(PASSWORD).build().expect("it's right");
            match (refused, code) {
                ("UNLINK" | "STRLEN", _) => until_connected(&cache),
                _ => until_degraded(&cache),
            }
            wait_until("it's seen how it is", DEADLINE, || !matches!(cache.health(), Health::Connecting));
            let told = format!("{} {:?}", cache.health(), cache.health());
            let insert = cache.insert(call("f"), &1).map_or_else(|error| format!("{error} {error:?}"), |_| "".into());
            let remove = cache.remove(call("f")).map_or_else(|error| format!("{error} {error:?}"), |_| "".into());
            cache.cached(call("f"), || 1);
            for told in [&told, &insert, &remove, &format!("{:?}", cache.inspect())] {
                assert!(!told.contains("s3cr"), "{text} {told}");
            }
            if refused != "UNLINK" && refused != "STRLEN" {
                assert!(told.contains("may not: ***"), "{text} {told}");
            }
        }
    }
    let lines = logs::containing("s3cr");
    assert!(lines.is_empty(), "{lines:?}");
}
