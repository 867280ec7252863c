//! What a user's code may look like, and how the compiler puts it when it does not.

use std::process::Command;

#[test]
fn user_code() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile/pass/*.rs");
    cases.compile_fail("tests/compile/fail/*.rs");
}

/// Runs the next test in a process of its own with what `nmfw-build` sets for a crate, which here is this one.
#[test]
fn includes_that_are_wrong() {
    let output = Command::new(std::env::current_exe().unwrap_or_default())
        .args(["wrong_includes", "--exact", "--ignored", "--nocapture"])
        .env("NMFW_OUT_DIR", env!("OUT_DIR"))
        .env("OUT_DIR", env!("OUT_DIR"))
        .output();
    match output {
        Ok(output) => assert!(
            output.status.success(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("the test cannot be run again: {error}"),
    }
}

#[test]
#[ignore = "run by `includes_that_are_wrong`"]
fn wrong_includes() {
    trybuild::TestCases::new().compile_fail("tests/compile/include/*.rs");
}
