use proptest::prelude::*;

use super::super::*;
use super::{call, key, text_of};

fn prefix(text: &str) -> KeyPrefix {
    KeyPrefix::new(text, "cachehouse").expect("the prefix isn't empty")
}

/// Whether the prefix names the key; memory, journal and server have to agree.
#[track_caller]
fn names(prefix: &KeyPrefix, key: &CallKey) -> bool {
    let on_server = prefix.matches(&key.server_key());
    assert_eq!(key.matches(prefix), on_server, "in flight, {prefix:?}");
    assert_eq!(key.stored().matches(prefix), on_server, "in memory, {prefix:?}");
    on_server
}

fn in_namespace(namespace: &str) -> CallKey {
    key(&call("f").arg(1).namespace(namespace))
}

fn custom(text: &'static str) -> CallKey {
    key(&call("f").key_builder(move |_: &KeyContext<'_>| text.to_owned()))
}

#[test]
fn a_prefix_spares_what_only_begins_with_the_same_letters() {
    let users = prefix("cachehouse:users");
    assert!(names(&users, &in_namespace("users")));
    assert!(!names(&users, &in_namespace("users2")));
    assert!(!names(&users, &in_namespace("user")));
    assert!(!names(&users, &in_namespace("users:admin")), "its colon is escaped, so it's no part of `users`");
    assert!(names(&prefix("cachehouse"), &in_namespace("users")));
    assert!(!names(&prefix("cache"), &in_namespace("users")));
    assert!(!names(&prefix("house:users"), &in_namespace("users")));
}

#[test]
fn prefixes_are_ordered_by_their_texts() {
    let [one, other] = ["app:m", "app:n"].map(prefix);
    assert_ne!(one, other);
    assert_eq!(one, one.clone());
    assert!(one < other);
}

#[test]
fn a_trailing_colon_makes_no_difference() {
    assert_eq!(prefix("cachehouse:users:"), prefix("cachehouse:users"));
    assert_eq!(KeyPrefix::of_scope("cachehouse:users:"), prefix("cachehouse:users"));
}

#[test]
fn a_prefix_that_names_nothing_is_refused() {
    for nothing in ["", ":"] {
        let error = KeyPrefix::new(nothing, "cachehouse").expect_err("it would name every key");
        assert!(error.is_config());
        assert!(error.to_string().starts_with("clear_keys: the prefix is empty"), "{error}");
    }
}

#[test]
fn a_whole_key_names_itself_alone() {
    let (one, two) = (key(&call("f").arg(1)), key(&call("f").arg(2)));
    let whole = prefix(&text_of(&one));
    assert!(names(&whole, &one));
    assert!(!names(&whole, &two));
    assert!(names(&prefix(&format!("{}:", text_of(&one))), &one));
    assert!(!names(&prefix(&format!("{}0", text_of(&one))), &one));
}

#[test]
fn a_prefix_that_ends_inside_of_a_hash_names_nothing() {
    let one = key(&call("f").arg(1));
    let text = text_of(&one);
    assert!(!names(&prefix(&text[..text.len() - 1]), &one));
    assert!(!names(&prefix(&text[.."cachehouse:main:".len() + 1]), &one));
}

#[test]
fn a_prefix_is_not_compared_with_what_follows_the_scope_in_memory() {
    let key = key(&call("f"));
    // The frame goes on with the length of the name: one byte of text and seven of zero.
    let frame = String::from_utf8(key.as_bytes()[1..].to_vec()).expect("these parts are short enough to be text");
    for end in ["cachehouse:main:".len() + 1..=frame.len()].into_iter().flatten() {
        assert!(!names(&prefix(&frame[..end]), &key), "{:?}", &frame[..end]);
    }
}

#[test]
fn glob_characters_mean_themselves() {
    assert!(!names(&prefix("cachehouse:*"), &in_namespace("users")));
    assert!(!names(&prefix("cachehouse:user?"), &in_namespace("users")));
    assert!(names(&prefix("cachehouse:u*[s]?"), &in_namespace("u*[s]?")));
}

#[test]
fn keys_of_the_users_own_making_are_named_by_their_text() {
    let key = custom("cachehouse:main:users:7");
    assert_eq!(key.scope(), Some("cachehouse:main:"));
    for named in ["cachehouse", "cachehouse:main", "cachehouse:main:users", "cachehouse:main:users:7"] {
        assert!(names(&prefix(named), &key), "{named}");
    }
    for spared in ["cachehouse:main:user", "cachehouse:main:users:70", "cachehouse:main:users:7:8", "users"] {
        assert!(!names(&prefix(spared), &key), "{spared}");
    }
    let outside = custom("users:7");
    assert_eq!(outside.scope(), None);
    assert!(names(&prefix("users"), &outside));
    assert!(!names(&prefix("cachehouse"), &outside));
}

proptest! {
    #[test]
    fn memory_and_server_agree_on_what_a_prefix_names(
        (namespace, own) in ("[ab:%]{1,3}", prop::option::of("[ab:]{1,4}")),
        cut in 1..70_usize,
        end in "[:0a\\[]{0,2}",
    ) {
        let mut options = call("f").namespace(namespace);
        if let Some(own) = own {
            options = options.key_builder(move |cx: &KeyContext<'_>| cx.scoped(&own));
        }
        let key = key(&options);
        let mut text = text_of(&key);
        text.truncate(cut);
        text.push_str(&end);
        let named = text_of(&key) == text.trim_end_matches(':') || text_of(&key).starts_with(&format!("{text}:"));
        let named = named || (text.ends_with(':') && text_of(&key).starts_with(&text));
        if !text.ends_with("::") {
            prop_assert_eq!(names(&prefix(&text), &key), named, "{} {}", text, text_of(&key));
        }
    }
}
