//! `check`, and what all commands say of a configuration or a server that isn't as it should be.

use serde_json::Value;

use super::support::{Program, Server};

/// Commands that need the server, each of which says the same where it can't be used.
const OTHERS: [&[&str]; 5] = [
    &["namespaces"],
    &["show", "cachehouse:main:x"],
    &["remove", "cachehouse:main:x", "--yes"],
    &["clear", "main", "--yes"],
    &["remove-tag", "t", "--yes"],
];

#[test]
fn check_shows_the_configuration_and_tries_the_server() {
    let server = Server::start();
    let program = Program::on(&server.endpoint()).file("cachehouse.toml", "namespace = \"shop\"\n");
    let out = program.prints(&["check"]);
    for part in ["\"shop\"", "(cachehouse.toml:1)", "connected to a standalone server", "insert, get, remove: fine"] {
        assert!(out.contains(part), "no {part} in {out}");
    }
    assert!(out.ends_with("all is well"), "{out}");
    let report = program.json(&["check"]);
    assert_eq!((&report["ok"], &report["trial"]), (&Value::Bool(true), &Value::Bool(true)));
    assert_eq!(report["servers"][0]["endpoint"], server.endpoint());
    assert_eq!(report["problems"], Value::Array(Vec::new()));
    assert!(server.keys().is_empty(), "{:?}", server.keys());
}

#[test]
fn a_mistake_in_the_file_is_named_with_its_line_and_without_its_value() {
    let program = Program::new()
        .file("cachehouse.toml", "this is no configuration")
        .file("other.toml", "expire = \"soon\"\n[connection]\npasword = \"hunter2\"\n");
    let wrong: [&[&str]; 2] = [&["check", "--config", "other.toml"], &["key", "f", "--config", "other.toml"]];
    for arguments in
        OTHERS.into_iter().map(|others| [others, &["--config", "other.toml"]].concat()).chain(wrong.map(<[_]>::to_vec))
    {
        let error = program.fails(1, &arguments);
        assert!(error.contains("the configuration is wrong"), "{error}");
        assert!(error.contains("other.toml:3") && error.contains("other.toml:1"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let run = program.run(&["check", "--json", "--config", "other.toml"]);
    assert_eq!((run.code, run.err.as_str()), (1, ""));
    let report: Value = serde_json::from_str(&run.out).expect("it's JSON");
    assert_eq!(report["ok"], false);
    assert!(run.out.contains("other.toml:3") && !run.out.contains("hunter2"), "{}", run.out);
    assert!(program.fails(1, &["check"]).contains("cachehouse.toml:1"));
    assert!(program.fails(1, &["check", "--config", "absent.toml"]).contains("absent.toml"));
}

#[test]
fn a_wrong_password_is_told_and_never_shown() {
    let server = Server::start_with(&["--requirepass", "right"]);
    let program = Program::on(&server.endpoint()).with("CACHEHOUSE_CONNECTION__PASSWORD", "hunter2");
    for arguments in [&[&["check"][..], &["check", "--json"]], &OTHERS[..]].concat() {
        let run = program.run(arguments);
        assert_eq!(run.code, 1, "{run:?}");
        let all = run.out + &run.err;
        assert!(all.contains("authentication refused") && !all.contains("hunter2"), "{all}");
    }
    let right = Program::on(&server.endpoint()).with("CACHEHOUSE_CONNECTION__PASSWORD", "right");
    assert!(!right.prints(&["check"]).contains("right"));
}

#[test]
fn without_a_server_each_command_says_so() {
    let server = Server::absent();
    let program = Program::on(&server.endpoint());
    let run = program.run(&["check"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("the server can't be used") && run.err.contains("unreachable"), "{run:?}");
    for arguments in OTHERS {
        let error = program.fails(1, arguments);
        assert!(error.contains("the server can't be used") && error.contains("unreachable"), "{error}");
        assert!(error.contains(&server.endpoint()), "{error}");
    }
    let memory = Program::new().file("cachehouse.toml", "[memory]\n");
    assert!(memory.prints(&["check"]).contains("there is no server to try"));
    for arguments in OTHERS {
        assert!(memory.fails(1, arguments).contains("there is no server"));
    }
}

#[test]
fn a_reader_that_has_gone_changes_no_exit_code() {
    let program = Program::on(&Server::absent().endpoint());
    let run = program.run_unread(&["check"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("the server can't be used"), "{run:?}");
    assert_eq!(program.run_unread(&["check", "--json"]).code, 1);
    let memory = Program::new().file("cachehouse.toml", "[memory]\n");
    for arguments in [&["check"][..], &["key", "f"], &["--help"]] {
        let run = memory.run_unread(arguments);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{arguments:?}");
    }
}

#[test]
fn a_password_in_place_of_its_file_is_not_shown() {
    let server = Server::absent();
    let misplaced =
        |password: &str| Program::on(&server.endpoint()).with("CACHEHOUSE_CONNECTION__PASSWORD_FILE", password);
    for password in ["hunter2", "hunter2/+x="] {
        for arguments in [&[&["check"][..], &["check", "--json"], &["key", "f"]], &OTHERS[..]].concat() {
            let run = misplaced(password).run(arguments);
            assert_eq!(run.code, 1, "{run:?}");
            let all = run.out + &run.err;
            assert!(all.contains("CACHEHOUSE_CONNECTION__PASSWORD_FILE") && !all.contains("hunter2"), "{all}");
            assert!(all.contains("accepts the path of a file"), "{all}");
        }
    }
    // It's a path, and likelier mistyped.
    assert!(misplaced("/no/such/file").fails(1, &["check"]).contains("\"/no/such/file\" can't be read"));
}

#[test]
fn what_the_user_may_not_run_is_listed() {
    let server = Server::start();
    server.command(&["ACL", "SETUSER", "app", "on", ">pw", "~*", "+@all", "-pttl"]);
    let program = Program::on(&server.endpoint())
        .with("CACHEHOUSE_CONNECTION__USERNAME", "app")
        .with("CACHEHOUSE_CONNECTION__PASSWORD", "pw");
    let run = program.run(&["check"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("the user may not run: pttl"), "{run:?}");
    server.set("cachehouse:main:x", "1");
    let run = program.run(&["namespaces"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("what is shown lacks keys") && run.err.contains("NOPERM"), "{run:?}");
    assert!(run.out.contains("1 of 1 servers failed before the end"), "{run:?}");
    let run = program.run(&["namespaces", "--exact", "--json"]);
    let report: Value = serde_json::from_str(&run.out).expect("it's JSON");
    assert_eq!((run.code, &report["exact"]), (1, &Value::Bool(false)), "{report}");
}
