//! Wrong wiring does not compile, and the compiler says what to do.
//!
//! The messages depend on the compiler's version, so this runs only when asked for:
//!
//! ```text
//! cargo test --test compile_fail -- --ignored                          # compare
//! TRYBUILD=overwrite cargo test --test compile_fail -- --ignored       # write them anew, then read them
//! ```

#[test]
#[ignore = "depends on the compiler's version"]
fn wrong_wiring_does_not_compile_and_is_explained() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
