//! `nmfw mock`.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout},
};

use nmfw_tests::{TestBroker, calc, on_both_brokers};

use crate::{
    golden,
    program::{LIMIT, Output, Program},
};

/// A running `nmfw mock`.
struct Mock {
    child: Child,
    stdout: BufReader<ChildStdout>,
    line: String,
}

impl Mock {
    /// Starts it, and returns what it prints when it serves.
    fn start(program: &Program, line: &str) -> (Self, Output) {
        let mut child = program.command(line).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut printed = String::new();
        while !printed.contains("Serving ") {
            let read = stdout.read_line(&mut printed).unwrap();
            if read == 0 {
                let mut stderr = String::new();
                child
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut stderr)
                    .unwrap();
                panic!("`{line}` ended: {printed}{stderr}");
            }
        }
        let output = Output {
            line: line.to_owned(),
            status: 0,
            stdout: printed,
            stderr: String::new(),
        };
        let line = line.to_owned();
        (
            Self {
                child,
                stdout,
                line,
            },
            output,
        )
    }

    /// Ends it as Ctrl-C does, and returns what it printed on standard error.
    async fn stop(mut self) -> Output {
        let pid = self.child.id().to_string();
        let killed = std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status();
        assert!(killed.unwrap().success());
        let ended = tokio::task::spawn_blocking(move || {
            let mut stdout = String::new();
            self.stdout.read_to_string(&mut stdout).unwrap();
            let output = self.child.wait_with_output().unwrap();
            Output {
                line: self.line,
                status: output.status.code().unwrap_or(-1),
                stdout,
                stderr: String::from_utf8(output.stderr).unwrap(),
            }
        });
        tokio::time::timeout(LIMIT, ended).await.unwrap().unwrap()
    }
}

/// Copies the files of `mock/` to where the program runs.
fn copy(program: &Program) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/mock");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, program.home().join(path.file_name().unwrap())).unwrap();
    }
}

on_both_brokers! {
    async fn answers_are_those_of_the_file(broker: TestBroker) {
        let program = Program::new(&broker.url());
        copy(&program);
        let (mock, started) = Mock::start(&program, "mock shop.proto answers.yaml -v");
        let mut outputs = vec![started];
        for line in [
            "ls",
            "describe shop.Find",
            "call shop.Find '{\"articleName\":\"gone\"}' -v",
            "call shop.Find '{\"articleName\":\"go\",\"filter\":{\"kind\":\"KIND_GAME\",\"maxPrice\":3}}'",
            "call shop.Find '{\"limit\":3,\"tags\":[\"a\",\"b\"],\"filter\":{\"maxPrice\":9}}' -v",
            "call shop.Find '{\"exact\":false}'",
            "call shop.Find",
            "call shop.Find '{\"limit\":4}'",
            "call shop.Find",
            "call shop.Find '{\"articleName\":\"never\"}'",
            "call shop.List '{\"articleName\":\"all\"}'",
            "call shop.Order '{\"price\":1} {\"price\":2}'",
            "call shop.Talk '{\"articleName\":\"one\"} {\"limit\":1} {\"articleName\":\"two\"}'",
        ] {
            outputs.push(program.run(line).await);
        }
        let dice = program.run("call shop.Find '{\"articleName\":\"dice\"}'").await.json();
        let price: u32 = dice["price"].as_str().unwrap().parse().unwrap();
        assert!((1..=6).contains(&price), "{dice}");
        assert_eq!(dice["id"].as_str().unwrap().len(), 36);
        let mut stopped = mock.stop().await;
        // The last line has what is random.
        assert!(stopped.stderr.contains("acme.shop.Shop.Find"), "{stopped:?}");
        stopped.stderr.clear();
        outputs.push(stopped);
        let instance = outputs.iter().find_map(|output| {
            let (_, rest) = output.stderr.split_once("< instance ")?;
            rest.lines().next().map(str::to_owned)
        });
        golden::check("mock.txt", &outputs, &[&instance.unwrap()]);
    }

    async fn answers_are_made_from_the_schema(broker: TestBroker) {
        let program = Program::new(&broker.url());
        copy(&program);
        let (mock, started) = Mock::start(&program, "mock shop.proto");
        let mut outputs = vec![started];
        for line in [
            "call shop.Find '{\"articleName\":\"mine\",\"tags\":[\"x\"],\"limit\":5}'",
            "call shop.List '{\"articleName\":\"mine\"}'",
            "call shop.Order '{\"id\":\"7\"} {\"id\":\"8\"}'",
            "call shop.Talk '{\"articleName\":\"a\"} {\"articleName\":\"b\"}'",
            "mock shop.proto --template",
        ] {
            outputs.push(program.run(line).await);
        }
        outputs.push(mock.stop().await);
        golden::check("mock_schema.txt", &outputs, &[]);
    }

    /// The mock does not take calls of the service that it is like.
    async fn a_live_service_is_mocked_beside_it(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _calc = calc::serve(&broker.url()).await.unwrap();
        let answers = "methods:\n  calc.Calc/Add:\n    - answer: { Result: 7 }\n";
        fs::write(program.home().join("answers.yaml"), answers).unwrap();
        let (mock, started) = Mock::start(&program, "mock --like calc answers.yaml");
        let mut outputs = vec![started];
        for line in [
            "call calc.Add '{\"Values\":[1,2]}'",
            "call calc-mock.Add '{\"Values\":[1,2]}'",
            "mock --like calk",
        ] {
            outputs.push(program.run(line).await);
        }
        outputs.push(mock.stop().await);
        golden::check("mock_like.txt", &outputs, &[]);
    }
}

#[tokio::test]
async fn faults_in_answers_have_a_place() {
    let program = Program::offline();
    copy(&program);
    let mut outputs = Vec::new();
    let find = |rule: &str| format!("methods:\n  acme.shop.Shop/Find:\n    - {rule}\n");
    for (name, text) in [
        ("syntax", "methods: [".to_owned()),
        ("setting", "method: {}".to_owned()),
        ("method", "methods:\n  acme.shop.Shop/Fin: []\n".to_owned()),
        (
            "field",
            find("answer:\n        articleName: a\n        prise: 1"),
        ),
        (
            "type",
            find("answer:\n        tags:\n          - a\n          - { b: 1 }"),
        ),
        ("when", find("when: { limit: many }\n      answer: {}")),
        ("both", find("answer: {}\n      error: { code: ABORTED }")),
        ("code", find("error: { code: NOT_FOND }")),
        ("ok", find("error: { code: 0 }")),
        (
            "detail",
            find("error: { code: ABORTED, details: [{ \"@type\": acme.Nope }] }"),
        ),
        ("path", find("answer: { id: \"{{request.artikelName}}\" }")),
        ("function", find("answer: { id: \"{{ranom 1 2}}\" }")),
        ("end", find("answer: { id: \"{{request.limit\" }")),
        ("beside", find("answer: { id: \"{{uuid}}\", prise: 1 }")),
        ("stream", find("stream: []")),
        ("delay", find("answer: {}\n      delay: 5")),
        ("ratio", find("answer: {}\n      failures: { ratio: 2 }")),
        ("metadata", find("answer: {}\n      metadata: { nmfw: x }")),
        ("times", find("answer: {}\n      times: 0")),
    ] {
        let file = format!("{name}.yaml");
        fs::write(program.home().join(&file), text).unwrap();
        outputs.push(program.run(&format!("mock shop.proto {file}")).await);
    }
    for line in [
        "mock --help",
        "mock",
        "mock nope.proto",
        "mock shop.proto nope.yaml",
        "mock shop.proto --service acme.shop.Stop",
        "mock shop.proto --service acme.shop.Shop --service acme.shop.Other --name x",
    ] {
        outputs.push(program.run(line).await);
    }
    golden::check("mock_faults.txt", &outputs, &[]);
}
