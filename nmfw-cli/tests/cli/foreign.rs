//! Services of other frameworks.

use nmfw_tests::{
    TestBroker,
    brokers::broker::{Kind, Options},
    foreign::{node, or_not_run, python},
};

use crate::{golden, program::Program};

/// Lists and calls the service `sample`, which all frameworks have alike.
async fn check(url: &str, golden: &str) {
    let program = Program::new(url);
    let mut outputs = Vec::new();
    for line in [
        "ls",
        "info sample",
        "stats",
        "call sample.echo hello",
        "call sample.echo hello --template",
        "call sample.fail hello",
        "call sample.sample.echo hello",
        "call sample.ecko hello",
        "permissions sample --role client",
    ] {
        outputs.push(program.run(line).await);
    }
    let ping = program.run("ping sample --json").await.json();
    let id = ping["instances"][0]["id"].as_str().unwrap().to_owned();
    assert!(ping["instances"][0]["serving"].is_null());
    golden::check(golden, &outputs, &[&id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_nats_js_are_listed_and_called() {
    let name = "services_of_nats_js_are_listed_and_called";
    let Some(node) = or_not_run(name, node().await) else {
        return;
    };
    for kind in Kind::BOTH {
        let broker = TestBroker::start(kind, Options::default()).await.unwrap();
        let url = broker.url();
        let _sample = node.start("sample.mjs", &[&url], "serving").await.unwrap();
        check(&url, "nats_js.txt").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_nats_py_are_listed_and_called() {
    // The installation can take longer than the limit of a test on both brokers.
    let name = "services_of_nats_py_are_listed_and_called";
    let Some(python) = or_not_run(name, python().await) else {
        return;
    };
    for kind in Kind::BOTH {
        let broker = TestBroker::start(kind, Options::default()).await.unwrap();
        let url = broker.url();
        let _sample = python.start("sample.py", &[&url], "serving").await.unwrap();
        check(&url, "nats_py.txt").await;
    }
}
