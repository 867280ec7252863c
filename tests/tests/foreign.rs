//! The foreign clients of the harness, each against a service that nmfw has no part in. When one
//! of these fails, the tool is to blame, not nmfw.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use futures_util::StreamExt;
use nmfw_tests::foreign::{Running, go_nmfw, nats_cli, node, or_not_run, python};
use nmfw_tests::{NatsServer, round_trip};
use serde_json::{Value, json};

/// A server and nats-py's sample service on it.
async fn sample() -> Option<(NatsServer, Running)> {
    let python = or_not_run("a sample service by nats-py", python().await)?;
    let server = NatsServer::start().await.unwrap();
    let service = python
        .start("sample.py", &[&server.url()], "serving")
        .await
        .unwrap();
    Some((server, service))
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

#[tokio::test]
async fn nats_py_lists_services() {
    let Some(python) = or_not_run("nats_py_lists_services", python().await) else {
        return;
    };
    let Some((server, _service)) = sample().await else {
        return;
    };
    for args in [vec![server.url()], vec![server.url(), "1".to_owned()]] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        check_listing(
            &python
                .run("services.py", &args)
                .await
                .unwrap()
                .json()
                .unwrap(),
        );
    }
}

#[tokio::test]
async fn nats_js_lists_services() {
    let Some(node) = or_not_run("nats_js_lists_services", node().await) else {
        return;
    };
    let Some((server, _service)) = sample().await else {
        return;
    };
    for args in [vec![server.url()], vec![server.url(), "1".to_owned()]] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        check_listing(
            &node
                .run("services.mjs", &args)
                .await
                .unwrap()
                .json()
                .unwrap(),
        );
    }
}

#[tokio::test]
async fn nobody_to_list_is_an_empty_list() {
    let nobody = json!({ "ping": [], "info": [], "stats": [] });
    let server = NatsServer::start().await.unwrap();
    if let Some(python) = or_not_run("nobody_to_list (nats-py)", python().await) {
        let seen: Value = python
            .run("services.py", &[&server.url()])
            .await
            .unwrap()
            .json()
            .unwrap();
        assert_eq!(seen, nobody);
    }
    if let Some(node) = or_not_run("nobody_to_list (nats.js)", node().await) {
        let seen: Value = node
            .run("services.mjs", &[&server.url()])
            .await
            .unwrap()
            .json()
            .unwrap();
        assert_eq!(seen, nobody);
    }
}

#[tokio::test]
async fn an_answer_that_nats_py_cannot_read_is_an_error() {
    let Some(python) = or_not_run("an_answer_nats_py_cannot_read", python().await) else {
        return;
    };
    let server = NatsServer::start().await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut asked = client.subscribe("$SRV.PING").await.unwrap();
    round_trip(&client, Duration::from_secs(5)).await.unwrap();
    let answering = tokio::spawn(async move {
        while let Some(request) = asked.next().await {
            if let Some(reply) = request.reply {
                client
                    .publish(reply, r#"{"name":"x"}"#.into())
                    .await
                    .unwrap();
            }
        }
    });
    let output = python.run("services.py", &[&server.url()]).await.unwrap();
    assert!(
        output.stderr.contains("cannot read this ping answer"),
        "{output:?}"
    );
    assert!(output.success().is_err());
    answering.abort();
}

#[tokio::test]
async fn requests_show_headers_bodies_and_errors() {
    let Some((server, _service)) = sample().await else {
        return;
    };
    let url = server.url();
    let echo = ["aGVsbG8=", "A:b"];
    let mut answers: Vec<[Value; 3]> = Vec::new();
    if let Some(python) = or_not_run("requests by nats-py", python().await) {
        let mut three = [Value::Null, Value::Null, Value::Null];
        for (answer, subject) in three
            .iter_mut()
            .zip(["sample.echo", "sample.fail", "nobody"])
        {
            let args = [&url, subject, echo[0], echo[1]];
            *answer = python
                .run("request.py", &args)
                .await
                .unwrap()
                .json()
                .unwrap();
        }
        answers.push(three);
    }
    if let Some(node) = or_not_run("requests by nats.js", node().await) {
        let mut three = [Value::Null, Value::Null, Value::Null];
        for (answer, subject) in three
            .iter_mut()
            .zip(["sample.echo", "sample.fail", "nobody"])
        {
            let args = [&url, subject, echo[0], echo[1]];
            *answer = node
                .run("request.mjs", &args)
                .await
                .unwrap()
                .json()
                .unwrap();
        }
        assert_eq!(
            three[1]["service_error"],
            json!({ "code": 500, "message": "it broke" })
        );
        answers.push(three);
    }
    for [echoed, failed, nobody] in answers {
        assert_eq!(echoed["body"], echo[0]);
        assert_eq!(echoed["headers"], json!({ "Seen": ["yes"] }));
        assert_eq!(failed["headers"]["Nats-Service-Error"], json!(["it broke"]));
        assert_eq!(failed["headers"]["Nats-Service-Error-Code"], json!(["500"]));
        assert_eq!(failed["body"], "ZGV0YWlscw==");
        assert_eq!(nobody, json!({ "error": "no responders" }));
    }
}

#[tokio::test]
async fn the_nats_cli_sees_services_and_calls_them() {
    let Some(cli) = or_not_run("the_nats_cli_sees_services", nats_cli().await) else {
        return;
    };
    let Some((server, _service)) = sample().await else {
        return;
    };
    let url = server.url();
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

#[tokio::test]
async fn go_nmfw_talks_to_itself() {
    let Some(go) = or_not_run("go_nmfw_talks_to_itself", go_nmfw()) else {
        return;
    };
    let server = NatsServer::start().await.unwrap();
    let url = server.url();
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
}
