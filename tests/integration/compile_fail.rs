//! Right chains compile; wrong ones don't, and the diagnostic says what to do instead.
//!
//! The diagnostic beside each file of `compile_fail/fail` is that of the oldest compiler that CI runs. `TRYBUILD=overwrite` writes them
//! anew. What compiles is part of this program, because trybuild would build and link each file by itself.

mod pass;

#[test]
fn wrong_chains_are_refused_with_advice() {
    trybuild::TestCases::new().compile_fail("tests/integration/compile_fail/fail/*.rs");
}
