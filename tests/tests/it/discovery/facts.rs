//! Facts of services, set in the `.proto` or at run time: accepted facts work in every call, and
//! discovery shows them as they were set.

use nmfw::async_nats::ConnectionExt as _;
use std::fmt::Write as _;

use nmfw::{
    Channel, Connection, ErrorKind, Metadata, NatsChannel as _, Server, codegen::v1::ServiceSpec,
};
use nmfw_tests::{
    TestBroker,
    mirror::{self, Client, METHODS, SPEC},
    on_both_brokers,
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde_json::Value;

/// The settings of a service.
#[derive(Clone, Debug)]
struct Facts {
    name: String,
    subject: String,
    version: String,
    description: String,
    metadata: Vec<(String, String)>,
    queue_group: String,
}

const PLAIN: &str = "[a-z]{1,9}";

/// Generates facts: most are accepted everywhere, some nowhere, and some are at a limit.
fn facts() -> impl Strategy<Value = Facts> {
    let long = |what: &'static str, least: usize, most: usize| {
        (least..=most).prop_map(move |length| what.repeat(length))
    };
    let name = prop_oneof![
        3 => "[0-9A-Za-z_-]{1,20}",
        1 => long("n", 127, 129),
        1 => "\\PC{1,6}",
    ];
    let subject = prop_oneof![
        3 => "[a-z0-9-]{1,8}([.][a-zA-Z0-9äß漢-][a-zA-Z0-9_~!:/-]{0,8}){0,3}",
        1 => long("s", 1015, 1026),
        1 => "\\PC{1,8}([.]\\PC{0,4}){0,2}",
    ];
    let identifiers = "[a-z][0-9A-Za-z-]{10,70}([.][a-z][0-9a-z-]{0,20}){0,3}";
    let version = (
        "(0|[1-9][0-9]{0,18})[.][0-9][.](0|[1-9][0-9]{0,18})",
        proptest::option::of(identifiers),
        proptest::option::of(identifiers),
    );
    let version = version.prop_map(|(mut version, pre_release, build)| {
        if let Some(pre_release) = pre_release {
            _ = write!(version, "-{pre_release}");
        }
        if let Some(build) = build {
            _ = write!(version, "+{build}");
        }
        version
    });
    let queue_group = prop_oneof![
        3 => "[a-z][0-9a-z._-]{0,8}",
        1 => long("q", 1023, 1025),
        1 => "\\PC{1,8}",
    ];
    let metadata = proptest::collection::vec(("[a-z.]{0,9}", "\\PC{0,9}"), 0..4);
    (
        name,
        subject,
        version,
        "(?s).{0,200}",
        metadata,
        queue_group,
    )
        .prop_map(
            |(name, subject, version, description, metadata, queue_group)| Facts {
                name,
                subject,
                version,
                description,
                metadata,
                queue_group,
            },
        )
}

/// Generates the same few facts in every run, with one of them random at a time, so that no other
/// fact hides its refusal.
fn cases(count: u32) -> Vec<Facts> {
    let mut runner = TestRunner::deterministic();
    let plain = (PLAIN, PLAIN).prop_map(|(name, subject)| Facts {
        name,
        subject: format!("facts.{subject}"),
        version: "1.0.0".to_owned(),
        description: String::new(),
        metadata: Vec::new(),
        queue_group: "q".to_owned(),
    });
    let both = (plain, facts(), 0..7);
    let one = both.prop_map(|(plain, any, which)| match which {
        0 => Facts {
            name: any.name,
            ..plain
        },
        1 => Facts {
            subject: any.subject,
            ..plain
        },
        2 | 3 => Facts {
            version: any.version,
            ..plain
        },
        4 => Facts {
            description: any.description,
            ..plain
        },
        5 => Facts {
            metadata: any.metadata,
            ..plain
        },
        _ => Facts {
            queue_group: any.queue_group,
            ..plain
        },
    });
    let mut next = || one.new_tree(&mut runner).unwrap().current();
    (0..count).map(|_| next()).collect()
}

/// Returns the number of cases. Each starts a server.
fn count() -> u32 {
    Config::default().cases.min(64)
}

/// Quotes a text for a `.proto`.
fn quoted(text: &str) -> String {
    let bytes = text.bytes().map(|byte| format!("\\{byte:03o}"));
    format!("\"{}\"", bytes.collect::<String>())
}

/// Whether `nmfw-build` accepts a service with these facts.
fn is_built(facts: &Facts) -> bool {
    let metadata = facts.metadata.iter().map(|(key, value)| {
        format!(
            "metadata {{ key: {} value: {} }}",
            quoted(key),
            quoted(value)
        )
    });
    let proto = format!(
        "syntax = \"proto3\";
        package mirror;
        import \"nmfw/options.proto\";
        message Text {{}}
        service Mirror {{
            option (nmfw.service) = {{
                name: {} subject: {} version: {} description: {} queue_group: {} {}
            }};
            rpc Echo(Text) returns (Text);
            rpc Count(Text) returns (stream Text);
        }}",
        quoted(&facts.name),
        quoted(&facts.subject),
        quoted(&facts.version),
        quoted(&facts.description),
        quoted(&facts.queue_group),
        metadata.collect::<Vec<_>>().join(" "),
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mirror.proto");
    std::fs::write(&file, proto).unwrap();
    let builder = nmfw_build::configure().out_dir(folder.path());
    match builder.compile_protos(&[&file], &[folder.path()]) {
        Ok(()) => true,
        Err(error) => {
            let text = format!("{error:?}");
            assert!(text.contains("mirror.proto"), "{facts:?}: {text}");
            false
        }
    }
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

/// Returns the specification that generated code would have for these facts.
fn spec(facts: &Facts) -> &'static ServiceSpec {
    let metadata = facts.metadata.iter();
    let metadata: Vec<_> = metadata
        .map(|(key, value)| (leak(key), leak(value)))
        .collect();
    let spec = ServiceSpec::new("mirror", "Mirror")
        .with_name(leak(&facts.name))
        .with_subject(leak(&facts.subject))
        .with_version(leak(&facts.version))
        .with_description(leak(&facts.description))
        .with_metadata(Vec::leak(metadata))
        .with_queue_group(leak(&facts.queue_group))
        .with_methods(METHODS);
    Box::leak(Box::new(spec))
}

async fn ask(nats: &Connection, verb: &str, name: &str) -> Value {
    let answer = nats
        .client()
        .request(format!("$SRV.{verb}.{name}"), "".into());
    serde_json::from_slice(&answer.await.unwrap().payload).unwrap()
}

/// Makes calls, and checks the answers of discovery.
async fn works(nats: &Connection, facts: &Facts, ways: &[(&str, Client)]) {
    let mut sent = Metadata::new();
    sent.append("a", "b").unwrap();
    for (way, client) in ways {
        let echoed = client.echo("x").merge_metadata(&sent).await;
        let echoed = echoed.unwrap_or_else(|status| panic!("{way}: {facts:?}: {status}"));
        assert_eq!(echoed, "x", "{way}: {facts:?}");
        let (ahead, _) = client.count("x", &sent).await.unwrap();
        assert_eq!(ahead, sent, "{way}: {facts:?}");
    }
    for verb in ["PING", "INFO", "STATS"] {
        let answer = ask(nats, verb, &facts.name).await;
        assert_eq!(answer["name"], facts.name, "{verb}: {facts:?}");
        assert_eq!(answer["version"], facts.version, "{verb}: {facts:?}");
        for (key, value) in &facts.metadata {
            // If a key is repeated, one of its values counts.
            let values = facts.metadata.iter().filter(|(other, _)| other == key);
            let mut values = values.map(|(_, value)| value);
            let got = &answer["metadata"][key];
            assert!(
                values.any(|value| got == value),
                "{verb}: {key} {value}: {answer}"
            );
        }
        if verb == "INFO" {
            assert_eq!(answer["description"], facts.description, "{facts:?}");
        }
        for endpoint in answer["endpoints"].as_array().into_iter().flatten() {
            let subject = endpoint["subject"].as_str().unwrap();
            assert!(subject.starts_with(&facts.subject), "{answer}");
            assert_eq!(endpoint["queue_group"], facts.queue_group, "{answer}");
        }
    }
}

on_both_brokers! {
    async fn what_the_build_accepts_works(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let (mut built, mut long) = (0, 0);
        for facts in cases(count()) {
            if !is_built(&facts) {
                continue;
            }
            built += 1;
            long += u32::from(facts.version.len() > 64);
            let spec = spec(&facts);
            let server = Server::new(&nats).add_service(mirror::service(spec));
            let running = server.start().await;
            let running = running.unwrap_or_else(|error| panic!("{facts:?}: {error}"));
            let ways = Client::all(&nats, spec).await;
            let ways = ways.unwrap_or_else(|status| panic!("{facts:?}: {status}"));
            works(&nats, &facts, &ways).await;
            running.stop();
            running.join().await.unwrap();
        }
        assert!(built > count() / 3 && long > 2, "{built} services were accepted, {long} with long versions");
    }

    async fn what_is_accepted_at_run_time_works(broker: TestBroker) {
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let mut started = 0;
        for facts in cases(count()) {
            let mut service = mirror::service(&SPEC)
                .name(&facts.name)
                .subject(&facts.subject)
                .version(&facts.version)
                .description(&facts.description)
                .queue_group(&facts.queue_group);
            for (key, value) in &facts.metadata {
                service = service.metadata(key, value);
            }
            let running = match Server::new(&nats).add_service(service).start().await {
                Ok(running) => running,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{facts:?}: {error}");
                    continue;
                }
            };
            started += 1;
            let channel = || Channel::new(&nats).subject(&facts.subject);
            let ways = [
                ("base mode", Client::new(channel(), &SPEC)),
                ("session", Client::new(channel().multiplexed(), &SPEC)),
            ];
            ways[1].1.count("open", &Metadata::new()).await.unwrap();
            works(&nats, &facts, &ways).await;
            running.stop();
            running.join().await.unwrap();
        }
        assert!(started > count() / 3, "{started} services");
    }
}
