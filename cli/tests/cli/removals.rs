//! `remove`, `clear` and `remove-tag`.

use cache_house::{CacheOptions, opts};

use super::support::{Program, Server, service};

#[test]
fn nothing_is_removed_without_a_terminal_or_a_yes() {
    let server = Server::start();
    server.set("cachehouse:main:x", "1");
    let program = Program::on(&server.endpoint());
    for arguments in [["remove", "cachehouse:main:x"], ["clear", "main"], ["remove-tag", "t"]] {
        let error = program.fails(2, &arguments);
        assert!(error.contains("--yes"), "{error}");
    }
    assert!(server.has("cachehouse:main:x"));
}

#[test]
fn what_is_removed_is_gone_for_the_service() {
    let server = Server::start();
    let cache = service(&server);
    let program = Program::on(&server.endpoint());
    let call = |id: u32| opts!("user", id);
    let key = |id: u32| cache.key(&call(id)).expect("it has a key");
    for id in 0..5 {
        cache.cached(call(id), || id);
    }
    // A fill that is under way, which a removal refuses.
    let lease = format!("cachehouse::lease:{{{}}}", key(0));
    server.set(&lease, "token");

    assert_eq!(program.prints(&["remove", &key(0), &key(1), "cachehouse:main:absent", "--yes"]), "removed 2 keys");
    assert!(!server.has(&lease));
    assert_eq!(cache.cached(call(0), || 100), 100);
    assert_eq!(cache.cached(call(2), || 102), 2);
    server.set("cachehouse:other:x", "1");
    server.set("other:main:x", "1");
    assert_eq!(program.json(&["clear", "main", "-y"])["removed"], 4);
    assert_eq!(cache.cached(call(2), || 102), 102);
    assert!(server.has("cachehouse:other:x") && server.has("other:main:x"));
    assert!(program.fails(2, &["clear", "", "--yes"]).contains("empty"));
}

#[test]
fn a_key_is_removed_as_it_stands_whatever_the_configuration_makes_of_keys() {
    let server = Server::start();
    server.set("cachehouse:main:x", "1");
    server.set("cachehouse:main:x:y", "1");
    let program = Program::on(&server.endpoint()).with("CACHEHOUSE_VERSION", "3").with("CACHEHOUSE_TAGS", "[\"t\"]");
    assert_eq!(program.prints(&["remove", "cachehouse:main:x", "--yes"]), "removed 1 key");
    assert!(!server.has("cachehouse:main:x") && server.has("cachehouse:main:x:y"));
}

#[test]
fn a_tag_is_removed_with_all_its_calls() {
    let server = Server::start();
    let cache = service(&server);
    let call = || CacheOptions::new("price").tag("prices");
    assert_eq!(cache.cached(call(), || 1), 1);
    let program = Program::on(&server.endpoint());
    assert_eq!(program.json(&["remove-tag", "prices", "--yes"])["removed"], 1);
    let again = service(&server);
    assert_eq!(again.cached(call(), || 2), 2);
    assert_eq!(program.prints(&["remove-tag", "absent", "--yes"]), "removed 0 tags");
    assert!(program.fails(1, &["remove-tag", "", "--yes"]).contains("empty"));
}

#[test]
fn what_the_server_refuses_is_told() {
    let server = Server::start();
    server.command(&["ACL", "SETUSER", "app", "on", ">pw", "~cachehouse:main:*", "~cachehouse::*", "+@all"]);
    for key in ["cachehouse:main:x", "cachehouse:other:x", "cachehouse:main:y"] {
        server.set(key, "1");
    }
    let program = Program::on(&server.endpoint())
        .with("CACHEHOUSE_CONNECTION__USERNAME", "app")
        .with("CACHEHOUSE_CONNECTION__PASSWORD", "pw");
    let run = program.run(&["remove", "cachehouse:main:x", "cachehouse:other:x", "cachehouse:main:y", "--yes"]);
    assert_eq!((run.code, run.out.as_str()), (1, "removed 1 key\n"), "{run:?}");
    assert!(run.err.contains("NOPERM") && run.err.contains("2 of the keys may still be there"), "{run:?}");
    let run = program.run_unread(&["remove", "cachehouse:other:x", "--yes"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("NOPERM"), "{run:?}");
}
