//! Right chains compile; wrong ones don't, and the compiler's words say what to do instead.
//!
//! The words beside each file of `ui/fail` are those of the oldest compiler that CI runs. `TRYBUILD=overwrite` writes them
//! anew.

#[test]
fn right_chains_compile_and_wrong_ones_are_told_what_to_do() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/integration/ui/pass/*.rs");
    cases.compile_fail("tests/integration/ui/fail/*.rs");
}
