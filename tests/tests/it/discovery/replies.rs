//! The answers to PING, INFO and STATS: every field that some client checks.

use std::collections::BTreeSet;

use async_nats::Client;
use nmfw::server::{Running, Service};
use nmfw_tests::puppet::{PuppetServer, Strings};
use nmfw_tests::srv::{ask_one, collect, endpoint};
use nmfw_tests::{TestBroker, on_both_brokers};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const METHODS: [&str; 5] = ["Echo", "Sleep", "Fail", "Panic", "Inspect"];

async fn plain(broker: &TestBroker) -> Client {
    async_nats::connect(broker.url()).await.unwrap()
}

async fn serve(broker: &TestBroker, set: impl FnOnce(Service) -> Service) -> Running {
    let nats = nmfw::connect(broker.url()).await.unwrap();
    let service = set(PuppetServer::new(Strings::default()));
    nmfw::Server::new(nats)
        .add_service(service)
        .start()
        .await
        .unwrap()
}

#[track_caller]
fn assert_fields(object: &Value, fields: &[&str]) {
    let found: BTreeSet<_> = object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(found, fields.iter().copied().collect(), "{object}");
}

/// Clients in typed languages fail on a null where a list or a text should be.
#[track_caller]
fn assert_no_null(value: &Value, whole: &Value) {
    match value {
        Value::Null => panic!("{whole} contains a null"),
        Value::Array(items) => items.iter().for_each(|item| assert_no_null(item, whole)),
        Value::Object(fields) => fields
            .values()
            .for_each(|field| assert_no_null(field, whole)),
        _ => {}
    }
}

on_both_brokers! {
    async fn every_verb_has_every_field_on_every_subject(broker: TestBroker) {
        let begun = OffsetDateTime::now_utc() - std::time::Duration::from_millis(1);
        let service = serve(&broker, |service| service).await;
        let id = &service.services()[0].id;
        let client = plain(&broker).await;
        let identity = ["type", "name", "id", "version", "metadata"];
        for (verb, more, endpoint_fields) in [
            ("PING", &[][..], &[][..]),
            ("INFO", &["description", "endpoints"], &["name", "subject", "queue_group", "metadata"]),
            ("STATS", &["started", "endpoints"], &[
                "name", "subject", "queue_group", "num_requests", "num_errors", "last_error",
                "processing_time", "average_processing_time", "data",
            ]),
        ] {
            let mut first = None;
            for subject in [
                format!("$SRV.{verb}"),
                format!("$SRV.{verb}.nmfw-puppet"),
                format!("$SRV.{verb}.nmfw-puppet.{id}"),
            ] {
                let answer = ask_one(&client, &subject).await.unwrap();
                assert_fields(&answer, &[&identity, more].concat());
                assert_no_null(&answer, &answer);
                let kind = format!("io.nats.micro.v1.{}_response", verb.to_lowercase());
                assert_eq!(answer["type"], kind);
                assert_eq!(answer["name"], "nmfw-puppet");
                assert_eq!(answer["id"], *id);
                assert_eq!(answer["version"], "1.2.3-test");
                assert_eq!(answer["metadata"]["team"], "tests");
                assert_eq!(answer["metadata"]["nmfw.service"], "nmfw.puppet.Puppet");
                assert!(answer["metadata"].as_object().unwrap().values().all(Value::is_string));
                if !endpoint_fields.is_empty() {
                    let endpoints = answer["endpoints"].as_array().unwrap();
                    let names: Vec<_> = endpoints.iter().map(|e| e["name"].as_str().unwrap()).collect();
                    assert_eq!(names, METHODS);
                    endpoints.iter().for_each(|endpoint| assert_fields(endpoint, endpoint_fields));
                }
                // No calls are made meanwhile, so the three subjects answer the same.
                assert_eq!(first.get_or_insert_with(|| answer.clone()), &answer, "{subject}");
            }
        }
        let stats = ask_one(&client, "$SRV.STATS").await.unwrap();
        let text = stats["started"].as_str().unwrap();
        let started = OffsetDateTime::parse(text, &Rfc3339).unwrap();
        assert!((begun..=OffsetDateTime::now_utc()).contains(&started), "{text}");
        // The parser of nats-py takes at most six digits, and no zone but Z.
        let fraction = text.strip_suffix('Z').unwrap().split_once('.').unwrap().1;
        assert!((1..=6).contains(&fraction.len()), "{text}");
    }

    async fn an_endpoint_is_a_method(broker: TestBroker) {
        let _service = serve(&broker, |service| service).await;
        let client = plain(&broker).await;
        let info = ask_one(&client, "$SRV.INFO").await.unwrap();
        let stats = ask_one(&client, "$SRV.STATS").await.unwrap();
        assert!(info["description"].as_str().unwrap().starts_with("A service for tests"));
        for name in METHODS {
            for answer in [&info, &stats] {
                let endpoint = endpoint(answer, name).unwrap();
                assert_eq!(endpoint["subject"], format!("nmfw.nmfw.puppet.{name}"));
                assert_eq!(endpoint["queue_group"], "q");
            }
            let metadata = &endpoint(&info, name).unwrap()["metadata"];
            assert_eq!(metadata["nmfw.method"], format!("nmfw.puppet.Puppet.{name}"));
            assert!(metadata.as_object().unwrap().values().all(Value::is_string), "{metadata}");
            let stats = endpoint(&stats, name).unwrap();
            for count in ["num_requests", "num_errors", "processing_time", "average_processing_time"] {
                assert_eq!(stats[count], 0, "{count} of {stats}");
            }
            assert_eq!(stats["last_error"], "");
        }
    }

    async fn what_a_service_is_called_can_be_set(broker: TestBroker) {
        let service = serve(&broker, |service| {
            service
                .name("My_puppet-2")
                .subject("acme.eu.puppet")
                .version("3.0.0-rc.1+build.5")
                .description("ä \"quoted\"\nline")
                .metadata("region", "eu-1")
                .metadata("team", "others")
        })
        .await;
        let served = &service.services()[0];
        assert_eq!((&*served.name, &*served.version), ("My_puppet-2", "3.0.0-rc.1+build.5"));
        let client = plain(&broker).await;
        let info = ask_one(&client, "$SRV.INFO.My_puppet-2").await.unwrap();
        assert_eq!(info["name"], "My_puppet-2");
        assert_eq!(info["version"], "3.0.0-rc.1+build.5");
        assert_eq!(info["description"], "ä \"quoted\"\nline");
        assert_eq!(info["metadata"]["region"], "eu-1");
        // Takes precedence over the `.proto`.
        assert_eq!(info["metadata"]["team"], "others");
        assert_eq!(endpoint(&info, "Echo").unwrap()["subject"], "acme.eu.puppet.Echo");
        assert!(served.subjects.contains(&"acme.eu.puppet.Echo".to_owned()), "{served:?}");
    }

    async fn queue_groups_are_told_as_they_are_used(broker: TestBroker) {
        let set = |service: Service| {
            service
                .queue_group("pool")
                .method("Echo", |limits| limits.queue_group("echoes"))
                .method("Fail", nmfw::server::Limits::no_queue_group)
        };
        let _one = serve(&broker, set).await;
        let client = plain(&broker).await;
        for verb in ["INFO", "STATS"] {
            let answer = ask_one(&client, &format!("$SRV.{verb}")).await.unwrap();
            let groups = ["Echo", "Sleep", "Fail"]
                .map(|name| endpoint(&answer, name).unwrap()["queue_group"].clone());
            assert_eq!(groups, [json!("echoes"), json!("pool"), json!("")], "{verb}");
        }
        // Another instance in the same groups: a request reaches one of the two, but both where
        // there is no group.
        let _two = serve(&broker, set).await;
        collect(&client, "nmfw.nmfw.puppet.Echo", 1).await.unwrap();
        collect(&client, "nmfw.nmfw.puppet.Inspect", 1).await.unwrap();
        collect(&client, "nmfw.nmfw.puppet.Fail", 2).await.unwrap();
        // An instance in the default group, which is a different group.
        let _three = serve(&broker, |service| service).await;
        collect(&client, "nmfw.nmfw.puppet.Echo", 2).await.unwrap();
        collect(&client, "nmfw.nmfw.puppet.Fail", 3).await.unwrap();
        let _four = serve(&broker, Service::no_queue_group).await;
        collect(&client, "nmfw.nmfw.puppet.Echo", 3).await.unwrap();
    }
}
