//! Services of other frameworks.

use nmfw_tests::{
    TestBroker,
    brokers::broker::{Kind, Options},
    foreign::{or_not_run, python},
};

use crate::{golden, program::Program};

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
        let program = Program::new(&url);
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
        golden::check("nats_py.txt", &outputs, &[&id]);
    }
}
