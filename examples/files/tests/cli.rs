//! Runs the commands as from a shell.

#![cfg(test)]

use std::process::{Command, Output};

fn files(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_files"));
    command.args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_demo_ends_well() {
    let output = files(&["demo"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(
        printed.ends_with("Done: service and broker have stopped.\n"),
        "{printed}"
    );
}

#[test]
fn an_error_is_one_line_and_a_status() {
    for arguments in [
        &["ls", "--server", "nats://127.0.0.1:1"][..],
        &["serve", "--dir", "/does/not/exist"],
        &["put", "x", "--context", "/does/not/exist.json"],
    ] {
        let output = files(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty());
        let error = text(&output.stderr);
        assert!(error.starts_with("error: "), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn an_invalid_command_line_has_a_separate_status() {
    for arguments in [
        &[][..],
        &["put"],
        &["ls", "--server", "a", "--context", "b"],
    ] {
        assert_eq!(files(arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert!(files(&["--help"]).status.success());
}
