//! Services as command-line tools: real processes, their flags, their logs and their ends.

mod tool;

use std::{net::TcpListener, path::Path};

use nmfw::{Code, NatsChannel as _, cli};
use nmfw_tests::{
    TestBroker,
    calc::{self, AddRequest, CalcClient, ExpressionRequest},
    eventually, on_both_brokers,
    ports::free_port,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tool::{LIMIT, OWN_TOOL, TOOL, Tool, output};

/// Must not appear in any output.
const SECRET: &str = "hunter2";

fn with_secret(broker: &TestBroker) -> String {
    format!("nats://me:{SECRET}@127.0.0.1:{}", broker.port())
}

/// Makes a call of the tool's own service that runs until it is dropped.
async fn hanging(url: &str, tool: &Tool, expression: &str) -> tokio::task::JoinHandle<()> {
    let client = calc::client(url).await.unwrap();
    let request = ExpressionRequest {
        expression: expression.to_owned(),
    };
    let call = tokio::spawn(async move {
        _ = client.expression(request).timeout(LIMIT).await;
    });
    tool.line(|line| line["msg"] == "calculating").await;
    call
}

async fn info(url: &str, name: &str) -> Value {
    let plain = async_nats::connect(url).await.unwrap();
    let info = plain.request(format!("$SRV.INFO.{name}"), "".into()).await;
    serde_json::from_slice(&info.unwrap().payload).unwrap()
}

fn endpoints(info: &Value) -> Vec<&str> {
    let endpoints = info["endpoints"].as_array().unwrap().iter();
    endpoints.map(|e| e["name"].as_str().unwrap()).collect()
}

/// Compares with a file, or writes it if `$NMFW_BLESS` is set.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/lifecycle/runner")
        .join(name);
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    if std::env::var_os("NMFW_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        text, expected,
        "{name}: if the change is intended, record it with NMFW_BLESS=1"
    );
}

#[tokio::test]
async fn help_and_version() {
    for (name, args) in [
        ("help.txt", &["--help"][..]),
        ("run-help.txt", &["run", "--help"]),
        ("run-h.txt", &["run", "-h"]),
        ("permissions-help.txt", &["permissions", "--help"]),
        ("version.txt", &["--version"]),
    ] {
        // The values of environment variables are not shown.
        let variables = [
            ("NATS_URL", SECRET),
            ("CONTEXT", SECRET),
            ("MAX_RECON", "4711"),
            ("PORT", "4711"),
            ("NMFW_PORT", "4711"),
            ("DEBUG", SECRET),
            ("NMFW_DEBUG", SECRET),
        ];
        let output = output(TOOL, args, &variables).await;
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(output.stderr, "");
        assert!(!output.stdout.contains("4711"));
        golden(name, &output.stdout);
    }
    let own = output(OWN_TOOL, &["help", "serve"], &[]).await.stdout;
    assert!(own.contains("own_tool serve --context production"), "{own}");
    assert!(own.contains("--grace <GRACE>"), "{own}");
}

#[tokio::test]
async fn wrong_command_lines() {
    for (args, text) in [
        (
            &["run", "--server", "a", "--context", "b"][..],
            "cannot be used with",
        ),
        (
            &["run", "--max-recon", "0"],
            "a number of at least 1, or -1",
        ),
        (&["run", "--port", "65536"], "a number from 1 to 65535"),
        (&["run", "--log", "xml"], "possible values: json, pretty"),
        (&["run", "--contxt", "b"], "--context"),
        (&["walk"], "walk"),
        (&[], "Usage: tool <COMMAND>"),
    ] {
        let output = output(TOOL, args, &[]).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(output.stdout, "");
        assert!(output.stderr.contains(text), "{}", output.stderr);
    }
}

#[tokio::test]
async fn errors_at_the_start_are_reported() {
    for (program, args, variables, texts) in [
        (
            TOOL,
            &["run", "--server", "nats://me:hunter2@127.0.0.1:1"][..],
            &[][..],
            &[
                "cannot connect to nats://127.0.0.1:1 ",
                "check that a NATS server runs there",
            ][..],
        ),
        (
            TOOL,
            &["run"],
            &[("NATS_URL", "nats://me:hunter2@127.0.0.1:1")],
            &["127.0.0.1:1 "],
        ),
        (
            TOOL,
            &["run"],
            &[("NATS_URL", "http://me:hunter2@127.0.0.1")],
            &["the scheme must be"],
        ),
        (TOOL, &["run", "--context", "no-such"], &[], &["no-such"]),
        (
            TOOL,
            &["run"],
            &[("CONTEXT", "no-such"), ("NATS_URL", "127.0.0.1:1")],
            &["no-such"],
        ),
        (
            TOOL,
            &["run"],
            &[("RUST_LOG", "a=b=c")],
            &["$RUST_LOG", "\"a=b=c\""],
        ),
    ] {
        for format in ["json", "pretty"] {
            let mut args = args.to_vec();
            args.extend(["--log", format]);
            let output = output(program, &args, variables).await;
            assert_eq!(output.status.code(), Some(1), "{args:?}");
            assert_eq!(output.stdout, "");
            let last = output
                .stderr
                .lines()
                .rfind(|line| !line.starts_with("  caused by"));
            let last = last.unwrap_or_default();
            // Text, until the log format is known.
            if format == "json"
                && variables
                    .first()
                    .is_none_or(|(name, _)| *name != "RUST_LOG")
            {
                let line: Value = serde_json::from_str(last).unwrap();
                assert_eq!(line["level"], "error");
                assert_eq!(line["service"], "calc");
                assert_ne!(line["cause"], "");
            } else {
                assert!(last.starts_with("error: "), "{}", output.stderr);
            }
            for text in texts {
                assert!(output.stderr.contains(text), "{}", output.stderr);
            }
            assert!(!output.stderr.contains(SECRET), "{}", output.stderr);
        }
    }
}

#[tokio::test]
async fn a_signal_before_it_serves_ends_it() {
    // Accepts connections, and stays silent.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = silent.local_addr().unwrap().to_string();
    let tool = Tool::start(TOOL, &["run", "--server", &url], &[]);
    tool.line(|line| line["msg"] == "starting calc").await;
    let (_connected, _) = silent.accept().unwrap();
    tool.terminate();
    assert_eq!(tool.ended().await, Some(0));
}

on_both_brokers! {
    async fn serves_until_it_is_told_to_stop(broker: TestBroker) {
        let tool = Tool::start(TOOL, &["run", "--server", &broker.url()], &[]);
        tool.serves().await;
        let client = calc::client(&broker.url()).await.unwrap();
        let sum = client.add(AddRequest { values: vec![1.0, 2.0] }).await.unwrap();
        assert_eq!(sum.result, 3.0);
        tool.terminate();
        assert_eq!(tool.ended().await, Some(0));
        let status = client.add(AddRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
    }

    async fn the_first_signal_waits_for_requests(broker: TestBroker) {
        let url = broker.url();
        let tool = Tool::start(OWN_TOOL, &["run", "--server", &url], &[]);
        tool.serves().await;
        let client = calc::client(&url).await.unwrap();
        let request = ExpressionRequest { expression: "wait".to_owned() };
        let call = tokio::spawn(client.expression(request).timeout(LIMIT).send());
        tool.line(|line| line["msg"] == "calculating").await;
        tool.terminate();
        tool.line(|line| line["msg"] == "stopping").await;
        call.await.unwrap().unwrap();
        assert_eq!(tool.ended().await, Some(0));
    }

    async fn a_second_signal_forces(broker: TestBroker) {
        let tool = Tool::start(OWN_TOOL, &["run", "--server", &broker.url()], &[]);
        tool.serves().await;
        let call = hanging(&broker.url(), &tool, "hang").await;
        tool.terminate();
        tool.line(|line| line["msg"] == "stopping").await;
        tool.terminate();
        assert_eq!(tool.ended().await, Some(i32::from(cli::EXIT_FORCED)));
        call.await.unwrap();
    }

    async fn the_grace_period_ends(broker: TestBroker) {
        let args = ["serve", "--grace", "100", "--server", &broker.url()];
        let tool = Tool::start(OWN_TOOL, &args, &[]);
        tool.serves().await;
        let call = hanging(&broker.url(), &tool, "hang").await;
        tool.terminate();
        assert_eq!(tool.ended().await, Some(i32::from(cli::EXIT_GRACE_ENDED)));
        call.await.unwrap();
    }

    async fn a_third_signal_ends_what_blocks(broker: TestBroker) {
        let tool = Tool::start(OWN_TOOL, &["run", "--server", &broker.url()], &[]);
        tool.serves().await;
        let call = hanging(&broker.url(), &tool, "block").await;
        for count in 1..=3 {
            tool.terminate();
            eventually(LIMIT, || async {
                tool.lines().iter().filter(|line| line["msg"] == "SIGTERM").count() == count
            })
            .await;
        }
        assert_eq!(tool.ended().await, Some(i32::from(cli::EXIT_FORCED)));
        call.abort();
    }

    async fn what_blocks_is_ended_after_a_while(broker: TestBroker) {
        let args = ["serve", "--grace", "100", "--server", &broker.url()];
        let tool = Tool::start(OWN_TOOL, &args, &[]);
        tool.serves().await;
        let call = hanging(&broker.url(), &tool, "block").await;
        tool.terminate();
        assert_eq!(tool.ended().await, Some(i32::from(cli::EXIT_GRACE_ENDED)));
        call.abort();
    }

    async fn log_lines_say_whose_they_are(broker: TestBroker) {
        let url = with_secret(&broker);
        let variables = [("DEBUG", "yes"), ("NATS_URL", url.as_str())];
        let tool = Tool::start(OWN_TOOL, &["run"], &variables);
        tool.serves().await;
        let instance = info(&broker.url(), "calc").await["id"].clone();
        let client = calc::client(&broker.url()).await.unwrap();
        for expression in ["1", "panic"] {
            let expression = expression.to_owned();
            _ = client.expression(ExpressionRequest { expression }).await;
        }
        tool.terminate();
        assert_eq!(tool.ended().await, Some(0));

        // Each line is JSON: debug adds lines, and a panic is a line too.
        let lines = tool.lines();
        for line in &lines {
            assert_eq!((&line["service"], &line["version"]), (&"calc".into(), &version()), "{line}");
            let time = line["time"].as_str().unwrap();
            time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339).unwrap();
        }
        let find = |text: &str| {
            let found = lines.iter().find(|line| line["msg"] == text);
            found.unwrap_or_else(|| panic!("no {text:?} in {lines:#?}"))
        };
        assert!(find("starting calc")["nmfw"].is_string());
        let connected = find("connected");
        assert_eq!(connected["servers"], broker.url());
        assert!(connected["server_name"].is_string());
        let serving = find("serving");
        assert_eq!(serving["subjects"], "nmfw.calc.Average nmfw.calc.Add nmfw.calc.Expression");
        assert_eq!(serving["queue_group"], "q");
        assert_eq!(serving["instance"], instance);
        let own = find("calculating");
        assert_eq!((&own["function"], &own["instance"]), (&"Expression".into(), &instance));
        assert_eq!((&own["expression"], &own["fields.level"]), (&"1".into(), &7.into()));
        let panic = find("panicked: told\nto");
        assert_eq!((&panic["function"], &panic["instance"]), (&"Expression".into(), &instance));
        assert!(panic["at"].as_str().unwrap().contains("own_tool.rs"));
        assert_eq!(find("calculated")["level"], "debug");
        assert_eq!(find("stopped")["instance"], instance);
        assert!(!tool.text().contains(SECRET));
    }

    async fn quiet_logs_still_say_whose_they_are(broker: TestBroker) {
        let args = ["run", "--server", &broker.url()];
        let tool = Tool::start(OWN_TOOL, &args, &[("RUST_LOG", "error")]);
        let client = calc::client(&broker.url()).await.unwrap();
        client.wait_ready(LIMIT).await.unwrap();
        let request = ExpressionRequest { expression: "panic".to_owned() };
        client.expression(request).await.unwrap_err();
        tool.line(|line| line["function"] == "Expression" && line["instance"].is_string()).await;
        assert!(tool.lines().iter().all(|line| line["level"] == "error"));
    }

    async fn text_for_people(broker: TestBroker) {
        let url = with_secret(&broker);
        let tool = Tool::start(TOOL, &["run", "--log", "pretty", "--server", &url], &[]);
        eventually(LIMIT, || async { tool.text().contains("serving") }).await;
        tool.terminate();
        assert_eq!(tool.ended().await, Some(0));
        let text = tool.text();
        assert!(text.contains(" INFO ") && text.contains("nmfw.calc.Add"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains(SECRET), "{text}");
    }

    async fn some_methods_only(broker: TestBroker) {
        let args = ["run", "--methods", "Add, calc.Calc.Average", "--server", &broker.url()];
        let tool = Tool::start(TOOL, &args, &[]);
        tool.serves().await;
        assert_eq!(endpoints(&info(&broker.url(), "calc").await), ["Average", "Add"]);
        let client = calc::client(&broker.url()).await.unwrap();
        client.add(AddRequest::default()).await.unwrap();
        let status = client.expression(ExpressionRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);

        let args = ["run", "--methods", "Add,Sum", "--log", "pretty", "--server", &broker.url()];
        let output = output(TOOL, &args, &[]).await;
        assert_eq!(output.status.code(), Some(1));
        let error = "error: there is no method \"Sum\" to serve; there are: Average, Add, Expression\n";
        assert!(output.stderr.contains(error), "{}", output.stderr);
    }

    async fn several_services_and_a_setup_that_fails(broker: TestBroker) {
        let url = broker.url();
        let args = ["serve", "--twice", "--methods", "calc.Calc.Add", "--server", &url];
        let tool = Tool::start(OWN_TOOL, &args, &[]);
        eventually(LIMIT, || async {
            tool.lines().iter().filter(|line| line["msg"] == "serving").count() == 2
        })
        .await;
        let other = CalcClient::new(
            nmfw::Channel::new(nmfw::connect(&url).await.unwrap()).subject("other"),
        );
        other.add(AddRequest::default()).await.unwrap();
        assert_eq!(endpoints(&info(&url, "other").await), ["Add"]);
        tool.terminate();
        assert_eq!(tool.ended().await, Some(0));
        // Lines about no particular service have no service name.
        let stopped = tool.lines().into_iter().find(|line| line["msg"] == "stopped").unwrap();
        assert_eq!(stopped["service"], Value::Null);

        let args = ["serve", "--fail", "--log", "pretty", "--server", &url];
        let output = output(OWN_TOOL, &args, &[]).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stderr.contains("error: No such file"), "{}", output.stderr);
    }

    async fn flags_go_before_variables(broker: TestBroker) {
        let home = tempfile::tempdir().unwrap();
        let contexts = home.path().join("nats/context");
        std::fs::create_dir_all(&contexts).unwrap();
        let here = serde_json::json!({ "url": broker.url() }).to_string();
        std::fs::write(contexts.join("here.json"), here).unwrap();
        let home = home.path().to_str().unwrap();
        let nowhere = "127.0.0.1:1";
        let url = broker.url();
        for (args, variables) in [
            (&["run", "--context", "here"][..], &[("NATS_URL", nowhere), ("CONTEXT", "x")][..]),
            (&["run", "--server", &url], &[("NATS_URL", nowhere), ("CONTEXT", "x")]),
            (&["run"], &[("CONTEXT", "here"), ("NATS_URL", nowhere)]),
            (&["run"], &[("CONTEXT", ""), ("NATS_URL", &url), ("MAX_RECON", ""), ("DEBUG", "")]),
            (&["run"], &[("NATS_URL", &url), ("NMFW_DEBUG", "0"), ("DEBUG", "1")]),
        ] {
            let mut variables = variables.to_vec();
            variables.push(("XDG_CONFIG_HOME", home));
            let tool = Tool::start(TOOL, args, &variables);
            tool.serves().await;
            assert!(tool.lines().iter().all(|line| line["level"] != "debug"));
        }
    }

    async fn gives_up_reconnecting(broker: TestBroker) {
        let mut broker = broker;
        let args = ["run", "--max-recon", "2", "--server", &broker.url()];
        let tool = Tool::start(TOOL, &args, &[]);
        tool.serves().await;
        broker.stop().await.unwrap();
        assert_eq!(tool.ended().await, Some(1));
        let last = tool.lines().pop().unwrap();
        assert_eq!(last["msg"], "the connection to NATS was closed");
        assert_eq!((&last["level"], &last["cause"]), (&"error".into(), &Value::Null));
    }
}

/// Returns the version of the calculator, as the generator takes it from the crate.
fn version() -> Value {
    env!("CARGO_PKG_VERSION").into()
}

#[tokio::test]
async fn permissions_are_printed() {
    let golden =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../nmfw-build/tests/golden/permissions");
    for (role, file) in [
        ("client", "calc.client.conf"),
        ("service", "calc.service.conf"),
        ("observer", "calc.observer.conf"),
        ("export", "calc.exports.conf"),
    ] {
        let mut args = vec!["permissions", "--role", role];
        if role == "service" {
            // Build scripts write permissions for callers in other accounts too.
            args.push("--across-accounts");
        }
        let printed = output(TOOL, &args, &[]).await;
        assert_eq!(printed.status.code(), Some(0), "{}", printed.stderr);
        let expected = std::fs::read_to_string(golden.join(file)).unwrap();
        assert_eq!(printed.stdout, expected, "{file}");
    }
    let some = ["permissions", "--role", "client", "--method", "Add,Average"];
    let some = output(TOOL, &some, &[]).await.stdout;
    assert!(
        some.contains("nmfw.calc.Add\"") && !some.contains("Expression"),
        "{some}"
    );
    let nsc = ["permissions", "--role", "client", "--format", "nsc"];
    let named = [&nsc[..], &["--account", "CALLERS", "--user", "web"]].concat();
    let printed = output(TOOL, &named, &[]).await;
    assert!(
        printed
            .stdout
            .contains("nsc add user --account 'CALLERS' --name 'web'"),
        "{}",
        printed.stdout
    );

    for (args, code, text) in [
        (&nsc[..], 1, "account"),
        (
            &["permissions", "--role", "client", "--method", "Ad"],
            1,
            "calc.Calc.Add, calc.Calc.Expression",
        ),
        (
            &["permissions", "--role", "boss"],
            2,
            "possible values: service, client",
        ),
        (&["permissions"], 2, "--role"),
    ] {
        let output = output(TOOL, args, &[]).await;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{args:?}: {}",
            output.stderr
        );
        assert_eq!(output.stdout, "");
        assert!(output.stderr.contains(text), "{}", output.stderr);
    }
}

on_both_brokers! {
    async fn a_port_answers_probes(broker: TestBroker) {
        let port = free_port().unwrap().to_string();
        let variables = [("NATS_URL", broker.url()), ("PORT", port.clone())];
        let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
        let tool = Tool::start(TOOL, &["run", "--log", "json"], &variables);
        tool.serves().await;
        let get = async |path: &str| {
            let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
            let request = format!("GET {path} HTTP/1.0\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        assert!(get("/readyz").await.contains("\"SERVING\""));
        assert!(get("/metrics").await.contains("nmfw_server_concurrency_limit{"));

        // The port is already in use.
        let second = output(TOOL, &["run", "--port", &port], &variables).await;
        assert_eq!(second.status.code(), Some(1));
        assert!(second.stderr.contains(&format!("cannot listen on 0.0.0.0:{port}")), "{}", second.stderr);
    }

    async fn details_are_logged_because_of_either_variable(broker: TestBroker) {
        let nats = async_nats::connect(broker.url()).await.unwrap();
        let url = broker.url();
        for (variables, is_shown) in [
            (&[("DEBUG", "1")][..], true),
            (&[("NMFW_DEBUG", "1")], true),
            (&[("NMFW_DEBUG", "1"), ("DEBUG", "0")], true),
            (&[("NMFW_DEBUG", "0"), ("DEBUG", "1")], false),
        ] {
            let mut variables = variables.to_vec();
            variables.push(("NATS_URL", url.as_str()));
            let tool = Tool::start(TOOL, &["run"], &variables);
            tool.serves().await;
            // Not answered, which is logged only at a detailed level.
            nats.publish("nmfw.calc.Add", "".into()).await.unwrap();
            // Is handled after it.
            nats.request("nmfw.calc.Add", "".into()).await.unwrap();
            tool.terminate();
            assert_eq!(tool.ended().await, Some(0));
            let lines = tool.lines();
            let shown = lines.iter().any(|line| line["level"] == "debug");
            assert_eq!(shown, is_shown, "{variables:?} {}", tool.text());
        }
    }

    /// A platform may have set `PORT` for another purpose.
    async fn the_log_says_which_variable_opened_a_port(broker: TestBroker) {
        let (one, two) = (free_port().unwrap(), free_port().unwrap());
        let (url, one, two) = (broker.url(), one.to_string(), two.to_string());
        for (args, variables, opened) in [
            (&["run"][..], &[("PORT", one.as_str())][..], Some(("PORT", &one))),
            (&["run"], &[("NMFW_PORT", ""), ("PORT", &one)], Some(("PORT", &one))),
            (&["run"], &[("NMFW_PORT", &two), ("PORT", &one)], Some(("NMFW_PORT", &two))),
            (&["run"], &[("NMFW_PORT", "0"), ("PORT", &one)], None),
            (&["run", "--port", &two], &[("PORT", &one)], None),
        ] {
            let mut variables = variables.to_vec();
            variables.push(("NATS_URL", url.as_str()));
            let tool = Tool::start(TOOL, args, &variables);
            tool.serves().await;
            let lines = tool.lines();
            let said = lines.iter().find(|line| line["variable"].is_string());
            let said = said.map(|line| (line["variable"].as_str().unwrap(), line["port"].to_string()));
            let opened = opened.map(|(variable, port)| (variable, port.clone()));
            assert_eq!(said, opened, "{args:?} {variables:?}");
            let listens = |port: &String| TcpStream::connect(format!("127.0.0.1:{port}"));
            let is_open = listens(&one).await.is_ok() || listens(&two).await.is_ok();
            assert_eq!(is_open, opened.is_some() || args.len() > 1);
        }
    }
}
