//! What the program says of itself.

use super::support::Program;

#[test]
fn help_tells_of_each_command() {
    let program = Program::new();
    insta::assert_snapshot!("help", program.prints(&["--help"]));
    insta::assert_snapshot!("help_short", program.prints(&["-h"]));
    for command in ["check", "namespaces", "show", "key", "remove", "clear", "remove-tag", "top"] {
        insta::assert_snapshot!(format!("help_{command}"), program.prints(&[command, "--help"]));
    }
}

#[test]
fn a_wrong_call_is_a_matter_of_usage() {
    let program = Program::new();
    let wrong: [&[&str]; 6] =
        [&["chek"], &["show"], &["remove"], &["namespaces", "--sample", "0"], &["top"], &["key", "f", "--kwarg", "x"]];
    for arguments in wrong {
        program.fails(2, arguments);
    }
    assert_eq!(program.run(&[]).code, 2);
    assert_eq!(program.prints(&["--version"]), format!("cachehouse {}", env!("CARGO_PKG_VERSION")));
}
