//! The foreign clients of the harness, each with a service that is not nmfw's. If one of these
//! tests fails, the fault is in the tool, not in nmfw.

use std::time::Duration;

use futures_util::StreamExt;
use nmfw_tests::broker::{Kind, TEST_LIMIT, TestBroker, run};
use nmfw_tests::foreign::{
    GoNmfw, NatsCli, Node, Python, Running, go_nmfw, nats_cli, node, or_not_run, python,
};
use nmfw_tests::round_trip;
use serde_json::{Value, json};

const ECHO: &str = "aGVsbG8=";

/// Runs the body on both brokers, if the tool is installed.
async fn with<T: Clone, Fut: Future<Output = ()>>(
    name: &str,
    tool: &T,
    body: impl Fn(TestBroker, T) -> Fut,
) {
    for kind in Kind::BOTH {
        run(name, kind, TEST_LIMIT, |broker| body(broker, tool.clone())).await;
    }
}

/// Starts nats-py's sample service.
async fn sample(python: &Python, broker: &TestBroker) -> Running {
    python
        .start("sample.py", &[&broker.url()], "serving")
        .await
        .unwrap()
}

fn check_listing(seen: &Value) {
    for kind in ["ping", "info", "stats"] {
        assert_eq!(
            seen[kind].as_array().map(Vec::len),
            Some(1),
            "{kind} in {seen}"
        );
        assert_eq!(seen[kind][0]["name"], "sample");
        assert_eq!(seen[kind][0]["metadata"], json!({ "key": "value" }));
    }
    assert_eq!(seen["info"][0]["endpoints"][1]["subject"], "sample.fail");
    assert_eq!(seen["stats"][0]["endpoints"][0]["num_requests"], 0);
}

fn check_requests([echoed, failed, nobody]: &[Value; 3]) {
    assert_eq!(echoed["body"], ECHO);
    assert_eq!(echoed["headers"], json!({ "Seen": ["yes"] }));
    assert_eq!(failed["headers"]["Nats-Service-Error"], json!(["it broke"]));
    assert_eq!(failed["headers"]["Nats-Service-Error-Code"], json!(["500"]));
    assert_eq!(failed["body"], "ZGV0YWlscw==");
    assert_eq!(*nobody, json!({ "error": "no responders" }));
}

fn nobody() -> Value {
    json!({ "ping": [], "info": [], "stats": [] })
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_py_lists_services_and_calls_them() {
    async fn body(broker: TestBroker, python: Python) {
        let url = broker.url();
        let seen: Value = python
            .run("services.py", &[&url])
            .await
            .unwrap()
            .json()
            .unwrap();
        assert_eq!(seen, nobody());

        let _service = sample(&python, &broker).await;
        for args in [&[&*url][..], &[&url, "1"]] {
            check_listing(
                &python
                    .run("services.py", args)
                    .await
                    .unwrap()
                    .json()
                    .unwrap(),
            );
        }
        let mut answers = [Value::Null, Value::Null, Value::Null];
        for (answer, subject) in answers
            .iter_mut()
            .zip(["sample.echo", "sample.fail", "nobody"])
        {
            let args = [&*url, subject, ECHO, "A:b"];
            *answer = python
                .run("request.py", &args)
                .await
                .unwrap()
                .json()
                .unwrap();
        }
        check_requests(&answers);
    }
    let name = "nats_py_lists_services_and_calls_them";
    let Some(python) = or_not_run(name, python().await) else {
        return;
    };
    with(name, &python, body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_js_lists_services_and_calls_them() {
    async fn body(broker: TestBroker, (node, python): (Node, Python)) {
        let url = broker.url();
        let seen: Value = node
            .run("services.mjs", &[&url])
            .await
            .unwrap()
            .json()
            .unwrap();
        assert_eq!(seen, nobody());

        let _service = sample(&python, &broker).await;
        for args in [&[&*url][..], &[&url, "1"]] {
            check_listing(
                &node
                    .run("services.mjs", args)
                    .await
                    .unwrap()
                    .json()
                    .unwrap(),
            );
        }
        let mut answers = [Value::Null, Value::Null, Value::Null];
        for (answer, subject) in answers
            .iter_mut()
            .zip(["sample.echo", "sample.fail", "nobody"])
        {
            let args = [&*url, subject, ECHO, "A:b"];
            *answer = node
                .run("request.mjs", &args)
                .await
                .unwrap()
                .json()
                .unwrap();
        }
        check_requests(&answers);
        assert_eq!(
            answers[1]["service_error"],
            json!({ "code": 500, "message": "it broke" })
        );
    }
    let name = "nats_js_lists_services_and_calls_them";
    let Some(node) = or_not_run(name, node().await) else {
        return;
    };
    let Some(python) = or_not_run(name, python().await) else {
        return;
    };
    with(name, &(node, python), body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nats_py_cannot_read_is_an_error() {
    async fn body(broker: TestBroker, python: Python) {
        let client = async_nats::connect(broker.url()).await.unwrap();
        let mut asked = client.subscribe("$SRV.PING").await.unwrap();
        round_trip(&client, Duration::from_secs(5)).await.unwrap();
        let answer = async {
            let reply = asked
                .next()
                .await
                .and_then(|request| request.reply)
                .unwrap();
            client
                .publish(reply, r#"{"name":"x"}"#.into())
                .await
                .unwrap();
        };
        let url = broker.url();
        let args = [&*url];
        let (output, ()) = tokio::join!(python.run("services.py", &args), answer);
        let output = output.unwrap();
        assert!(
            output.stderr.contains("cannot read this ping answer"),
            "{output:?}"
        );
        assert!(output.success().is_err());
    }
    let name = "an_answer_that_nats_py_cannot_read_is_an_error";
    let Some(python) = or_not_run(name, python().await) else {
        return;
    };
    with(name, &python, body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nats_cli_sees_services_and_calls_them() {
    async fn body(broker: TestBroker, (cli, python): (NatsCli, Python)) {
        let url = broker.url();
        let _service = sample(&python, &broker).await;
        for args in [
            &["micro", "ls"][..],
            &["micro", "info", "sample"],
            &["micro", "stats", "sample"],
        ] {
            let output = cli.run(&url, args).await.unwrap().success().unwrap();
            assert!(output.stdout.contains("sample"), "{args:?}: {output:?}");
        }
        let args = ["request", "sample.echo", "hello", "--raw"];
        let output = cli.run(&url, &args).await.unwrap().success().unwrap();
        assert_eq!(output.stdout.trim_end(), "hello");
    }
    let name = "the_nats_cli_sees_services_and_calls_them";
    let Some(cli) = or_not_run(name, nats_cli().await) else {
        return;
    };
    let Some(python) = or_not_run(name, python().await) else {
        return;
    };
    with(name, &(cli, python), body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn go_nmfw_talks_to_itself() {
    async fn body(broker: TestBroker, go: GoNmfw) {
        let url = broker.url();
        let service = go.serve(&url).await.unwrap();
        for (args, printed) in [
            (&["add", "1", "2", "3"][..], "6"),
            (&["average", "1.1", "2", "3.5"], "2.2"),
            (&["expr", "2*(3+4)"], "14"),
        ] {
            let output = go.call(&url, args).await.unwrap().success().unwrap();
            assert_eq!(output.stdout.trim_end(), printed, "{args:?}");
        }
        let output = go.call(&url, &["expr", "\"text\""]).await.unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            output.stderr.contains("unsupported expression result type"),
            "{output:?}"
        );
        service.stop().await.unwrap();
        let output = go.call(&url, &["add", "1"]).await.unwrap();
        assert!(
            output.stderr.contains("no responders available"),
            "{output:?}"
        );
    }
    let name = "go_nmfw_talks_to_itself";
    let Some(go) = or_not_run(name, go_nmfw()) else {
        return;
    };
    with(name, &go, body).await;
}
