//! Wrong chains and attributes don't compile, and the diagnostic says what to do instead.
//!
//! The diagnostic beside each case is that of the compiler that CI runs. `TRYBUILD=overwrite` writes them anew. What compiles is in
//! `tests/integration/chains`, because trybuild would build and link each file by itself.

#[test]
fn wrong_programs_are_refused_with_advice() {
    trybuild::TestCases::new().compile_fail("cases/*.rs");
}
