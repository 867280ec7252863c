//! User code that must compile, and compiler errors for code that must not.

#![cfg(test)]

#[test]
fn user_code() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/pass/*.rs");
    cases.compile_fail("tests/fail/*.rs");
}
