//! `nmfw call`.

use std::{
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use nmfw_tests::{
    TestBroker, calc, on_both_brokers, puppet, puppet::Strings, streams, streams::Flows,
};

use crate::{
    golden,
    program::{LIMIT, Program},
};

on_both_brokers! {
    async fn calls_take_and_print_json(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let calc = calc::serve(&broker.url()).await.unwrap();
        let flows = streams::serve(&broker.url(), &Flows::default()).await.unwrap();
        let puppet = puppet::serve(&broker.url(), &Strings::default()).await.unwrap();
        let ids = [&calc, &flows, &puppet].map(|server| server.services()[0].id.clone());
        std::fs::write(program.home().join("add.json"), r#"{"Values": [20, 22]}"#).unwrap();
        let proto = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/calc.proto");
        std::fs::create_dir(program.home().join("protos")).unwrap();
        std::fs::copy(proto, program.home().join("protos/calc.proto")).unwrap();
        let mut outputs = Vec::new();
        for line in [
            "call calc.Calc/Add '{\"Values\":[1,2]}'",
            "call calc.Add @add.json",
            "call calc.Add",
            "call calc.Add --defaults",
            "call calc.Calc.Add --template",
            "call nmfw.streams.Streams/Count --template",
            "call calc.Add '{\"Values\":[1,\"x\"]}'",
            "call calc.Add '{\"Valuse\":[1]}'",
            "call calc.Add @missing.json",
            "call calc.Ad",
            "call calk.Add",
            "call calc",
            "call calc.Expression '{\"Expression\":\"1\\u001b[31m\"}'",
            "call calc.Expression '{\"Expression\":\"1\"}' --json",
            "call nmfw.streams.Streams/Count '{\"from\":1,\"to\":4}' -v",
            "call nmfw.streams.Streams/Count '{\"to\":3,\"failAt\":2}'",
            "call nmfw.streams.Streams/Chat '{\"number\":1} {\"number\":2}'",
            "call nmfw.streams.Streams/Sum '{\"number\":1} {\"number\":\"x\"}'",
            "call nmfw-puppet.Sleep '{\"millis\":60000}' -d 100ms",
            "call nmfw-puppet.Fail '{\"code\":5,\"message\":\"no \\u001b[31m such\"}' -v",
            "call calc.Add '{\"Values\":[1]}' -v -m tenant=acme -m key-bin=AAE -m a=it",
            "call calc.Add -m nmfw=1",
            "call calc.Add '{\"Values\":[1]}' --proto calc.proto",
            "call calc.Add '{\"Values\":[1]}' --proto protos/calc.proto",
            "call calc.Add '{\"Values\":[1]}' --descriptor-set add.json",
        ] {
            outputs.push(program.run(line).await);
        }
        outputs.push(program.run_with("call calc.Add -", "{\"Values\":\n[1]}\n").await);
        let two = "{\"number\": 1}\n{\"number\": 41}\n";
        outputs.push(program.run_with("call nmfw.streams.Streams/Sum", two).await);
        golden::check("calls.txt", &outputs, &ids.each_ref().map(String::as_str));
    }

    /// Each message goes out, and each answer is printed, before the next document is there.
    async fn streams_flow_both_ways(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _streams = streams::serve(&broker.url(), &Flows::default()).await.unwrap();
        let mut command = program.command("call nmfw.streams.Streams/Chat -");
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for number in 1..4 {
            stdin.write_all(format!("{{\"number\":{number}}}").as_bytes()).unwrap();
            let line = lines.next().unwrap().unwrap();
            assert_eq!(line, format!("{{\"number\":\"{number}\"}}"));
        }
        drop(stdin);
        assert!(lines.next().is_none());
        assert!(child.wait().unwrap().success());
    }

    /// A reader that goes away ends the program without an error, and the call with it.
    async fn a_closed_pipe_ends_the_call(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let flows = Flows::default();
        let _streams = streams::serve(&broker.url(), &flows).await.unwrap();
        let line = "call nmfw.streams.Streams/Count '{\"to\":1000000000}'";
        let mut child = program.command(line).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        assert_eq!(first, "{}\n");
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        assert!(output.status.success());
        nmfw_tests::eventually(LIMIT, async || {
            (flows.dropped() == 1).then_some(())
        })
        .await;
    }

    async fn one_instance_is_called(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let servers = [
            calc::serve(&broker.url()).await.unwrap(),
            calc::serve(&broker.url()).await.unwrap(),
            calc::serve(&broker.url()).await.unwrap(),
        ];
        for server in &servers {
            let id = &server.services()[0].id;
            for _ in 0..3 {
                let line = format!("call calc.Add -v --instance {id}");
                let output = program.run(&line).await;
                assert_eq!(output.status, 0, "{output:?}");
                assert!(output.stderr.contains(&format!("< instance {id}")), "{output:?}");
                assert!(output.stderr.contains("in the handler"), "{output:?}");
            }
        }
        let unknown = program.run("call calc.Add --instance nonsense").await;
        assert_eq!(unknown.status, 4, "{unknown:?}");
    }

    async fn a_schema_is_kept(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _calc = calc::serve(&broker.url()).await.unwrap();
        program.run("call calc.Add").await.ok();
        let folder = program.home().join(".cache/nmfw/schemas");
        let kept: Vec<_> = std::fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
        assert_eq!(kept.len(), 1);
        // A damaged one is fetched again.
        std::fs::write(kept[0].path(), b"damaged").unwrap();
        program.run("call calc.Add").await.ok();
        assert!(std::fs::read(kept[0].path()).unwrap().len() > 100);
    }
}
