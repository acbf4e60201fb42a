//! A server's text that is endless, or looks like log lines of our own.

use std::sync::Arc;
use std::time::Duration;

use cache_house::Health;

use super::call;
use crate::support::fake::{Answer, Fake, healthy};
use crate::support::{DEADLINE, logs, standalone, wait_until};

/// What is told of it at most, whatever was said: 200 characters, escaped, and our own words around them.
const MOST: usize = 3_000;
const MARK: &str = "f0rged";

fn assert_one_bounded_line(told: &str) {
    assert!(told.len() < MOST, "{} bytes: {}…", told.len(), told.chars().take(300).collect::<String>());
    assert!(!told.contains(char::is_control), "{told:?}");
}

#[test]
fn a_servers_text_is_one_bounded_line_in_every_message() {
    logs::capture();
    let short = format!("{MARK}\r\n2026-01-01T00:00:00Z  WARN cache_house: {MARK} \u{1b}[2J\u{202e}");
    for text in [format!("{short} {}", "A".repeat(2 << 20)), short] {
        // What is refused: the login, or what comes after it.
        for (refused, code) in [
            ("HELLO", "ERR"),
            ("HELLO", "NOPERM"),
            ("HELLO", MARK),
            ("GET", "LOADING"),
            ("GET", "NOPERM"),
            ("UNLINK", "OOM"),
            ("UNLINK", "MOVED"),
            ("UNLINK", "ASK 7"),
            ("UNLINK", MARK),
            ("STRLEN", "OOM"),
            ("STRLEN", "MOVED 7"),
            ("STRLEN", &text),
        ] {
            let error = format!("{code} {text}");
            let answer: Arc<[u8]> = format!("!{}\r\n{error}\r\n", error.len()).into_bytes().into();
            let server =
                Fake::answering(
                    move |words| if words[0] == refused { Answer::Reply(answer.to_vec()) } else { healthy(words) },
                );
            let cache = standalone(server.endpoint()).build().expect("it's right");
            wait_until("it's seen how it is", DEADLINE, || !matches!(cache.health(), Health::Connecting));
            let health = format!("{} {:?}", cache.health(), cache.health());
            let insert = cache.insert(call("f"), &1).map_or_else(|error| format!("{error} {error:?}"), |_| "".into());
            let remove = cache.remove(call("f")).map_or_else(|error| format!("{error} {error:?}"), |_| "".into());
            cache.cached(call("f"), || 1);
            for told in [&health, &insert, &remove, &format!("{:?}", cache.inspect())] {
                assert_one_bounded_line(told);
            }
        }
    }
    logs::containing(MARK).iter().for_each(|line| assert_one_bounded_line(&line.text));
}

#[test]
fn a_servers_mode_is_one_bounded_line_in_every_message() {
    logs::capture();
    let mode = format!("{MARK}\r\n WARN cache_house: {MARK} {}", "A".repeat(2 << 20));
    let hello: Arc<[u8]> = format!("%1\r\n$4\r\nmode\r\n${}\r\n{mode}\r\n", mode.len()).into_bytes().into();
    let server =
        Fake::answering(move |words| if words[0] == "HELLO" { Answer::Reply(hello.to_vec()) } else { healthy(words) });
    let cache = standalone(server.endpoint()).build().expect("it's right");
    wait_until("it's told", DEADLINE, || format!("{}", cache.health()).contains(MARK));
    assert_one_bounded_line(&format!("{} {:?}", cache.health(), cache.health()));
    logs::containing(MARK).iter().for_each(|line| assert_one_bounded_line(&line.text));
}

#[test]
fn a_servers_version_is_one_bounded_line_without_the_password() {
    logs::capture();
    let version = format!("6.{MARK} hunter2\r\n WARN cache_house: {MARK} {}", "A".repeat(2 << 20));
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let hello = format!("%2\r\n{}{}{}{}", bulk("mode"), bulk("standalone"), bulk("version"), bulk(&version));
    let info = bulk(&format!("redis_version:{version}"));
    let server = Fake::answering(move |words| match words[0].as_str() {
        "HELLO" => Answer::Reply(hello.clone().into_bytes()),
        "INFO" => Answer::Reply(info.clone().into_bytes()),
        _ => healthy(words),
    });
    let builder = standalone(server.endpoint()).password("hunter2").near_cache(Duration::from_secs(1));
    let cache = builder.build().expect("it's right");
    wait_until("it's told", DEADLINE, || format!("{}", cache.near_cache()).contains(MARK));
    let inspected = format!("{:?}", cache.inspect());
    assert!(inspected.contains(MARK), "{inspected}");
    let mut told = vec![format!("{} {:?}", cache.near_cache(), cache.near_cache()), inspected];
    told.extend(logs::containing(MARK).into_iter().map(|line| line.text));
    for told in told {
        assert_one_bounded_line(&told);
        assert!(!told.contains("hunter2"), "{told}");
    }
}
