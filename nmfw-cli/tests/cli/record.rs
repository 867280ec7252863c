//! `nmfw record` and `nmfw replay`.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr},
    time::Duration,
};

use async_nats::HeaderMap;
use nmfw_tests::{NatsServer, TestBroker, calc, on_both_brokers, streams, streams::Flows};
use serde_json::Value;

use crate::{
    golden,
    program::{LIMIT, Output, Program},
};

/// A running `nmfw record`.
struct Recording {
    child: Child,
    stderr: BufReader<ChildStderr>,
    line: String,
}

impl Recording {
    /// Starts it, and waits until it records.
    fn start(program: &Program, line: &str) -> Self {
        let mut child = program.command(line).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        stderr.read_line(&mut first).unwrap();
        assert!(first.starts_with("Recording "), "{first}");
        let line = line.to_owned();
        Self {
            child,
            stderr,
            line,
        }
    }

    /// Waits for its end.
    async fn end(mut self) -> Output {
        let ended = tokio::task::spawn_blocking(move || {
            let (mut stdout, mut stderr) = (String::new(), String::new());
            let mut out = self.child.stdout.take().unwrap();
            out.read_to_string(&mut stdout).unwrap();
            self.stderr.read_to_string(&mut stderr).unwrap();
            Output {
                line: self.line,
                status: self.child.wait().unwrap().code().unwrap_or(-1),
                stdout,
                stderr,
            }
        });
        tokio::time::timeout(LIMIT, ended).await.unwrap().unwrap()
    }

    /// Ends it as Ctrl-C does.
    async fn stop(self) -> Output {
        let pid = self.child.id().to_string();
        let killed = std::process::Command::new("kill")
            .args(["-INT", &pid])
            .status();
        assert!(killed.unwrap().success());
        self.end().await
    }
}

/// Returns the lines of a recording without what differs from run to run.
fn without_times(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut call: Value = serde_json::from_str(line).unwrap();
        assert!(call["time"].as_str().unwrap().ends_with('Z'), "{line}");
        call["time"] = Value::from("TIME");
        if let Some(duration) = call.get_mut("duration_ms") {
            assert!(duration.as_f64().unwrap() > 0.0, "{line}");
            *duration = Value::from(0);
        }
        if let Some(timeout) = call.get_mut("timeout_ms") {
            assert!(timeout.as_u64().unwrap() <= 5000, "{line}");
            *timeout = Value::from(5000);
        }
        out.push_str(&format!("{call}\n"));
    }
    out
}

on_both_brokers! {
    async fn calls_are_recorded_and_replayed(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _calc = calc::serve(&broker.url()).await.unwrap();
        let recording = Recording::start(&program, "record calc -o calls.jsonl --count 5");
        program.run("call calc.Add '{\"Values\":[1,2]}' -m tenant=acme -m key-bin=AAE").await.ok();
        program.run("call calc.Expression '{\"Expression\":\"1+\"}'").await;
        let client = async_nats::connect(broker.url()).await.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/json");
        for body in ["{\"Values\":[7,9]}", "{\"Values\":[true]}"] {
            let sent = client.request_with_headers("nmfw.calc.Average", headers.clone(), body.into());
            sent.await.unwrap();
        }
        program.run("call calc.Average '{\"Values\":[4]}'").await.ok();
        program.run("call calc.Add '{\"Values\":[40,2]}'").await.ok();
        let mut outputs = vec![recording.end().await];
        let calls = fs::read_to_string(program.home().join("calls.jsonl")).unwrap();
        golden::compare("recorded.jsonl", &without_times(&calls));

        let changed = calls.replacen("\"Result\":3.0", "\"Result\":4.0", 1);
        let changed = changed.replacen("INVALID_ARGUMENT", "NOT_FOUND", 1);
        assert_ne!(calls, changed);
        fs::write(program.home().join("changed.jsonl"), changed).unwrap();
        let unanswered = r#"{"time":"2026-01-01T00:00:00Z","method":"calc.Calc/Add","request":{}}"#;
        fs::write(program.home().join("unanswered.jsonl"), unanswered).unwrap();
        let unknown = unanswered.replace("/Add", "/Ad");
        fs::write(program.home().join("unknown.jsonl"), unknown).unwrap();
        fs::write(program.home().join("damaged.jsonl"), format!("{unanswered}\n{{\"time\":1}}\n")).unwrap();
        for line in [
            "record calc -o calls.jsonl",
            "record clac",
            "replay calls.jsonl",
            "replay calls.jsonl -c 4",
            "replay calls.jsonl --json --speed 1000",
            "replay changed.jsonl -c 1",
            "replay changed.jsonl -c 1 --json",
            "replay changed.jsonl -c 1 --ignore response.Result --ignore status",
            "replay unanswered.jsonl",
            "replay unknown.jsonl",
            "replay damaged.jsonl",
            "replay missing.jsonl",
            "replay calls.jsonl --ignore Result",
            "replay calls.jsonl --service other",
        ] {
            outputs.push(program.run(line).await);
        }
        outputs.push(program.run_with("replay -", &calls).await);
        golden::check("record.txt", &outputs, &[]);
    }

    /// The pace is that of the file, divided by the speed.
    async fn the_pace_is_kept(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _calc = calc::serve(&broker.url()).await.unwrap();
        let line = |second: u32| format!(
            "{{\"time\":\"2026-01-01T00:00:0{second}Z\",\"method\":\"calc.Calc/Add\",\"request\":{{}}}}\n"
        );
        fs::write(program.home().join("calls.jsonl"), line(0) + &line(4)).unwrap();
        for (line, least) in [("replay calls.jsonl --speed 4", 1000), ("replay calls.jsonl -c 1", 0)] {
            let started = std::time::Instant::now();
            program.run(line).await.ok();
            let elapsed = started.elapsed();
            assert!(elapsed >= Duration::from_millis(least), "{line}: {elapsed:?}");
        }
    }

    /// Sessions are sealed: they are counted. So is what gets no reply.
    async fn what_cannot_be_read_is_counted(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _streams = streams::serve(&broker.url(), &Flows::default()).await.unwrap();
        let recording = Recording::start(&program, "record nmfw.streams.Streams");
        program.run("call nmfw.streams.Streams/Count '{\"to\":2}'").await.ok();
        let plain = async_nats::connect(broker.url()).await.unwrap();
        let subject = "nmfw.nmfw.streams.Echo";
        // Bytes that are no message, and a reply that goes elsewhere.
        plain.request(subject, "\u{1b}".into()).await.unwrap();
        plain.publish_with_reply(subject, "other.inbox", "".into()).await.unwrap();
        program.run("call nmfw.streams.Streams/Echo '{\"number\":1}'").await.ok();
        let recorded = recording.stop().await;
        assert_eq!(recorded.status, 0, "{recorded:?}");
        let calls = without_times(&recorded.stdout);
        assert_eq!(calls.lines().count(), 2, "{calls}");
        for part in [
            "2 calls recorded",
            "1 of them got no answer that was seen",
            "1 session was opened, whose calls are sealed and cannot be read",
            "1 message could not be read; the first: a request of nmfw.streams.Streams/Echo: ",
        ] {
            assert!(recorded.stderr.contains(part), "{part}: {recorded:?}");
        }
    }
}

/// A user who may not see the replies learns so.
#[tokio::test]
async fn a_denial_says_what_is_missing() {
    let server = NatsServer::builder().config(
        "authorization { users: [
            { user: service, password: x }
            { user: blind, password: x, permissions: {
                publish: { allow: [\"$SRV.>\", \"_INBOX.>\", \"nmfw.calc._schema\", \"nmfw.calc._i.*.schema\"] }
                subscribe: { allow: [\"_INBOX.*.*\", \"_INBOX.*.*.*\"] }
            } }
        ] }",
    );
    let server = server.start().await.unwrap();
    let address = format!("127.0.0.1:{}", server.port());
    let _calc = calc::serve(&format!("nats://service:x@{address}"))
        .await
        .unwrap();
    let program = Program::new(&format!("nats://blind:x@{address}"));
    let output = program.run("record calc").await;
    assert_eq!(output.status, 3, "{output:?}");
    assert!(
        output.stderr.contains("cannot subscribe to nmfw.calc.*"),
        "{output:?}"
    );
    assert!(
        output.stderr.contains("hint: the user must be allowed"),
        "{output:?}"
    );
}
