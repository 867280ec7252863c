//! Commands without a NATS server.

use crate::{golden, program::Program};

#[tokio::test]
async fn errors_say_what_to_do() {
    let program = Program::offline();
    let mut outputs = Vec::new();
    for line in [
        "ls --server 127.0.0.1:1",
        "ls --server 127.0.0.1:1 --json",
        "ls --server ftp://host",
        "stast",
        "ls --timeout 5",
        "stats --watch=100ms",
        "--nonsense",
    ] {
        outputs.push(program.run(line).await);
    }
    golden::check("offline.txt", &outputs, &[]);
    let unknown = program.run("ls --context nope").await;
    assert_eq!(unknown.status, 1);
    assert!(
        unknown.stderr.contains("there is no NATS context \"nope\""),
        "{unknown:?}"
    );
}

#[tokio::test]
async fn help_is_complete() {
    let program = Program::offline();
    let mut outputs = Vec::new();
    for line in ["--help", "-h", "ls --help", "call --help"] {
        outputs.push(program.run(line).await);
    }
    golden::check("help.txt", &outputs, &[]);
}

#[tokio::test]
async fn manual_pages_are_written() {
    let program = Program::offline();
    program.run("man pages").await.ok();
    let page = std::fs::read_to_string(program.home().join("pages/nmfw-call.1")).unwrap();
    assert!(page.contains(".TH") && page.contains("deadline"), "{page}");
    assert!(program.run("man").await.ok().contains(".TH"));
}

#[tokio::test]
async fn colors_are_chosen() {
    let program = Program::offline();
    let colored = |output: crate::program::Output| output.stderr.contains("\u{1b}[");
    let line = "ls --server 127.0.0.1:1";
    assert!(!colored(program.run(line).await));
    assert!(colored(
        program.run(&format!("{line} --color always")).await
    ));
}
