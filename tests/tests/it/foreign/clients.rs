//! nmfw services as seen by other clients: the `nats` CLI, nats-py and nats.js list them, query
//! their statistics and call them. `services.rs` checks that the tools themselves work.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nmfw::prost::Message;
use nmfw::server::Running;
use nmfw::{Code, Server};
use nmfw_tests::broker::{Kind, TEST_LIMIT, TestBroker, run};
use nmfw_tests::calc::{AddRequest, CalcServer, Calculator, ExpressionRequest};
use nmfw_tests::foreign::{
    NatsCli, Node, NotAvailable, Output, Python, nats_cli, node, or_not_run, python,
};
use nmfw_tests::puppet::{self, FailRequest, PuppetServer, Seen, Strings};
use nmfw_tests::srv::endpoint;
use serde_json::{Value, json};

const ERROR: &str = "100 % ä, b";

/// Runs the body on both brokers, serving the calculator and the puppet, with one counted error of
/// the puppet; skipped if the tool is missing.
async fn with<T: Clone, Fut: Future<Output = ()>>(
    name: &str,
    tool: Result<T, NotAvailable>,
    body: impl Fn(String, T) -> Fut,
) {
    let Some(tool) = or_not_run(name, tool) else {
        return;
    };
    for kind in Kind::BOTH {
        let body = &body;
        let tool = tool.clone();
        run(name, kind, TEST_LIMIT, |broker| async move {
            let _services = serve(&broker).await;
            body(broker.url(), tool).await;
        })
        .await;
    }
}

async fn serve(broker: &TestBroker) -> Running {
    let nats = nmfw::connect(broker.url()).await.unwrap();
    let services = Server::new(nats)
        .add_service(CalcServer::new(Calculator))
        .add_service(PuppetServer::new(Strings::default()))
        .start()
        .await
        .unwrap();
    let caller = puppet::client(&broker.url()).await.unwrap();
    let status = caller.fail(failure(ERROR)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status}");
    services
}

fn failure(message: &str) -> FailRequest {
    FailRequest {
        code: Code::NotFound.number(),
        message: message.to_owned(),
        ..FailRequest::default()
    }
}

/// Checks what a client parsed from all PING, INFO and STATS answers.
fn check_listing(seen: &Value) {
    for kind in ["ping", "info", "stats"] {
        let answers = seen[kind].as_array().unwrap();
        let named = |name: &str| {
            let found: Vec<_> = answers
                .iter()
                .filter(|answer| answer["name"] == name)
                .collect();
            assert_eq!(found.len(), 1, "{name} must occur once in {kind}: {seen}");
            found[0]
        };
        assert_eq!(answers.len(), 2, "{kind} in {seen}");
        assert_eq!(
            named("calc")["metadata"]["nmfw.service"],
            "calc.Calc",
            "{kind}"
        );
        let puppet = named("nmfw-puppet");
        assert_eq!(puppet["version"], "1.2.3-test", "{kind}");
        assert_eq!(puppet["metadata"]["team"], "tests", "{kind}");
        match kind {
            "info" => {
                let sleep = endpoint(puppet, "Sleep").unwrap();
                assert_eq!(sleep["subject"], "nmfw.nmfw.puppet.Sleep");
                assert_eq!(sleep["queue_group"], "q");
                assert_eq!(sleep["metadata"]["nmfw.method"], "nmfw.puppet.Puppet.Sleep");
            }
            "stats" => check_counts(puppet),
            _ => {}
        }
    }
}

fn check_counts(puppet: &Value) {
    let fail = endpoint(puppet, "Fail").unwrap();
    assert_eq!(
        (&fail["num_requests"], &fail["num_errors"]),
        (&json!(1), &json!(1)),
        "{fail}"
    );
    assert_eq!(fail["last_error"], format!("NOT_FOUND: {ERROR}"));
    assert_eq!(endpoint(puppet, "Echo").unwrap()["num_requests"], 0);
}

/// Makes requests through a script of `tests/foreign`, and compares subject, body and headers with
/// the received ones.
async fn check_requests<Fut: Future<Output = Output>>(ask: impl Fn(Vec<String>) -> Fut) -> Value {
    let ask = async |subject: &str, body: &[u8], headers: &[&str]| {
        let mut args = vec![subject.to_owned(), STANDARD.encode(body)];
        args.extend(headers.iter().map(|header| (*header).to_owned()));
        ask(args).await.json::<Value>().unwrap()
    };
    let numbers = AddRequest {
        values: vec![1.0, 2.0, 3.0],
    }
    .encode_to_vec();
    let sum = STANDARD.encode(b"\x0a\x03add\x15\x00\x00\xc0\x40");
    let plain = ask("nmfw.calc.Add", &numbers, &[]).await;
    assert_eq!(
        (&plain["body"], &plain["headers"]),
        (&json!(sum), &json!({})),
        "{plain}"
    );
    let limited = ask("nmfw.calc.Add", &numbers, &["Nmfw:1;t=5000;v=9.9.9"]).await;
    assert_eq!(limited["body"], sum, "{limited}");

    let headers = ["Nmfw:1;t=5000;v=9.9.9", "tenant:acme", "X-Raw-Bin:AAH/"];
    let inspected = ask("nmfw.nmfw.puppet.Inspect", b"", &headers).await;
    assert_eq!(inspected["headers"], json!({ "inspected-by": ["puppet"] }));
    let body = STANDARD
        .decode(inspected["body"].as_str().unwrap())
        .unwrap();
    let seen = Seen::decode(&*body).unwrap();
    assert_eq!(seen.client_version, "9.9.9");
    assert!(
        seen.time_left_millis.is_some_and(|left| left <= 5000),
        "{seen:?}"
    );
    let metadata: BTreeMap<_, _> = seen.metadata.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(
        metadata,
        BTreeMap::from([("tenant", "acme"), ("X-Raw-Bin", r#"b"\0\x01\xff""#)])
    );

    let nobody = ask("nmfw.calc.Unknown", b"", &[]).await;
    assert_eq!(nobody, json!({ "error": "no responders" }));
    let bad = ask("nmfw.calc.Add", &numbers, &["Nmfw-Deadline:soon"]).await;
    assert_eq!(
        bad["headers"]["Nats-Service-Error-Code"],
        json!(["3"]),
        "{bad}"
    );

    // Unchanged, not percent-encoded, and on one line.
    let message = format!("{ERROR}\nsecond line");
    let failed = ask(
        "nmfw.nmfw.puppet.Fail",
        &failure(&message).encode_to_vec(),
        &[],
    )
    .await;
    let shown = format!("{ERROR} second line");
    assert_eq!(
        failed["headers"]["Nats-Service-Error"],
        json!([shown]),
        "{failed}"
    );
    assert_eq!(
        failed["headers"]["Nats-Service-Error-Code"],
        json!(["5"]),
        "{failed}"
    );
    assert_eq!(failed["headers"]["Nmfw-Status"], json!(["5"]), "{failed}");
    assert_eq!(
        failed["headers"]["failed-by"],
        json!(["puppet"]),
        "{failed}"
    );
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_py_lists_and_calls_them() {
    async fn body(url: String, python: Python) {
        let seen: Value = python
            .run("services.py", &[&url, "2"])
            .await
            .unwrap()
            .json()
            .unwrap();
        check_listing(&seen);
        check_requests(|args| {
            let (url, python) = (&url, &python);
            async move {
                let args: Vec<_> = [url].into_iter().chain(&args).map(String::as_str).collect();
                python.run("request.py", &args).await.unwrap()
            }
        })
        .await;
    }
    with("nats_py_lists_and_calls_them", python().await, body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_js_lists_and_calls_them() {
    async fn body(url: String, node: Node) {
        let seen: Value = node
            .run("services.mjs", &[&url, "2"])
            .await
            .unwrap()
            .json()
            .unwrap();
        check_listing(&seen);
        let failed = check_requests(|args| {
            let (url, node) = (&url, &node);
            async move {
                let args: Vec<_> = [url].into_iter().chain(&args).map(String::as_str).collect();
                node.run("request.mjs", &args).await.unwrap()
            }
        })
        .await;
        let error = json!({ "code": 5, "message": format!("{ERROR} second line") });
        assert_eq!(failed["service_error"], error);
    }
    with("nats_js_lists_and_calls_them", node().await, body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nats_cli_lists_them() {
    async fn body(url: String, cli: NatsCli) {
        let quiet = async |args: &[&str]| {
            let output = cli.run(&url, args).await.unwrap().success().unwrap();
            // Answers that do not match the schema are reported there.
            assert_eq!(output.stderr, "", "{args:?}");
            output
        };
        let listed: Value = quiet(&["micro", "ls", "--json"]).await.json().unwrap();
        let names: Vec<_> = listed
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["name"].clone())
            .collect();
        assert!(
            names.len() == 2 && names.contains(&"calc".into()),
            "{listed}"
        );
        let info: Value = quiet(&["micro", "info", "nmfw-puppet", "--json"])
            .await
            .json()
            .unwrap();
        assert_eq!(
            endpoint(&info["info"], "Sleep").unwrap()["subject"],
            "nmfw.nmfw.puppet.Sleep"
        );
        check_counts(&info["stats"]);
        let stats: Value = quiet(&["micro", "stats", "nmfw-puppet", "--json"])
            .await
            .json()
            .unwrap();
        assert_eq!(stats.as_array().map(Vec::len), Some(1), "{stats}");
        check_counts(&stats[0]);
        // Output for people.
        for (args, shown) in [
            (&["micro", "ls"][..], "nmfw-puppet"),
            (&["micro", "info", "calc"], "nmfw.calc.Average"),
            (&["micro", "info", "nmfw-puppet"], ERROR),
            (&["micro", "stats", "calc"], "Expression"),
            (&["micro", "ping"], "nmfw-puppet"),
        ] {
            let printed = quiet(args).await.stdout;
            assert!(printed.contains(shown), "{shown} in {args:?}: {printed}");
        }
    }
    with("the_nats_cli_lists_them", nats_cli().await, body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nats_cli_calls_them() {
    async fn body(url: String, cli: NatsCli) {
        let ask = async |args: &[&str]| {
            let args = [&["request", "--timeout", "10s"], args].concat();
            cli.run(&url, &args).await.unwrap().success().unwrap()
        };
        // `ExpressionRequest { expression: "2*(3+4)" }`, which happens to be text.
        let request = ExpressionRequest {
            expression: "2*(3+4)".to_owned(),
        }
        .encode_to_vec();
        let request = String::from_utf8(request).unwrap();
        for headers in [&[][..], &["-H", "Nmfw:1;t=5000", "-H", "tenant:acme"]] {
            let args = [&["nmfw.calc.Expression", &request, "--raw"], headers].concat();
            // `CalcResponse { operation: "expr", result: 14.0 }`, and the output of the tool.
            assert_eq!(
                ask(&args).await.stdout,
                "\n\u{4}expr\u{15}\0\0`A\n\n\n",
                "{headers:?}"
            );
        }
        // Empty input is an empty message.
        assert_eq!(
            ask(&["nmfw.calc.Add", "", "--raw"]).await.stdout,
            "\n\u{3}add\n\n\n"
        );

        // The command is the one in the README.
        let json = ["-H", "Content-Type:application/json", "--raw"];
        let sum = [&["nmfw.calc.Add", r#"{"Values":[1,2.5]}"#], &json[..]].concat();
        let answer = r#"{"Operation":"add","Result":3.5}"#;
        assert_eq!(ask(&sum).await.stdout.trim_end(), answer);

        let request = ExpressionRequest {
            expression: ERROR.to_owned(),
        }
        .encode_to_vec();
        let request = String::from_utf8(request).unwrap();
        let output = ask(&["nmfw.calc.Expression", &request]).await;
        let shown = format!("Nats-Service-Error: cannot calculate {ERROR}");
        let printed = format!("{}{}", output.stdout, output.stderr);
        for line in [&*shown, "Nats-Service-Error-Code: 3", "Nmfw-Status: 3"] {
            assert!(printed.contains(line), "{line} in {printed}");
        }
    }
    with("the_nats_cli_calls_them", nats_cli().await, body).await;
}
