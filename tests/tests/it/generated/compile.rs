//! User code that must compile, and compiler errors for code that must not.

#[test]
fn user_code() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile/pass/*.rs");
    cases.compile_fail("tests/compile/fail/*.rs");
}
