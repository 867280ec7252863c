//! `nmfw describe` and `nmfw check`.

use std::{fs, path::Path};

use nmfw_tests::{TestBroker, calc, on_both_brokers, streams, streams::Flows};

use crate::{golden, program::Program, services::serve};

/// Writes the .proto of the calculator, changed.
fn write(program: &Program, name: &str, change: impl Fn(String) -> String) {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/calc.proto");
    let text = change(fs::read_to_string(proto).unwrap());
    fs::write(program.home().join(name), text).unwrap();
}

on_both_brokers! {
    async fn services_are_described(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _calc = calc::serve(&broker.url()).await.unwrap();
        let _streams = streams::serve(&broker.url(), &Flows::default()).await.unwrap();
        let mut outputs = Vec::new();
        for line in [
            "describe calc",
            "describe calc.Calc",
            "describe calc.Calc/Add",
            "describe calc.Add",
            "describe calc.CalcResponse",
            "describe nmfw.streams.Streams/Count",
            "describe calc.Calc/Ad",
            "describe calk",
            "describe calc.Nothing",
        ] {
            outputs.push(program.run(line).await);
        }
        golden::check("describe.txt", &outputs, &[]);

        // The text compiles to what it describes.
        fs::write(program.home().join("again.proto"), &outputs[0].stdout).unwrap();
        let again = program.run("describe calc.Calc --proto again.proto").await.ok();
        assert_eq!(again, outputs[0].stdout);
        let set = program.run_raw("describe calc --format descriptor").await;
        fs::write(program.home().join("calc.binpb"), set).unwrap();
        let same = program.run("check calc calc.binpb").await.ok();
        assert!(same.contains("the same schema"), "{same}");
    }

    async fn all_live_versions_are_checked(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _servers = [
            serve(&broker.url(), "1.0.0").await,
            serve(&broker.url(), "1.1.0").await,
            serve(&broker.url(), "1.1.0").await,
        ];
        write(&program, "same.proto", |text| text);
        write(&program, "more.proto", |text| {
            text.replace("string Operation = 1;", "string Operation = 1;\n  int32 digits = 7;")
        });
        write(&program, "renamed.proto", |text| text.replace("float Result", "float outcome"));
        write(&program, "broken.proto", |text| {
            text.replace("repeated float Values", "repeated string Values")
                .replace("  rpc Add(AddRequest) returns (CalcResponse) {}\n", "")
        });
        write(&program, "bad.proto", |text| text.replace("service", "servise"));
        let mut outputs = Vec::new();
        for line in [
            "check calc more.proto",
            "check calc renamed.proto",
            "check calc renamed.proto --category wire",
            "check calc renamed.proto --except FIELD_SAME_NAME --except FIELD_SAME_JSON_NAME",
            "check calc broken.proto",
            "check calc bad.proto",
            "check calc missing.proto",
            "check calk more.proto",
            "check calc renamed.proto --json",
        ] {
            outputs.push(program.run(line).await);
        }
        golden::check("check.txt", &outputs, &[]);
    }
}
