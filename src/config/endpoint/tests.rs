use proptest::prelude::*;

use super::*;
use crate::fuzz::Input;

fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap_or_else(|error| panic!("{text} is accepted: {error}"))
}

fn tcp(host: &str, port: u16) -> Endpoint {
    Endpoint::tcp(host, port)
}

fn login(endpoint: &Endpoint) -> (Option<&str>, Option<&str>) {
    (endpoint.username.as_deref(), endpoint.password.as_ref().map(Secret::expose))
}

/// The message of a text that isn't accepted. Each says what is, whatever is wrong.
#[track_caller]
fn refused(text: &str) -> String {
    let error = text.parse::<Endpoint>().expect_err(text);
    assert!(error.is_config(), "{text}: {error:?}");
    let message = error.to_string();
    let problem = message.strip_suffix(&format!("; {ACCEPTED}")).expect("it ends with what is accepted");
    problem.strip_prefix("endpoint: ").expect("it begins with the option").to_owned()
}

#[test]
fn a_host_alone_is_at_the_default_port() {
    assert_eq!(endpoint("localhost"), tcp("localhost", 6379));
    assert_eq!(endpoint("cache-1.my_net.example"), tcp("cache-1.my_net.example", 6379));
    assert_eq!(endpoint("10.0.0.7"), tcp("10.0.0.7", 6379));
    assert_eq!(endpoint("blåbær.example"), tcp("blåbær.example", 6379));
}

#[test]
fn a_host_may_have_a_port() {
    assert_eq!(endpoint("localhost:7000"), tcp("localhost", 7000));
    assert_eq!(endpoint("10.0.0.7:1"), tcp("10.0.0.7", 1));
    assert_eq!(endpoint("h:65535"), tcp("h", 65535));
}

#[test]
fn an_ipv6_address_stands_with_brackets_or_without() {
    assert_eq!(endpoint("[::1]:7000"), tcp("::1", 7000));
    assert_eq!(endpoint("[::1]"), tcp("::1", 6379));
    assert_eq!(endpoint("::1"), tcp("::1", 6379));
    assert_eq!(endpoint("2001:db8::7"), tcp("2001:db8::7", 6379));
    assert_eq!(endpoint("redis://[2001:db8::7]:7000"), tcp("2001:db8::7", 7000));
    assert_eq!(endpoint("redis://[::1]"), tcp("::1", 6379));
}

#[test]
fn a_pair_of_host_and_port_is_an_endpoint() {
    let pair = |host: &str, port| Endpoint::try_from((host, port)).expect("the pair is accepted");
    assert_eq!(pair("localhost", 7000), tcp("localhost", 7000));
    assert_eq!(pair("::1", 7000), tcp("::1", 7000));
    assert_eq!(pair("[::1]", 7000), tcp("::1", 7000));
    assert_eq!(Endpoint::try_from(("h".to_owned(), 1)).expect("owned"), tcp("h", 1));
}

#[test]
fn texts_of_every_kind_are_endpoints() {
    let owned = String::from("h:1");
    assert_eq!(Endpoint::try_from(&owned).expect("a reference"), tcp("h", 1));
    assert_eq!(Endpoint::try_from(owned).expect("owned"), tcp("h", 1));
    assert_eq!(Endpoint::try_from("h:1").expect("borrowed"), tcp("h", 1));
}

#[test]
fn urls_may_leave_out_everything_but_the_host() {
    assert_eq!(endpoint("redis://h"), tcp("h", 6379));
    assert_eq!(endpoint("redis://h/"), tcp("h", 6379));
    assert_eq!(endpoint("redis://h:7000"), tcp("h", 7000));
    assert_eq!(endpoint("redis://h/2"), Endpoint { database: Some(2), ..tcp("h", 6379) });
    assert_eq!(endpoint("redis://10.0.0.7:7000/0"), Endpoint { database: Some(0), ..tcp("10.0.0.7", 7000) });
}

#[test]
fn schemes_say_whether_the_connection_is_encrypted_in_any_case_and_for_either_server() {
    for plain in ["redis://h", "valkey://h", "REDIS://h", "Valkey://h"] {
        assert_eq!(endpoint(plain), tcp("h", 6379), "{plain}");
    }
    for encrypted in ["rediss://h", "valkeys://h", "REDISS://h", "ValkeyS://h"] {
        assert_eq!(endpoint(encrypted), Endpoint { tls: true, ..tcp("h", 6379) }, "{encrypted}");
    }
}

#[test]
fn credentials_are_percent_decoded() {
    let full = endpoint("rediss://app:hunter2@h:7000/3");
    assert_eq!(login(&full), (Some("app"), Some("hunter2")));
    assert_eq!((full.database, full.tls, full.address), (Some(3), true, tcp("h", 7000).address));
    let escaped = endpoint("redis://a%40b:%3Ap%2F%3F%23%25%20%C3%B8@h");
    assert_eq!(login(&escaped), (Some("a@b"), Some(":p/?#% ø")));
    assert_eq!(login(&endpoint("redis://:hunter2@h")), (None, Some("hunter2")));
    assert_eq!(login(&endpoint("redis://app@h")), (Some("app"), None));
    assert_eq!(login(&endpoint("redis://app:hun:ter2@h")), (Some("app"), Some("hun:ter2")));
    assert_eq!(login(&endpoint("redis://app:hun@ter2@h")), (Some("app"), Some("hun@ter2")));
    assert_eq!(login(&endpoint("redis://h")), (None, None));
}

#[test]
fn unix_sockets_are_absolute_paths() {
    let unix = |path: &str| Endpoint::bare(Address::Unix(path.into()));
    assert_eq!(endpoint("unix:///run/redis.sock"), unix("/run/redis.sock"));
    assert_eq!(endpoint("UNIX:///run/my%20redis.sock"), unix("/run/my redis.sock"));
    assert_eq!(endpoint("unix:///run/a:b@c"), unix("/run/a:b@c"));
    assert_eq!(endpoint("unix:///run/a%3Fb%23c%25d"), unix("/run/a?b#c%d"));
}

#[test]
fn an_endpoint_is_shown_without_its_credentials_and_reads_back() {
    for (text, shown) in [
        ("localhost", "localhost:6379"),
        ("redis://app:hunter2@h:7000/3", "h:7000"),
        ("rediss://app:hunter2@h", "rediss://h:6379"),
        ("::1", "[::1]:6379"),
        ("rediss://:hunter2@[::1]:1", "rediss://[::1]:1"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("unix:///run/my redis%3F%23%25%0a.sock", "unix:///run/my redis%3F%23%25%0A.sock"),
    ] {
        let one = endpoint(text);
        assert_eq!(one.to_string(), shown);
        let again = endpoint(shown);
        assert_eq!((again.address, again.tls), (one.address.clone(), one.tls), "{text}");
        assert!(!format!("{one:?} {one}").contains("hunter2"), "{one:?}");
    }
}

#[test]
fn a_message_says_what_was_read() {
    for (text, problem) in [
        ("", r#""" names no host"#),
        (":6379", r#"":6379" names no host"#),
        ("h:", r#""h:" has no port after its colon"#),
        ("h:port", r#""h:***" has a port that is no number from 1 to 65535"#),
        ("h:65536", r#""h:65536" has the port 65536, which is no number from 1 to 65535"#),
        ("h:665536", r#""h:***" has a port that is no number from 1 to 65535"#),
        ("h:-1", r#""h:***" has a port that is no number from 1 to 65535"#),
        ("h:0", r#""h:0" has the port 0"#),
        ("h/2", r#""h/2" has a character that no host name has, in "h/2""#),
        ("my host", r#""my host" has a character that no host name has, in "my host""#),
        ("[::1", r#""[::1" lacks the closing ]"#),
        ("[h]:1", r#""[***]:1" has in brackets what is no IPv6 address"#),
        ("[::1]7000", r#""[::1]7000" goes on after its ], and not with a : and a port"#),
        ("http://h:80", r#""http://***" has the scheme "http""#),
        ("redis://", r#""redis://" names no host"#),
        ("redis:///2", r#""redis:///2" names no host"#),
        ("redis://h:0", r#""redis://h:0" has the port 0"#),
        ("redis://h:99999", r#""redis://h:99999" is no URL: invalid port number"#),
        ("redis://[::1", r#""redis://[::1" is no URL: invalid IPv6 address"#),
        ("redis://h/256", r#""redis://h/256" has the database 256, which is no number from 0 to 255"#),
        ("redis://h/cache", r#""redis://h/***" has a database that is no number from 0 to 255"#),
        ("redis://u:1/2@h/3", r#""redis://***@h/3" has a / before its @ (in a password write %2F)"#),
        ("redis://h/1/2", r#""redis://h/1/2" has a database that is no number from 0 to 255"#),
        ("redis://%FF@h", r#""redis://***@h" has a user name that isn't UTF-8 once its percent escapes are decoded"#),
        ("unix://run/redis.sock", r#""unix://run/redis.sock" doesn't name an absolute path"#),
        ("unix:///a?db=1", r#""unix:///a?***" has a ? or a #, which means nothing here (in a path write %3F, %23)"#),
        ("unix:///a#b", r#""unix:///a?***" has a ? or a #, which means nothing here (in a path write %3F, %23)"#),
        ("unix://", r#""unix://" doesn't name an absolute path"#),
    ] {
        assert_eq!(refused(text), problem);
    }
}

#[test]
fn a_pair_that_is_no_endpoint_says_what_was_read() {
    let refused = |host: &str, port: u16| Endpoint::try_from((host, port)).expect_err(host).to_string();
    assert!(refused("", 1).starts_with(r#"endpoint: ("", 1) names no host; accepts "#));
    assert!(refused("h", 0).starts_with(r#"endpoint: ("h", 0) has the port 0; accepts "#));
    assert!(refused("h:1", 2).starts_with(r#"endpoint: ("h:1", 2) has a character that no host name has, in "h:1""#));
    for host in ["app:hunter2@h", "redis://app:hunter2@h", "redis://app:hunter2", "h?password=hunter2@x", "app:hunter2"]
    {
        assert!(!refused(host, 1).contains("hunter2"), "{}", refused(host, 1));
    }
}

#[test]
fn no_message_shows_a_password() {
    for text in [
        // Bad ports.
        "redis://app:hunter2@h:port",
        "redis://app:hunter2@h:99999",
        "redis://:hunter2@h:0",
        // No host, or none after the password.
        "redis://app:hunter2@",
        "redis://app:hunter2@:6379",
        "redis://app:hunter2@/2",
        "redis://app:hunter2",
        "redis://:hunter2",
        "redis://app:hunter2/2",
        // Bad hosts and databases.
        "redis://app:hunter2@my host",
        "redis://app:hunter2@[::1",
        "redis://app:hunter2@h/cache",
        // Bad schemes, or none.
        "http://app:hunter2@h",
        "redi s://app:hunter2@h",
        "://app:hunter2@h",
        "app:hunter2@h",
        "app:hunter2@h:6379/2",
        ":hunter2@h",
        "redis:app:hunter2@h",
        "redis:/app:hunter2@h",
        "app:hunter2://@h",
        "app:hunter2://x@h:6379",
        // Passwords with characters that mean something in a URL.
        "redis://app:hunter2?@h",
        "redis://app:?hunter2@h",
        "redis://app:hunter2#@h",
        "redis://app:#hunter2@h",
        "redis://app:x/hunter2@h",
        "redis://app:1/hunter2@h",
        "redis://app:@hunter2%/@h",
        "redis://app:1/hunter2%40h",
        "redis://app:1/x@hunter2@h",
        "redis://app:hunter2/x@h",
        "redis://app:x@hunter2@h:port",
        "redis://app:hunter2@x@h:port",
        "redis://app:hunter2%FF@h",
        "redis://app:hunter2%40h:6379",
        "redis://app%3Ahunter2%40h",
        // Where other clients take it from.
        "redis://h?password=hunter2",
        "redis://h:6379/2?user=app&password=hunter2",
        "redis://app:x@h?password=hunter2",
        "redis://h#hunter2",
        "unix://app:hunter2@/run/redis.sock",
        "unix://app:hunter2@h/run/redis.sock",
        "unix:///run/redis.sock?password=hunter2",
        "unix:///run/redis.sock#hunter2",
        "unix://run/redis.sock?password=hunter2",
        "unix://app:hunter2/run/redis.sock",
        "h:6379?password=hunter2",
        "h:6379#hunter2",
        "[::1]?password=hunter2",
        "[::1]:6379?password=hunter2",
        // In the place of a port, a database or an address.
        "app:hunter2",
        "app:hunter2:6379",
        "app:hunter2%40cache:6379",
        "app%3Ahunter2%40cache:6379",
        "app%3Ahunter2",
        "app%253Ahunter2%2540cache",
        "redis://app%3Ahunter2",
        "redis://app%253Ahunter2%2540h",
        "redis:hunter2",
        "redis://h/hunter2",
        "redis://app:1/hunter2",
        "[app:hunter2]",
        "[app:hunter2",
        "[::1]hunter2",
    ] {
        let error = text.parse::<Endpoint>().expect_err(text);
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2"), "{text} makes {shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_text_makes_parsing_panic(text in "\\PC*") {
        let _ = text.parse::<Endpoint>();
    }

    #[test]
    fn nothing_near_a_url_makes_parsing_panic(
        text in "(redis|unix|[a-z]{1,2})?(://)?[a1:@/?#%\\[\\].\\\\ \u{0}é-]{0,12}",
        port: u16,
    ) {
        if let Ok(endpoint) = text.parse::<Endpoint>() {
            let shown = endpoint.to_string();
            let again: Endpoint = shown.parse().expect("what is shown is accepted");
            let is_unix = matches!(endpoint.address, Address::Unix(_));
            prop_assert!(is_unix || again.address == endpoint.address, "{}", shown);
        }
        let _ = Endpoint::try_from((text, port));
    }

    #[test]
    fn every_host_and_port_reads_back(host in "[a-z0-9][a-z0-9._-]{0,12}", port in 1..=u16::MAX) {
        prop_assert_eq!(format!("{host}:{port}").parse::<Endpoint>().ok(), Some(tcp(&host, port)));
        prop_assert_eq!(format!("redis://{host}:{port}").parse::<Endpoint>().ok(), Some(tcp(&host, port)));
    }

    #[test]
    fn every_ipv6_address_reads_back(address: Ipv6Addr, port in 1..=u16::MAX) {
        let endpoint = endpoint(&format!("[{address}]:{port}"));
        prop_assert_eq!(&endpoint, &tcp(&address.to_string(), port));
        prop_assert_eq!(endpoint.to_string().parse::<Endpoint>().ok(), Some(endpoint));
    }

    #[test]
    fn every_password_survives_percent_encoding(user in "\\PC{1,8}", password in "\\PC{1,12}") {
        let encode = |text| percent_encoding::percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let endpoint = endpoint(&format!("redis://{}:{}@h", encode(user.as_bytes()), encode(password.as_bytes())));
        prop_assert_eq!(login(&endpoint), (Some(user.as_str()), Some(password.as_str())));
    }

    #[test]
    fn no_password_is_ever_shown(
        scheme in "((redis|rediss|valkey|REDIS|unix|http|re dis)(://|:/|:)|)",
        user in "[a1%@?#]{0,3}",
        colon in "(:|%3A|%253a)",
        (before, after) in ("[a1:@/?#%\\[\\] \\\\]{0,4}", "[a1:@/?#%\\[\\] \\\\]{0,4}"),
        host in "(@|%40|%2540)(h|10\\.0\\.0\\.7|\\[::1\\]|my host|)|",
        rest in "(:6379|:port|:0|)(/2|/x|)(\\?db=1|#x|)",
    ) {
        // What comes after an `@` is a host.
        let names_host = [&user, &before, &after].iter().any(|part| part.contains('@'));
        let host = if names_host && host.is_empty() { "@h".to_owned() } else { host };
        let text = format!("{scheme}{user}{colon}{before}hunter2{after}{host}{rest}");
        let shown = match text.parse::<Endpoint>() {
            // A colon that is escaped is one of the user name, or of the path.
            Ok(endpoint) if endpoint.username.as_ref().is_some_and(|name| name.contains("hunter2")) => endpoint.to_string(),
            Ok(Endpoint { address: Address::Unix(_), .. }) => String::new(),
            Err(_) if text.starts_with("unix:///") => String::new(),
            Ok(endpoint) => format!("{endpoint} {endpoint:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!shown.contains("hunter2"), "{} makes {}", text, shown);
    }

    #[test]
    fn no_secret_after_an_address_is_ever_shown(
        address in "(unix:///run/a[.]sock|unix://a|unix:|redis://h|rediss://h:1/2|h|h:1|\\[::1\\]|\\[::1\\]:1|10[.]0[.]0[.]7)",
        mark in "[?#]([a-z]{0,3}=|a=b&password=|)[a1:@/?#% ]{0,3}|:[a1:/?#% ]{0,3}",
        after in "([&@/:#?%][a1:@/?#% ]{0,3})?",
    ) {
        // A path may have a colon.
        let is_path = address.starts_with("unix:///");
        let text = format!("{address}{}{mark}hunter2{after}", if is_path { "?" } else { "" });
        let shown = match text.parse::<Endpoint>() {
            Ok(endpoint) => format!("{endpoint} {endpoint:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!shown.contains("hunter2"), "{} makes {}", text, shown);
    }
}

#[test]
fn any_endpoint_is_refused_or_reads_back_and_its_password_is_not_shown() {
    bolero::check!().for_each(|data: &[u8]| {
        let mut input = Input::new(data);
        let scheme = input.pick(&["", "redis://", "rediss://", "unix://", "redis://app:$@", "redis://:$@"]);
        let rest = String::from_utf8_lossy(&data[data.len().min(1)..]);
        let [one, other] = ["hunter2", "another"].map(|password| {
            match format!("{}{rest}", scheme.replace('$', password)).parse::<Endpoint>() {
                Ok(endpoint) => {
                    let again: Endpoint = endpoint.to_string().parse().expect("what is shown is accepted");
                    let is_unix = matches!(endpoint.address, Address::Unix(_));
                    assert!(is_unix || again.address == endpoint.address, "{endpoint}");
                    format!("{endpoint} {endpoint:?}")
                }
                Err(error) => format!("{error} {error:?}"),
            }
        });
        assert_eq!(one, other, "what is shown is the same whatever the password");
    });
}
