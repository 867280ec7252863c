//! `nmfw mock`.

use std::{fs, path::Path, process::Stdio};

use nmfw_tests::{TestBroker, eventually, on_both_brokers};

use crate::{
    golden,
    program::{LIMIT, Program, Running},
};

const ANSWERS: &str = r#"
Echo:
  - when: {number: 5}
    answer: {number: "{{request.number}}", padding: "AAE="}
    delay: 10ms
    metadata: {served-by: mock}
  - when: {number: 6}
    status: NOT_FOUND
    message: "no {{request.number}} for {{metadata.tenant}}"
Count:
  answers: [{number: "{{request.from}}"}, {number: 9}]
  every: 10ms
  status: ABORTED
  message: enough
Sum: {answer: {count: 2, sum: "{{requests.0.number}}"}}
Chat: [{answer: {number: "{{request.number}}"}}]
"#;

fn copy(program: &Program, name: &str) {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../proto")
        .join(name);
    fs::copy(proto, program.home().join(name)).unwrap();
}

on_both_brokers! {
    async fn canned_answers_are_served(broker: TestBroker) {
        let program = Program::new(&broker.url());
        copy(&program, "streams.proto");
        copy(&program, "calc.proto");
        fs::write(program.home().join("answers.yaml"), ANSWERS).unwrap();
        let spawn = |line: &str| {
            let mut command = program.command(line);
            // Nobody reads its log.
            Running(command.stderr(Stdio::null()).spawn().unwrap())
        };
        let _streams = spawn("mock streams.proto answers.yaml");
        let _calc = spawn("mock calc.proto");
        eventually(LIMIT, async || {
            let found = program.run("ls --json").await.json();
            found["services"].as_array().is_some_and(|services| services.len() == 2)
        })
        .await;
        let mut outputs = Vec::new();
        for line in [
            "ls",
            "call calc.Add",
            "call nmfw.streams.Streams/Echo '{\"number\":5}'",
            "call nmfw.streams.Streams/Echo '{\"number\":6}' -m tenant=acme",
            "call nmfw.streams.Streams/Echo '{\"number\":6}'",
            "call nmfw.streams.Streams/Echo '{\"number\":7}'",
            "call nmfw.streams.Streams/Count '{\"from\":1}'",
            "call nmfw.streams.Streams/Sum '{\"number\":5}{\"number\":8}'",
            "call nmfw.streams.Streams/Chat '{\"number\":5}{\"number\":8}'",
            "describe nmfw.streams.Total",
            "describe nmfw.streams.Total --format json-schema",
            "describe calc.Add --format json-schema",
            "check calc calc.proto",
        ] {
            outputs.push(program.run(line).await);
        }
        golden::check("mock.txt", &outputs, &[]);
    }
}

#[tokio::test]
async fn answers_are_checked_before_they_are_served() {
    let program = Program::offline();
    copy(&program, "streams.proto");
    let mut outputs = Vec::new();
    for (from, to) in [
        ("Echo", "Ecko"),
        ("NOT_FOUND", "NOT_FOND"),
        ("sum:", "summ:"),
        ("number: 9", "number: nine"),
        ("delay: 10ms", "delay: 10"),
        ("status: NOT_FOUND", "stats: NOT_FOUND"),
        ("served-by", "nmfw-by"),
        ("status: NOT_FOUND", "delay: 1s"),
    ] {
        fs::write(
            program.home().join("answers.yaml"),
            ANSWERS.replacen(from, to, 1),
        )
        .unwrap();
        outputs.push(
            program
                .run("mock streams.proto answers.yaml --timeout 1s")
                .await,
        );
    }
    fs::write(program.home().join("answers.yaml"), "Echo: [").unwrap();
    let broken = program.run("mock streams.proto answers.yaml").await;
    assert!(
        broken.status == 1 && broken.stderr.contains("answers.yaml"),
        "{broken:?}"
    );
    golden::check("mock_errors.txt", &outputs, &[]);
}
