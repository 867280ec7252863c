//! `nmfw new`.

use std::{path::Path, process::Command};

use nmfw_tests::{chosen, install::target_dir};

use crate::{golden, program::Program};

/// The root of the repository, where the crates of nmfw are.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[tokio::test]
async fn crates_are_created() {
    let program = Program::offline();
    std::fs::create_dir(program.home().join("taken")).unwrap();
    let mut outputs = Vec::new();
    for line in [
        "new --help",
        "new order-book",
        "new order-book",
        "new taken",
        "new sums --streaming --workspace",
        "new json --json",
        "new Greeter",
        "new as-ync",
        "new greeter --nmfw-path .",
        "new greeter --nmfw-path nowhere",
    ] {
        outputs.push(program.run(line).await);
    }
    golden::check("new.txt", &outputs, &[]);
    assert!(!program.home().join("greeter").exists());
    // Texts that depend on the names.
    let mut text = String::new();
    for path in [
        "order-book/Cargo.toml",
        "order-book/Dockerfile",
        "order-book/README.md",
        "order-book/compose.yaml",
        "order-book/proto/order-book.proto",
        "order-book/tests/service.rs",
        "sums/Cargo.toml",
        "sums/README.md",
        "sums/proto/proto/sums.proto",
        "sums/service/src/service.rs",
        "sums/client/src/main.rs",
    ] {
        let content = std::fs::read_to_string(program.home().join(path)).unwrap();
        assert!(
            !content.contains("{{") && !content.contains("%%"),
            "{content}"
        );
        text.push_str(&format!("==> {path} <==\n{content}\n"));
    }
    golden::compare("new_files.txt", &text);
}

/// Formats, builds and tests the crates as they are. The first takes minutes.
#[tokio::test]
async fn crates_pass_their_own_tests() {
    if !chosen("all") {
        return;
    }
    let program = Program::offline();
    for (name, options, tests) in [
        ("order-book", "", 2),
        ("sums", "--streaming", 4),
        ("apart", "--workspace", 2),
        ("all-kinds", "--streaming --workspace", 4),
    ] {
        let line = format!("new {name} {options} --nmfw-path '{ROOT}'");
        program.run(&line).await.ok();
        let folder = program.home().join(name);
        // The versions of dependencies that this build has, so that few are compiled again.
        std::fs::copy(format!("{ROOT}/Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        cargo(&folder, &["fmt", "--all", "--check"]);
        let printed = cargo(&folder, &["test", "--workspace"]);
        let passed = format!("test result: ok. {tests} passed");
        assert!(printed.contains(&passed), "{printed}");
    }
}

/// Runs cargo in a created crate, with the target folder of this build.
fn cargo(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("cargo")
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target_dir())
        .env("CARGO_INCREMENTAL", "0")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let printed = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {printed}");
    printed
}
