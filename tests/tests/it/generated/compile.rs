//! What a user's code may look like, and how the compiler puts it when it does not.

#[test]
fn user_code() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile/pass/*.rs");
    cases.compile_fail("tests/compile/fail/*.rs");
}
