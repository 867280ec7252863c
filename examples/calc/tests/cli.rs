//! Runs the commands as from a shell.

#![cfg(test)]

use std::process::{Command, Output};

fn calc(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_calc"));
    command.args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_demo_ends_well() {
    let output = calc(&["demo"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(printed.contains("average 1.1 2 3.5   = 2.2\n"), "{printed}");
    let last = "Done: service and broker have stopped.\n";
    assert!(printed.ends_with(last), "{printed}");
}

#[test]
fn own_flags_are_listed_with_those_of_the_runner() {
    let help = calc(&["run", "--help"]);
    let help = text(&help.stdout);
    for flag in [
        "--embedded",
        "--context <NAME>",
        "--server <URL>",
        "--methods <A,B>",
    ] {
        assert!(help.contains(flag), "{help}");
    }
    let version = calc(&["--version"]);
    let version = text(&version.stdout);
    assert!(version.starts_with("calc 0.0.2 (nmfw "), "{version}");
}

#[test]
fn an_error_is_shown_with_its_causes_and_a_status() {
    let output = calc(&["add", "1", "--server", "nats://me:hunter2@127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let error = text(&output.stderr);
    assert!(
        error.starts_with("error: cannot connect to nats://127.0.0.1:1 "),
        "{error}"
    );
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn an_invalid_command_line_has_a_separate_status() {
    for arguments in [
        &[][..],
        &["run", "--embedded", "--server", "a"],
        &["run", "--embedded", "--context", "a"],
        &["add", "--server", "a", "--context", "b", "1"],
    ] {
        assert_eq!(calc(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
